//! An engine made of the objects that another one held.

mod lab;

use ConditionValue::*;
use lab::*;
use postern_engine::guids::{self, condition};
use postern_engine::layers::{field::ale_auth_connect, id, key as layer};
use postern_engine::objects::*;
use postern_engine::*;

/// What an engine holds, as a client sees it.
fn objects(engine: &Engine) -> Objects {
    let view = engine.view(None);
    Objects {
        layers: vec![],
        providers: view.providers().cloned().collect(),
        provider_contexts: view.provider_contexts().cloned().collect(),
        sublayers: view.sublayers().cloned().collect(),
        callouts: view.callouts().collect(),
        filters: view.filters().cloned().collect(),
    }
}

/// The filters in force in the order of evaluation, with all that evaluation needs.
fn in_force(engine: &Engine) -> Vec<String> {
    let snapshot = engine.snapshot();
    engine
        .layers()
        .iter()
        .flat_map(|layer| snapshot.filters(layer.id).map(|filter| filter_in_force(filter)).collect::<Vec<_>>())
        .collect()
}

fn filter_in_force(filter: &RuntimeFilter) -> String {
    let mut filter = filter.clone();
    filter.index = 0;
    format!("{filter:?}")
}

fn restored(objects: Objects) -> Engine {
    let Restored { engine, doubts } = Engine::restore(objects).unwrap();
    assert_eq!(doubts, []);
    engine
}

/// The objects of an engine that has this filter and no other.
fn with(filter: Filter) -> Objects {
    Objects {
        filters: vec![Filter { key: key(9), id: 70000, sublayer: guids::sublayer::UNIVERSAL, ..filter }],
        ..objects(&Engine::new())
    }
}

fn doubts(objects: Objects) -> Vec<Doubt> {
    Engine::restore(objects).unwrap().doubts
}

#[test]
fn what_another_engine_held_is_there_again() {
    let (mut engine, session) = engine();
    engine.provider_add(session, Provider { persistent: true, ..provider(1) }).unwrap();
    engine.sublayer_add(session, Sublayer { provider: Some(key(1)), ..sublayer(2, 32767) }).unwrap();
    engine.sublayer_add(session, sublayer(3, 32767)).unwrap();
    engine.callout_add(session, callout(4)).unwrap();
    engine.callout_add(session, Callout { uses_provider_context: true, ..callout(5) }).unwrap();
    engine.provider_context_add(session, ProviderContext::new(key(6), "context", vec![1, 2])).unwrap();
    engine.callout_register(key(5), 0x14).unwrap();
    let port = |port| vec![equal(PORT, Uint16(port)), equal(PROTOCOL, Uint8(6))];
    for filter in [
        Filter { sublayer: key(2), conditions: port(443), ..filter(Action::CalloutTerminating(key(4))) },
        Filter {
            sublayer: key(3),
            weight: Weight::Range(3),
            raw_context: 77,
            ..filter(Action::CalloutInspection(key(5)))
        },
        Filter { sublayer: key(2), weight: Weight::Exact(9), provider: Some(key(1)), ..filter(Action::Permit) },
        Filter { flags: FilterFlags::CLEAR_ACTION_RIGHT, conditions: port(80), ..filter(Action::Block) },
        Filter { flags: FilterFlags::PERSISTENT, layer: layer::STREAM_V6, ..filter(Action::Block) },
        Filter { flags: FilterFlags::BOOTTIME, ..filter(Action::Block) },
        Filter {
            flags: FilterFlags::HAS_PROVIDER_CONTEXT,
            provider_context: Some(key(6)),
            ..filter(Action::CalloutUnknown(key(5)))
        },
    ] {
        engine.filter_add(session, filter, &mut ()).unwrap();
    }

    let again = restored(objects(&engine));
    let (before, after) = (objects(&engine), objects(&again));
    assert_eq!(after.providers, before.providers);
    assert_eq!(after.sublayers, before.sublayers);
    assert_eq!(after.callouts, before.callouts);
    assert_eq!(after.provider_contexts, before.provider_contexts);
    assert_eq!(after.filters, before.filters);
    assert_eq!(in_force(&again), in_force(&engine));
    assert_eq!(in_force(&again).len(), 6);
    assert!(again.view(None).registrations().eq(engine.view(None).registrations()));
}

