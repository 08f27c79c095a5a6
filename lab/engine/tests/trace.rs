//! A traced classify tells what each filter said, and whose word counted.

mod lab;

use ConditionValue::*;
use lab::*;
use postern_engine::layers::field::ale_auth_connect as index;
use postern_engine::objects::*;
use postern_engine::*;

const LAYER: u16 = layers::id::ALE_AUTH_CONNECT_V4;

fn trace(engine: &Engine, known: &[(usize, Value<'_>)], callouts: &mut Script) -> Trace {
    engine.snapshot().trace(LAYER, &values(LAYER, known), callouts)
}

fn outcomes(trace: &Trace) -> Vec<Outcome> {
    trace.sublayers.iter().flat_map(|sublayer| &sublayer.filters).map(|filter| filter.outcome).collect()
}

fn word(action: Decision, hard: bool, by: Source) -> Word {
    Word { action, hard, absorb: false, by }
}

fn ended(action: Decision, hard: bool, effect: Effect) -> Outcome {
    Outcome::Ended { word: word(action, hard, Source::Filter), effect, overridden_by: None }
}

#[test]
fn a_layer_without_filters_has_an_empty_trace() {
    let (engine, _) = engine();
    let trace = trace(&engine, &[], &mut Script::default());
    assert_eq!((trace.layer, trace.sublayers.len(), trace.verdict.filter_id), (LAYER, 0, None));
}

#[test]
fn each_filter_tells_which_of_its_conditions_hold() {
    let (mut engine, session) = engine();
    let mut add = |weight, conditions, action| {
        let filter = Filter { weight: Weight::Range(weight), conditions, ..filter(action) };
        engine.filter_add(session, filter, &mut ()).unwrap()
    };
    let web = vec![equal(PROTOCOL, Uint8(6)), equal(PORT, Uint16(80)), equal(PORT, Uint16(443))];
    let other = add(3, vec![equal(PROTOCOL, Uint8(17))], Action::Block);
    let blind = add(2, vec![equal(guids::condition::ALE_APP_ID, ByteBlob(vec![1]))], Action::Block);
    let decides = add(1, web, Action::Permit);
    let late = add(0, vec![], Action::Block);
    let known = [(index::IP_PROTOCOL, Value::Uint8(6)), (index::IP_REMOTE_PORT, Value::Uint16(443))];
    let trace = trace(&engine, &known, &mut Script::default());
    let filters = &trace.sublayers[0].filters;
    assert_eq!(filters.iter().map(|filter| filter.id).collect::<Vec<_>>(), [other, blind, decides, late]);
    let seen = |position: usize| {
        let conditions: &Vec<ConditionTrace> = &filters[position].conditions;
        conditions.iter().map(|seen| (usize::from(seen.field), seen.alternative, seen.result)).collect::<Vec<_>>()
    };
    use ConditionResult::*;
    assert_eq!(seen(0), [(index::IP_PROTOCOL, false, Differs)]);
    assert_eq!(seen(1), [(index::ALE_APP_ID, false, Unknown)]);
    let web = [
        (index::IP_PROTOCOL, false, Matches),
        (index::IP_REMOTE_PORT, false, Differs),
        (index::IP_REMOTE_PORT, true, Matches),
    ];
    assert_eq!(seen(2), web);
    let permits = ended(Decision::Permit, false, Effect::Decides);
    assert_eq!(outcomes(&trace), [Outcome::DoesNotMatch, Outcome::DoesNotMatch, permits, Outcome::NotReached]);
    assert_eq!(trace.verdict.filter_id, Some(decides));
}

#[test]
fn words_tell_what_they_did_to_the_decision_before_them() {
    type Says = (Action, bool);
    const SOFT: Says = (Action::Permit, false);
    const HARD: Says = (Action::Permit, true);
    const BLOCK: Says = (Action::Block, false);
    use Decision::{Block, Permit};
    use Effect::*;
    let table: &[(&[Says], &[Outcome])] = &[
        (&[BLOCK, SOFT], &[ended(Block, true, Decides), ended(Permit, false, Overruled)]),
        (&[HARD, BLOCK], &[ended(Permit, true, Decides), ended(Block, true, Overruled)]),
    ];
    for (says, expected) in table {
        let (mut engine, session) = engine();
        for (number, (action, hard)) in says.iter().enumerate() {
            engine.sublayer_add(session, sublayer(number as u128 + 1, 60_000 - number as u16)).unwrap();
            let flags = if *hard { FilterFlags::CLEAR_ACTION_RIGHT } else { FilterFlags::empty() };
            let filter = Filter { sublayer: key(number as u128 + 1), flags, ..filter(*action) };
            engine.filter_add(session, filter, &mut ()).unwrap();
        }
        assert_eq!(outcomes(&trace(&engine, &[], &mut Script::default())), *expected, "{says:?}");
    }
}

/// Four sublayers: a soft permit, another, one that says nothing, a block.
#[test]
fn a_word_that_is_replaced_names_the_filter_that_counts_in_the_end() {
    let (mut engine, session) = engine();
    let mut ids = Vec::new();
    engine.callout_add(session, callout(9)).unwrap();
    let actions = [Action::Permit, Action::Permit, Action::CalloutInspection(key(9)), Action::Block, Action::Permit];
    for (number, action) in actions.into_iter().enumerate() {
        engine.sublayer_add(session, sublayer(number as u128 + 1, 60_000 - number as u16)).unwrap();
        let filter = Filter { sublayer: key(number as u128 + 1), ..filter(action) };
        ids.push(engine.filter_add(session, filter, &mut ()).unwrap());
    }
    let trace = trace(&engine, &[], &mut Script::default());
    let soft = |effect| Outcome::Ended {
        word: word(Decision::Permit, false, Source::Filter),
        effect,
        overridden_by: Some(ids[3]),
    };
    let expected = [
        soft(Effect::Decides),
        soft(Effect::Overrides),
        Outcome::Asked(Said::NotRegistered),
        ended(Decision::Block, true, Effect::Overrides),
        ended(Decision::Permit, false, Effect::Overruled),
    ];
    assert_eq!(outcomes(&trace), expected);
    assert_eq!(
        trace.sublayers.iter().map(|sublayer| sublayer.weight).collect::<Vec<_>>(),
        [60_000, 59_999, 59_998, 59_997, 59_996]
    );
}

#[test]
fn callouts_are_heard() {
    use Source::{Callout as Callout_, NotRegistered};
    let (mut engine, session) = engine();
    let id = engine.callout_add(session, callout(1)).unwrap();
    engine.callout_add(session, callout(2)).unwrap();
    engine.sublayer_add(session, sublayer(1, 60_000)).unwrap();
    let hard = Filter { sublayer: key(1), flags: FilterFlags::CLEAR_ACTION_RIGHT, ..filter(Action::Permit) };
    let permit = engine.filter_add(session, hard, &mut ()).unwrap();
    let asked = engine.filter_add(session, filter(Action::CalloutUnknown(key(1))), &mut ()).unwrap();
    let ask = |engine: &Engine, answer: fn(&mut ClassifyOut)| {
        let mut script = Script::default();
        script.answers.insert(id, answer);
        let trace = trace(engine, &[], &mut script);
        assert_eq!(script.calls.len(), 1, "called once");
        (outcomes(&trace), trace.verdict.filter_id.unwrap(), script.violations)
    };
    let permits = ended(Decision::Permit, true, Effect::Decides);
    let (outcomes_, by, _) = ask(&engine, |out| out.action = action::CONTINUE);
    assert_eq!((outcomes_, by), (vec![permits, Outcome::Asked(Said::Continue)], permit));
    let said =
        |action, hard, effect| Outcome::Ended { word: word(action, hard, Callout_), effect, overridden_by: None };
    let (outcomes_, by, _) = ask(&engine, |out| out.action = action::BLOCK);
    let vetoed = Outcome::Ended {
        word: word(Decision::Permit, true, Source::Filter),
        effect: Effect::Decides,
        overridden_by: Some(asked),
    };
    assert_eq!((outcomes_, by), (vec![vetoed, said(Decision::Block, true, Effect::Vetoes)], asked));
    let (outcomes_, by, violations) = ask(&engine, |out| out.action = action::PERMIT);
    assert_eq!((outcomes_, by), (vec![permits, said(Decision::Permit, true, Effect::LacksRight)], permit));
    assert_eq!(violations, [ContractViolation::WroteWithoutRight]);
    let (outcomes_, _, _) = ask(&engine, |out| out.action = 7777);
    assert_eq!(outcomes_[1], Outcome::Asked(Said::Violation(ContractViolation::UnknownAction(7777))));

    engine.filter_delete(session, permit, &mut ()).unwrap();
    engine.filter_delete(session, asked, &mut ()).unwrap();
    engine.filter_add(session, filter(Action::CalloutTerminating(key(2))), &mut ()).unwrap();
    let blocks = word(Decision::Block, true, NotRegistered);
    let expected = Outcome::Ended { word: blocks, effect: Effect::Decides, overridden_by: None };
    assert_eq!(outcomes(&trace(&engine, &[], &mut Script::default())), [expected]);
}
