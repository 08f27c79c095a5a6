//! Spin locks. A held lock contains its owner's thread object, as on checked builds of Windows, so that
//! recursion and a release by another thread are seen.

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::export::{self, Export, exports};
use crate::irql::{self, require_irql, require_irql_at_least};
use crate::nt::{DISPATCH_LEVEL, SPIN_LOCK_ALREADY_OWNED, SPIN_LOCK_NOT_OWNED};
use crate::ptr::Ptr;
use crate::report;
use crate::schedule;
use crate::thread::{self, HeldLock};

pub(crate) const EXPORTS: &[Export] = exports![
    KeInitializeSpinLock,
    KeAcquireSpinLockRaiseToDpc,
    KeReleaseSpinLock,
    KeAcquireSpinLockAtDpcLevel,
    KeReleaseSpinLockFromDpcLevel,
    KeTryToAcquireSpinLockAtDpcLevel,
    KeTestSpinLock,
    KeAcquireSpinLockForDpc,
    KeReleaseSpinLockForDpc,
    KeAcquireInStackQueuedSpinLock,
    KeReleaseInStackQueuedSpinLock,
    KeAcquireInStackQueuedSpinLockAtDpcLevel,
    KeReleaseInStackQueuedSpinLockFromDpcLevel,
    KeAcquireInStackQueuedSpinLockForDpc,
    KeReleaseInStackQueuedSpinLockForDpc,
    ExAcquireSpinLockExclusive,
    ExReleaseSpinLockExclusive,
    ExAcquireSpinLockShared,
    ExReleaseSpinLockShared,
    ExAcquireSpinLockExclusiveAtDpcLevel,
    ExReleaseSpinLockExclusiveFromDpcLevel,
    ExAcquireSpinLockSharedAtDpcLevel,
    ExReleaseSpinLockSharedFromDpcLevel,
    ExTryConvertSharedSpinLockExclusive,
    KeRaiseIrqlToDpcLevel,
    KeGetCurrentIrql,
    KfRaiseIrql,
    KeLowerIrql,
    KfLowerIrql,
    KeRaiseIrql,
];

type SpinLock = AtomicU64;

fn owner() -> u64 {
    thread::page().current_thread.get() | 1
}

fn note_acquired(lock: u64) {
    let page = thread::page();
    page.spin_locks.set(page.spin_locks.get() + 1);
    if let Some(free) = page.held.iter().find(|held| held.get().lock == 0) {
        free.set(HeldLock { lock, caller: page.caller.get() });
    }
}

fn note_released(lock: u64) {
    let page = thread::page();
    page.spin_locks.set(page.spin_locks.get().saturating_sub(1));
    if let Some(held) = page.held.iter().find(|held| held.get().lock == lock) {
        held.set(HeldLock::default());
    }
}

/// Waits as a processor spins, but lets other threads run: there are more of them than processors here.
pub(crate) fn spin(rounds: &mut u32) {
    *rounds += 1;
    if *rounds < 64 && !schedule::is_active() {
        core::hint::spin_loop();
    } else {
        report::leave_if_stopped();
        thread::let_others_run();
    }
}

fn acquire(lock: Ptr<SpinLock>) {
    let (cell, owner) = (lock.as_ref(), owner());
    let mut rounds = 0;
    while let Err(holder) = cell.compare_exchange_weak(0, owner, Ordering::Acquire, Ordering::Relaxed) {
        if holder == owner {
            report::bugcheck(
                SPIN_LOCK_ALREADY_OWNED,
                [lock.address(), 0, 0, 0],
                &format!(
                    "{} on a lock that this thread already holds{}",
                    export::current_name(),
                    report::held_locks(thread::page())
                ),
            );
        }
        spin(&mut rounds);
    }
    note_acquired(lock.address());
}

fn release(lock: Ptr<SpinLock>) {
    let (cell, owner) = (lock.as_ref(), owner());
    if let Err(holder) = cell.compare_exchange(owner, 0, Ordering::Release, Ordering::Relaxed) {
        let state = if holder == 0 { "is not held" } else { "another thread holds" };
        report::bugcheck(
            SPIN_LOCK_NOT_OWNED,
            [lock.address(), 0, 0, 0],
            &format!("{} on a lock that {state}", export::current_name()),
        );
    }
    note_released(lock.address());
}

extern "win64" fn KeInitializeSpinLock(lock: Ptr<u64>) {
    lock.write(0);
}

