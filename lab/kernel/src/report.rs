//! What the lab has to say: contract violations, bug checks, and the debugger's log.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::VecDeque;
use std::sync::Mutex;

use crate::call::{self, CallContext, Frame};
use crate::export;
use crate::fault;
use crate::image;
use crate::kernel::lock;
use crate::thread::{self, ThreadPage};

mod finding;

pub use finding::{Finding, Kind, Place};

/// One thing a driver did that its contract forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    /// Service name of the driver at fault, if it is known.
    pub driver: Option<String>,
    /// What happened.
    pub what: String,
    /// Where: the place in the image that made the call, or that faulted.
    pub place: Option<Place>,
    /// What the thread was doing, innermost first.
    pub doing: Vec<String>,
    /// How to mend it.
    pub remedy: String,
    /// How often it happened; what is equal in all else is kept once.
    pub times: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.what)?;
        if let Some(place) = &self.place {
            write!(f, "\n  at {place}")?;
        }
        for doing in &self.doing {
            write!(f, "\n  during {doing}")?;
        }
        if self.times > 1 {
            write!(f, "\n  {} times", self.times)?;
        }
        if !self.remedy.is_empty() {
            write!(f, "\n  to mend: {}", self.remedy)?;
        }
        Ok(())
    }
}

/// A violation is taken for a repetition of one among so many before it.
const REPEATED_WITHIN: usize = 32;
/// The newest so many are kept: a driver that errs on each packet would fill the memory.
const KEPT_VIOLATIONS: usize = 1000;
const KEPT_LOG_LINES: usize = 10_000;

#[derive(Default)]
pub(crate) struct Reports {
    violations: Mutex<Violations>,
    log: Mutex<Log>,
    /// Text of ETW events.
    events: Mutex<Log>,
    /// The lab was given up because a driver hangs.
    hanging: AtomicBool,
}

#[derive(Default)]
struct Violations {
    /// Each with the number of its last occurrence.
    kept: VecDeque<(u64, Violation)>,
    /// How many ever occurred, repetitions among them.
    occurred: u64,
}

#[derive(Default)]
struct Log {
    lines: VecDeque<String>,
    /// Lines ever written; the number of the next one.
    written: u64,
    /// The unfinished line.
    partial: String,
}

impl Reports {
    pub fn add(&self, violation: Violation) {
        let mut violations = lock(&self.violations);
        violations.occurred += 1;
        let number = violations.occurred;
        let again = violations.kept.iter_mut().rev().take(REPEATED_WITHIN).find(|(_, known)| {
            known.kind == violation.kind && known.what == violation.what && known.place == violation.place
        });
        if let Some((last, known)) = again {
            *last = number;
            known.times += 1;
            return;
        }
        if violations.kept.len() == KEPT_VIOLATIONS {
            violations.kept.pop_front();
        }
        violations.kept.push_back((number, violation));
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.since(0)
    }

    /// From now on, each call into an image that does not return is reported with the place that it had come to.
    pub fn hangs(&self) {
        self.hanging.store(true, Ordering::SeqCst);
    }

    /// The newest violation in words; why the lab stopped, if it has.
    pub fn last(&self) -> String {
        lock(&self.violations).kept.back().map(|(_, violation)| violation.what.clone()).unwrap_or_default()
    }

    pub fn occurred(&self) -> u64 {
        lock(&self.violations).occurred
    }

    /// Violations that occurred after the first `number`, for the first time or again.
    pub fn since(&self, number: u64) -> Vec<Violation> {
        let violations = lock(&self.violations);
        violations.kept.iter().filter(|(last, _)| *last > number).map(|(_, violation)| violation.clone()).collect()
    }

    /// Adds text to the debugger log, which is kept by lines.
    pub fn print(&self, text: &str) {
        let mut log = lock(&self.log);
        log.partial.push_str(text);
        while let Some(end) = log.partial.find('\n') {
            let line: String = log.partial.drain(..=end).collect();
            log.push(line.trim_end_matches(['\r', '\n']).to_string());
        }
        if log.partial.len() > 4096 {
            let line = core::mem::take(&mut log.partial);
            log.push(line);
        }
    }

    /// Keeps the text of an ETW event.
    pub fn event(&self, text: &str) {
        lock(&self.events).push(text.to_string());
    }

    pub fn events(&self) -> Vec<String> {
        lock(&self.events).lines.iter().cloned().collect()
    }

    pub fn log(&self) -> Vec<String> {
        let log = lock(&self.log);
        let partial = (!log.partial.is_empty()).then(|| log.partial.clone());
        log.lines.iter().cloned().chain(partial).collect()
    }

    pub fn log_position(&self) -> u64 {
        lock(&self.log).written
    }

    pub fn log_since(&self, position: u64) -> Vec<String> {
        let log = lock(&self.log);
        let first = log.written - log.lines.len() as u64;
        log.lines.iter().skip(position.saturating_sub(first) as usize).cloned().collect()
    }
}

impl Log {
    fn push(&mut self, line: String) {
        if self.lines.len() == KEPT_LOG_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        self.written += 1;
    }
}

/// Where the import now running was called from.
pub fn caller() -> Option<Place> {
    image::place(thread::page().caller.get())
}

