//! Provider contexts: what they are, which filters may name them, and what callouts get of them.

mod lab;

use lab::*;
use postern_engine::guids::callout as built_in;
use postern_engine::objects::*;
use postern_engine::*;
use uuid::Uuid;

fn context(number: u128) -> ProviderContext {
    ProviderContext::new(key(number), "context", vec![1, 2, 3])
}

fn policy(number: u128, context_type: ContextType) -> ProviderContext {
    ProviderContext { content: ContextContent::Policy { context_type, text: "<p/>".into() }, ..context(number) }
}

fn naming(context: u128, action: Action) -> Filter {
    Filter { flags: FilterFlags::HAS_PROVIDER_CONTEXT, provider_context: Some(key(context)), ..filter(action) }
}

#[test]
fn contexts_have_keys_and_ids_of_their_own() {
    let (mut engine, session) = engine();
    let first = engine.provider_context_add(session, context(1)).unwrap();
    assert_eq!(first, 1 << 63, "as on real machines");
    assert_eq!(engine.provider_context_add(session, context(1)), Err(FwpError::AlreadyExists));
    let second = engine.provider_context_add(session, context(0)).unwrap();
    assert_eq!(second, first + 1);
    let view = engine.view(None);
    assert_eq!(view.provider_contexts().map(|context| context.id).collect::<Vec<_>>(), [first, second]);
    assert!(view.provider_contexts().all(|context| context.key != Uuid::nil()));
    assert_eq!(view.provider_context(&key(1)), Some(&ProviderContext { id: first, ..context(1) }));
    engine.provider_context_delete_by_id(session, second).unwrap();
    assert_eq!(engine.provider_context_delete_by_id(session, second), Err(FwpError::ProviderContextNotFound));
    engine.provider_context_delete(session, key(1)).unwrap();
    assert_eq!(engine.provider_context_delete(session, key(1)), Err(FwpError::ProviderContextNotFound));
}

#[test]
fn what_is_added_is_checked() {
    let (mut engine, session) = engine();
    let nameless = ProviderContext { display: DisplayData::default(), ..context(1) };
    assert_eq!(engine.provider_context_add(session, nameless), Err(FwpError::NullDisplayName));
    let orphan = ProviderContext { provider: Some(key(9)), ..context(1) };
    assert_eq!(engine.provider_context_add(session, orphan), Err(FwpError::ProviderNotFound));
    let empty = ProviderContext { content: ContextContent::ClassifyOptions(vec![]), ..context(1) };
    assert_eq!(engine.provider_context_add(session, empty), Err(FwpError::ZeroLengthArray));
    assert_eq!(ContextType::from_number(14), Err(FwpError::InvalidEnumerator));
    for number in 0..14 {
        let context_type = ContextType::from_number(number).unwrap();
        assert_eq!(context_type as u32, number);
        assert_eq!(ContextType::from_symbol(context_type.symbol()), Some(context_type));
    }
    assert_eq!(ContextType::General.symbol(), "FWPM_GENERAL_CONTEXT");
    assert_eq!(ContextType::IpsecIkev2QmTransport.symbol(), "FWPM_IPSEC_IKEV2_QM_TRANSPORT_CONTEXT");
}

#[test]
fn a_context_in_use_stays_and_so_does_its_provider() {
    let (mut engine, session) = engine();
    engine.provider_add(session, provider(5)).unwrap();
    engine.provider_context_add(session, ProviderContext { provider: Some(key(5)), ..context(1) }).unwrap();
    let id = engine.filter_add(session, naming(1, Action::Block), &mut ()).unwrap();
    assert_eq!(engine.provider_context_delete(session, key(1)), Err(FwpError::InUse));
    engine.filter_delete(session, id, &mut ()).unwrap();
    assert_eq!(engine.provider_delete(session, key(5)), Err(FwpError::InUse));
    engine.provider_context_delete(session, key(1)).unwrap();
    engine.provider_delete(session, key(5)).unwrap();
}

#[test]
fn only_a_callout_that_uses_contexts_is_given_one() {
    let (mut engine, session) = engine();
    engine.callout_add(session, Callout { uses_provider_context: true, ..callout(100) }).unwrap();
    engine.callout_add(session, callout(101)).unwrap();
    let context_id = engine.provider_context_add(session, context(1)).unwrap();
    let uses = engine.filter_add(session, naming(1, Action::CalloutUnknown(key(100))), &mut ()).unwrap();
    let does_not = engine.filter_add(session, naming(1, Action::CalloutUnknown(key(101))), &mut ()).unwrap();
    let snapshot = engine.snapshot();
    let find = |id| snapshot.filters(layers::id::ALE_AUTH_CONNECT_V4).find(|filter| filter.id == id).unwrap();
    assert_eq!(find(uses).context, context_id, "the LUID stands where the raw context would");
    assert_eq!(find(uses).provider_context.as_deref(), Some(&ProviderContext { id: context_id, ..context(1) }));
    assert_eq!(find(does_not).context, context_id);
    assert_eq!(find(does_not).provider_context, None);
}

#[test]
fn layers_and_callouts_that_read_a_context_take_theirs_only() {
    let (mut engine, session) = engine();
    engine.provider_context_add(session, context(1)).unwrap();
    engine.provider_context_add(session, policy(2, ContextType::IpsecIkeMm)).unwrap();
    let ike = |number| Filter { layer: layers::key::IKEEXT_V4, ..naming(number, Action::Permit) };
    assert_eq!(engine.filter_add(session, ike(1), &mut ()), Err(FwpError::ProviderContextMismatch));
    assert!(engine.filter_add(session, ike(2), &mut ()).is_ok());
    let options = Action::CalloutInspection(built_in::SET_OPTIONS_AUTH_CONNECT_LAYER_V4);
    assert_eq!(engine.filter_add(session, naming(1, options), &mut ()), Err(FwpError::ProviderContextMismatch));
}

#[test]
fn contexts_live_as_long_as_the_lifetimes_say() {
    let (mut engine, fixed) = engine();
    let dynamic = engine.session_open(dynamic_session()).unwrap();
    engine.provider_context_add(dynamic, context(1)).unwrap();
    engine.provider_context_add(fixed, context(2)).unwrap();
    engine.provider_context_add(fixed, ProviderContext { persistent: true, ..context(3) }).unwrap();
    assert_eq!(engine.filter_add(fixed, naming(1, Action::Block), &mut ()), Err(FwpError::LifetimeMismatch));
    let persistent = |number| {
        let flags = FilterFlags::HAS_PROVIDER_CONTEXT | FilterFlags::PERSISTENT;
        Filter { flags, ..naming(number, Action::Block) }
    };
    assert_eq!(engine.filter_add(fixed, persistent(2), &mut ()), Err(FwpError::LifetimeMismatch));
    assert!(engine.filter_add(fixed, persistent(3), &mut ()).is_ok());
    let keys = |engine: &Engine| engine.view(None).provider_contexts().map(|context| context.key).collect::<Vec<_>>();
    engine.session_close(dynamic, &mut ()).unwrap();
    assert_eq!(keys(&engine), [key(2), key(3)]);
    engine.transaction_begin(fixed, false).unwrap();
    engine.provider_context_delete(fixed, key(2)).unwrap();
    engine.provider_context_add(fixed, context(4)).unwrap();
    engine.transaction_abort(fixed, &mut ()).unwrap();
    assert_eq!(keys(&engine), [key(2), key(3)]);
    engine.stop(&mut ());
    assert_eq!(keys(&engine), [key(3)]);
}
