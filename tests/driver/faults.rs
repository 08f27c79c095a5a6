//! Each call that can fail, failing once with every status that it may return.

use crate::support::{IMAGE, SERVICE};
use postern_faults::scenario::Subject;
use postern_faults::sweep::{Plan, Tried};

/// All cases are more than a test run should take: `postern lab faults` runs them, and so does this with `POSTERN_FAULTS=all`.
#[test]
fn the_driver_leaves_cleanly_whichever_call_fails_in_whichever_way() {
    let subject = Subject {
        service: SERVICE.into(),
        image: IMAGE.into(),
        callouts: Vec::new(),
        parameters: Vec::new(),
        requests: Vec::new(),
    };
    let plan = Plan::new(&subject).unwrap_or_else(|error| panic!("{error}"));
    assert!(plan.notes.is_empty(), "{:#?}", plan.notes);
    let all = std::env::var("POSTERN_FAULTS").is_ok_and(|which| which == "all");
    let cases = if all { plan.cases.clone() } else { plan.sample() };
    let mut failed = Vec::new();
    plan.run_all(&subject, &cases, |Tried { case, problems, .. }| {
        if !problems.is_empty() {
            failed.push(format!("postern lab faults --case {case}\n    {}", problems.join("\n    ")));
        }
    });
    println!("{} calls, {} of {} cases", plan.calls.len(), cases.len(), plan.cases.len());
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}
