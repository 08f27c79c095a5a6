//! Callouts: registered, added, notified, called.

mod lab;

use NotifyType::*;
use lab::*;
use postern_engine::objects::*;
use postern_engine::*;

const LAYER: u16 = layers::id::ALE_AUTH_CONNECT_V4;

fn names_it() -> Filter {
    Filter { raw_context: 7, ..filter(Action::CalloutUnknown(key(1))) }
}

#[test]
fn one_key_has_one_id_whichever_comes_first() {
    let (mut engine, session) = engine();
    let added = engine.callout_add(session, callout(1)).unwrap();
    assert_eq!(engine.callout_register(key(1), 0), Ok(added));
    let registered = engine.callout_register(key(2), 0).unwrap();
    assert_eq!(engine.callout_add(session, callout(2)), Ok(registered));
    assert!(added > 257, "ids below are Windows' own");
    assert_ne!(added, registered);
}

#[test]
fn a_callout_is_registered_once() {
    let mut engine = Engine::new();
    let id = engine.callout_register(key(1), 0).unwrap();
    assert_eq!(engine.callout_register(key(1), 0), Err(FwpError::AlreadyExists));
    assert_eq!(engine.callout_register(guids::callout::IPSEC_ALE_CONNECT_V4, 0), Err(FwpError::AlreadyExists));
    engine.callout_unregister(id).unwrap();
    assert_eq!(engine.callout_unregister(id), Err(FwpError::CalloutNotFound));
    assert!(engine.callout_register(key(1), 0).is_ok());
}

#[test]
fn a_callout_object_shows_whether_it_is_registered() {
    let (mut engine, session) = engine();
    let id = engine.callout_add(session, callout(1)).unwrap();
    assert!(!engine.view(None).callout(&key(1)).unwrap().registered);
    engine.callout_register(key(1), 0x4).unwrap();
    let shown = engine.view(None).callout(&key(1)).unwrap();
    assert_eq!((shown.registered, shown.registration_flags, shown.id), (true, 0x4, id));
    assert_eq!(engine.view(None).registrations().collect::<Vec<_>>(), [(id, key(1), 0x4)]);
    engine.callout_unregister(id).unwrap();
    assert!(!engine.view(None).callouts().next().unwrap().registered);
    assert_eq!(engine.callout_register(key(1), 0), Ok(id), "the object keeps the id");
    engine.callout_delete_by_id(session, id).unwrap();
    assert_eq!(engine.callout_add(session, callout(1)), Ok(id), "and so does the registration");
}

#[test]
fn registered_callouts_are_asked_and_told() {
    let (mut engine, session) = engine();
    let id = engine.callout_add(session, callout(1)).unwrap();
    engine.callout_register(key(1), 0).unwrap();
    let mut heard = Heard { context: Some(99), ..Heard::default() };
    let filter = engine.filter_add(session, names_it(), &mut heard).unwrap();
    assert_eq!(heard.notes, [(AddFilter, id, true, 7)]);
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.filters(LAYER).next().unwrap().context, 99, "the callout's context is in force");
    assert_eq!(engine.view(None).filter(filter).unwrap().raw_context, 7, "and the object is as it was added");
    engine.filter_delete(session, filter, &mut heard).unwrap();
    assert_eq!(heard.notes[1..], [(DeleteFilter, id, false, 99)]);
}

#[test]
fn a_refused_filter_is_not_added() {
    let (mut engine, session) = engine();
    engine.callout_add(session, callout(1)).unwrap();
    engine.callout_register(key(1), 0).unwrap();
    let mut heard = Heard { refuse: true, ..Heard::default() };
    assert_eq!(engine.filter_add(session, names_it(), &mut heard), Err(FwpError::CalloutNotificationFailed));
    assert_eq!(heard.notes.len(), 1, "it is not told of a deletion: {:?}", heard.notes);
    assert_eq!(engine.view(None).filters().count(), 0);
    assert!(!engine.snapshot().has_filters(LAYER));
}