pub(crate) extern "win64" fn KeAcquireSpinLockRaiseToDpc(lock: Ptr<SpinLock>) -> u8 {
    require_irql(DISPATCH_LEVEL);
    let old = irql::current().min(DISPATCH_LEVEL);
    irql::raise(DISPATCH_LEVEL.max(irql::current()));
    acquire(lock);
    old
}

pub(crate) extern "win64" fn KeReleaseSpinLock(lock: Ptr<SpinLock>, old: u8) {
    require_irql_at_least(DISPATCH_LEVEL);
    release(lock);
    irql::lower(old);
}

extern "win64" fn KeAcquireSpinLockAtDpcLevel(lock: Ptr<SpinLock>) {
    require_irql_at_least(DISPATCH_LEVEL);
    acquire(lock);
}

extern "win64" fn KeReleaseSpinLockFromDpcLevel(lock: Ptr<SpinLock>) {
    require_irql_at_least(DISPATCH_LEVEL);
    release(lock);
}

extern "win64" fn KeTryToAcquireSpinLockAtDpcLevel(lock: Ptr<SpinLock>) -> u8 {
    require_irql_at_least(DISPATCH_LEVEL);
    let taken = lock.as_ref().compare_exchange(0, owner(), Ordering::Acquire, Ordering::Relaxed).is_ok();
    if taken {
        note_acquired(lock.address());
    }
    u8::from(taken)
}

extern "win64" fn KeTestSpinLock(lock: Ptr<SpinLock>) -> u8 {
    u8::from(lock.as_ref().load(Ordering::Relaxed) == 0)
}

extern "win64" fn KeAcquireSpinLockForDpc(lock: Ptr<SpinLock>) -> u8 {
    KeAcquireSpinLockRaiseToDpc(lock)
}

extern "win64" fn KeReleaseSpinLockForDpc(lock: Ptr<SpinLock>, old: u8) {
    KeReleaseSpinLock(lock, old);
}

/// `KLOCK_QUEUE_HANDLE`.
#[repr(C)]
#[derive(Clone, Copy)]
struct QueueHandle {
    Next: u64,
    Lock: Ptr<SpinLock>,
    OldIrql: u8,
}

extern "win64" fn KeAcquireInStackQueuedSpinLock(lock: Ptr<SpinLock>, handle: Ptr<QueueHandle>) {
    let old = KeAcquireSpinLockRaiseToDpc(lock);
    handle.write(QueueHandle { Next: 0, Lock: lock, OldIrql: old });
}

extern "win64" fn KeReleaseInStackQueuedSpinLock(handle: Ptr<QueueHandle>) {
    let held = handle.read();
    KeReleaseSpinLock(held.Lock, held.OldIrql);
}

extern "win64" fn KeAcquireInStackQueuedSpinLockAtDpcLevel(lock: Ptr<SpinLock>, handle: Ptr<QueueHandle>) {
    KeAcquireSpinLockAtDpcLevel(lock);
    handle.write(QueueHandle { Next: 0, Lock: lock, OldIrql: DISPATCH_LEVEL });
}

extern "win64" fn KeReleaseInStackQueuedSpinLockFromDpcLevel(handle: Ptr<QueueHandle>) {
    KeReleaseSpinLockFromDpcLevel(handle.read().Lock);
}

extern "win64" fn KeAcquireInStackQueuedSpinLockForDpc(lock: Ptr<SpinLock>, handle: Ptr<QueueHandle>) {
    KeAcquireInStackQueuedSpinLock(lock, handle);
}

extern "win64" fn KeReleaseInStackQueuedSpinLockForDpc(handle: Ptr<QueueHandle>) {
    KeReleaseInStackQueuedSpinLock(handle);
}

/// `EX_SPIN_LOCK`: the sign bit is the exclusive owner, the rest counts shared owners.
const EXCLUSIVE: i32 = i32::MIN;

fn acquire_exclusive(lock: Ptr<AtomicI32>) {
    let mut rounds = 0;
    while lock.as_ref().compare_exchange_weak(0, EXCLUSIVE, Ordering::Acquire, Ordering::Relaxed).is_err() {
        already_held(lock.address());
        spin(&mut rounds);
    }
    note_acquired(lock.address());
}

/// A thread that waits for a lock that it holds itself waits forever.
fn already_held(lock: u64) {
    let page = thread::page();
    if page.held.iter().any(|held| held.get().lock == lock) {
        report::bugcheck(
            SPIN_LOCK_ALREADY_OWNED,
            [lock, 0, 0, 0],
            &format!("{} on a lock that this thread already holds{}", export::current_name(), report::held_locks(page)),
        );
    }
}

