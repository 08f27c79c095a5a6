//! Who hears of which changes, when, and in which order.

mod lab;

use lab::*;
use postern_engine::changes::*;
use postern_engine::objects::*;
use postern_engine::template::*;
use postern_engine::*;

/// A session that changes things, and one that hears of it.
fn two() -> (Engine, SessionId, SessionId) {
    let (mut engine, writer) = engine();
    let reader = engine.session_open(static_session()).unwrap();
    (engine, writer, reader)
}

fn every_kind() -> [Subject; 5] {
    [
        Subject::Providers,
        Subject::ProviderContexts(ContextTemplate::default()),
        Subject::Sublayers(SublayerTemplate::default()),
        Subject::Callouts(CalloutTemplate::default()),
        Subject::Filters(None),
    ]
}

fn subscribe(engine: &mut Engine, session: SessionId, objects: Subject) -> u64 {
    engine.changes_subscribe(session, Subscription::to(objects)).unwrap()
}

fn fetch(engine: &mut Engine, session: SessionId, handle: u64) -> Vec<(ChangeType, u128)> {
    let fetched = engine.changes_fetch(session, handle).unwrap();
    assert_eq!(fetched.lost, 0);
    fetched.changes.iter().map(|change| (change.change, change.key.as_u128())).collect()
}

/// One object of each kind, with keys 1 to 5, the filter naming all of the others.
fn add_all(engine: &mut Engine, session: SessionId) -> u64 {
    engine.provider_add(session, provider(1)).unwrap();
    engine.provider_context_add(session, ProviderContext::new(key(2), "context", vec![])).unwrap();
    engine.sublayer_add(session, sublayer(3, 3)).unwrap();
    engine.callout_add(session, callout(4)).unwrap();
    let filter = Filter {
        key: key(5),
        provider: Some(key(1)),
        flags: FilterFlags::HAS_PROVIDER_CONTEXT,
        provider_context: Some(key(2)),
        sublayer: key(3),
        ..filter(Action::CalloutUnknown(key(4)))
    };
    engine.filter_add(session, filter, &mut ()).unwrap()
}

#[test]
fn each_kind_is_told_with_its_ids_when_it_comes_and_when_it_goes() {
    let (mut engine, writer, reader) = two();
    let handles = every_kind().map(|objects| subscribe(&mut engine, reader, objects));
    let filter = add_all(&mut engine, writer);
    let context = engine.view(None).provider_context(&key(2)).unwrap().id;
    let callout = engine.view(None).callout(&key(4)).unwrap().id;
    let kinds = [
        (ObjectKind::Provider, None),
        (ObjectKind::ProviderContext, Some(context)),
        (ObjectKind::Sublayer, None),
        (ObjectKind::Callout, Some(callout.into())),
        (ObjectKind::Filter, Some(filter)),
    ];
    let expected = |change, transactions: [u64; 5]| -> Vec<Vec<Change>> {
        let of = |(index, (kind, id)): (usize, &(ObjectKind, Option<u64>))| {
            let transaction = Some(transactions[index]);
            vec![Change { kind: *kind, change, key: key(index as u128 + 1), id: *id, transaction }]
        };
        kinds.iter().enumerate().map(of).collect()
    };
    let mut got = || handles.map(|handle| engine.changes_fetch(reader, handle).unwrap().changes).to_vec();
    assert_eq!(got(), expected(ChangeType::Add, [1, 2, 3, 4, 5]));
    assert_eq!(got(), vec![vec![]; 5], "each is told once");
    engine.filter_delete(writer, filter, &mut ()).unwrap();
    engine.callout_delete(writer, key(4)).unwrap();
    engine.sublayer_delete(writer, key(3)).unwrap();
    engine.provider_context_delete(writer, key(2)).unwrap();
    engine.provider_delete(writer, key(1)).unwrap();
    let got = handles.map(|handle| engine.changes_fetch(reader, handle).unwrap().changes).to_vec();
    assert_eq!(got, expected(ChangeType::Delete, [10, 9, 8, 7, 6]));
}