#[test]
fn filters_older_than_the_registration_are_only_told_as_deleted() {
    let (mut engine, session) = engine();
    let id = engine.callout_add(session, callout(1)).unwrap();
    let mut heard = Heard::default();
    let filter = engine.filter_add(session, names_it(), &mut heard).unwrap();
    engine.callout_register(key(1), 0).unwrap();
    assert_eq!(heard.notes, []);
    engine.filter_delete(session, filter, &mut heard).unwrap();
    assert_eq!(heard.notes, [(DeleteFilter, id, false, 7)]);
}

#[test]
fn an_unregistered_callout_hears_nothing_more() {
    let (mut engine, session) = engine();
    let id = engine.callout_add(session, callout(1)).unwrap();
    engine.callout_register(key(1), 0).unwrap();
    let filter = engine.filter_add(session, names_it(), &mut ()).unwrap();
    engine.callout_unregister(id).unwrap();
    let mut heard = Heard::default();
    engine.filter_delete(session, filter, &mut heard).unwrap();
    assert_eq!(heard.notes, []);
}

#[test]
fn deletions_are_told_at_the_commit_and_additions_taken_back_at_an_abort() {
    let (mut engine, session) = engine();
    let id = engine.callout_add(session, callout(1)).unwrap();
    engine.callout_register(key(1), 0).unwrap();
    let mut heard = Heard::default();
    let old = engine.filter_add(session, names_it(), &mut heard).unwrap();
    heard.notes.clear();

    engine.transaction_begin(session, false).unwrap();
    engine.filter_delete(session, old, &mut heard).unwrap();
    assert_eq!(heard.notes, []);
    engine.filter_add(session, names_it(), &mut heard).unwrap();
    engine.transaction_abort(session, &mut heard).unwrap();
    assert_eq!(heard.notes, [(AddFilter, id, true, 7), (DeleteFilter, id, false, 7)]);
    heard.notes.clear();

    engine.transaction_begin(session, false).unwrap();
    engine.filter_delete(session, old, &mut heard).unwrap();
    let brief = engine.filter_add(session, names_it(), &mut heard).unwrap();
    engine.filter_delete(session, brief, &mut heard).unwrap();
    engine.transaction_commit(session, &mut heard).unwrap();
    assert_eq!(heard.notes, [(AddFilter, id, true, 7), (DeleteFilter, id, false, 7), (DeleteFilter, id, false, 7)]);
}

#[test]
fn a_closing_dynamic_session_tells_the_callouts() {
    let (mut engine, _) = engine();
    let session = engine.session_open(dynamic_session()).unwrap();
    let id = engine.callout_add(session, callout(1)).unwrap();
    engine.callout_register(key(1), 0).unwrap();
    engine.filter_add(session, names_it(), &mut ()).unwrap();
    let mut heard = Heard::default();
    engine.session_close(session, &mut heard).unwrap();
    assert_eq!(heard.notes, [(DeleteFilter, id, false, 7)]);
    assert_eq!(engine.view(None).callouts().count(), 0);
    assert_eq!(engine.callout_unregister(id), Ok(()), "the registration outlives the object");
}

#[test]
fn callouts_that_asked_for_it_hear_of_the_commit() {
    const ENABLE_COMMIT_ADD_NOTIFY: u32 = 0x4;
    let (mut engine, session) = engine();
    let id = engine.callout_add(session, callout(1)).unwrap();
    engine.callout_register(key(1), ENABLE_COMMIT_ADD_NOTIFY).unwrap();
    let mut heard = Heard::default();
    engine.filter_add(session, names_it(), &mut heard).unwrap();
    assert_eq!(heard.notes, [(AddFilter, id, true, 7), (AddFilterPostCommit, id, true, 7)]);
}

#[test]
fn indices_are_dense_and_not_reused_while_a_snapshot_holds_them() {
    let (mut engine, session) = engine();
    let index = |engine: &Engine| engine.snapshot().filters(LAYER).map(|filter| filter.index).collect::<Vec<_>>();
    let first = engine.filter_add(session, filter(Action::Permit), &mut ()).unwrap();
    assert_eq!(index(&engine), [0]);
    let held = engine.snapshot();
    engine.filter_delete(session, first, &mut ()).unwrap();
    let second = engine.filter_add(session, filter(Action::Permit), &mut ()).unwrap();
    assert_eq!(index(&engine), [1]);
    drop(held);
    engine.filter_delete(session, second, &mut ()).unwrap();
    engine.filter_add(session, filter(Action::Permit), &mut ()).unwrap();
    assert_eq!(index(&engine), [0]);
}