#[test]
fn ids_and_weights_are_those_of_the_machine() {
    let callout = Callout { id: 12, registered: true, registration_flags: 0x260, ..callout(1) };
    let filter = Filter {
        id: 113_579,
        effective_weight: 5,
        weight: Weight::Exact(5),
        sublayer: key(2),
        ..filter(Action::CalloutUnknown(key(1)))
    };
    // Two with one weight, which no engine gives to sublayers that are added.
    let sublayers = vec![sublayer(2, 7), sublayer(3, 7)];
    let mut engine = restored(Objects {
        sublayers,
        callouts: vec![callout.clone()],
        filters: vec![filter.clone()],
        ..Objects::default()
    });
    let view = engine.view(None);
    assert_eq!(view.sublayers().map(|sublayer| sublayer.weight).collect::<Vec<_>>(), [7, 7]);
    assert_eq!(view.callout(&key(1)), Some(callout));
    assert_eq!(view.registrations().collect::<Vec<_>>(), [(12, key(1), 0x260)]);
    assert_eq!(view.filter(113_579), Some(&filter));
    let snapshot = engine.snapshot();
    let runtime = snapshot.filters(id::ALE_AUTH_CONNECT_V4).next().unwrap();
    assert_eq!((runtime.id, runtime.weight, runtime.sublayer_weight, runtime.action.callout_id), (113_579, 5, 7, 12));

    // Ids of others go on behind those.
    let session = engine.session_open(static_session()).unwrap();
    assert_eq!(engine.callout_add(session, lab::callout(4)), Ok(258));
    assert_eq!(
        engine.filter_add(session, Filter { sublayer: key(3), ..lab::filter(Action::Permit) }, &mut ()),
        Ok(113_580)
    );
    // Callouts with ids below 258 are Windows' own.
    engine.filter_delete(session, 113_579, &mut ()).unwrap();
    assert_eq!(engine.callout_delete(session, key(1)), Err(FwpError::BuiltinObject));
}

#[test]
fn a_callout_of_the_machine_can_be_registered_here() {
    let callout = Callout { id: 300, registered: true, registration_flags: 0x14, ..callout(1) };
    let mut engine = restored(Objects { callouts: vec![callout], ..Objects::default() });
    assert_eq!(engine.registered_elsewhere().collect::<Vec<_>>(), [300]);
    assert_eq!(engine.callout_register(key(1), 2), Ok(300));
    assert_eq!(engine.registered_elsewhere().count(), 0);
    assert_eq!(engine.view(None).registrations().collect::<Vec<_>>(), [(300, key(1), 2)]);
    assert_eq!(engine.callout_register(key(1), 2), Err(FwpError::AlreadyExists));
}

#[test]
fn a_restored_engine_takes_the_place_of_another() {
    let (mut engine, session) = engine();
    let id = engine.filter_add(session, filter(Action::Block), &mut ()).unwrap();
    let made = engine.view(None).filter(id).unwrap().key;
    let again = restored(objects(&engine));
    engine.replace(again);
    assert_eq!(engine.sessions().count(), 0);
    assert_eq!(engine.session_close(session, &mut ()), Err(FwpError::NotFound));
    // Neither handles nor keys are given twice.
    let other = engine.session_open(static_session()).unwrap();
    assert_ne!(other, session);
    let new = engine.filter_add(other, filter(Action::Block), &mut ()).unwrap();
    assert_ne!(engine.view(None).filter(new).unwrap().key, made);
    assert_eq!(engine.view(None).filters().count(), 2);
}

#[test]
fn filters_decide_as_they_did() {
    let block = Filter {
        conditions: vec![equal(PORT, Uint16(443))],
        effective_weight: 0,
        weight: Weight::Exact(0),
        ..filter(Action::Block)
    };
    let engine = restored(with(block));
    let decide = |port| {
        let values = values(id::ALE_AUTH_CONNECT_V4, &[(ale_auth_connect::IP_REMOTE_PORT, Value::Uint16(port))]);
        engine.snapshot().classify(id::ALE_AUTH_CONNECT_V4, &values, &mut Script::default()).action
    };
    assert_eq!(decide(443), Decision::Block);
    assert_eq!(decide(80), Decision::Permit);
}

#[test]
fn a_filter_of_a_disabled_provider_is_there_and_not_in_force() {
    let exact = Filter { weight: Weight::Exact(0), ..filter(Action::Block) };
    for (flag, filters) in [(FilterFlags::DISABLED, 0), (FilterFlags::BOOTTIME, 0), (FilterFlags::INDEXED, 1)] {
        let engine = restored(with(Filter { flags: flag, ..exact.clone() }));
        assert_eq!(engine.view(None).filter(70000).unwrap().flags, flag);
        assert_eq!(in_force(&engine).len(), filters, "{flag:?}");
    }
}

#[test]
fn what_the_objects_do_not_tell_is_told() {
    let lost = Filter { weight: Weight::Exact(0), ..filter(Action::CalloutTerminating(key(1))) };
    let mut objects = with(lost);
    objects.filters[0].sublayer = key(2);
    let Restored { engine, doubts } = Engine::restore(objects).unwrap();
    assert_eq!(doubts, [Doubt::UnknownSublayer { key: key(2), weight: 0x8001 }, Doubt::UnknownCallout { key: key(1) }]);
    let callout = engine.view(None).callout(&key(1)).unwrap();
    assert!(callout.registered);
    let snapshot = engine.snapshot();
    let runtime = snapshot.filters(id::ALE_AUTH_CONNECT_V4).next().unwrap();
    assert_eq!((runtime.action.callout_id, runtime.sublayer_weight), (callout.id, 0x8001));
}

