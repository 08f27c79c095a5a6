//! Nothing is scheduled here but by Wine.

use crate::condition::Until;

pub(crate) fn is_active() -> bool {
    false
}

pub(crate) fn wait(_what: &'static str, _until: Until, _ready: &dyn Fn(u64) -> bool) {
    unreachable!("waits of a schedule are for threads that are under one");
}

pub(crate) fn pause(_what: &'static str, _until: Until) -> bool {
    false
}

pub(crate) fn begins(_what: &'static str) {}