/// One filter naming a callout that answers so; what becomes of it.
fn answered(action: fn(key: uuid::Uuid) -> Action, answer: fn(&mut ClassifyOut)) -> (Verdict, Script) {
    answered_at(LAYER, action, answer)
}

fn answered_at(layer: u16, action: fn(key: uuid::Uuid) -> Action, answer: fn(&mut ClassifyOut)) -> (Verdict, Script) {
    let (mut engine, session) = engine();
    let layer = layers::by_id(layer).unwrap();
    let id = engine.callout_add(session, Callout { layer: layer.key, ..callout(1) }).unwrap();
    engine.filter_add(session, Filter { layer: layer.key, ..filter(action(key(1))) }, &mut ()).unwrap();
    let mut script = Script::default();
    script.answers.insert(id, answer);
    (engine.snapshot().classify(layer.id, &[], &mut script), script)
}

#[test]
fn on_entry_nothing_is_decided_and_the_right_to_write_is_set() {
    let (_, script) = answered(Action::CalloutUnknown, |_| {});
    let (_, out) = script.calls[0];
    assert_eq!((out.action, out.rights, out.flags), (action::NONE, RIGHT_ACTION_WRITE, 0));
}

#[test]
fn contract_violations_are_reported_and_do_not_decide() {
    use ContractViolation::*;
    let permit: fn(&mut ClassifyOut) = |out| out.action = action::PERMIT;
    let (verdict, script) = answered(Action::CalloutTerminating, |out| out.action = action::CONTINUE);
    assert_eq!((verdict.filter_id, script.violations), (None, vec![TerminatingWithoutVerdict]));
    let (verdict, script) = answered(Action::CalloutTerminating, |_| {});
    assert_eq!((verdict.filter_id, script.violations), (None, vec![TerminatingWithoutVerdict]));
    let (verdict, script) = answered(Action::CalloutInspection, permit);
    assert_eq!((verdict.filter_id, script.violations), (None, vec![InspectionWithVerdict]));
    let (verdict, script) = answered(Action::CalloutUnknown, |out| out.action = 0x1234);
    assert_eq!((verdict.filter_id, script.violations), (None, vec![UnknownAction(0x1234)]));
    let (verdict, script) = answered(Action::CalloutUnknown, permit);
    assert_eq!((verdict.action, script.violations), (Decision::Permit, vec![]));
}

#[test]
fn writing_without_the_right_is_reported_unless_it_is_a_veto() {
    let (mut engine, session) = engine();
    engine.sublayer_add(session, sublayer(1, 50_000)).unwrap();
    let id = engine.callout_add(session, callout(1)).unwrap();
    let hard = Filter { sublayer: key(1), flags: FilterFlags::CLEAR_ACTION_RIGHT, ..filter(Action::Permit) };
    let permit = engine.filter_add(session, hard, &mut ()).unwrap();
    let mut asked = engine.filter_add(session, names_it(), &mut ()).unwrap();
    let classify = |engine: &Engine, answer: fn(&mut ClassifyOut)| {
        let mut script = Script::default();
        script.answers.insert(id, answer);
        let verdict = engine.snapshot().classify(LAYER, &[], &mut script);
        assert_eq!(script.calls[0].1.rights, 0);
        (verdict.action, verdict.filter_id.unwrap(), script.violations)
    };
    let violation = vec![ContractViolation::WroteWithoutRight];
    let answer = classify(&engine, |out| out.action = action::PERMIT);
    assert_eq!(answer, (Decision::Permit, permit, violation.clone()));
    let answer = classify(&engine, |out| out.action = action::BLOCK);
    assert_eq!(answer, (Decision::Block, asked, vec![]), "a veto");
    let answer = classify(&engine, |_| {});
    assert_eq!(answer, (Decision::Permit, permit, vec![]));
    let mut script = Script::default();
    script.answers.insert(id, |out| (out.action, out.rights) = (action::BLOCK, RIGHT_ACTION_WRITE));
    assert!(engine.snapshot().classify(LAYER, &[], &mut script).hard, "nobody gives back the right");

    engine.filter_delete(session, permit, &mut ()).unwrap();
    asked = engine.filter_add(session, Filter { sublayer: key(1), ..filter(Action::Block) }, &mut ()).unwrap();
    let answer = classify(&engine, |out| out.action = action::BLOCK);
    assert_eq!(answer, (Decision::Block, asked, violation), "blocked already: no veto");
}

