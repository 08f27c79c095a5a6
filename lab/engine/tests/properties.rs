//! Properties that hold for all filters, values and operations.

mod lab;

use std::cmp::Reverse;

use lab::*;
use postern_engine::guids::condition::*;
use postern_engine::layers::field::ale_auth_connect as index;
use postern_engine::objects::*;
use postern_engine::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const LAYER: u16 = layers::id::ALE_AUTH_CONNECT_V4;

/// What is classified; small ranges, so that filters match often.
#[derive(Clone, Debug)]
struct Traffic {
    protocol: Option<u8>,
    port: u16,
    address: u32,
    flags: u32,
    app: Vec<u8>,
}

fn traffic() -> impl Strategy<Value = Traffic> {
    (proptest::option::weighted(0.9, 0..4u8), 0..8u16, 0..16u32, 0..8u32, vec(0..2u8, 0..3))
        .prop_map(|(protocol, port, address, flags, app)| Traffic { protocol, port, address, flags, app })
}

fn integer_match() -> impl Strategy<Value = MatchType> {
    use MatchType::*;
    select(vec![Equal, NotEqual, Greater, GreaterOrEqual, Less, LessOrEqual, FlagsAllSet, FlagsAnySet, FlagsNoneSet])
}

/// The conditions on one field.
fn field() -> impl Strategy<Value = Vec<Condition>> {
    let protocol = (integer_match(), 0..4u8).prop_map(|(m, v)| condition(IP_PROTOCOL, m, ConditionValue::Uint8(v)));
    let no_protocol = Just(equal(IP_PROTOCOL, ConditionValue::Empty));
    let port = (integer_match(), 0..8u16).prop_map(|(m, v)| condition(IP_REMOTE_PORT, m, ConditionValue::Uint16(v)));
    let ports = (0..8u16, 0..8u16).prop_map(|(a, b)| {
        let ends = (ConditionValue::Uint16(a.min(b)), ConditionValue::Uint16(a.max(b)));
        condition(IP_REMOTE_PORT, MatchType::Range, ConditionValue::Range(Box::new(ends)))
    });
    let network = (0..16u32, 28..=32u32).prop_map(|(addr, prefix)| {
        equal(
            IP_REMOTE_ADDRESS,
            ConditionValue::V4AddrMask { addr, mask: !(u32::MAX.checked_shr(prefix).unwrap_or(0)) },
        )
    });
    let flags = (integer_match(), 0..8u32).prop_map(|(m, v)| condition(FLAGS, m, ConditionValue::Uint32(v)));
    let app =
        (select(vec![MatchType::Equal, MatchType::Prefix, MatchType::NotPrefix, MatchType::Less]), vec(0..2u8, 0..3))
            .prop_map(|(m, v)| condition(ALE_APP_ID, m, ConditionValue::ByteBlob(v)));
    prop_oneof![
        vec(prop_oneof![4 => protocol, 1 => no_protocol], 1..3),
        vec(prop_oneof![port, ports], 1..3),
        vec(network, 1..3),
        vec(flags, 1..3),
        vec(app, 1..3),
    ]
}

/// Groups of conditions, at most one for a field.
fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    vec(field(), 0..3).prop_map(|groups| {
        let mut seen = Vec::new();
        let mut all = Vec::new();
        for group in groups {
            if !seen.contains(&group[0].field) {
                seen.push(group[0].field);
                all.extend(group);
            }
        }
        all
    })
}

/// What the callout of each number answers: its action, and whether it clears the right.
const ANSWERS: [(u32, bool); 5] = [
    (action::PERMIT, false),
    (action::PERMIT, true),
    (action::BLOCK, false),
    (action::BLOCK, true),
    (action::CONTINUE, false),
];

fn action() -> impl Strategy<Value = (Action, FilterFlags)> {
    let hard = any::<bool>().prop_map(|hard| if hard { FilterFlags::CLEAR_ACTION_RIGHT } else { FilterFlags::empty() });
    let action = prop_oneof![
        3 => select(vec![Action::Permit, Action::Block]),
        2 => (0..ANSWERS.len() as u128).prop_map(|number| Action::CalloutUnknown(key(100 + number))),
        1 => Just(Action::CalloutInspection(key(104))),
    ];
    (action, hard)
}

