//! The stay of an image, where the system calls it: in `DriverEntry` and in the unload function.

use core::cell::UnsafeCell;

use fwps::sys::NTSTATUS;
use wdk_sys::STATUS_SUCCESS;

use crate::stay::{Shell, Stay};

/// A static of the image.
pub struct ImageStay<S>(UnsafeCell<Stay<S>>);

// SAFETY: by the contracts of `enter` and `leave` their uses never overlap.
unsafe impl<S> Sync for ImageStay<S> {}

impl<S: Shell> ImageStay<S> {
    #[expect(clippy::new_without_default, reason = "an image has one, in a static")]
    pub const fn new() -> Self {
        ImageStay(UnsafeCell::new(Stay::new()))
    }

    /// Begins the stay and has the shell `acquire` the rest. Returns what `DriverEntry` returns. IRQL: PASSIVE_LEVEL.
    ///
    /// # Safety
    ///
    /// `DriverEntry` calls this, which the system calls once, and no unload function before it has succeeded ("DRIVER_UNLOAD
    /// callback function").
    pub unsafe fn enter(&self, acquire: impl FnOnce(&mut Stay<S>) -> Result<(), NTSTATUS>) -> NTSTATUS {
        // SAFETY: by the caller's promise nobody else uses the stay.
        let stay = unsafe { &mut *self.0.get() };
        match stay.begin().and_then(|()| acquire(stay)) {
            Ok(()) => STATUS_SUCCESS,
            Err(status) => {
                // The system calls no unload function after a DriverEntry that failed.
                stay.leave();
                status
            }
        }
    }

    /// Leaves. IRQL: PASSIVE_LEVEL.
    ///
    /// # Safety
    ///
    /// The unload function calls this, which the system calls once, after a `DriverEntry` that has succeeded.
    pub unsafe fn leave(&self) {
        // SAFETY: by the caller's promise nobody else uses the stay.
        unsafe { &mut *self.0.get() }.leave();
    }
}
