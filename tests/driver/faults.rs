//! Each call that can fail, failing once with every status that it may return.

use crate::support::{IMAGE, SERVICE};
use postern_faults::scenario::{Recorded, Subject};
use postern_faults::sweep::{Plan, Tried};
use postern_image::POSTERN_WDM_SYS;

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
    // A step in which nothing happens would be tried in vain.
    for (step, function) in [
        ("an operation is answered", "FwpsInjectTransportSendAsync1"),
        ("operations run out of time", "FwpsInjectTransportReceiveAsync0"),
        ("connections are rejected", "FwpsInjectNetworkSendAsync0"),
        ("BFE is about to start or stop", "FwpmEngineClose0"),
        ("BFE starts", "FwpmFilterAdd0"),
        ("more operations are held", "FwpsPendOperation0"),
    ] {
        let made = |one: &Recorded| one.step == step && one.call.function == function;
        assert!(plan.calls.iter().any(made), "no {function} in the step \"{step}\"");
    }
    let all = std::env::var("POSTERN_FAULTS").is_ok_and(|which| which == "all");
    let cases = if all { plan.cases.clone() } else { plan.sample() };
    let mut failed = Vec::new();
    plan.run_all(&subject, &cases, |Tried { case, problems, .. }| {
        if !problems.is_empty() {
            let model = if IMAGE == POSTERN_WDM_SYS { " --model wdm" } else { "" };
            failed.push(format!("postern lab faults{model} --case {case}\n    {}", problems.join("\n    ")));
        }
    });
    println!("{} calls, {} of {} cases", plan.calls.len(), cases.len(), plan.cases.len());
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}
