//! The kernel below the framework: Wine's, in the shape in which the lab's own kernel offers these things.
#![allow(non_snake_case, reason = "functions have the names of wdm.h")]

use std::collections::HashMap;
use std::sync::Mutex;

use crate::condition::{Condition, Until};
use crate::kernel::lock;
use crate::nt::DriverObject;
use crate::ntoskrnl;
use crate::ptr::Ptr;

#[path = "../../../kernel/src/ntos/security.rs"]
pub mod security;

pub mod io {
    //! The I/O manager.

    use std::collections::HashMap;
    use std::sync::Mutex;

    use crate::kernel::lock;
    use crate::nt::{DeviceObject, Irp, NtStatus};
    use crate::ntoskrnl;
    pub use crate::ntoskrnl::NewDevice;
    use crate::ptr::Ptr;

    pub const IRP_MJ_CREATE: u8 = 0x00;
    pub const IRP_MJ_CLOSE: u8 = 0x02;
    pub const IRP_MJ_READ: u8 = 0x03;
    pub const IRP_MJ_WRITE: u8 = 0x04;
    pub const IRP_MJ_DEVICE_CONTROL: u8 = 0x0e;
    pub const IRP_MJ_SHUTDOWN: u8 = 0x10;
    pub const IRP_MJ_CLEANUP: u8 = 0x12;
    pub const DO_BUFFERED_IO: u32 = 0x4;
    pub const DO_DIRECT_IO: u32 = 0x10;
    pub const DO_DEVICE_INITIALIZING: u32 = 0x80;
    pub const FILE_DEVICE_SECURE_OPEN: u32 = 0x100;

    pub fn complete(irp: Ptr<Irp>) {
        ntoskrnl::complete(irp);
    }

    pub fn acquire_cancel_lock() -> u8 {
        ntoskrnl::acquire_cancel_lock()
    }

    pub fn IoReleaseCancelSpinLock(irql: u8) {
        ntoskrnl::release_cancel_lock(irql);
    }

    /// Names of devices that were created through this.
    #[derive(Default)]
    pub struct IoManager(Mutex<HashMap<u64, String>>);

    impl IoManager {
        pub fn create_device(&self, new: NewDevice<'_>) -> Result<Ptr<DeviceObject>, NtStatus> {
            let device = ntoskrnl::create_device(&new)?;
            if let Some(name) = new.name {
                lock(&self.0).insert(device.address(), name.into());
            }
            Ok(device)
        }

        pub fn delete_device(&self, device: Ptr<DeviceObject>) {
            lock(&self.0).remove(&device.address());
            ntoskrnl::delete_device(device);
        }

        pub fn device_name(&self, device: u64) -> Option<String> {
            lock(&self.0).get(&device).cloned()
        }

        pub fn add_link(&self, link: &str, target: &str, _image: u64) -> NtStatus {
            ntoskrnl::create_symbolic_link(link, target)
        }

        pub fn remove_link(&self, link: &str) -> NtStatus {
            ntoskrnl::delete_symbolic_link(link)
        }
    }
}

pub mod spin {
    use core::sync::atomic::AtomicU64;

    use crate::ntoskrnl;
    use crate::ptr::Ptr;

    pub fn KeAcquireSpinLockRaiseToDpc(lock: Ptr<AtomicU64>) -> u8 {
        ntoskrnl::acquire_spin_lock(lock)
    }

    pub fn KeReleaseSpinLock(lock: Ptr<AtomicU64>, irql: u8) {
        ntoskrnl::release_spin_lock(lock, irql);
    }
}

pub mod time {
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    /// When a timeout of the kernel's is over: negative for an interval, else the system's time.
    pub fn instant_of(due: i64) -> Instant {
        /// From 1601 to 1970, in seconds.
        const EPOCHS: u64 = 11_644_473_600;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_secs(EPOCHS);
        let ahead = if due < 0 { due.unsigned_abs() } else { (due as u64).saturating_sub(now.as_nanos() as u64 / 100) };
        Instant::now() + Duration::from_nanos(ahead.min(1 << 55).saturating_mul(100))
    }
}

pub mod memory {
    pub use crate::ntoskrnl::describe;
}

/// The pool, for what the framework keeps for drivers to see.
pub struct Pool;

impl Pool {
    pub fn allocate_system(&self, size: usize, tag: &[u8; 4]) -> Ptr<u8> {
        ntoskrnl::allocate(size, u32::from_le_bytes(*tag))
    }

    pub fn free_system(&self, memory: Ptr<u8>) {
        ntoskrnl::free(memory);
    }
}

/// The drivers: any driver object is known.
pub struct Drivers;

impl Drivers {
    pub fn by_object(&self, object: u64) -> Option<Ptr<DriverObject>> {
        Ptr::from_address(object).non_null()
    }
}

/// Work items of the framework's own, each on a thread that ends with it.
#[derive(Default)]
pub struct Workers {
    /// How often each is queued or running.
    pending: Mutex<HashMap<u64, usize>>,
    returned: Condition,
}

impl Workers {
    pub fn queue_internal(&self, item: u64, routine: extern "win64" fn(u64), _image: u64) {
        *lock(&self.pending).entry(item).or_default() += 1;
        std::thread::spawn(move || {
            routine(item);
            let workers = &crate::thread::current().workers;
            let mut pending = lock(&workers.pending);
            if let Some(count) = pending.get_mut(&item) {
                *count -= 1;
                if *count == 0 {
                    pending.remove(&item);
                }
            }
            drop(pending);
            workers.returned.notify_all();
        });
    }

    pub fn wait_until_idle(&self, item: u64) {
        let mut pending = lock(&self.pending);
        while pending.contains_key(&item) {
            pending = self.returned.wait(&self.pending, pending, Until::Notified, "a work item to return");
        }
    }
}
