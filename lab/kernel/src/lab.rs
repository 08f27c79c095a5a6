//! The lab as its users see it.

use std::sync::Arc;

use crate::inject::Fault;
use crate::kernel::{Config, Kernel};
use crate::report::Violation;
use crate::thread;

/// A kernel that runs driver images: a cheap handle, to be cloned and sent about.
#[derive(Clone)]
pub struct Lab {
    pub(crate) kernel: Arc<Kernel>,
}

impl Lab {
    pub fn start(config: Config) -> Lab {
        Lab { kernel: Kernel::new(config) }
    }

    /// Runs `body` inside the lab, as every call into an image must.
    pub(crate) fn enter<R>(&self, body: impl FnOnce() -> R) -> R {
        thread::enter(&self.kernel, body)
    }

    /// What drivers did wrong so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.kernel.reports.violations()
    }

    /// What drivers printed with `DbgPrint` and its kin, by lines; the last 10,000 are kept.
    pub fn debug_log(&self) -> Vec<String> {
        self.kernel.reports.log()
    }

    /// Makes a kernel function fail.
    pub fn inject_fault(&self, fault: Fault) {
        self.kernel.injections.add(fault);
    }

    /// Takes back every injected fault that has not happened yet.
    pub fn clear_faults(&self) {
        self.kernel.injections.clear();
    }

    /// Whether a bug check has stopped the lab for good.
    pub fn stopped(&self) -> bool {
        self.kernel.stopped()
    }
}