/// Records a violation by the driver whose import call is running. The call then goes on, or fails, as
/// Windows would.
#[cold]
pub fn violation(finding: Finding) {
    let page = thread::page();
    add(page, finding, caller());
}

/// Records a violation by a function of an image that has returned.
#[cold]
pub(crate) fn violation_in(context: &CallContext<'_>, finding: Finding) {
    let page = thread::page();
    let mut doing = page.doing();
    doing.insert(0, context.to_string());
    let place = image::place(page.caller.get());
    thread::current().reports.add(Violation {
        kind: finding.kind,
        driver: place.map(|place| place.image),
        what: finding.what,
        place: None,
        doing,
        remedy: finding.remedy,
        times: 1,
    });
}

/// Records a violation of a named driver outside of any call, such as what it left behind.
pub(crate) fn violation_of(driver: &str, finding: Finding) {
    thread::current().reports.add(Violation {
        kind: finding.kind,
        driver: Some(driver.to_string()),
        what: finding.what,
        place: None,
        doing: Vec::new(),
        remedy: finding.remedy,
        times: 1,
    });
}

fn add(page: &ThreadPage, finding: Finding, place: Option<Place>) {
    thread::current().reports.add(Violation {
        kind: finding.kind,
        driver: place.as_ref().map(|place| place.image.clone()),
        what: finding.what,
        place,
        doing: page.doing(),
        remedy: finding.remedy,
        times: 1,
    });
}

/// Stops the lab as `KeBugCheckEx` stops Windows: records why, then leaves the image for good.
///
/// No lock of the lab may be held: nothing between here and the call into the image is unwound.
#[cold]
pub fn bugcheck(code: u32, parameters: [u64; 4], reason: &str) -> ! {
    let page = thread::page();
    let [a, b, c, d] = parameters;
    add(
        page,
        Finding {
            kind: Kind::Bugcheck,
            what: format!(
                "{} ({code:#010x}, parameters {a:#x} {b:#x} {c:#x} {d:#x}): {reason}",
                crate::nt::bugcheck_name(code),
            ),
            remedy: String::new(),
        },
        caller(),
    );
    stop();
    leave(call::LEAVE_STOPPED)
}

/// Marks the lab as stopped and wakes whoever waits in it.
pub(crate) fn stop() {
    let kernel = thread::current();
    kernel.stopped.store(true, Ordering::SeqCst);
    kernel.wake_all();
}

/// Leaves the innermost call into an image without returning through it.
pub(crate) fn leave(why: u64) -> ! {
    let frame = thread::page().innermost();
    assert!(!frame.is_null(), "the lab stopped outside of any call into an image");
    // SAFETY: a frame is linked while its call runs, and `rsp` was stored when that began.
    let rsp = unsafe { (*frame).rsp };
    // SAFETY: that is where the innermost call stands; between it and here are frames of the image and of
    // an import, which holds no lock when it gets here.
    unsafe { call::postern_lab_recover(rsp, why) }
}

/// Leaves the image if the lab has stopped: for imports that wait.
pub(crate) fn leave_if_stopped() {
    if thread::page().stopped() {
        leave(call::LEAVE_STOPPED);
    }
}

/// Reports the fault that ended a call, if a fault did.
#[cold]
pub(crate) fn fault_of(page: &ThreadPage, _frame: &Frame, context: &CallContext<'_>) {
    let Some(fault) = fault::take(page) else { return };
    let mut doing = page.doing();
    doing.insert(0, context.to_string());
    let (finding, place) = fault::describe(&fault, context);
    thread::current().reports.add(Violation {
        kind: finding.kind,
        driver: place.as_ref().map(|place| place.image.clone()),
        what: finding.what,
        place,
        doing,
        remedy: finding.remedy,
        times: 1,
    });
    stop();
}

/// Reports what a call was waiting for that has left a lab that was given up.
#[cold]
pub(crate) fn hang_of(page: &ThreadPage, context: &CallContext<'_>) {
    let reports = &thread::current().reports;
    if !reports.hanging.load(Ordering::SeqCst) {
        return;
    }
    let mut doing = page.doing();
    doing.insert(0, context.to_string());
    let place = caller();
    reports.add(Violation {
        kind: Kind::Hang,
        driver: place.as_ref().map(|place| place.image.clone()),
        what: format!("{} had not returned; it was in {}", context.what, export::current_name()),
        place,
        doing,
        remedy: "end every loop and every wait, whatever a function that is called in it answers".into(),
        times: 1,
    });
}

pub(crate) fn terminated_a_foreign_thread(context: &CallContext<'_>) {
    violation_in(
        context,
        Finding {
            kind: Kind::Contract,
            what: format!("{} called PsTerminateSystemThread on a thread that it does not own", context.what),
            remedy: "only a thread made by PsCreateSystemThread may end itself".into(),
        },
    );
    stop();
}

/// The locks a thread holds, for a report.
pub(crate) fn held_locks(page: &ThreadPage) -> String {
    let mut text = String::new();
    for held in page.held.iter().map(core::cell::Cell::get).filter(|held| held.lock != 0) {
        text.push_str(&format!("; {:#x}", held.lock));
        if let Some(place) = image::place(held.caller) {
            text.push_str(&format!(" acquired at {place}"));
        }
    }
    text
}
