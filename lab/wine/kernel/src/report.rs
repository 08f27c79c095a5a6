//! What the filter engine has to say: to Wine's debugger channel, and to whoever asks.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::image;
use crate::kernel::lock;
use crate::ntoskrnl;
use crate::thread;

#[path = "../../../kernel/src/report/finding.rs"]
mod finding;

pub use finding::{Finding, Kind, Place};

/// What drivers did wrong, and how often each.
static VIOLATIONS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Records a violation by the driver whose import call is running.
#[cold]
pub fn violation(finding: Finding) {
    let place = image::place(thread::page().caller.get());
    add(place.map_or_else(String::new, |place| format!(" at {place}")), finding);
}

/// Records a violation of a named driver outside of any call.
#[cold]
pub fn violation_of(driver: &str, finding: Finding) {
    add(format!(" by {driver}"), finding);
}

fn add(by: String, finding: Finding) {
    let line = format!("{}{by}: {}; to mend: {}", finding.kind, finding.what, finding.remedy);
    ntoskrnl::print(&line);
    *lock(&VIOLATIONS).entry(line).or_default() += 1;
}

pub fn violations() -> Vec<String> {
    lock(&VIOLATIONS).iter().map(|(line, times)| format!("{line} ({times} times)")).collect()
}

/// For imports that wait: here nothing stops.
pub fn leave_if_stopped() {}

/// For whoever would leave an image of a lab that has stopped.
pub fn leave(_why: u64) -> ! {
    unreachable!("nothing stops under Wine")
}

/// Ends the process that stands for the kernel, as a bug check ends Windows.
#[cold]
pub fn bugcheck(code: u32, parameters: [u64; 4], reason: &str) -> ! {
    ntoskrnl::print(&format!("bug check {code:#x} {parameters:x?}: {reason}"));
    std::process::abort()
}