fn any_filter() -> impl Strategy<Value = Filter> {
    (conditions(), action(), 1..4u128, prop_oneof![Just(Weight::Auto), (0..16u8).prop_map(Weight::Range)]).prop_map(
        |(conditions, (action, flags), sublayer, weight)| Filter {
            conditions,
            flags,
            sublayer: key(sublayer),
            weight,
            ..filter(action)
        },
    )
}

/// An engine with three sublayers and the callouts of [`ANSWERS`].
fn furnished() -> (Engine, SessionId, Vec<u32>) {
    let (mut engine, session) = engine();
    for number in 1..4 {
        engine.sublayer_add(session, sublayer(number, 10_000 * number as u16)).unwrap();
    }
    let ids =
        (0..ANSWERS.len() as u128).map(|number| engine.callout_add(session, callout(100 + number)).unwrap()).collect();
    (engine, session, ids)
}

/// The reference: conditions read one by one, as the documentation has them.
fn holds(condition: &Condition, traffic: &Traffic) -> bool {
    let number = match condition.field {
        IP_PROTOCOL => traffic.protocol.map(u32::from),
        IP_REMOTE_PORT => Some(u32::from(traffic.port)),
        IP_REMOTE_ADDRESS => Some(traffic.address),
        FLAGS => Some(traffic.flags),
        _ => None,
    };
    let asked = match &condition.value {
        ConditionValue::Uint8(value) => u32::from(*value),
        ConditionValue::Uint16(value) => u32::from(*value),
        ConditionValue::Uint32(value) => *value,
        ConditionValue::Empty => return number.is_none(),
        ConditionValue::V4AddrMask { addr, mask } => return traffic.address & mask == addr & mask,
        ConditionValue::Range(ends) => {
            let (ConditionValue::Uint16(low), ConditionValue::Uint16(high)) = **ends else { unreachable!() };
            return low <= traffic.port && traffic.port <= high;
        }
        ConditionValue::ByteBlob(blob) => {
            return match condition.match_type {
                MatchType::Equal => traffic.app == *blob,
                MatchType::Prefix => traffic.app.ends_with(blob),
                MatchType::NotPrefix => !traffic.app.ends_with(blob),
                _ => traffic.app < *blob,
            };
        }
        other => unreachable!("{other:?}"),
    };
    let Some(value) = number else { return false };
    match condition.match_type {
        MatchType::Equal => value == asked,
        MatchType::NotEqual => value != asked,
        MatchType::Greater => value > asked,
        MatchType::GreaterOrEqual => value >= asked,
        MatchType::Less => value < asked,
        MatchType::LessOrEqual => value <= asked,
        MatchType::FlagsAllSet => value & asked == asked,
        MatchType::FlagsAnySet => value & asked != 0,
        MatchType::FlagsNoneSet => value & asked == 0,
        other => unreachable!("{other:?}"),
    }
}

fn fields_match(filter: &Filter, traffic: &Traffic) -> bool {
    filter
        .conditions
        .iter()
        .all(|one| filter.conditions.iter().any(|other| other.field == one.field && holds(other, traffic)))
}

/// The reference: decision, filter, hard.
fn decide(engine: &Engine, traffic: &Traffic) -> (Decision, Option<u64>, bool) {
    let view = engine.view(None);
    let mut sublayers: Vec<_> = view.sublayers().collect();
    sublayers.sort_by_key(|sublayer| Reverse(sublayer.weight));
    let mut running: Option<(Decision, u64, bool)> = None;
    for sublayer in sublayers {
        let mut filters: Vec<_> = view.filters().filter(|filter| filter.sublayer == sublayer.key).collect();
        filters.sort_by_key(|filter| (Reverse(filter.effective_weight), filter.id));
        for filter in filters.into_iter().filter(|filter| fields_match(filter, traffic)) {
            let clears = filter.flags.contains(FilterFlags::CLEAR_ACTION_RIGHT);
            let (said, hard, callout) = match filter.action {
                Action::Permit => (Decision::Permit, clears, false),
                Action::Block => (Decision::Block, true, false),
                Action::CalloutInspection(_) => continue,
                Action::CalloutTerminating(key) | Action::CalloutUnknown(key) => {
                    match ANSWERS[key.as_u128() as usize - 100] {
                        (action::PERMIT, hard) => (Decision::Permit, hard, true),
                        (action::BLOCK, hard) => (Decision::Block, hard, true),
                        _ => continue,
                    }
                }
            };
            running = match running {
                Some((Decision::Permit, _, true)) if said == Decision::Block && callout => {
                    Some((said, filter.id, true))
                }
                Some(decided @ (_, _, true)) => Some(decided),
                _ => Some((said, filter.id, hard)),
            };
            break;
        }
    }
    running.map_or((Decision::Permit, None, false), |(decision, filter, hard)| (decision, Some(filter), hard))
}

