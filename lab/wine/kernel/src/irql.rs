//! The interrupt request level. Wine's kernel keeps none; what is known is the level that this module called an image at.

use crate::export;
use crate::report::{self, Finding, Kind};
use crate::thread;

/// The IRQL of the current thread, as far as it is known.
pub fn current() -> u8 {
    thread::page().irql.get()
}

/// Raises to `new` and returns the level before.
pub fn raise(new: u8) -> u8 {
    thread::page().irql.replace(new)
}

pub fn lower(new: u8) {
    thread::page().irql.set(new);
}

/// Reports the import now running if the thread is above `max`. Returns whether the level is right.
pub fn require_irql(max: u8) -> bool {
    require("below or at", max, |irql| irql <= max)
}

/// As [`require_irql`], for functions that may only be called at one level.
pub fn require_irql_exactly(level: u8) -> bool {
    require("at", level, |irql| irql == level)
}

/// As [`require_irql`], for functions that need at least a level.
pub fn require_irql_at_least(level: u8) -> bool {
    require("at or above", level, |irql| irql >= level)
}

fn require(relation: &str, level: u8, is_right: impl Fn(u8) -> bool) -> bool {
    let irql = current();
    if is_right(irql) {
        return true;
    }
    report::violation(Finding {
        kind: Kind::Irql,
        what: format!("{} was called at IRQL {irql}; it may be called {relation} {level}", export::current_name()),
        remedy: "do this from a work item".into(),
    });
    false
}
