//! Sessions, transactions, and what others see of them.

mod lab;

use lab::*;
use postern_engine::objects::*;
use postern_engine::*;
use uuid::Uuid;

const LAYER: u16 = layers::id::ALE_AUTH_CONNECT_V4;

#[test]
fn an_operation_outside_a_transaction_is_its_own() {
    let (mut engine, session) = engine();
    engine.filter_add(session, filter(Action::Block), &mut ()).unwrap();
    assert!(engine.snapshot().has_filters(LAYER));
}

#[test]
fn uncommitted_changes_are_seen_by_their_session_only() {
    let (mut engine, session) = engine();
    let other = engine.session_open(static_session()).unwrap();
    engine.transaction_begin(session, false).unwrap();
    let id = engine.filter_add(session, filter(Action::Block), &mut ()).unwrap();
    assert!(engine.view(Some(session)).filter(id).is_some());
    assert!(engine.view(Some(other)).filter(id).is_none());
    assert!(engine.view(None).filter(id).is_none());
    assert!(!engine.snapshot().has_filters(LAYER));
    engine.transaction_commit(session, &mut ()).unwrap();
    assert!(engine.view(Some(other)).filter(id).is_some());
    assert!(engine.snapshot().has_filters(LAYER));
}

#[test]
fn when_the_engine_stops_only_persistent_objects_stay() {
    let (mut engine, session) = engine();
    let dynamic = engine.session_open(dynamic_session()).unwrap();
    engine.sublayer_add(session, sublayer(1, 1)).unwrap();
    engine.filter_add(session, Filter { sublayer: key(1), ..filter(Action::Block) }, &mut ()).unwrap();
    engine.filter_add(dynamic, Filter { sublayer: key(1), ..filter(Action::Block) }, &mut ()).unwrap();
    let persistent = Filter { flags: FilterFlags::PERSISTENT, ..filter(Action::Block) };
    let stays = engine.filter_add(session, persistent, &mut ()).unwrap();
    // What a transaction has not committed goes, too.
    engine.transaction_begin(session, false).unwrap();
    engine.filter_delete(session, stays, &mut ()).unwrap();
    engine.stop(&mut ());
    assert_eq!(engine.sessions().count(), 0);
    assert_eq!(engine.view(None).filters().map(|filter| filter.id).collect::<Vec<_>>(), [stays]);
    assert!(engine.view(None).sublayer(&key(1)).is_none());
    let mut script = Script::default();
    assert_eq!(engine.snapshot().classify(LAYER, &[], &mut script).filter_id, Some(stays));
}

#[test]
fn a_held_snapshot_does_not_change() {
    let (mut engine, session) = engine();
    let id = engine.filter_add(session, filter(Action::Block), &mut ()).unwrap();
    let before = engine.snapshot();
    engine.filter_delete(session, id, &mut ()).unwrap();
    let mut script = Script::default();
    assert_eq!(before.classify(LAYER, &[], &mut script).filter_id, Some(id));
    assert_eq!(engine.snapshot().classify(LAYER, &[], &mut script).filter_id, None);
}

#[test]
fn a_failed_operation_does_not_spoil_the_transaction() {
    let (mut engine, session) = engine();
    engine.transaction_begin(session, false).unwrap();
    engine.sublayer_add(session, sublayer(1, 1)).unwrap();
    assert_eq!(engine.sublayer_add(session, sublayer(1, 1)), Err(FwpError::AlreadyExists));
    engine.transaction_commit(session, &mut ()).unwrap();
    assert!(engine.view(None).sublayer(&key(1)).is_some());
}

#[test]
fn a_session_has_one_transaction_at_a_time() {
    let (mut engine, session) = engine();
    assert_eq!(engine.transaction_commit(session, &mut ()), Err(FwpError::NoTxnInProgress));
    assert_eq!(engine.transaction_abort(session, &mut ()), Err(FwpError::NoTxnInProgress));
    engine.transaction_begin(session, true).unwrap();
    assert_eq!(engine.transaction_begin(session, false), Err(FwpError::TxnInProgress));
    engine.transaction_abort(session, &mut ()).unwrap();
    engine.transaction_begin(session, false).unwrap();
}

#[test]
fn a_read_only_transaction_refuses_changes() {
    let (mut engine, session) = engine();
    engine.transaction_begin(session, true).unwrap();
    assert_eq!(engine.sublayer_add(session, sublayer(1, 1)), Err(FwpError::IncompatibleTxn));
    assert_eq!(engine.filter_add(session, filter(Action::Permit), &mut ()), Err(FwpError::IncompatibleTxn));
    engine.transaction_commit(session, &mut ()).unwrap();
    assert!(engine.sublayer_add(session, sublayer(1, 1)).is_ok());
}

#[test]
fn many_may_read_or_one_may_write() {
    let (mut engine, one) = engine();
    let two = engine.session_open(static_session()).unwrap();
    engine.transaction_begin(one, true).unwrap();
    engine.transaction_begin(two, true).unwrap();
    engine.transaction_commit(two, &mut ()).unwrap();
    assert_eq!(engine.transaction_begin(two, false), Err(FwpError::Timeout));
    engine.transaction_commit(one, &mut ()).unwrap();
    engine.transaction_begin(two, false).unwrap();
    assert_eq!(engine.transaction_begin(one, false), Err(FwpError::Timeout));
    assert_eq!(engine.transaction_begin(one, true), Err(FwpError::Timeout));
    assert_eq!(
        engine.sublayer_add(one, sublayer(1, 1)),
        Err(FwpError::Timeout),
        "an implicit transaction waits as well"
    );
}