fn classify(engine: &Engine, ids: &[u32], traffic: &Traffic) -> (Decision, Option<u64>, bool) {
    struct Answers<'a>(&'a [u32]);
    impl Callouts for Answers<'_> {
        fn classify(&mut self, callout_id: u32, _: &RuntimeFilter, out: &mut ClassifyOut) -> CalloutCall {
            let number = self.0.iter().position(|id| *id == callout_id).unwrap();
            let (action, clears) = ANSWERS[number];
            out.action = action;
            out.rights &= !u32::from(clears);
            CalloutCall::Called
        }
    }
    let mut known = vec![
        (index::IP_REMOTE_PORT, Value::Uint16(traffic.port)),
        (index::IP_REMOTE_ADDRESS, Value::Uint32(traffic.address)),
        (index::FLAGS, Value::Uint32(traffic.flags)),
        (index::ALE_APP_ID, Value::ByteBlob(&traffic.app)),
    ];
    known.extend(traffic.protocol.map(|protocol| (index::IP_PROTOCOL, Value::Uint8(protocol))));
    let (snapshot, values) = (engine.snapshot(), values(LAYER, &known));
    let verdict = snapshot.classify(LAYER, &values, &mut Answers(ids));
    traced(engine, traffic, verdict, &snapshot.trace(LAYER, &values, &mut Answers(ids)));
    (verdict.action, verdict.filter_id, verdict.hard)
}

/// A trace has the verdict, all filters, and of each whether it and its conditions match.
fn traced(engine: &Engine, traffic: &Traffic, verdict: Verdict, trace: &Trace) {
    assert_eq!(trace.verdict, verdict);
    let filters = || trace.sublayers.iter().flat_map(|sublayer| &sublayer.filters);
    assert!(filters().map(|filter| filter.id).eq(engine.snapshot().filters(LAYER).map(|filter| filter.id)));
    for traced in filters() {
        let filter = engine.view(None).filter(traced.id).unwrap();
        assert_eq!(traced.outcome != Outcome::DoesNotMatch, fields_match(filter, traffic), "{traced:?}");
        let hold = filter.conditions.iter().map(|condition| holds(condition, traffic));
        assert!(traced.conditions.iter().map(|seen| seen.result == ConditionResult::Matches).eq(hold), "{traced:?}");
    }
    for sublayer in &trace.sublayers {
        let ended = sublayer.filters.iter().position(|filter| matches!(filter.outcome, Outcome::Ended { .. }));
        let reached = sublayer.filters.iter().rposition(|filter| matches!(filter.outcome, Outcome::Asked(_)));
        assert!(reached < ended || ended.is_none(), "{sublayer:?}");
        let unreached = sublayer.filters.iter().position(|filter| filter.outcome == Outcome::NotReached);
        assert!(unreached.is_none() || ended.is_some() && ended < unreached, "{sublayer:?}");
    }
    let counts = |filter: &&FilterTrace| {
        let Outcome::Ended { effect, overridden_by, .. } = filter.outcome else { return false };
        overridden_by.is_none() && matches!(effect, Effect::Decides | Effect::Overrides | Effect::Vetoes)
    };
    assert!(filters().filter(counts).map(|filter| filter.id).eq(verdict.filter_id));
}

/// One management operation. Most succeed; some are refused.
#[derive(Clone, Debug)]
enum Operation {
    AddFilter(Box<Filter>),
    DeleteFilter(prop::sample::Index),
    AddSublayer(u128, u16),
    DeleteSublayer(u128),
    AddCallout(u128),
    DeleteCallout(u128),
    AddProvider(u128),
    DeleteProvider(u128),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    prop_oneof![
        6 => any_filter().prop_map(|filter| AddFilter(Box::new(filter))),
        4 => any::<prop::sample::Index>().prop_map(DeleteFilter),
        1 => (1..8u128, 0..3u16).prop_map(|(number, weight)| AddSublayer(number, weight)),
        1 => (1..8u128).prop_map(DeleteSublayer),
        1 => (100..108u128).prop_map(AddCallout),
        1 => (100..108u128).prop_map(DeleteCallout),
        1 => (1..4u128).prop_map(AddProvider),
        1 => (1..4u128).prop_map(DeleteProvider),
    ]
}

