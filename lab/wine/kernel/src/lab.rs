//! The kernel as the lab's users see it: a handle.

use std::sync::Arc;

use crate::kernel::{Kernel, kernel};
use crate::thread;

pub struct Lab {
    pub(crate) kernel: Arc<Kernel>,
}

impl Lab {
    /// The kernel of this process.
    pub fn here() -> Lab {
        Lab { kernel: kernel().clone() }
    }

    pub fn enter<R>(&self, body: impl FnOnce() -> R) -> R {
        thread::enter(&self.kernel, body)
    }
}