fn not_held(lock: u64) -> ! {
    report::bugcheck(
        SPIN_LOCK_NOT_OWNED,
        [lock, 0, 0, 0],
        &format!("{} on a lock that is not held in that way", export::current_name()),
    )
}

fn release_exclusive(lock: Ptr<AtomicI32>) {
    if lock.as_ref().compare_exchange(EXCLUSIVE, 0, Ordering::Release, Ordering::Relaxed).is_err() {
        not_held(lock.address());
    }
    note_released(lock.address());
}

fn acquire_shared(lock: Ptr<AtomicI32>) {
    let mut rounds = 0;
    loop {
        let now = lock.as_ref().load(Ordering::Relaxed);
        if now >= 0 && lock.as_ref().compare_exchange_weak(now, now + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            break;
        }
        if now < 0 {
            already_held(lock.address());
        }
        spin(&mut rounds);
    }
    note_acquired(lock.address());
}

fn release_shared(lock: Ptr<AtomicI32>) {
    let mut now = lock.as_ref().load(Ordering::Relaxed);
    loop {
        if now <= 0 {
            not_held(lock.address());
        }
        match lock.as_ref().compare_exchange_weak(now, now - 1, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => break,
            Err(changed) => now = changed,
        }
    }
    note_released(lock.address());
}

extern "win64" fn ExAcquireSpinLockExclusive(lock: Ptr<AtomicI32>) -> u8 {
    require_irql(DISPATCH_LEVEL);
    let old = irql::raise(DISPATCH_LEVEL.max(irql::current()));
    acquire_exclusive(lock);
    old
}

extern "win64" fn ExReleaseSpinLockExclusive(lock: Ptr<AtomicI32>, old: u8) {
    require_irql_at_least(DISPATCH_LEVEL);
    release_exclusive(lock);
    irql::lower(old);
}

extern "win64" fn ExAcquireSpinLockShared(lock: Ptr<AtomicI32>) -> u8 {
    require_irql(DISPATCH_LEVEL);
    let old = irql::raise(DISPATCH_LEVEL.max(irql::current()));
    acquire_shared(lock);
    old
}

extern "win64" fn ExReleaseSpinLockShared(lock: Ptr<AtomicI32>, old: u8) {
    require_irql_at_least(DISPATCH_LEVEL);
    release_shared(lock);
    irql::lower(old);
}

extern "win64" fn ExAcquireSpinLockExclusiveAtDpcLevel(lock: Ptr<AtomicI32>) {
    require_irql_at_least(DISPATCH_LEVEL);
    acquire_exclusive(lock);
}

extern "win64" fn ExReleaseSpinLockExclusiveFromDpcLevel(lock: Ptr<AtomicI32>) {
    require_irql_at_least(DISPATCH_LEVEL);
    release_exclusive(lock);
}

extern "win64" fn ExAcquireSpinLockSharedAtDpcLevel(lock: Ptr<AtomicI32>) {
    require_irql_at_least(DISPATCH_LEVEL);
    acquire_shared(lock);
}

extern "win64" fn ExReleaseSpinLockSharedFromDpcLevel(lock: Ptr<AtomicI32>) {
    require_irql_at_least(DISPATCH_LEVEL);
    release_shared(lock);
}

extern "win64" fn ExTryConvertSharedSpinLockExclusive(lock: Ptr<AtomicI32>) -> u32 {
    require_irql_at_least(DISPATCH_LEVEL);
    u32::from(lock.as_ref().compare_exchange(1, EXCLUSIVE, Ordering::Acquire, Ordering::Relaxed).is_ok())
}

extern "win64" fn KeRaiseIrqlToDpcLevel() -> u8 {
    irql::raise(DISPATCH_LEVEL)
}

extern "win64" fn KeGetCurrentIrql() -> u8 {
    irql::current()
}

extern "win64" fn KfRaiseIrql(new: u8) -> u8 {
    irql::raise(new)
}

extern "win64" fn KeRaiseIrql(new: u8, old: Ptr<u8>) {
    old.write(irql::raise(new));
}

extern "win64" fn KeLowerIrql(new: u8) {
    irql::lower(new);
}

extern "win64" fn KfLowerIrql(new: u8) {
    irql::lower(new);
}