#[test]
fn nothing_is_told_before_the_commit_and_nothing_of_an_abort() {
    let (mut engine, writer, reader) = two();
    let handle = subscribe(&mut engine, reader, Subject::Sublayers(SublayerTemplate::default()));
    engine.transaction_begin(writer, false).unwrap();
    engine.sublayer_add(writer, sublayer(1, 1)).unwrap();
    assert_eq!(fetch(&mut engine, reader, handle), []);
    engine.transaction_abort(writer, &mut ()).unwrap();
    assert_eq!(fetch(&mut engine, reader, handle), []);
    assert!(engine.sublayer_add(writer, Sublayer { provider: Some(key(9)), ..sublayer(1, 1) }).is_err());
    assert_eq!(fetch(&mut engine, reader, handle), [], "what failed did not happen");
    engine.transaction_begin(writer, false).unwrap();
    engine.sublayer_add(writer, sublayer(1, 1)).unwrap();
    engine.sublayer_add(writer, sublayer(2, 2)).unwrap();
    engine.sublayer_delete(writer, key(2)).unwrap();
    engine.transaction_commit(writer, &mut ()).unwrap();
    assert_eq!(fetch(&mut engine, reader, handle), [(ChangeType::Add, 1)], "what came and went in it is not told");
}

#[test]
fn what_goes_is_told_before_what_comes() {
    let (mut engine, writer, reader) = two();
    engine.sublayer_add(writer, sublayer(1, 1)).unwrap();
    let handle = subscribe(&mut engine, reader, Subject::Sublayers(SublayerTemplate::default()));
    engine.transaction_begin(writer, false).unwrap();
    engine.sublayer_add(writer, sublayer(2, 2)).unwrap();
    engine.sublayer_delete(writer, key(1)).unwrap();
    engine.sublayer_add(writer, sublayer(1, 5)).unwrap();
    engine.transaction_commit(writer, &mut ()).unwrap();
    use ChangeType::*;
    assert_eq!(fetch(&mut engine, reader, handle), [(Delete, 1), (Add, 1), (Add, 2)]);
}

#[test]
fn a_session_does_not_hear_of_itself() {
    let (mut engine, writer, reader) = two();
    let own = subscribe(&mut engine, writer, Subject::Providers);
    let others = subscribe(&mut engine, reader, Subject::Providers);
    engine.provider_add(writer, provider(1)).unwrap();
    assert_eq!(fetch(&mut engine, writer, own), []);
    assert_eq!(fetch(&mut engine, reader, others), [(ChangeType::Add, 1)]);
}

#[test]
fn flags_and_templates_choose() {
    let (mut engine, writer, reader) = two();
    let of = |flags, objects| Subscription { flags, ..Subscription::to(objects) };
    let deletions = of(SubscriptionFlags::NOTIFY_ON_DELETE, Subject::Filters(None));
    let deletions = engine.changes_subscribe(reader, deletions).unwrap();
    let template = FilterTemplate {
        provider_context: Some(ContextTemplate::default()),
        callout: Some(key(4)),
        ..FilterTemplate::at(CONNECT)
    };
    let matching = subscribe(&mut engine, reader, Subject::Filters(Some(template)));
    let elsewhere = FilterTemplate::at(layers::key::ALE_AUTH_CONNECT_V6);
    let elsewhere = subscribe(&mut engine, reader, Subject::Filters(Some(elsewhere)));
    let contexts = ContextTemplate { provider: None, context_type: Some(ContextType::IpsecIkeMm) };
    let contexts = subscribe(&mut engine, reader, Subject::ProviderContexts(contexts));
    // The filter and the context that it names come and go together.
    engine.transaction_begin(writer, false).unwrap();
    let id = add_all(&mut engine, writer);
    engine.transaction_commit(writer, &mut ()).unwrap();
    let plain = engine.filter_add(writer, filter(Action::Block), &mut ()).unwrap();
    engine.filter_delete(writer, plain, &mut ()).unwrap();
    assert_eq!(fetch(&mut engine, reader, deletions).len(), 1);
    engine.transaction_begin(writer, false).unwrap();
    engine.filter_delete(writer, id, &mut ()).unwrap();
    engine.provider_context_delete(writer, key(2)).unwrap();
    engine.transaction_commit(writer, &mut ()).unwrap();
    assert_eq!(fetch(&mut engine, reader, matching), [(ChangeType::Add, 5), (ChangeType::Delete, 5)]);
    assert_eq!(fetch(&mut engine, reader, elsewhere), []);
    assert_eq!(fetch(&mut engine, reader, contexts), []);
}

