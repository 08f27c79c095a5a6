//! Spin locks, wait locks, and the locks that serialise callbacks.

#![allow(non_snake_case, reason = "functions have the names of wdfsync.h")]

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

use crate::export::{self, Export, exports};
use crate::inject;
use crate::irql::{self, require_irql, require_irql_at_least};
use crate::kmdf::attributes::{self, Attributes, Rules};
use crate::kmdf::client::{self, Globals};
use crate::kmdf::object::{self, Body, Object, Typed};
use crate::kmdf::report::{WDF_INVALID_LOCK_OPERATION, broken, fatal, required};
use crate::kmdf::wdm;
use crate::nt::{APC_LEVEL, DISPATCH_LEVEL, NtStatus, PASSIVE_LEVEL};
use crate::ntos::spin;
use crate::ntos::time::instant_of;
use crate::ptr::Ptr;
use crate::thread;

pub(super) const FUNCTIONS: &[Export] = exports![
    WdfSpinLockCreate,
    WdfSpinLockAcquire,
    WdfSpinLockRelease,
    WdfWaitLockCreate,
    WdfWaitLockAcquire,
    WdfWaitLockRelease,
    WdfObjectAcquireLock,
    WdfObjectReleaseLock,
];

/// `WDFSPINLOCK`: a kernel spin lock, so that its checks apply.
pub(super) struct SpinLock {
    lock: Ptr<AtomicU64>,
    old_irql: AtomicU32,
}

impl SpinLock {
    fn new() -> Self {
        SpinLock { lock: wdm::allocate(8).cast(), old_irql: AtomicU32::new(0) }
    }

    fn acquire(&self) {
        let old = spin::KeAcquireSpinLockRaiseToDpc(self.lock);
        self.old_irql.store(u32::from(old), Ordering::Relaxed);
    }

    fn release(&self) {
        let old = self.old_irql.load(Ordering::Relaxed) as u8;
        spin::KeReleaseSpinLock(self.lock, old);
    }
}

impl Body for SpinLock {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }

    fn destroy(&self) {
        wdm::free(self.lock.cast());
    }
}

impl Typed for SpinLock {
    const TYPE: &'static str = "WDFSPINLOCK";
}

extern "win64" fn WdfSpinLockCreate(globals: Ptr<Globals>, attributes: Ptr<Attributes>, out: Ptr<u64>) -> NtStatus {
    let client = client::of(globals);
    required(out, "SpinLock");
    require_irql(DISPATCH_LEVEL);
    let checked = match attributes::check(attributes, Rules::default()) {
        Ok(checked) => checked,
        Err(status) => return status,
    };
    if let Some(status) = inject::faulted() {
        return status;
    }
    let lock = attributes::create(&client, &checked, &client.default_parent(), SpinLock::new());
    out.write(lock.handle());
    NtStatus::SUCCESS
}

extern "win64" fn WdfSpinLockAcquire(_globals: Ptr<Globals>, lock: u64) {
    object::find::<SpinLock>(lock).acquire();
}

extern "win64" fn WdfSpinLockRelease(_globals: Ptr<Globals>, lock: u64) {
    require_irql_at_least(DISPATCH_LEVEL);
    object::find::<SpinLock>(lock).release();
}

/// `WDFWAITLOCK`: not recursive, held by a thread.
#[derive(Default)]
pub(super) struct WaitLock {
    owner: AtomicU64,
}

impl Body for WaitLock {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }
    fn is_passive(&self) -> bool {
        true
    }
}

impl Typed for WaitLock {
    const TYPE: &'static str = "WDFWAITLOCK";
}

fn current_thread() -> u64 {
    thread::current_thread().address()
}

fn enter_critical_region(by: i32) {
    let regions = &thread::page().critical_regions;
    regions.set(regions.get() + by);
}

extern "win64" fn WdfWaitLockCreate(globals: Ptr<Globals>, attributes: Ptr<Attributes>, out: Ptr<u64>) -> NtStatus {
    let client = client::of(globals);
    required(out, "Lock");
    require_irql(PASSIVE_LEVEL);
    let checked = match attributes::check(attributes, Rules::default()) {
        Ok(checked) => checked,
        Err(status) => return status,
    };
    if let Some(status) = inject::faulted() {
        return status;
    }
    let lock = attributes::create(&client, &checked, &client.default_parent(), WaitLock::default());
    out.write(lock.handle());
    NtStatus::SUCCESS
}

