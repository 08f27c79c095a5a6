//! What is in force before the base filtering engine runs, while it runs, and after the machine has started again.

mod lab;

use lab::*;
use postern_engine::objects::*;
use postern_engine::*;

const LAYER: u16 = layers::id::ALE_AUTH_CONNECT_V4;

fn with(flags: FilterFlags, number: u128, action: Action) -> Filter {
    Filter { key: key(number), flags, ..filter(action) }
}

fn always(_: &str) -> bool {
    true
}

/// Keys of the filters in force.
fn in_force(engine: &Engine) -> Vec<u128> {
    engine.snapshot().filters(LAYER).map(|filter| filter.key.as_u128()).collect()
}

/// The machine starts again: nothing of the engine is left but what is kept.
fn restarted(engine: &Engine) -> Engine {
    Engine::boot(&engine.persistent()).unwrap()
}

/// A filter of each lifetime: 1 boot-time, 2 persistent, 3 static, 4 dynamic.
fn all_lifetimes() -> Engine {
    let (mut engine, session) = engine();
    let dynamic = engine.session_open(dynamic_session()).unwrap();
    let mut add = |session, filter| engine.filter_add(session, filter, &mut ()).unwrap();
    add(session, with(FilterFlags::BOOTTIME, 1, Action::Block));
    add(session, with(FilterFlags::PERSISTENT, 2, Action::Permit));
    add(session, with(FilterFlags::empty(), 3, Action::Permit));
    add(dynamic, with(FilterFlags::empty(), 4, Action::Permit));
    engine
}

#[test]
fn boot_time_filters_are_in_force_until_the_engine_runs_and_persistent_ones_from_then_on() {
    let engine = all_lifetimes();
    assert_eq!(in_force(&engine), [2, 3, 4]);
    let mut engine = restarted(&engine);
    assert_eq!(in_force(&engine), [1]);
    engine.start(&always, &mut ());
    assert_eq!(in_force(&engine), [2]);
    let keys: Vec<_> = engine.view(None).filters().map(|filter| filter.key).collect();
    assert_eq!(keys, [key(1), key(2)], "both are kept");
    // A stop is no start of the machine.
    engine.stop(&mut ());
    assert_eq!(in_force(&engine), [2]);
    engine.start(&always, &mut ());
    assert_eq!(in_force(&engine), [2]);
    let session = engine.session_open(static_session()).unwrap();
    engine.filter_add(session, with(FilterFlags::BOOTTIME, 5, Action::Block), &mut ()).unwrap();
    assert_eq!(in_force(&engine), [2], "until the machine starts again");
    assert_eq!(in_force(&restarted(&engine)), [1, 5]);
}

#[test]
fn what_filters_refer_to_is_kept_with_them() {
    let (mut engine, session) = engine();
    engine.provider_add(session, Provider { persistent: true, ..provider(1) }).unwrap();
    let of = |persistent| Some(key(1)).filter(|_| persistent);
    let context =
        ProviderContext { persistent: true, provider: of(true), ..ProviderContext::new(key(2), "c", vec![9]) };
    engine.provider_context_add(session, context).unwrap();
    let kept = Sublayer { persistent: true, provider: of(true), ..sublayer(3, 300) };
    engine.sublayer_add(session, kept).unwrap();
    engine.callout_add(session, Callout { persistent: true, provider: of(true), ..callout(4) }).unwrap();
    let filter = Filter {
        provider: of(true),
        sublayer: key(3),
        provider_context: Some(key(2)),
        conditions: vec![equal(PORT, ConditionValue::Uint16(443))],
        ..with(FilterFlags::PERSISTENT | FilterFlags::HAS_PROVIDER_CONTEXT, 5, Action::CalloutUnknown(key(4)))
    };
    engine.filter_add(session, filter, &mut ()).unwrap();
    engine.sublayer_add(session, sublayer(6, 600)).unwrap();
    let mut again = restarted(&engine);
    again.start(&always, &mut ());
    assert_eq!(again.persistent(), engine.persistent());
    assert_eq!(again.view(None).sublayer(&key(3)).unwrap().weight, 300);
    assert!(again.view(None).sublayer(&key(6)).is_none());
    assert_eq!(in_force(&again), [5]);
}