#[test]
fn a_permit_that_should_be_hard_is_reported_when_the_callout_leaves_it_soft() {
    let (mut engine, session) = engine();
    let id = engine.callout_add(session, callout(1)).unwrap();
    engine.filter_add(session, Filter { flags: FilterFlags::CLEAR_ACTION_RIGHT, ..names_it() }, &mut ()).unwrap();
    let mut script = Script::default();
    script.answers.insert(id, |out| out.action = action::PERMIT);
    assert!(!engine.snapshot().classify(LAYER, &[], &mut script).hard);
    assert_eq!(script.violations, [ContractViolation::LeftActionRight]);
}

#[test]
fn a_block_may_absorb() {
    let absorb: fn(&mut ClassifyOut) = |out| {
        out.action = action::BLOCK;
        out.flags = CLASSIFY_OUT_FLAG_ABSORB;
    };
    assert!(answered(Action::CalloutTerminating, absorb).0.absorb);
    let bind = layers::id::ALE_RESOURCE_ASSIGNMENT_V4;
    assert!(!answered_at(bind, Action::CalloutTerminating, absorb).0.absorb, "not at every layer");
    let permit: fn(&mut ClassifyOut) = |out| {
        out.action = action::PERMIT;
        out.flags = CLASSIFY_OUT_FLAG_ABSORB;
    };
    assert!(!answered(Action::CalloutTerminating, permit).0.absorb);
}

#[test]
fn the_first_verdict_ends_its_sublayer_but_not_the_next() {
    let (mut engine, session) = engine();
    engine.sublayer_add(session, sublayer(1, 50_000)).unwrap();
    let inspect = engine.callout_add(session, callout(1)).unwrap();
    let low = engine.callout_add(session, callout(2)).unwrap();
    let mut add = |sublayer, weight, action| {
        let filter = Filter { sublayer: key(sublayer), weight: Weight::Exact(weight), ..filter(action) };
        engine.filter_add(session, filter, &mut ()).unwrap()
    };
    add(1, 3, Action::CalloutInspection(key(1)));
    let decides = add(1, 2, Action::Permit);
    add(1, 1, Action::CalloutUnknown(key(2)));
    add(0, 1, Action::CalloutInspection(key(1)));
    let mut script = Script::default();
    script.answers.insert(inspect, |out| out.action = action::CONTINUE);
    script.answers.insert(low, |out| out.action = action::BLOCK);
    let verdict = engine.snapshot().classify(LAYER, &[], &mut script);
    assert_eq!(verdict.filter_id, Some(decides));
    assert_eq!(script.calls.iter().map(|call| call.0).collect::<Vec<_>>(), [inspect, inspect]);
}

#[test]
fn a_callout_that_is_not_called_on_this_flow_says_nothing() {
    struct NotHere;
    impl Callouts for NotHere {
        fn classify(&mut self, _: u32, _: &RuntimeFilter, _: &mut ClassifyOut) -> CalloutCall {
            CalloutCall::NotOnThisFlow
        }
    }
    let (mut engine, session) = engine();
    engine.callout_add(session, callout(1)).unwrap();
    engine.filter_add(session, filter(Action::CalloutTerminating(key(1))), &mut ()).unwrap();
    assert_eq!(engine.snapshot().classify(LAYER, &[], &mut NotHere).filter_id, None);
}
