//! What would make a layer decide otherwise.

use std::collections::BTreeSet;

use postern_engine::{Decision as Word, Outcome, Snapshot, Trace, Value};

use super::callouts::{Possibilities, possibilities};
use super::names::{Names, quoted};
use super::view::{Change, Decision, FilterName, Then};

/// Filters that are taken away one after the other, at most.
const MOST_REMOVED: usize = 16;

/// A sublayer that has spoken.
struct Spoken {
    weight: u16,
    filter: u64,
    action: Word,
}

pub fn changes(
    snapshot: &Snapshot,
    names: &Names<'_>,
    layer: u16,
    values: &[Value<'_>],
    now: &Possibilities,
    trace: &Trace,
) -> Vec<Change> {
    let decision = now.decision();
    if decision == Decision::Depends {
        return Vec::new();
    }
    let removal = trace.verdict.filter_id.map(|filter| remove(snapshot, names, layer, values, trace, decision, filter));
    removal.into_iter().flatten().chain(add(names, trace)).collect()
}

/// Takes the filter away that decides, then that which decides instead, until the decision is another.
fn remove(
    snapshot: &Snapshot,
    names: &Names<'_>,
    layer: u16,
    values: &[Value<'_>],
    trace: &Trace,
    decision: Decision,
    decides: u64,
) -> Option<Change> {
    let matching = trace.sublayers.iter().flat_map(|sublayer| &sublayer.filters);
    let mut left: BTreeSet<u64> =
        matching.filter(|filter| filter.outcome != Outcome::DoesNotMatch).map(|filter| filter.id).collect();
    let mut removed: Vec<FilterName> = Vec::new();
    let mut next = decides;
    loop {
        left.remove(&next);
        removed.push(names.filter_name(next));
        let without = snapshot.restricted(layer, |filter| left.contains(&filter.id));
        let possible = possibilities(&without, names, layer, values);
        let verdict = possible.first().verdict;
        let then = Then { decision: possible.decision(), filter: verdict.filter_id.map(|id| names.filter_name(id)) };
        if then.decision != decision {
            let text = removal_text(&removed, &then);
            return Some(Change::Remove { filters: removed, then, text });
        }
        match verdict.filter_id {
            Some(filter) if removed.len() < MOST_REMOVED => next = filter,
            _ => return None,
        }
    }
}

fn removal_text(removed: &[FilterName], then: &Then) -> String {
    let (first, others) = match removed {
        [one] => (quoted(one), String::new()),
        [one, others @ ..] => {
            let others: Vec<String> = others.iter().map(quoted).collect();
            (quoted(one), format!(" and what would decide in its place: {}", others.join(", ")))
        }
        [] => Default::default(),
    };
    let by = match (&then.filter, then.decision) {
        (_, Decision::Depends) => "a callout decides".to_owned(),
        (Some(filter), decision) => format!("it is {} by {}", decision.past(), quoted(filter)),
        (None, _) => "it is permitted by default".to_owned(),
    };
    format!("remove {first}{others}: then {by}")
}

/// Where a filter that says the opposite would decide.
fn add(names: &Names<'_>, trace: &Trace) -> Vec<Change> {
    let spoken: Vec<Spoken> = trace
        .sublayers
        .iter()
        .filter_map(|sublayer| {
            sublayer.filters.iter().find_map(|filter| match filter.outcome {
                Outcome::Ended { word, .. } => {
                    Some(Spoken { weight: sublayer.weight, filter: filter.id, action: word.action })
                }
                _ => None,
            })
        })
        .collect();
    let winner = spoken.iter().find(|spoken| Some(spoken.filter) == trace.verdict.filter_id);
    match trace.verdict.action {
        Word::Block => {
            let blocks: Vec<&Spoken> = spoken.iter().filter(|spoken| spoken.action == Word::Block).collect();
            let highest = blocks.iter().map(|spoken| spoken.weight).max().unwrap_or_default();
            let alone = winner.filter(|_| blocks.len() == 1);
            alone
                .map(|winner| in_sublayer(names, winner, Decision::Permit))
                .into_iter()
                .chain([other_sublayer(
                    Decision::Permit,
                    Some(highest),
                    &format!(
                        "a sublayer of a weight above {highest}{}",
                        if blocks.len() == 1 { "" } else { ", the highest that blocks" }
                    ),
                )])
                .collect()
        }
        Word::Permit if trace.verdict.hard => winner
            .map(|winner| {
                vec![
                    in_sublayer(names, winner, Decision::Block),
                    other_sublayer(
                        Decision::Block,
                        Some(winner.weight),
                        &format!("a sublayer of a weight above {}, where the hard permit stands", winner.weight),
                    ),
                ]
            })
            .unwrap_or_default(),
        Word::Permit => winner
            .map(|winner| in_sublayer(names, winner, Decision::Block))
            .into_iter()
            .chain([other_sublayer(Decision::Block, None, "a sublayer of its own, of any weight")])
            .collect(),
    }
}

fn in_sublayer(names: &Names<'_>, winner: &Spoken, action: Decision) -> Change {
    let filter = names.filter(winner.filter);
    let weight = filter.map(|filter| filter.effective_weight).unwrap_or_default();
    let above_weight = (weight < u64::MAX).then(|| format!("{weight:#x}"));
    let name = names.sublayer_name(winner.weight);
    let text = match &above_weight {
        Some(weight) => format!("add a {} filter in sublayer {name} with a weight above {weight}", action.word()),
        None => format!(
            "in sublayer {name} no filter comes before {}: it has the highest weight that there is",
            quoted(&names.filter_name(winner.filter))
        ),
    };
    let sublayer = names.sublayer(winner.weight).map(|sublayer| sublayer.key).unwrap_or_default();
    Change::AddInSublayer { action, hard: false, sublayer, above_weight, text }
}

fn other_sublayer(action: Decision, above_weight: Option<u16>, place: &str) -> Change {
    // A block is hard as it is.
    let hard = action == Decision::Permit;
    let flag = if hard { "a hard permit (FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT)" } else { "a block" };
    let text = match above_weight {
        Some(u16::MAX) => "no sublayer has a higher weight than the one that decides".to_owned(),
        _ => format!("add {flag} in {place}"),
    };
    Change::AddInOtherSublayer { action, hard, above_weight, text }
}
