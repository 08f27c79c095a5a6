//! The effective weight of every filter of real machines, computed again.

#[path = "lab/dump.rs"]
mod dump;

use dump::Dump;
use postern_engine::layers::Layer;
use postern_engine::weight::{Layout, effective};

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