fn apply(engine: &mut Engine, session: SessionId, operation: &Operation) -> Option<FwpError> {
    match operation {
        Operation::AddFilter(filter) => engine.filter_add(session, (**filter).clone(), &mut ()).err(),
        Operation::DeleteFilter(which) => {
            let ids: Vec<_> = engine.view(Some(session)).filters().map(|filter| filter.id).collect();
            if ids.is_empty() { None } else { engine.filter_delete(session, *which.get(&ids), &mut ()).err() }
        }
        Operation::AddSublayer(number, weight) => engine.sublayer_add(session, sublayer(*number, *weight)).err(),
        Operation::DeleteSublayer(number) => engine.sublayer_delete(session, key(*number)).err(),
        Operation::AddCallout(number) => engine.callout_add(session, callout(*number)).err(),
        Operation::DeleteCallout(number) => engine.callout_delete(session, key(*number)).err(),
        Operation::AddProvider(number) => engine.provider_add(session, provider(*number)).err(),
        Operation::DeleteProvider(number) => engine.provider_delete(session, key(*number)).err(),
    }
}

#[derive(Debug, PartialEq)]
struct Everything {
    providers: Vec<Provider>,
    sublayers: Vec<Sublayer>,
    callouts: Vec<Callout>,
    filters: Vec<Filter>,
    in_force: Vec<(u64, u64, u16)>,
}

fn everything(engine: &Engine) -> Everything {
    let view = engine.view(None);
    let snapshot = engine.snapshot();
    let in_force = engine.layers().iter().flat_map(|layer| snapshot.filters(layer.id));
    Everything {
        providers: view.providers().cloned().collect(),
        sublayers: view.sublayers().cloned().collect(),
        callouts: view.callouts().collect(),
        filters: view.filters().cloned().collect(),
        in_force: in_force.map(|filter| (filter.id, filter.weight, filter.sublayer_weight)).collect(),
    }
}

proptest! {
    #[test]
    fn classify_agrees_with_reading_the_filters_one_by_one(filters in vec(any_filter(), 0..12), all in vec(traffic(), 1..20)) {
        let (mut engine, session, ids) = furnished();
        engine.transaction_begin(session, false).unwrap();
        for filter in filters {
            engine.filter_add(session, filter, &mut ()).unwrap();
        }
        engine.transaction_commit(session, &mut ()).unwrap();
        for traffic in all {
            prop_assert_eq!(classify(&engine, &ids, &traffic), decide(&engine, &traffic), "{:?}", traffic);
        }
    }

    #[test]
    fn an_abort_restores_everything(before in vec(operation(), 0..20), aborted in vec(operation(), 0..20)) {
        let (mut engine, session, _) = furnished();
        for operation in &before {
            apply(&mut engine, session, operation);
        }
        let was = everything(&engine);
        engine.transaction_begin(session, false).unwrap();
        for operation in &aborted {
            apply(&mut engine, session, operation);
            prop_assert_eq!(&everything(&engine), &was);
        }
        engine.transaction_abort(session, &mut ()).unwrap();
        prop_assert_eq!(&everything(&engine), &was);
        prop_assert_eq!(engine.view(Some(session)).filters().count(), was.filters.len());
    }

    #[test]
    fn a_transaction_does_what_its_operations_do_one_by_one(operations in vec(operation(), 0..30)) {
        let (mut together, session, _) = furnished();
        let (mut apart, apart_session, _) = furnished();
        together.transaction_begin(session, false).unwrap();
        for operation in &operations {
            let errors = (apply(&mut together, session, operation), apply(&mut apart, apart_session, operation));
            prop_assert_eq!(errors.0, errors.1, "{:?}", operation);
        }
        together.transaction_commit(session, &mut ()).unwrap();
        // An id given up inside a transaction and one given up by a commit may differ.
        let without_ids = |mut all: Everything| {
            all.callouts.iter_mut().for_each(|callout| callout.id = 0);
            all
        };
        prop_assert_eq!(without_ids(everything(&together)), without_ids(everything(&apart)));
    }
}
