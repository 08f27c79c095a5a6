//! The interrupt request level. Wine's kernel keeps none; what is known is the level that this module called an image at.

use crate::export;
use crate::report::{self, Finding, Kind};
use crate::thread;

/// Reports the import now running if the thread is above `max`. Returns whether the level is right.
pub fn require_irql(max: u8) -> bool {
    require("below or at", max, |irql| irql <= max)
}

/// As [`require_irql`], for functions that may only be called at one level.
pub fn require_irql_exactly(level: u8) -> bool {
    require("at", level, |irql| irql == level)
}

fn require(relation: &str, level: u8, is_right: impl Fn(u8) -> bool) -> bool {
    let irql = thread::page().irql.get();
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