#[test]
fn weights_are_compared_and_those_given_count() {
    let objects = with(Filter { weight: Weight::Range(2), effective_weight: 7, ..filter(Action::Block) });
    let Restored { engine, doubts } = Engine::restore(objects).unwrap();
    assert_eq!(doubts, [Doubt::Weight { filter: 70000, given: 7, computed: 2 << 60 }]);
    assert_eq!(engine.snapshot().filters(id::ALE_AUTH_CONNECT_V4).next().unwrap().weight, 7);
}

#[test]
fn weights_depend_on_the_fields_of_the_layers_there() {
    // A layer with one field gives it all but the top bits.
    let fields = vec![(PORT, layers::DataType::Uint16)];
    let filter =
        Filter { conditions: vec![equal(PORT, Uint16(443))], effective_weight: (1 << 60) - 1, ..filter(Action::Block) };
    let here = doubts(with(filter.clone()));
    assert!(matches!(here[..], [Doubt::Weight { .. }]), "{here:?}");
    let objects = Objects { layers: vec![LayerFields { layer: CONNECT, fields }], ..with(filter.clone()) };
    let mut engine = restored(objects);
    // Filters that are added later get theirs in the same way.
    let session = engine.session_open(static_session()).unwrap();
    let id = engine.filter_add(session, Filter { key: key(10), ..filter }, &mut ()).unwrap();
    assert_eq!(engine.view(None).filter(id).unwrap().effective_weight, (1 << 60) - 1);
}

#[test]
fn a_filter_that_cannot_be_evaluated_is_kept() {
    let exact = Filter { weight: Weight::Exact(0), ..filter(Action::Block) };
    let of_layer = with(Filter { layer: key(1), ..exact.clone() });
    let of_field = with(Filter { conditions: vec![equal(key(1), Uint8(1))], ..exact.clone() });
    let of_type = with(Filter { conditions: vec![equal(condition::IP_PROTOCOL, Uint64(1))], ..exact });
    for (objects, error) in [
        (of_layer, FwpError::LayerNotFound),
        (of_field, FwpError::ConditionNotFound),
        (of_type, FwpError::TypeMismatch),
    ] {
        assert_eq!(doubts(objects.clone()), [Doubt::NotEvaluated { filter: 70000, error }]);
        let mut engine = Engine::restore(objects.clone()).unwrap().engine;
        assert_eq!(engine.view(None).filters().collect::<Vec<_>>(), objects.filters.iter().collect::<Vec<_>>());
        assert_eq!(in_force(&engine).len(), 0);
        let session = engine.session_open(static_session()).unwrap();
        assert_eq!(engine.filter_delete(session, 70000, &mut ()), Ok(()));
    }
}

#[test]
fn objects_that_are_there_twice_are_refused() {
    let twice = |change: fn(&mut Objects)| {
        let mut objects = with(Filter { weight: Weight::Exact(0), ..filter(Action::Block) });
        objects.callouts = vec![Callout { id: 300, ..callout(1) }];
        change(&mut objects);
        Engine::restore(objects).unwrap_err()
    };
    let again = |filter: &Filter| Filter { key: key(10), ..filter.clone() };
    assert_eq!(twice(|o| o.filters.push(o.filters[0].clone())), RestoreError::SameKey("filters", key(9)));
    assert_eq!(
        twice(|o| o.callouts.push(Callout { id: 301, ..callout(1) })),
        RestoreError::SameKey("callouts", key(1))
    );
    assert_eq!(twice(|o| o.callouts.push(Callout { id: 300, ..callout(2) })), RestoreError::SameCalloutId(300));
    assert_eq!(
        twice(|o| o.sublayers.extend([sublayer(2, 7), sublayer(2, 8)])),
        RestoreError::SameKey("sublayers", key(2))
    );
    let context = || ProviderContext::new(key(4), "context", vec![]);
    let contexts = Objects { provider_contexts: vec![context(), context()], ..Objects::default() };
    assert_eq!(Engine::restore(contexts).unwrap_err(), RestoreError::SameKey("provider contexts", key(4)));
    assert_eq!(twice(|o| o.providers.extend([provider(3), provider(3)])), RestoreError::SameKey("providers", key(3)));
    let mut objects = with(Filter { weight: Weight::Exact(0), ..filter(Action::Block) });
    objects.filters.push(again(&objects.filters[0]));
    assert_eq!(Engine::restore(objects).unwrap_err(), RestoreError::SameFilterId(70000));
}
