//! The interrupt request level: raising, lowering, and what each level permits.

use crate::call::{CallContext, Frame};
use crate::export;
use crate::nt::{DISPATCH_LEVEL, IRQL_NOT_LESS_OR_EQUAL, PASSIVE_LEVEL};
use crate::report::{self, Finding, Kind};
use crate::thread::{self, ThreadPage};

pub(crate) fn name(irql: u8) -> &'static str {
    match irql {
        PASSIVE_LEVEL => "PASSIVE_LEVEL",
        1 => "APC_LEVEL",
        DISPATCH_LEVEL => "DISPATCH_LEVEL",
        15 => "HIGH_LEVEL",
        _ => "a device IRQL",
    }
}

/// The IRQL of the current thread.
#[inline]
pub fn current() -> u8 {
    thread::page().irql.get()
}

/// Reports the import now running if the thread is above `max`. Returns whether the level is right.
#[inline]
pub fn require_irql(max: u8) -> bool {
    let irql = current();
    if irql <= max {
        return true;
    }
    too_high(irql, max)
}

#[cold]
fn too_high(irql: u8, max: u8) -> bool {
    report::violation(Finding {
        kind: Kind::Irql,
        what: format!(
            "{} was called at {} ({irql}); it may be called at {} or below",
            export::current_name(),
            name(irql),
            name(max),
        ),
        remedy: "release the spin lock or lower the IRQL first, or do this from a work item".into(),
    });
    false
}

/// As [`require_irql`], for functions that may only be called at one level.
pub fn require_irql_exactly(level: u8) -> bool {
    let irql = current();
    if irql == level {
        return true;
    }
    report::violation(Finding {
        kind: Kind::Irql,
        what: format!(
            "{} was called at {} ({irql}); it must be called at {}",
            export::current_name(),
            name(irql),
            name(level),
        ),
        remedy: format!("call it at {}", name(level)),
    });
    false
}

/// As [`require_irql`], for functions that need at least a level.
pub fn require_irql_at_least(level: u8) -> bool {
    let irql = current();
    if irql >= level {
        return true;
    }
    report::violation(Finding {
        kind: Kind::Irql,
        what: format!(
            "{} was called at {} ({irql}); it must be called at {} or above",
            export::current_name(),
            name(irql),
            name(level),
        ),
        remedy: format!("raise the IRQL to {} first", name(level)),
    });
    false
}

/// Raises to `new` and returns the level before. Raising to a lower level is a bug check, as on Windows.
pub fn raise(new: u8) -> u8 {
    let page = thread::page();
    let old = page.irql.get();
    if new < old {
        report::bugcheck(
            IRQL_NOT_LESS_OR_EQUAL,
            [u64::from(old), u64::from(new), 0, 0],
            &format!("the IRQL was \"raised\" from {} to {}", name(old), name(new)),
        );
    }
    page.irql.set(new);
    old
}

/// Lowers to `new`. Lowering to a higher level is a bug check, as on Windows.
pub fn lower(new: u8) {
    let page = thread::page();
    let old = page.irql.get();
    if new > old {
        report::bugcheck(
            IRQL_NOT_LESS_OR_EQUAL,
            [u64::from(old), u64::from(new), 0, 0],
            &format!("the IRQL was \"lowered\" from {} to {}", name(old), name(new)),
        );
    }
    if new < DISPATCH_LEVEL && page.spin_locks.get() != 0 {
        report::violation(Finding {
            kind: Kind::SpinLock,
            what: format!(
                "the IRQL was lowered to {} with {} spin lock(s) held{}",
                name(new),
                page.spin_locks.get(),
                report::held_locks(page),
            ),
            remedy: "release every spin lock before lowering the IRQL below DISPATCH_LEVEL".into(),
        });
    }
    page.irql.set(new);
}

/// Reports what a function of an image left behind when it returned, and mends it.
#[cold]
pub(crate) fn unbalanced(page: &ThreadPage, frame: &Frame, context: &CallContext<'_>) {
    if page.spin_locks.get() > frame.spin_locks {
        report::violation_in(
            context,
            Finding {
                kind: Kind::SpinLock,
                what: format!(
                    "{} returned with {} spin lock(s) still held{}",
                    context.what,
                    page.spin_locks.get() - frame.spin_locks,
                    report::held_locks(page),
                ),
                remedy: "release every lock that the function acquired on each of its paths".into(),
            },
        );
    } else if page.spin_locks.get() < frame.spin_locks {
        report::violation_in(
            context,
            Finding {
                kind: Kind::SpinLock,
                what: format!("{} released a spin lock that its caller held", context.what),
                remedy: "release only locks that the same function acquired".into(),
            },
        );
    } else if page.irql.get() != frame.entry_irql {
        report::violation_in(
            context,
            Finding {
                kind: Kind::Irql,
                what: format!(
                    "{} was entered at {} and returned at {}",
                    context.what,
                    name(frame.entry_irql),
                    name(page.irql.get()),
                ),
                remedy: "restore the IRQL before returning".into(),
            },
        );
    }
    if page.critical_regions.get() != frame.critical_regions {
        report::violation_in(
            context,
            Finding {
                kind: Kind::Contract,
                what: format!(
                    "{} returned with {} critical region(s) {}",
                    context.what,
                    (page.critical_regions.get() - frame.critical_regions).abs(),
                    if page.critical_regions.get() > frame.critical_regions {
                        "not left"
                    } else {
                        "left that it had not entered"
                    },
                ),
                remedy: "pair KeEnterCriticalRegion and KeLeaveCriticalRegion".into(),
            },
        );
    }
    page.spin_locks.set(frame.spin_locks);
    page.critical_regions.set(frame.critical_regions);
}

/// Reports what a thread held when it ended itself.
#[cold]
pub(crate) fn check_at_thread_end(page: &ThreadPage, context: &CallContext<'_>) {
    if page.irql.get() != PASSIVE_LEVEL || page.spin_locks.get() != 0 {
        report::violation_in(
            context,
            Finding {
                kind: Kind::Irql,
                what: format!(
                    "a thread ended itself at {} with {} spin lock(s) held",
                    name(page.irql.get()),
                    page.spin_locks.get()
                ),
                remedy: "release every lock and lower the IRQL before PsTerminateSystemThread".into(),
            },
        );
    }
}
