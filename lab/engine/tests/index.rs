//! Many filters are found as few are: by reading their conditions one after the other.

#[path = "lab/rules.rs"]
mod rules;

use postern_engine::objects::*;
use postern_engine::*;
use proptest::prelude::*;
use rules::*;

/// The plain reading.
fn matches(rule: &Rule, packet: &Packet) -> bool {
    fn within<T: PartialOrd + Copy>(ranges: &[(T, T)], value: T) -> bool {
        ranges.is_empty() || ranges.iter().any(|(low, high)| *low <= value && value <= *high)
    }
    within(&rule.remote, packet.remote)
        && within(rule.local.as_slice(), packet.local)
        && within(&rule.remote_port, packet.remote_port)
        && within(rule.local_port.as_slice(), packet.local_port)
        && rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
        && rule.app.is_none_or(|app| match app {
            App::Is(app) => packet.app == Some(app),
            App::IsNot(app) => packet.app.is_some_and(|other| other != app),
            App::IsUnknown => packet.app.is_none(),
        })
        && !(rule.not_loopback && packet.loopback)
}

/// A set of rules in an engine; `None` where one was deleted again.
struct Set {
    engine: Engine,
    session: SessionId,
    rules: Vec<Option<(Rule, u64)>>,
}

impl Set {
    fn new() -> Set {
        let mut engine = Engine::new();
        let session = engine.session_open(Session::new("", 4, "SYSTEM")).unwrap();
        Set { engine, session, rules: Vec::new() }
    }

    /// One transaction: adds rules after those that are there, deletes some.
    fn change(&mut self, added: &[Rule], deleted: impl Iterator<Item = usize>) {
        self.engine.transaction_begin(self.session, false).unwrap();
        for place in deleted {
            if let Some((_, id)) = self.rules.get_mut(place).and_then(Option::take) {
                self.engine.filter_delete(self.session, id, &mut ()).unwrap();
            }
        }
        for rule in added {
            let filter = rule.filter(self.rules.len());
            let id = self.engine.filter_add(self.session, filter, &mut ()).unwrap();
            self.rules.push(Some((rule.clone(), id)));
        }
        self.engine.transaction_commit(self.session, &mut ()).unwrap();
    }

    fn check(&self, packet: &Packet) {
        let matching = || self.rules.iter().flatten().filter(|(rule, _)| matches(rule, packet)).map(|(_, id)| *id);
        let app_id = app_id(packet.app.unwrap_or_default());
        let (values, snapshot) = (values(packet, &app_id), self.engine.snapshot());
        let verdict = snapshot.classify(layer().id, &values, &mut NoCallouts);
        assert_eq!(verdict.filter_id, matching().next(), "{packet:?}");
        let trace = snapshot.trace(layer().id, &values, &mut NoCallouts);
        assert_eq!(trace.verdict, verdict);
        let traced = trace.sublayers.iter().flat_map(|sublayer| &sublayer.filters);
        let traced = traced.filter(|filter| filter.outcome != Outcome::DoesNotMatch).map(|filter| filter.id);
        assert!(traced.eq(matching()), "{packet:?}");
    }

    fn check_some(&self, rules: &[Rule], random: &mut Random, packets: usize) {
        (0..packets).for_each(|_| self.check(&packet(rules, random)));
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    proptest::sample::select(KINDS.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_first_that_matches_decides(kind in kind(), count in 1..600usize, seed: u64) {
        let mut random = Random::new(seed);
        let rules = rules(kind, count, &mut random);
        let mut set = Set::new();
        set.change(&rules, std::iter::empty());
        set.check_some(&rules, &mut random, 40);
    }

    /// Large sets, and changes that leave most of them as it was.
    #[test]
    fn changes_are_in_force_at_once(kind in kind(), changes in proptest::collection::vec((0..40usize, 0..30usize), 1..8), seed: u64) {
        let mut random = Random::new(seed);
        let all = rules(kind, 700, &mut random);
        let mut set = Set::new();
        let (first, mut later) = all.split_at(400);
        set.change(first, std::iter::empty());
        for (added, deleted) in changes {
            let (added, rest) = later.split_at(added.min(later.len()));
            later = rest;
            let doomed: Vec<_> = (0..deleted).map(|_| random.below(set.rules.len() as u64) as usize).collect();
            set.change(added, doomed.into_iter());
            set.check_some(&all, &mut random, 6);
        }
    }
}

/// Callouts that let the next filter decide hear of every filter that matches, in order.
#[test]
fn all_that_match_are_asked_in_order() {
    struct Heard(Vec<u64>);
    impl Callouts for Heard {
        fn classify(&mut self, _: u32, filter: &RuntimeFilter, out: &mut ClassifyOut) -> CalloutCall {
            self.0.push(filter.id);
            out.action = action::CONTINUE;
            CalloutCall::Called
        }
    }
    let mut random = Random::new(7);
    let mut engine = Engine::new();
    let session = engine.session_open(Session::new("", 4, "SYSTEM")).unwrap();
    let key = uuid::Uuid::from_u128(1);
    engine.callout_add(session, Callout::new(key, "callout", layer().key)).unwrap();
    let rules = rules(Kind::Prefixes, 400, &mut random);
    // The last twenty stay apart from the others: they are added one by one.
    let ids: Vec<_> = [&rules[..380], &rules[380..]]
        .into_iter()
        .enumerate()
        .flat_map(|(part, rules)| {
            engine.transaction_begin(session, false).unwrap();
            let ids = rules.iter().enumerate().map(|(place, rule)| {
                // Between each other by weight.
                let weight = Weight::Exact(place as u64 * 37 % 400 + part as u64 * 11);
                let filter = Filter { action: Action::CalloutInspection(key), weight, ..rule.filter(place) };
                (weight, engine.filter_add(session, filter, &mut ()).unwrap())
            });
            let ids: Vec<_> = ids.collect();
            engine.transaction_commit(session, &mut ()).unwrap();
            ids
        })
        .collect();
    let mut several = 0;
    for _ in 0..200 {
        let packet = packet(&rules, &mut random);
        let mut expected: Vec<_> =
            rules.iter().zip(&ids).filter(|(rule, _)| matches(rule, &packet)).map(|(_, id)| id).collect();
        expected.sort_by_key(|(weight, id)| {
            let Weight::Exact(weight) = weight else { unreachable!() };
            (std::cmp::Reverse(*weight), *id)
        });
        let mut heard = Heard(Vec::new());
        engine.snapshot().classify(layer().id, &values(&packet, &[]), &mut heard);
        assert!(heard.0.iter().eq(expected.iter().map(|(_, id)| id)), "{packet:?}");
        several += usize::from(expected.len() > 2);
    }
    assert!(several > 20, "{several} packets with several filters");
}
