//! What the framework uses of the kernel below it: the I/O manager, pool, work items, timers.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex};

use crate::condition::{Condition, Until};
use crate::kernel::lock;
use crate::nt::{DeviceObject, IoStackLocation, IoStatusBlock, Irp, NtStatus};
use crate::ntos::io::{self, NewDevice};
use crate::ntos::security::Security;
use crate::ptr::{Ptr, field};
use crate::report;
use crate::schedule;
use crate::thread;

pub(super) const IRP_MJ_CREATE: u8 = io::IRP_MJ_CREATE;
pub(super) const IRP_MJ_CLOSE: u8 = io::IRP_MJ_CLOSE;
pub(super) const IRP_MJ_READ: u8 = io::IRP_MJ_READ;
pub(super) const IRP_MJ_WRITE: u8 = io::IRP_MJ_WRITE;
pub(super) const IRP_MJ_DEVICE_CONTROL: u8 = io::IRP_MJ_DEVICE_CONTROL;
pub(super) const IRP_MJ_INTERNAL_DEVICE_CONTROL: u8 = 0x0f;
pub(super) const IRP_MJ_SHUTDOWN: u8 = io::IRP_MJ_SHUTDOWN;
pub(super) const IRP_MJ_CLEANUP: u8 = io::IRP_MJ_CLEANUP;
pub(super) const DO_BUFFERED_IO: u32 = io::DO_BUFFERED_IO;
pub(super) const DO_DIRECT_IO: u32 = io::DO_DIRECT_IO;
pub(super) const DO_DEVICE_INITIALIZING: u32 = io::DO_DEVICE_INITIALIZING;

const SL_PENDING_RETURNED: u8 = 0x01;

/// Zeroed memory of the framework's own that drivers see.
pub(super) fn allocate(size: usize) -> Ptr<u8> {
    thread::current().pool.allocate_system(size.max(1), b"FxDr")
}

pub(super) fn free(memory: Ptr<u8>) {
    thread::current().pool.free_system(memory);
}

/// What a device is created with.
pub(super) struct DeviceParameters<'a> {
    pub name: Option<&'a str>,
    pub device_type: u32,
    pub characteristics: u32,
    pub exclusive: bool,
    pub security: Option<Security>,
}

pub(super) fn create_device(driver: u64, new: DeviceParameters<'_>) -> Result<Ptr<DeviceObject>, NtStatus> {
    let kernel = thread::current();
    let owner = kernel.drivers.by_object(driver).ok_or(NtStatus::INVALID_PARAMETER)?;
    kernel.io.create_device(NewDevice {
        driver: &owner,
        extension: 0,
        name: new.name,
        device_type: new.device_type,
        // "WdfDeviceInitSetCharacteristics": the framework always sets it.
        characteristics: new.characteristics | io::FILE_DEVICE_SECURE_OPEN,
        exclusive: new.exclusive,
        security: new.security,
    })
}

pub(super) fn delete_device(device: Ptr<DeviceObject>) {
    thread::current().io.delete_device(device);
}

pub(super) fn device_name(device: Ptr<DeviceObject>) -> Option<String> {
    thread::current().io.device_name(device.address())
}

pub(super) fn create_link(link: &str, target: &str, image: u64) -> NtStatus {
    thread::current().io.add_link(link, target, image)
}

pub(super) fn delete_link(link: &str) {
    thread::current().io.remove_link(link);
}

/// The current stack location of an IRP.
pub(super) fn location(irp: Ptr<Irp>) -> Ptr<IoStackLocation> {
    field!(irp, CurrentStackLocation).read()
}

/// `IoMarkIrpPending`.
pub(super) fn mark_pending(irp: Ptr<Irp>) {
    let control = field!(location(irp), Control);
    control.write(control.read() | SL_PENDING_RETURNED);
}

pub(super) fn complete(irp: Ptr<Irp>, status: NtStatus, information: u64) {
    field!(irp, IoStatus).write(IoStatusBlock { Status: status, Information: information });
    io::complete(irp);
}

/// `IoSetNextIrpStackLocation`, which undoes `IoSkipCurrentIrpStackLocation`.
pub(super) fn set_next_location(irp: Ptr<Irp>) {
    let current = field!(irp, CurrentLocation);
    current.write(current.read() - 1);
    let at = field!(irp, CurrentStackLocation);
    at.write(at.read().at(usize::MAX));
}

fn cancel_cell<'a>(irp: Ptr<Irp>) -> &'a AtomicU64 {
    field!(irp, CancelRoutine).cast::<AtomicU64>().as_ref()
}

/// `IoSetCancelRoutine`; returns the routine before.
pub(super) fn set_cancel_routine(irp: Ptr<Irp>, routine: u64) -> u64 {
    cancel_cell(irp).swap(routine, Ordering::AcqRel)
}

pub(super) fn is_cancelled(irp: Ptr<Irp>) -> bool {
    field!(irp, Cancel).read() != 0
}

/// Does `body` while no IRP is being cancelled.
pub(super) fn with_cancel_lock<T>(body: impl FnOnce() -> T) -> T {
    let old = io::acquire_cancel_lock();
    let result = body();
    io::IoReleaseCancelSpinLock(old);
    result
}

/// For cancel routines, which are entered with the cancel spin lock held.
pub(super) fn release_cancel_lock(irp: Ptr<Irp>) {
    io::IoReleaseCancelSpinLock(field!(irp, CancelIrql).read());
}

/// Has a routine called with `item` at `PASSIVE_LEVEL` by a worker thread.
pub(super) fn queue_work(item: u64, routine: extern "win64" fn(u64), image: u64) {
    thread::current().workers.queue_internal(item, routine, image);
}

pub(super) fn wait_for_work(item: u64) {
    thread::current().workers.wait_until_idle(item);
}

/// A condition that threads of the lab wait for in slices, so that each sees when the lab stops.
#[derive(Default)]
pub(super) struct Wake {
    generation: Mutex<u64>,
    changed: Condition,
}

impl Wake {
    pub fn all(&self) {
        *lock(&self.generation) += 1;
        self.changed.notify_all();
    }

    /// Waits until `ready` yields something or the time is over.
    pub fn wait<R>(&self, deadline: Option<std::time::Instant>, mut ready: impl FnMut() -> Option<R>) -> Option<R> {
        loop {
            let before = *lock(&self.generation);
            if let Some(result) = ready() {
                return Some(result);
            }
            report::leave_if_stopped();
            let clock = &thread::current().clock;
            // What is waited for may change without a signal.
            let slice = clock.now() + Duration::from_millis(20);
            if deadline.is_some_and(|deadline| deadline <= clock.now()) {
                return None;
            }
            if schedule::pause("the framework", deadline.map_or(Until::Notified, Until::Time)) {
                continue;
            }
            let until = Until::Time(deadline.map_or(slice, |deadline| deadline.min(slice)));
            let generation = lock(&self.generation);
            if *generation == before {
                drop(self.changed.wait(&self.generation, generation, until, "the framework"));
            }
        }
    }
}

/// Waits on the lab's framework condition.
pub(super) fn wait_until<R>(deadline: Option<std::time::Instant>, ready: impl FnMut() -> Option<R>) -> Option<R> {
    let kernel: Arc<crate::kernel::Kernel> = thread::current().share();
    let wake: *const Wake = &raw const kernel.kmdf.wake;
    drop(kernel);
    // SAFETY: this thread's registration holds the kernel until the thread enters another one, which it
    // cannot do while it waits here.
    unsafe { &*wake }.wait(deadline, ready)
}