#[test]
fn objects_of_a_provider_whose_service_does_not_start_by_itself_are_disabled() {
    let (mut engine, session) = engine();
    for (number, service) in [(1, Some("auto")), (2, Some("manual")), (3, None)] {
        let service_name = service.map(Into::into);
        engine.provider_add(session, Provider { persistent: true, service_name, ..provider(number) }).unwrap();
        for (flags, of) in [(FilterFlags::PERSISTENT, 10), (FilterFlags::BOOTTIME, 20)] {
            let filter = Filter { provider: Some(key(number)), ..with(flags, of + number, Action::Block) };
            engine.filter_add(session, filter, &mut ()).unwrap();
        }
    }
    let mut engine = restarted(&engine);
    assert_eq!(in_force(&engine), [21, 22, 23], "nobody has asked for services yet");
    engine.start(&|service| service != "manual", &mut ());
    assert_eq!(in_force(&engine), [11, 13]);
    let disabled = |engine: &Engine| {
        let view = engine.view(None);
        let filters = view.filters().filter(|filter| filter.flags.contains(FilterFlags::DISABLED));
        let filters: Vec<_> = filters.map(|filter| filter.key.as_u128()).collect();
        let providers = view.providers().filter(|provider| provider.disabled);
        (filters, providers.map(|provider| provider.key.as_u128()).collect::<Vec<_>>())
    };
    assert_eq!(disabled(&engine), (vec![12], vec![2]));
    let session = engine.session_open(static_session()).unwrap();
    let now = Filter { provider: Some(key(2)), ..with(FilterFlags::empty(), 30, Action::Block) };
    engine.filter_add(session, now, &mut ()).unwrap();
    assert_eq!(in_force(&engine), [11, 13, 30], "what is added while it runs is in force");
    // The service is set to start by itself, and the engine starts again.
    engine.stop(&mut ());
    engine.start(&always, &mut ());
    assert_eq!(disabled(&engine), (vec![], vec![]));
    assert_eq!(in_force(&engine), [11, 12, 13]);
    engine.stop(&mut ());
    engine.start(&|service| service != "manual", &mut ());
    assert_eq!(in_force(&engine), [11, 13]);
}

#[test]
fn callouts_hear_of_filters_that_come_and_go_with_the_engine() {
    let (mut engine, session) = engine();
    engine.callout_add(session, Callout { persistent: true, ..callout(4) }).unwrap();
    let action = Action::CalloutUnknown(key(4));
    engine.filter_add(session, with(FilterFlags::BOOTTIME, 1, action), &mut ()).unwrap();
    engine.filter_add(session, with(FilterFlags::PERSISTENT, 2, action), &mut ()).unwrap();
    let mut engine = restarted(&engine);
    engine.callout_register(key(4), 0).unwrap();
    let mut heard = Heard { context: Some(77), ..Heard::default() };
    engine.start(&always, &mut heard);
    let kinds: Vec<_> = heard.notes.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, [NotifyType::AddFilter, NotifyType::DeleteFilter]);
    assert_eq!(engine.snapshot().filters(LAYER).next().unwrap().context, 77);
    let session = engine.session_open(static_session()).unwrap();
    engine.filter_delete_by_key(session, key(2), &mut heard).unwrap();
    assert_eq!(heard.notes.last().map(|(kind, _, _, context)| (*kind, *context)), Some((NotifyType::DeleteFilter, 77)));
    assert_eq!(in_force(&engine), []);
}

#[test]
fn the_version_counts_what_must_be_written_again() {
    let (mut engine, session) = engine();
    let version = |engine: &Engine| engine.persistent_version();
    engine.filter_add(session, filter(Action::Block), &mut ()).unwrap();
    assert_eq!(version(&engine), 0);
    engine.transaction_begin(session, false).unwrap();
    engine.filter_add(session, with(FilterFlags::BOOTTIME, 1, Action::Block), &mut ()).unwrap();
    engine.sublayer_add(session, Sublayer { persistent: true, ..sublayer(1, 1) }).unwrap();
    assert_eq!(version(&engine), 0, "not before the commit");
    engine.transaction_commit(session, &mut ()).unwrap();
    assert_eq!(version(&engine), 1);
    engine.filter_delete_by_key(session, key(1), &mut ()).unwrap();
    assert_eq!(version(&engine), 2);
    assert!(engine.persistent().filters.is_empty());
}

#[test]
fn kept_objects_that_no_engine_can_have_kept_are_named() {
    let engine = all_lifetimes();
    let mut kept = engine.persistent();
    kept.filters[1].sublayer = key(99);
    let error = Engine::boot(&kept).unwrap_err();
    assert_eq!((error.kind, error.key, error.error), ("filter", key(2), FwpError::SublayerNotFound));
    assert_eq!(
        error.to_string(),
        "filter 00000000-0000-0000-0000-000000000002 (filter): FWP_E_SUBLAYER_NOT_FOUND: no such sublayer"
    );
}