#[test]
fn what_goes_with_a_session_is_told() {
    let (mut engine, _, reader) = two();
    let dynamic = engine.session_open(dynamic_session()).unwrap();
    let handles = every_kind().map(|objects| subscribe(&mut engine, reader, objects));
    add_all(&mut engine, dynamic);
    engine.session_close(dynamic, &mut ()).unwrap();
    for (handle, number) in handles.into_iter().zip(1..) {
        assert_eq!(fetch(&mut engine, reader, handle), [(ChangeType::Add, number), (ChangeType::Delete, number)]);
    }
}

#[test]
fn a_subscription_ends_when_told_to_with_its_session_and_with_the_engine() {
    let (mut engine, writer, reader) = two();
    let handle = subscribe(&mut engine, reader, Subject::Providers);
    assert_eq!(engine.changes_fetch(writer, handle), Err(FwpError::NotFound), "it is another session's");
    assert_eq!(engine.changes_unsubscribe(writer, handle), Err(FwpError::NotFound));
    engine.changes_unsubscribe(reader, handle).unwrap();
    assert_eq!(engine.changes_fetch(reader, handle), Err(FwpError::NotFound));
    subscribe(&mut engine, reader, Subject::Providers);
    subscribe(&mut engine, writer, Subject::Filters(None));
    let key_of = |engine: &Engine, id| engine.sessions().find(|(other, _)| *other == id).unwrap().1.key;
    let (reads, writes) = (key_of(&engine, reader), key_of(&engine, writer));
    let sessions: Vec<_> = engine.subscriptions().map(|subscription| subscription.session).collect();
    assert_eq!(sessions, [reads, writes]);
    engine.session_close(reader, &mut ()).unwrap();
    assert_eq!(engine.subscriptions().count(), 1);
    engine.stop(&mut ());
    assert_eq!(engine.subscriptions().count(), 0);
}

#[test]
fn a_subscription_that_makes_no_sense_is_refused() {
    let (mut engine, _, reader) = two();
    let mut refused = |subscription| engine.changes_subscribe(reader, subscription).unwrap_err();
    for flags in [SubscriptionFlags::empty(), SubscriptionFlags::from_bits_retain(4)] {
        assert_eq!(refused(Subscription { flags, ..Subscription::to(Subject::Providers) }), FwpError::InvalidFlags);
    }
    let never = FilterTemplate { action_mask: 0, ..FilterTemplate::at(CONNECT) };
    assert_eq!(refused(Subscription::to(Subject::Filters(Some(never)))), FwpError::NeverMatch);
    let nowhere = CalloutTemplate { provider: None, layer: Some(key(9)) };
    assert_eq!(refused(Subscription::to(Subject::Callouts(nowhere))), FwpError::LayerNotFound);
    let handle = engine.changes_subscribe(reader, Subscription::to(Subject::Providers)).unwrap();
    for read_only in [true, false] {
        engine.transaction_begin(reader, read_only).unwrap();
        let again = engine.changes_subscribe(reader, Subscription::to(Subject::Providers));
        assert_eq!(again, Err(FwpError::TxnInProgress));
        assert_eq!(engine.changes_unsubscribe(reader, handle), Err(FwpError::TxnInProgress));
        engine.transaction_commit(reader, &mut ()).unwrap();
    }
}

#[test]
fn what_a_slow_subscriber_misses_is_counted() {
    let (mut engine, writer, reader) = two();
    let handle = subscribe(&mut engine, reader, Subject::Filters(None));
    engine.transaction_begin(writer, false).unwrap();
    let ids: Vec<u64> = (0..5000).map(|_| engine.filter_add(writer, filter(Action::Block), &mut ()).unwrap()).collect();
    engine.transaction_commit(writer, &mut ()).unwrap();
    let mut got = Vec::new();
    let mut lost = Vec::new();
    while got.len() < 4096 {
        let portion = engine.changes_fetch(reader, handle).unwrap();
        got.extend(portion.changes.iter().filter_map(|change| change.id));
        lost.push(portion.lost);
    }
    assert_eq!(got, ids[..4096], "the first ones, in order");
    assert_eq!(lost, [0, 0, 0, 0, 0, 0, 0, 904]);
    assert!(engine.changes_fetch(reader, handle).unwrap().is_empty());
}
