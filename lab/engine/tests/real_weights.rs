//! The effective weight of every filter of real machines, computed again.

#[path = "lab/dump.rs"]
mod dump;

use dump::Dump;
use postern_engine::layers::Layer;
use postern_engine::objects::{Action, Filter};
use postern_engine::weight::{Layout, effective};
use postern_engine::{Doubt, Engine, Objects};
use uuid::Uuid;

/// Computes every filter's weight; returns how many there are.
fn recompute(dump: &Dump, layout: impl Fn(&Layer) -> Layout) -> usize {
    let mut different = Vec::new();
    let mut count = 0;
    for filter in dump.filters() {
        count += 1;
        let ours = effective(&layout(filter.layer), filter.weight, &filter.conditions);
        if ours != Ok(filter.effective_weight) {
            different.push(format!("{}: {:#x}, not {ours:x?}", filter.layer.name, filter.effective_weight));
        }
    }
    assert!(different.is_empty(), "{} of {count}: {different:#?}", different.len());
    count
}

#[test]
fn of_a_machine_that_lists_its_fields() {
    let dump = Dump::open("keploy.wfpstate.xml.gz");
    let listed = dump.fields();
    let layout = |layer: &Layer| {
        let fields = layer.fields.iter().filter(|field| listed[&layer.id].contains(&field.key));
        Layout::new(layer.name, fields.map(|field| (field.key, field.data_type)))
    };
    assert_eq!(recompute(&dump, layout), 1254);
}

#[test]
fn of_a_machine_of_the_lab_s_own_build() {
    assert_eq!(recompute(&Dump::open("le_voile-a.filters.xml.gz"), Layout::of), 286);
}

#[test]
fn of_machines_whose_build_must_be_guessed() {
    for (file, count) in [("keploy.wfpstate.xml.gz", 1254), ("le_voile-a.filters.xml.gz", 286)] {
        let dump = Dump::open(file);
        let filters = dump.filters().enumerate().map(|(index, of)| Filter {
            key: Uuid::from_u128(index as u128 + 1),
            id: index as u64 + 1,
            weight: of.weight,
            conditions: of.conditions,
            effective_weight: of.effective_weight,
            ..Filter::new("", of.layer.key, Action::Permit)
        });
        let restored = Engine::restore(Objects { filters: filters.collect(), ..Objects::default() }).unwrap();
        assert_eq!(restored.engine.view(None).filters().count(), count);
        let wrong: Vec<_> = restored.doubts.iter().filter(|doubt| matches!(doubt, Doubt::Weight { .. })).collect();
        assert!(wrong.is_empty(), "{file}: {wrong:?}");
    }
}
