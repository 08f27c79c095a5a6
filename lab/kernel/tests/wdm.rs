//! A WDM driver in C, compiled by mingw, that behaves well or misbehaves in one way a service name.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod drivers;

use std::time::Duration;

use drivers::image;

use postern_lab::{Config, Fault, Kind, Lab, LoadError, NtStatus, Occurrences, UnloadError};

const fn ioctl(function: u32, method: u32) -> u32 {
    0x22 << 16 | function << 2 | method
}
const ECHO: u32 = ioctl(0x800, 0);
const PARK: u32 = ioctl(0x801, 0);
const DOUBLE: u32 = ioctl(0x802, 0);
const LATE: u32 = ioctl(0x806, 0);
const DIRECT: u32 = ioctl(0x803, 2);
const MISBEHAVE: u32 = ioctl(0x804, 0);
const WORK: u32 = ioctl(0x805, 0);

fn lab() -> Lab {
    Lab::start(Config::default())
}

fn texts(lab: &Lab) -> Vec<String> {
    lab.violations().iter().map(ToString::to_string).collect()
}

#[test]
fn a_well_behaved_driver_leaves_no_trace() {
    let lab = lab();
    for _ in 0..3 {
        let info = lab.load("well", image()).unwrap();
        assert_eq!(info.service, "well");
        let file = lab.open(r"\\.\LabTest").unwrap();
        assert_eq!(file.device_io_control(ECHO, b"hello", 16).unwrap(), b"hello");
        assert_eq!(file.device_io_control(ECHO, b"hello", 2), Err(NtStatus::BUFFER_TOO_SMALL));
        assert_eq!(file.device_io_control(DIRECT, b"", 4).unwrap(), [0, 1, 2, 3]);
        assert_eq!(file.device_io_control(0xBAD << 2, b"", 0), Err(NtStatus::INVALID_DEVICE_REQUEST));
        assert_eq!(file.device_io_control(WORK, b"", 0).unwrap(), b"");
        drop(file);
        std::thread::sleep(Duration::from_millis(10));
        let report = lab.unload("well").unwrap();
        assert!(report.is_clean(), "{report:#?}");
        assert_eq!(report.log, ["unloaded after some ticks: well"]);
    }
    assert_eq!(texts(&lab), [""; 0]);
    assert_eq!(lab.debug_log()[0], r"loading \Registry\Machine\System\CurrentControlSet\Services\well as well, 100%");
    assert!(lab.drivers().is_empty());
}

#[test]
fn a_parked_request_is_cancelled_and_a_completed_one_may_not_be_completed_again() {
    let lab = lab();
    lab.load("well", image()).unwrap();
    let file = lab.open(r"\\.\LabTest").unwrap();
    let parked = file.begin_device_io_control(PARK, b"", 0).unwrap();
    let parked = parked.wait_for(Duration::from_millis(20)).unwrap_err();
    parked.cancel();
    assert_eq!(parked.wait(), Err(NtStatus::CANCELLED));
    assert_eq!(texts(&lab), [""; 0]);
    file.device_io_control(DOUBLE, b"", 0).unwrap_err();
    assert!(texts(&lab)[0].starts_with("bug check: MULTIPLE_IRP_COMPLETE_REQUESTS"), "{:?}", texts(&lab));
}

#[test]
fn a_completed_request_may_not_be_looked_at_any_more() {
    let lab = lab();
    lab.load("well", image()).unwrap();
    let file = lab.open(r"\\.\LabTest").unwrap();
    file.device_io_control(LATE, b"", 0).unwrap_err();
    assert!(texts(&lab)[0].starts_with("pool: use after free: reading 280 bytes with tag 'Irp '"), "{:?}", texts(&lab));
}

#[test]
fn unloading_waits_for_the_last_handle() {
    let lab = lab();
    lab.load("well", image()).unwrap();
    let file = lab.open(r"\\.\LabTest").unwrap();
    match lab.unload("well") {
        Err(UnloadError::Pending { handles, .. }) => {
            assert_eq!(handles, [r"1 open handle to \Device\LabTest"]);
        }
        other => panic!("{other:?}"),
    }
    assert!(lab.drivers()[0].unload_pending);
    assert_eq!(lab.open(r"\\.\LabTest").unwrap_err(), NtStatus::NO_SUCH_DEVICE);
    drop(file);
    assert!(lab.drivers().is_empty());
    assert!(lab.take_deferred_unload().unwrap().is_clean());
}

