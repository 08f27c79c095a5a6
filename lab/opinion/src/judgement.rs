//! Whether the page says of the two kernels what they say themselves.

use std::collections::BTreeSet;

use crate::answers::{Answers, Tried};
use crate::document::{Difference, Document};

/// Stands for the answer to a call that a kernel was not asked.
const NOT_ASKED: &str = "-";

/// Holds the page against the lab alone: the lab's side of each difference, and that each of its functions is called, by an import of
/// the driver's, or excused.
pub fn review(lab: &Answers, imports: &BTreeSet<String>, document: &Document, functions: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for function in lab.0.keys().filter(|function| !imports.contains(*function)) {
        complaints.push(format!("the driver says that it calls {function}, and does not import it"));
    }
    for (call, difference) in &document.differences {
        let says = result_in(lab, call);
        if says != difference.lab {
            complaints.push(format!("{call}: the page has the lab say {}, and it says {says}", difference.lab));
        }
    }
    for function in functions {
        match (lab.0.contains_key(*function), document.uncalled.contains(*function)) {
            (false, false) => complaints.push(format!("{function} is not called, and the page does not say why")),
            (true, true) => complaints.push(format!("{function} is called, and the page says why it is not")),
            _ => {}
        }
    }
    let known: BTreeSet<&str> = functions.iter().copied().collect();
    for function in document.uncalled.iter().chain(&document.lacking).filter(|name| !known.contains(name.as_str())) {
        complaints.push(format!("the page names {function}, which the lab does not have"));
    }
    complaints
}

/// Compares the two kernels. Whatever differs and is not on the page is a complaint, and so is what is on it and does not differ.
pub fn compare(lab: &Answers, wine: &Answers, document: &Document) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut met = BTreeSet::new();
    for (function, in_lab) in &lab.0 {
        let nothing = Tried::default();
        let under_wine = wine.0.get(function).unwrap_or(&nothing);
        for (call, of_lab, of_wine) in differences(function, in_lab, under_wine) {
            let row = format!("| `{call}` | `{of_lab}` | `{of_wine}` |");
            match document.differences.get(&call) {
                None => complaints.push(format!("the page does not have this difference:\n{row} ? | ? |")),
                Some(Difference { lab, wine }) if *lab != of_lab || *wine != of_wine => {
                    complaints.push(format!("the page has other answers than these:\n{row}"));
                }
                Some(_) => {}
            }
            met.insert(call);
        }
    }
    for call in document.differences.keys().filter(|call| !met.contains(*call)) {
        complaints.push(format!("{call}: on the page, and the two do not differ"));
    }
    let lacking: BTreeSet<&String> =
        wine.0.iter().filter(|(_, tried)| tried.lacks).map(|(function, _)| function).collect();
    for function in lacking.iter().filter(|function| !document.lacking.contains(**function)) {
        complaints.push(format!("Wine lacks what it takes to try `{function}`, and the page does not say so"));
    }
    for function in document.lacking.iter().filter(|function| !lacking.contains(function)) {
        complaints.push(format!("the page says that Wine lacks {function}, and it does not"));
    }
    complaints
}

/// Calls of a function that came to something else: with both answers. What one of them did not come to, as it ended in an exception
/// or at a function that Wine lacks, is no call of its own.
fn differences(function: &str, lab: &Tried, wine: &Tried) -> Vec<(String, String, String)> {
    let mut differences = Vec::new();
    let (ended_lab, ended_wine) = (&lab.raised, &wine.raised);
    if ended_lab != ended_wine {
        let said =
            |raised: &Option<String>| raised.as_ref().map_or(NOT_ASKED.to_owned(), |code| format!("raised {code}"));
        differences.push((function.to_owned(), said(ended_lab), said(ended_wine)));
    }
    let mut calls: Vec<&String> = lab.calls.iter().map(|(call, _)| call).collect();
    calls.extend(wine.calls.iter().map(|(call, _)| call).filter(|call| lab.result_of(call).is_none()));
    for call in calls {
        let (of_lab, of_wine) = (lab.result_of(call), wine.result_of(call));
        let cut_short =
            (of_lab.is_none() && ended_lab.is_some()) || (of_wine.is_none() && (ended_wine.is_some() || wine.lacks));
        if of_lab != of_wine && !cut_short {
            let said = |result: Option<&str>| result.unwrap_or(NOT_ASKED).to_owned();
            differences.push((call.clone(), said(of_lab), said(of_wine)));
        }
    }
    differences
}

/// What the lab says to a call, or how it ended if the call is a function's name alone.
fn result_in(lab: &Answers, call: &str) -> String {
    let function = call.split('(').next().unwrap_or(call);
    let Some(tried) = lab.0.get(function) else { return NOT_ASKED.to_owned() };
    tried.result_of(call).unwrap_or(NOT_ASKED).to_owned()
}
