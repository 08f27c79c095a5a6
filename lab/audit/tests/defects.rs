//! Drivers that make one mistake each, and drivers that make none.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

#[path = "../../kernel/tests/drivers/mod.rs"]
#[allow(dead_code, reason = "the drivers of the lab's own tests")]
mod drivers;

use std::sync::OnceLock;

use postern_audit::{Faults, Report, audit};
use postern_faults::scenario::Subject;

fn report(service: &str, image: &[u8], faults: &Faults) -> Report {
    let subject = Subject {
        service: service.into(),
        image: image.into(),
        callouts: Vec::new(),
        parameters: Vec::new(),
        requests: Vec::new(),
    };
    audit(&subject, faults, &mut |_, _| {})
}

/// `callout.c` with one mistake.
fn subject(mistake: &str) -> Subject {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    let image = IMAGE.get_or_init(|| drivers::build("callout.c"));
    Subject {
        service: mistake.into(),
        image: image[..].into(),
        callouts: Vec::new(),
        parameters: Vec::new(),
        requests: Vec::new(),
    }
}

fn mistaken(mistake: &str) -> Report {
    audit(&subject(mistake), &Faults::Sample, &mut |_, _| {})
}

fn found(report: &Report) -> Vec<&str> {
    let mut found: Vec<&str> = report.findings.iter().map(|finding| finding.rule).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn a_correct_driver_has_no_finding() {
    let report = mistaken("correct");
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert_eq!(report.callouts.len(), 3);
    assert_eq!(report.notes, [""; 0]);
}

#[test]
fn each_mistake_is_found_and_named() {
    let mut wrong = Vec::new();
    for (mistake, rules) in [
        ("unregister-discarded", &["unregister-status-ignored"][..]),
        ("gives-up", &["unregister-gives-up"]),
        ("contexts-left", &["flow-contexts-left", "late-call", "memory-left", "unregister-status-ignored"]),
        ("pending-is-done", &["removal-taken-for-done", "unregister-status-ignored"]),
        ("drain-before-gate", &["drain-before-gate", "unregister-status-ignored"]),
        ("gate-not-waited-for", &["drain-before-gate", "unregister-status-ignored"]),
        ("walks-its-list", &["pool"]),
        ("callouts-first", &["callouts-before-filters"]),
        ("handle-first", &["handle-before-callouts"]),
        ("device-first", &["device-before-callouts"]),
        ("partial-start", &["partial-start"]),
        ("event-not-thread", &["thread-not-waited-for"]),
        ("thread-left", &["thread-left"]),
        ("work-freed", &["work-item-freed-while-queued"]),
        ("dpc-not-flushed", &["dpc-not-flushed"]),
        ("timer-left", &["dpc-not-flushed", "timer-left"]),
        ("callback-left", &["callback-left"]),
        ("session-left", &["callouts-before-filters", "objects-left", "session-left"]),
        ("objects-left", &["callouts-before-filters", "objects-left"]),
        ("handle-left", &["handle-left"]),
        ("link-left", &["symbolic-link-left"]),
        ("device-left", &["device-left"]),
        ("memory-left", &["memory-left"]),
        ("null-not-checked", &["failure-not-handled"]),
        ("default-device", &["device-open-to-everybody"]),
        ("open-device", &["device-open-to-everybody"]),
        ("no-unload", &["no-unload-routine"]),
    ] {
        let report = mistaken(mistake);
        if found(&report) != rules {
            wrong.push(format!("{mistake}: {:#?}", report.findings));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_replaced_unload_routine_is_found() {
    let report = report("replaced", &drivers::build("replaced.c"), &Faults::Sample);
    assert_eq!(report.image.model, "KMDF 1.15");
    assert_eq!(found(&report), ["unload-routine-replaced"], "{:#?}", report.findings);
}

#[test]
fn a_driver_is_tried_as_far_as_the_lab_knows_its_imports() {
    let report = report("unknown", &drivers::build("unknown.c"), &Faults::None);
    assert_eq!(report.image.unknown, ["fwpkclnt.sys!FwpmEngineGetOption0"]);
    assert_eq!(found(&report), ["unknown-imports"], "{:#?}", report.findings);
    let seen = &report.findings[0].seen;
    assert!(seen.iter().any(|seen| seen.contains("does not supply at unknown+0x")), "{seen:?}");
}

#[test]
fn the_own_drivers_have_no_finding() {
    for (name, image) in postern_image::IMAGES {
        let report = report(name, image, &Faults::None);
        assert!(report.findings.is_empty(), "{name}: {:#?}", report.findings);
        assert_eq!(report.callouts.len(), 42, "{name}");
    }
}

/// Where a defect is, and what shows it, for somebody who has never seen the driver.
#[test]
fn a_finding_says_where_and_how_to_see_it_again() {
    let report = mistaken("unregister-discarded");
    let finding = &report.findings[0];
    let place = finding.place.as_deref().expect("a place in the image");
    assert!(place.starts_with("unregister-discarded+0x") && place.contains("(Unregister+0x"), "{place}");
    assert!(finding.seen.iter().any(|seen| seen.contains("is still registered")), "{finding:#?}");
    assert!(finding.seen.iter().any(|seen| seen.contains("goes on as if the call had succeeded")), "{finding:#?}");
    let case = finding.case.as_deref().expect("a case").parse().expect("a case as it is written");
    let again = audit(&subject("unregister-discarded"), &Faults::Only(case), &mut |_, _| {});
    assert_eq!(found(&again), ["unregister-status-ignored"]);
    let row = again.calls.iter().find(|row| row.function == "FwpsCalloutUnregisterById0").expect("it is called");
    assert_eq!(row.ignored.iter().copied().collect::<Vec<_>>(), ["STATUS_DEVICE_BUSY"]);
}

#[test]
fn every_rule_is_in_the_documentation() {
    let documentation = include_str!("../../../docs/audit.md");
    for rule in postern_audit::RULES {
        assert!(documentation.contains(&format!("| `{}` |", rule.id)), "{} is not in docs/audit.md", rule.id);
    }
}