#[test]
fn what_cannot_be_loaded_or_unloaded_is_refused_with_the_reason() {
    let lab = lab();
    assert_eq!(lab.unload("nothing"), Err(UnloadError::NotLoaded("nothing".into())));
    lab.load("no-unload", image()).unwrap();
    assert!(matches!(lab.load("no-unload", image()), Err(LoadError::AlreadyLoaded(_))));
    assert!(matches!(lab.unload("no-unload"), Err(UnloadError::NoUnloadRoutine(_))));
    assert!(matches!(lab.load("a\\b", image()), Err(LoadError::Name(_))));
    for length in [0, 1, 63, 64, 300, 512, 1024, 4096] {
        let error = lab.load("cut", &image()[..length.min(image().len())]).unwrap_err();
        assert!(matches!(error, LoadError::Image(_)), "{length}: {error}");
    }
    let cut = &image()[..image().len() / 3];
    let error = lab.load("cut", cut).unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
}

#[test]
fn a_failed_driver_entry_is_released_and_what_it_left_is_named() {
    let lab = lab();
    let Err(LoadError::DriverEntry { status, report }) = lab.load("fail-after-link", image()) else { panic!() };
    assert_eq!(status, NtStatus::INSUFFICIENT_RESOURCES);
    assert_eq!(report.leaks.len(), 2, "{report:#?}");
    assert!(report.leaks[0].contains(r"(\Device\LabTest) was not deleted"), "{report:#?}");
    assert!(report.leaks[1].contains(r"symbolic link \??\labtest was not deleted, created at"), "{report:#?}");
    // Nothing of it stands in the way of the next load.
    lab.load("well", image()).unwrap();
}

#[test]
fn an_injected_fault_fails_the_call_it_names() {
    let lab = lab();
    lab.inject_fault(Fault {
        function: "IoCreateSymbolicLink".into(),
        status: NtStatus::INSUFFICIENT_RESOURCES,
        occurrences: Occurrences::Nth(1),
    });
    let Err(LoadError::DriverEntry { status, report }) = lab.load("well", image()) else { panic!() };
    assert_eq!(status, NtStatus::INSUFFICIENT_RESOURCES);
    assert!(report.is_clean(), "{report:#?}");
    lab.load("well", image()).unwrap();
}

/// Loads the driver under `service`, lets it misbehave in a request, and returns the first violation.
fn misbehave(service: &str) -> (Lab, postern_lab::Violation) {
    let lab = lab();
    lab.load(service, image()).unwrap();
    let file = lab.open(r"\\.\LabTest").unwrap();
    let _ = file.device_io_control(MISBEHAVE, b"", 0);
    drop(file);
    let violation = lab.violations().into_iter().next().unwrap_or_else(|| panic!("{service} was not caught"));
    (lab, violation)
}

#[test]
fn misbehaviour_in_a_request_is_caught_and_named() {
    let cases: &[(&str, Kind, &str, bool)] = &[
        (
            "overrun",
            Kind::Pool,
            "pool overrun: writing 1 byte(s) behind the end of 64 bytes with tag 'Test', allocated at overrun+",
            true,
        ),
        ("use-after-free", Kind::Pool, "use after free: writing 64 bytes with tag 'Test'", true),
        ("double-free", Kind::Bugcheck, "BAD_POOL_CALLER (0x000000c2", true),
        ("wrong-tag", Kind::Bugcheck, "BAD_POOL_CALLER", true),
        ("small-overrun", Kind::Pool, "was written 1 byte(s) behind its end", false),
        (
            "null",
            Kind::Bugcheck,
            "PAGE_FAULT_IN_NONPAGED_AREA (0x00000050): the image faulted writing address 0x8",
            true,
        ),
        ("lock-kept", Kind::SpinLock, "returned with 1 spin lock(s) still held", false),
        ("lock-twice", Kind::Bugcheck, "SPIN_LOCK_ALREADY_OWNED", true),
        ("lock-not-held", Kind::Bugcheck, "SPIN_LOCK_NOT_OWNED", true),
        ("irql-kept", Kind::Irql, "was entered at PASSIVE_LEVEL and returned at DISPATCH_LEVEL", false),
        ("passive-at-dispatch", Kind::Irql, "IoCreateSymbolicLink was called at DISPATCH_LEVEL (2)", false),
        ("wait-at-dispatch", Kind::Irql, "KeWaitForSingleObject would wait at DISPATCH_LEVEL", false),
        ("bugcheck", Kind::Bugcheck, "MANUALLY_INITIATED_CRASH (0x000000e2, parameters 0x1 0x2 0x3 0x4)", true),
        ("fast-fail", Kind::Bugcheck, "KERNEL_SECURITY_CHECK_FAILURE", true),
        ("divide", Kind::Bugcheck, "divided by zero", true),
        ("breakpoint", Kind::Bugcheck, "DbgBreakPoint", true),
        ("int3", Kind::Bugcheck, "executed a breakpoint", true),
        (
            "bad-pointer",
            Kind::Bugcheck,
            "KeSetEvent (called with a bad pointer or state) faulted reading address 0x10",
            true,
        ),
        ("region-kept", Kind::Contract, "returned with 1 critical region(s) not left", false),
        ("free-armed-timer", Kind::Pool, "contains an armed timer", false),
    ];
    for (service, kind, text, stops) in cases {
        let (lab, violation) = misbehave(service);
        assert_eq!(violation.kind, *kind, "{violation}");
        assert!(violation.what.contains(text), "{violation}");
        assert_eq!(violation.driver.as_deref(), Some(*service), "{violation}");
        assert!(
            violation.doing.iter().any(|doing| doing.contains(r"the IRP_MJ_DEVICE_CONTROL routine of \Device\LabTest")),
            "{violation}"
        );
        assert_eq!(lab.stopped(), *stops, "{violation}");
    }
}

