use postern_engine::layers::key as layer;
use postern_engine::objects::{Action, Condition, ConditionValue, DisplayData, FilterFlags, MatchType, Weight};

use super::*;
use crate::state::Unknown;

fn filter(number: u128, name: &str) -> Filter {
    let key = Uuid::from_u128(number);
    Filter { key, id: number as u64, ..Filter::new(name, layer::ALE_AUTH_CONNECT_V4, Action::Block) }
}

fn state(filters: &[Filter]) -> State {
    State { filters: filters.to_vec(), ..State::default() }
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.name).collect()
}

#[test]
fn what_came_went_and_changed_is_told_by_provider() {
    let of = |provider, filter: Filter| Filter { provider: Some(provider), ..filter };
    let (one, two) = (guids::provider::MPSSVC_WF, guids::provider::IKEEXT);
    let before = state(&[of(one, filter(1, "stays")), of(one, filter(2, "goes")), filter(3, "changes")]);
    let changed = Filter { weight: Weight::Range(3), action: Action::Permit, ..filter(3, "changes") };
    let after = state(&[of(one, filter(1, "stays")), changed, of(two, filter(4, "comes"))]);
    let difference = diff(&before, &after);
    assert!(!difference.equal);
    let [none, ikeext, firewall] = &difference.providers[..] else { panic!("{difference:?}") };
    assert_eq!(
        [&*none.name, &*ikeext.name, &*firewall.name],
        ["no provider", "FWPM_PROVIDER_IKEEXT", "FWPM_PROVIDER_MPSSVC_WF"]
    );
    assert_eq!((names(&ikeext.added), names(&firewall.removed)), (vec!["comes"], vec!["goes"]));
    let [change] = &none.changed[..] else { panic!("{none:?}") };
    let fields: Vec<_> = change.fields.iter().map(|of| (&*of.field, &*of.before[0], &*of.after[0])).collect();
    assert_eq!(fields, [("action", "block", "permit"), ("weight", "auto", "range 3")]);

    let backwards = diff(&after, &before);
    assert_eq!(names(&backwards.providers[1].removed), ["comes"]);
}

#[test]
fn numbers_of_a_start_do_not_count() {
    let before = State {
        callouts: vec![Callout { id: 300, ..Callout::new(Uuid::from_u128(1), "callout", layer::STREAM_V4) }],
        provider_contexts: vec![ProviderContext {
            id: 7,
            ..ProviderContext::new(Uuid::from_u128(2), "context", vec![])
        }],
        ..state(&[filter(1, "a")])
    };
    let mut after = before.clone();
    (after.callouts[0].id, after.provider_contexts[0].id, after.filters[0].id) = (301, 8, 70000);
    assert!(diff(&before, &after).equal);
    after.callouts[0].registered = true;
    let difference = diff(&before, &after);
    let change = &difference.providers[0].changed[0];
    assert_eq!(
        (change.object.kind, &*change.fields[0].field, &*change.fields[0].after),
        (Kind::Callout, "flags", &["registered".to_owned()][..])
    );
}

#[test]
fn filters_that_were_added_anew_are_paired_one_to_one() {
    let before = state(&[filter(1, "a"), filter(2, "a"), filter(3, "b")]);
    let after = state(&[filter(4, "a"), filter(5, "b")]);
    let difference = diff(&before, &after);
    assert_eq!(difference.same_under_other_keys, 2);
    assert_eq!(names(&difference.providers[0].removed), ["a"]);
    assert_eq!(difference.providers[0].added, []);
    assert!(diff(&state(&[filter(1, "a")]), &state(&[filter(9, "a")])).equal);
}

#[test]
fn what_only_a_newer_windows_knows_is_compared() {
    let note =
        |text: &str| Unknown { object: "filter", key: Uuid::from_u128(1), element: "colour".into(), text: text.into() };
    let with = |text| State { unknown: vec![note(text)], ..state(&[filter(1, "a")]) };
    assert!(diff(&with("red"), &with("red")).equal);
    let difference = diff(&with("red"), &with("blue"));
    let expected = FieldChange { field: "colour".into(), before: vec!["red".into()], after: vec!["blue".into()] };
    assert_eq!(difference.providers[0].changed[0].fields, [expected]);
}

#[test]
fn each_field_of_a_filter_makes_a_difference_that_is_told() {
    let before = filter(1, "a");
    let key = Uuid::from_u128(77);
    let condition = Condition {
        field: guids::condition::IP_PROTOCOL,
        match_type: MatchType::Equal,
        value: ConditionValue::Uint8(6),
    };
    let table: Vec<(&str, Filter)> = vec![
        ("name", filter(1, "b")),
        (
            "description",
            Filter { display: DisplayData { description: "d".into(), ..before.display.clone() }, ..before.clone() },
        ),
        ("flags", Filter { flags: FilterFlags::CLEAR_ACTION_RIGHT, ..before.clone() }),
        ("flags", Filter { flags: FilterFlags::from_bits_retain(0x400), ..before.clone() }),
        ("provider", Filter { provider: Some(key), ..before.clone() }),
        ("data", Filter { data: vec![1], ..before.clone() }),
        ("layer", Filter { layer: layer::ALE_AUTH_CONNECT_V6, ..before.clone() }),
        ("sublayer", Filter { sublayer: key, ..before.clone() }),
        ("weight", Filter { weight: Weight::Exact(1), ..before.clone() }),
        ("condition", Filter { conditions: vec![condition], ..before.clone() }),
        ("action", Filter { action: Action::Permit, ..before.clone() }),
        ("context", Filter { raw_context: 1, ..before.clone() }),
        ("provider context", Filter { provider_context: Some(key), ..before.clone() }),
        ("effective weight", Filter { effective_weight: 1, ..before.clone() }),
    ];
    for (field, after) in table {
        let difference = diff(&state(std::slice::from_ref(&before)), &state(&[after]));
        let change = &difference.providers[0].changed[0];
        assert_eq!(change.fields.iter().map(|of| &*of.field).collect::<Vec<_>>(), [field]);
    }
}
