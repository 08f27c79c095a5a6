//! Loading and unloading over and over, in a process of its own so that its memory can be watched.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod drivers;

use drivers::image;
use postern_lab::{Config, Lab};

const ECHO: u32 = 0x22 << 16 | 0x800 << 2;

/// Memory of this process in kilobytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_thousand_loads_leave_the_process_as_it_was() {
    let lab = Lab::start(Config::default());
    let round = || {
        lab.load("well", image()).unwrap();
        let file = lab.open(r"\\.\LabTest").unwrap();
        file.device_io_control(ECHO, b"hello", 16).unwrap();
        drop(file);
        let report = lab.unload("well").unwrap();
        assert!(report.is_clean(), "{report:#?}");
    };
    // The quarantine, the special pool and the memory of what was freed fill up first.
    (0..1000).for_each(|_| round());
    let before = resident();
    (0..1000).for_each(|_| round());
    let grown = resident().saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB more than {before} KiB");
}