#[test]
fn an_aborted_deletion_never_happened() {
    let (mut engine, session) = engine();
    let id = engine.filter_add(session, Filter { key: key(1), ..filter(Action::Block) }, &mut ()).unwrap();
    engine.transaction_begin(session, false).unwrap();
    engine.filter_delete_by_key(session, key(1), &mut ()).unwrap();
    let again = engine.filter_add(session, Filter { key: key(1), ..filter(Action::Permit) }, &mut ()).unwrap();
    assert_ne!(again, id);
    engine.transaction_abort(session, &mut ()).unwrap();
    assert_eq!(engine.view(None).filter_by_key(&key(1)).unwrap().id, id);
    assert_eq!(engine.snapshot().classify(LAYER, &[], &mut Script::default()).filter_id, Some(id));
}

#[test]
fn a_key_may_be_used_again_in_the_transaction_that_deletes_it() {
    let (mut engine, session) = engine();
    engine.sublayer_add(session, sublayer(1, 10)).unwrap();
    engine.transaction_begin(session, false).unwrap();
    engine.sublayer_delete(session, key(1)).unwrap();
    engine.sublayer_add(session, sublayer(1, 20)).unwrap();
    assert_eq!(engine.view(None).sublayer(&key(1)).unwrap().weight, 10);
    engine.transaction_commit(session, &mut ()).unwrap();
    assert_eq!(engine.view(None).sublayer(&key(1)).unwrap().weight, 20);
}

#[test]
fn a_dynamic_session_takes_its_objects_with_it() {
    let (mut engine, fixed) = engine();
    let dynamic = engine.session_open(dynamic_session()).unwrap();
    engine.sublayer_add(fixed, sublayer(9, 9)).unwrap();
    engine.provider_add(dynamic, provider(1)).unwrap();
    engine.sublayer_add(dynamic, Sublayer { provider: Some(key(1)), ..sublayer(2, 2) }).unwrap();
    engine.callout_add(dynamic, callout(3)).unwrap();
    engine.filter_add(dynamic, Filter { sublayer: key(2), ..filter(Action::CalloutUnknown(key(3))) }, &mut ()).unwrap();
    engine.session_close(dynamic, &mut ()).unwrap();
    let view = engine.view(None);
    assert_eq!((view.filters().count(), view.callouts().count()), (0, 0));
    assert!(view.provider(&key(1)).is_none() && view.sublayer(&key(2)).is_none());
    assert!(view.sublayer(&key(9)).is_some());
    assert!(!engine.snapshot().has_filters(LAYER));
    assert_eq!(engine.sublayer_add(dynamic, sublayer(4, 4)), Err(FwpError::NotFound), "the handle is closed");
}

#[test]
fn closing_a_session_aborts_its_transaction() {
    let (mut engine, session) = engine();
    engine.transaction_begin(session, false).unwrap();
    engine.sublayer_add(session, sublayer(1, 1)).unwrap();
    engine.session_close(session, &mut ()).unwrap();
    assert!(engine.view(None).sublayer(&key(1)).is_none());
    let next = engine.session_open(static_session()).unwrap();
    engine.transaction_begin(next, false).unwrap();
}

#[test]
fn a_dynamic_session_with_objects_cannot_close_under_anothers_transaction() {
    let (mut engine, fixed) = engine();
    let dynamic = engine.session_open(dynamic_session()).unwrap();
    engine.sublayer_add(dynamic, sublayer(1, 1)).unwrap();
    engine.transaction_begin(fixed, false).unwrap();
    assert_eq!(engine.session_close(dynamic, &mut ()), Err(FwpError::Timeout));
    assert!(engine.view(None).sublayer(&key(1)).is_some());
    engine.transaction_commit(fixed, &mut ()).unwrap();
    assert_eq!(engine.session_close(dynamic, &mut ()), Ok(()));
}

#[test]
fn sessions_delete_their_own_kind_only() {
    let (mut engine, fixed) = engine();
    let dynamic = engine.session_open(dynamic_session()).unwrap();
    let other = engine.session_open(dynamic_session()).unwrap();
    engine.sublayer_add(fixed, sublayer(1, 1)).unwrap();
    engine.sublayer_add(dynamic, sublayer(2, 2)).unwrap();
    assert_eq!(engine.sublayer_delete(dynamic, key(1)), Err(FwpError::DynamicSessionInProgress));
    assert_eq!(engine.sublayer_delete(other, key(2)), Err(FwpError::WrongSession));
    assert_eq!(engine.sublayer_delete(fixed, key(2)), Err(FwpError::WrongSession));
    assert_eq!(engine.sublayer_delete(dynamic, key(2)), Ok(()));
}

#[test]
fn session_keys_are_unique() {
    let mut engine = Engine::new();
    let keyed = || Session { key: key(1), ..static_session() };
    let id = engine.session_open(keyed()).unwrap();
    assert_eq!(engine.session_open(keyed()), Err(FwpError::AlreadyExists));
    engine.session_open(static_session()).unwrap();
    assert!(engine.sessions().all(|(_, session)| session.key != Uuid::nil()));
    assert_eq!(engine.sessions().count(), 2);
    engine.session_close(id, &mut ()).unwrap();
    assert_eq!(engine.session_close(id, &mut ()), Err(FwpError::NotFound));
}