extern "win64" fn WdfWaitLockAcquire(_globals: Ptr<Globals>, lock: u64, timeout: Ptr<i64>) -> NtStatus {
    let lock = object::find::<WaitLock>(lock);
    let timeout = timeout.non_null().map(Ptr::read);
    require_irql(if timeout == Some(0) { DISPATCH_LEVEL } else { APC_LEVEL });
    let me = current_thread();
    if lock.owner.load(Ordering::Relaxed) == me {
        fatal(WDF_INVALID_LOCK_OPERATION, lock.handle(), "WdfWaitLockAcquire on a lock that this thread already holds");
    }
    let deadline = timeout.map(instant_of);
    let taken = wdm::wait_until(deadline, || {
        lock.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok().then_some(())
    });
    if taken.is_none() {
        return NtStatus::TIMEOUT;
    }
    enter_critical_region(1);
    NtStatus::SUCCESS
}

extern "win64" fn WdfWaitLockRelease(_globals: Ptr<Globals>, lock: u64) {
    require_irql(DISPATCH_LEVEL);
    let lock = object::find::<WaitLock>(lock);
    if lock.owner.compare_exchange(current_thread(), 0, Ordering::Release, Ordering::Relaxed).is_err() {
        let reason = "WdfWaitLockRelease on a lock that this thread does not hold";
        fatal(WDF_INVALID_LOCK_OPERATION, lock.handle(), reason);
    }
    enter_critical_region(-1);
    thread::current().kmdf.wake_all();
}

/// The lock that a synchronization scope puts around callbacks; recursive.
pub(super) struct CallbackLock {
    owner: AtomicU64,
    depth: AtomicU32,
    old_irql: AtomicU32,
    /// Taken at `PASSIVE_LEVEL` instead of raising to `DISPATCH_LEVEL`.
    passive: bool,
}

impl CallbackLock {
    pub fn new(passive: bool) -> Arc<Self> {
        let (owner, depth, old_irql) = (AtomicU64::new(0), AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(CallbackLock { owner, depth, old_irql, passive })
    }

    pub fn acquire(&self) {
        let me = current_thread();
        if self.owner.load(Ordering::Relaxed) == me {
            self.depth.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let old = irql::current();
        if !self.passive {
            irql::raise(DISPATCH_LEVEL.max(old));
        }
        wdm::wait_until(None, || {
            self.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok().then_some(())
        });
        self.depth.store(1, Ordering::Relaxed);
        self.old_irql.store(u32::from(old), Ordering::Relaxed);
    }

    pub fn release(&self) {
        if self.owner.load(Ordering::Relaxed) != current_thread() {
            let name = export::current_name();
            fatal(WDF_INVALID_LOCK_OPERATION, 0, &format!("{name} on a lock that this thread does not hold"));
        }
        if self.depth.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        let old = self.old_irql.load(Ordering::Relaxed) as u8;
        self.owner.store(0, Ordering::Release);
        if !self.passive {
            irql::lower(old);
        }
        thread::current().kmdf.wake_all();
    }
}

/// Runs a callback under the lock of its object's scope, if there is one.
pub(super) fn synchronized<R>(object: &Arc<Object>, callback: impl FnOnce() -> R) -> R {
    let Some(lock) = &object.callback_lock else { return callback() };
    lock.acquire();
    let result = callback();
    lock.release();
    result
}

fn callback_lock(handle: u64) -> Option<Arc<CallbackLock>> {
    let object = object::any(handle);
    if object.callback_lock.is_none() {
        let name = export::current_name();
        broken(
            format!("{name} on {}, whose callbacks are not synchronised", object.describe()),
            "set WDF_OBJECT_ATTRIBUTES.SynchronizationScope of the device or queue first",
        );
    }
    object.callback_lock.clone()
}

extern "win64" fn WdfObjectAcquireLock(_globals: Ptr<Globals>, object: u64) {
    if let Some(lock) = callback_lock(object) {
        lock.acquire();
    }
}

extern "win64" fn WdfObjectReleaseLock(_globals: Ptr<Globals>, object: u64) {
    if let Some(lock) = callback_lock(object) {
        lock.release();
    }
}