#[test]
fn inline_reads_of_processor_state_work() {
    for service in ["cr8", "gs"] {
        let lab = lab();
        lab.load(service, image()).unwrap();
        lab.open(r"\\.\LabTest").unwrap().device_io_control(MISBEHAVE, b"", 0).unwrap();
        assert_eq!(texts(&lab), [""; 0]);
    }
}

#[test]
fn what_a_driver_leaves_behind_is_named() {
    for (service, text) in [
        ("leak-pool", "pool: 1 allocation(s), 100 bytes, tag 'Test', allocated at leak-pool+"),
        ("leave-timer", "is still queued: its routine leave-timer+"),
        ("leave-dpc", "nothing has waited for its last instructions"),
        ("leave-thread", "still runs"),
        ("leave-work", "was not freed"),
        ("leave-lookaside", "lookaside list"),
        ("leave-link", r"symbolic link \??\labtest was not deleted, created at leave-link+"),
        ("leave-device", r"(\Device\LabTest) was not deleted, created at leave-device+"),
        ("leave-handle", "to a thread, taken at leave-handle+"),
    ] {
        let lab = lab();
        lab.load(service, image()).unwrap();
        let report = lab.unload(service).unwrap();
        assert!(report.leaks[0].contains(text), "{service}: {report:#?}");
        assert!(report.violations.iter().all(|violation| violation.driver.as_deref() == Some(service)));
        assert!(!lab.stopped(), "{:?}", texts(&lab));
        lab.load("well", image()).unwrap();
        assert!(lab.unload("well").unwrap().is_clean());
    }
}

#[test]
fn a_leak_that_happens_again_is_a_violation_of_each_unload() {
    let lab = lab();
    for _ in 0..2 {
        let before = lab.violations_occurred();
        lab.load("leak-pool", image()).unwrap();
        let report = lab.unload("leak-pool").unwrap();
        assert_eq!(report.violations.len(), 1, "{report:#?}");
        assert_eq!(lab.violations_since(before), report.violations);
    }
    assert_eq!(lab.violations()[0].times, 2);
}

#[test]
fn a_wait_in_a_dpc_is_reported_with_the_dpc_as_culprit() {
    let lab = lab();
    lab.load("wait-in-dpc", image()).unwrap();
    let mut violations = lab.violations();
    for _ in 0..200 {
        if !violations.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        violations = lab.violations();
    }
    let violation = violations.first().expect("the wait is reported");
    assert_eq!(violation.kind, Kind::Irql);
    assert!(violation.doing[0].starts_with("DeferredRoutine of DPC"), "{violation}");
}

#[test]
fn a_request_that_is_neither_completed_nor_pending_is_reported() {
    let lab = lab();
    lab.load("not-completed", image()).unwrap();
    let file = lab.open(r"\\.\LabTest").unwrap();
    assert_eq!(file.device_io_control(0xBAD << 2, b"", 0), Err(NtStatus::INVALID_DEVICE_REQUEST));
    assert!(lab.violations()[0].what.contains("returned without completing the IRP"));
}

#[test]
fn a_thread_that_runs_on_in_an_unloaded_image_is_a_late_call() {
    let lab = lab();
    lab.load("leave-spinning", image()).unwrap();
    let report = lab.unload("leave-spinning").unwrap();
    assert!(report.leaks[0].contains("still runs"), "{report:#?}");
    let late = || lab.violations().into_iter().find(|violation| violation.kind == Kind::LateCall);
    for _ in 0..200 {
        if late().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let late = late().unwrap_or_else(|| panic!("{:?}", texts(&lab)));
    assert!(late.what.starts_with("StartRoutine of a thread that leave-spinning+"), "{late}");
    assert!(late.what.contains("after it was unloaded"), "{late}");
    assert!(lab.stopped());
}
