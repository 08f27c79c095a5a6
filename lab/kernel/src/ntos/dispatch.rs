//! Dispatcher objects: events, semaphores, mutexes, and waiting for them.
//!
//! One lock guards all of them, as Windows' dispatcher lock once did. The objects lie in the driver's
//! memory; each function touches them once before it takes the lock, so that a bad pointer faults while
//! nothing is held.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use crate::condition::{Condition, Until};
use crate::export::{self, Export, exports};
use crate::irql::{self, require_irql};
use crate::kernel::lock;
use crate::nt::{APC_LEVEL, DISPATCH_LEVEL, DispatcherHeader, KEvent, KMutant, KSemaphore, ListEntry, NtStatus};
use crate::ptr::{Ptr, field};
use crate::report::{self, Finding, Kind};
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    KeInitializeEvent,
    KeSetEvent,
    KeResetEvent,
    KeClearEvent,
    KePulseEvent,
    KeReadStateEvent,
    KeInitializeSemaphore,
    KeReleaseSemaphore,
    KeReadStateSemaphore,
    KeInitializeMutex,
    KeInitializeMutant,
    KeReleaseMutex,
    KeReleaseMutant,
    KeReadStateMutex,
    KeWaitForSingleObject,
    KeWaitForMutexObject,
    KeWaitForMultipleObjects,
    KeDelayExecutionThread,
    ExAcquireFastMutex,
    ExReleaseFastMutex,
    ExTryToAcquireFastMutex,
    ExAcquireFastMutexUnsafe,
    ExReleaseFastMutexUnsafe,
    KeInitializeGuardedMutex,
    KeAcquireGuardedMutex,
    KeReleaseGuardedMutex,
    KeTryToAcquireGuardedMutex,
    KeAcquireGuardedMutexUnsafe,
    KeReleaseGuardedMutexUnsafe,
    KeEnterCriticalRegion,
    KeLeaveCriticalRegion,
    KeEnterGuardedRegion,
    KeLeaveGuardedRegion,
    FsRtlEnterFileSystem,
    FsRtlExitFileSystem,
    KeAreApcsDisabled,
    KeAreAllApcsDisabled,
    ExInitializeResourceLite,
    ExDeleteResourceLite,
    ExReinitializeResourceLite,
    ExAcquireResourceExclusiveLite,
    ExAcquireResourceSharedLite,
    ExAcquireSharedStarveExclusive,
    ExAcquireSharedWaitForExclusive,
    ExReleaseResourceLite,
    ExReleaseResourceForThreadLite,
    ExConvertExclusiveToSharedLite,
    ExIsResourceAcquiredExclusiveLite,
    ExIsResourceAcquiredSharedLite,
    ExEnterCriticalRegionAndAcquireResourceExclusive,
    ExEnterCriticalRegionAndAcquireResourceShared,
    ExReleaseResourceAndLeaveCriticalRegion,
    ExInitializePushLock,
    ExAcquirePushLockExclusiveEx,
    ExReleasePushLockExclusiveEx,
    ExAcquirePushLockSharedEx,
    ExReleasePushLockSharedEx,
];

const NOTIFICATION_EVENT: u8 = 0;
const SYNCHRONIZATION_EVENT: u8 = 1;
const MUTANT: u8 = 2;
const SEMAPHORE: u8 = 5;
const THREAD: u8 = 6;
const NOTIFICATION_TIMER: u8 = 8;
const SYNCHRONIZATION_TIMER: u8 = 9;

/// The dispatcher lock and the waiters.
///
/// The lock is a note of who holds it, not a mutex held: a fault on an object in the driver's memory leaves
/// the holder without unwinding, and [`Dispatcher::recover`] then takes the note back.
#[derive(Default)]
pub(crate) struct Dispatcher {
    /// The holder's page; 0 when free.
    holder: Mutex<u64>,
    free: Condition,
    changed: Condition,
    waiters: AtomicU32,
    /// Counts what may have ended a wait; changes under `holder`.
    wakings: AtomicU64,
    /// Threads that have waited in vain since the last of them; changes under `holder`.
    idle: AtomicU32,
    /// Threads that drivers have created stay in their waits while no other thread waits.
    paused: AtomicBool,
    /// Other threads that wait.
    others: AtomicU32,
}

/// Holds the dispatcher lock.
pub(crate) struct Held<'a>(&'a Dispatcher);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *lock(&self.0.holder) = 0;
        self.0.free.notify_all();
    }
}

fn me() -> u64 {
    core::ptr::from_ref(thread::page()) as u64
}

impl Dispatcher {
    pub fn lock(&self) -> Held<'_> {
        self.take(lock(&self.holder));
        Held(self)
    }

    fn take<'a>(&'a self, mut holder: MutexGuard<'a, u64>) {
        while *holder != 0 {
            holder = self.free.wait(&self.holder, holder, Until::Notified, "the dispatcher lock");
        }
        *holder = me();
    }

    /// Gives the lock back that a thread held when it faulted.
    pub fn recover(&self) {
        let mut holder = lock(&self.holder);
        if *holder == me() {
            *holder = 0;
            self.free.notify_all();
        }
    }

    /// Wakes the waiters to look again; the caller has changed an object under the lock.
    pub fn signal(&self) {
        if self.waiters.load(Ordering::SeqCst) != 0 {
            self.wake_all();
        }
    }

    pub fn wake_all(&self) {
        let _holder = lock(&self.holder);
        self.wakings.fetch_add(1, Ordering::SeqCst);
        self.idle.store(0, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// See [`crate::Lab::pause_threads`].
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
        self.wake_all();
    }

    fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst) && self.others.load(Ordering::SeqCst) == 0
    }

    /// How many threads wait for something that has not happened.
    pub fn idle(&self) -> u32 {
        self.idle.load(Ordering::SeqCst)
    }

    /// Waits until `ready` yields something, the deadline passes, or the thread has to leave.
    pub fn wait<R>(&self, deadline: Option<Instant>, mut ready: impl FnMut() -> Option<R>) -> Option<R> {
        let mut held = self.lock();
        loop {
            if thread::page().must_leave() {
                drop(held);
                thread::leave_for_good();
            }
            let is_driver_thread = thread::page().is_driver_thread();
            if !(is_driver_thread && self.is_paused())
                && let Some(result) = ready()
            {
                return Some(result);
            }
            let until = match deadline {
                None => Until::Notified,
                Some(deadline) if deadline <= thread::current().clock.now() => return None,
                Some(deadline) => Until::Time(deadline),
            };
            core::mem::forget(held);
            let mut holder = lock(&self.holder);
            *holder = 0;
            self.free.notify_all();
            self.waiters.fetch_add(1, Ordering::SeqCst);
            if !is_driver_thread && self.others.fetch_add(1, Ordering::SeqCst) == 0 {
                self.wakings.fetch_add(1, Ordering::SeqCst);
                self.idle.store(0, Ordering::SeqCst);
                self.changed.notify_all();
            }
            let wakings = self.wakings.load(Ordering::SeqCst);
            self.idle.fetch_add(1, Ordering::SeqCst);
            holder = self.changed.wait(&self.holder, holder, until, "a dispatcher object");
            if !is_driver_thread {
                self.others.fetch_sub(1, Ordering::SeqCst);
            }
            if self.wakings.load(Ordering::SeqCst) == wakings {
                self.idle.fetch_sub(1, Ordering::SeqCst);
            }
            self.waiters.fetch_sub(1, Ordering::SeqCst);
            self.take(holder);
            held = Held(self);
        }
    }
}

pub(crate) fn header(kind: u8, words: u8, signalled: i32, at: Ptr<DispatcherHeader>) -> DispatcherHeader {
    let list = field!(at, WaitListHead);
    DispatcherHeader {
        Type: kind,
        Reserved: 0,
        Size: words,
        Inserted: 0,
        SignalState: signalled,
        WaitListHead: ListEntry { Flink: list, Blink: list },
    }
}

extern "win64" fn KeInitializeEvent(event: Ptr<KEvent>, kind: u32, state: u8) {
    if kind > 1 {
        bad_parameter(&format!("event type {kind}"), "pass NotificationEvent (0) or SynchronizationEvent (1)");
    }
    let at = event.cast::<DispatcherHeader>();
    at.write(header(kind.min(1) as u8, 6, i32::from(state != 0), at));
}

pub(crate) fn bad_parameter(what: &str, remedy: &str) {
    report::violation(Finding {
        kind: Kind::Contract,
        what: format!("{} was called with {what}", export::current_name()),
        remedy: remedy.into(),
    });
}

/// Reads the header and checks that it is of the kind that the function takes.
fn checked(object: Ptr<DispatcherHeader>, kinds: &[u8], name: &str) -> bool {
    if object.is_null() {
        report::bugcheck(0x50, [0, 0, 0, 0], &format!("{} was called with a null {name}", export::current_name()));
    }
    let kind = object.read().Type & 0x7f;
    if kinds.contains(&kind) {
        return true;
    }
    bad_parameter(
        &format!("{:#x}, which is not an initialised {name} (type {kind})", object.address()),
        "initialise the object first, and pass its own address",
    );
    false
}

const EVENTS: &[u8] = &[NOTIFICATION_EVENT, SYNCHRONIZATION_EVENT];

extern "win64" fn KeSetEvent(event: Ptr<KEvent>, _increment: i32, wait: u8) -> i32 {
    require_irql(if wait != 0 { APC_LEVEL } else { DISPATCH_LEVEL });
    let object = event.cast::<DispatcherHeader>();
    if !checked(object, EVENTS, "event") {
        return 0;
    }
    let kernel = thread::current();
    let guard = kernel.dispatcher.lock();
    let state = field!(object, SignalState);
    let old = state.read();
    state.write(1);
    drop(guard);
    kernel.dispatcher.signal();
    old
}

extern "win64" fn KeResetEvent(event: Ptr<KEvent>) -> i32 {
    require_irql(DISPATCH_LEVEL);
    let object = event.cast::<DispatcherHeader>();
    if !checked(object, EVENTS, "event") {
        return 0;
    }
    let kernel = thread::current();
    let _guard = kernel.dispatcher.lock();
    let state = field!(object, SignalState);
    let old = state.read();
    state.write(0);
    old
}

extern "win64" fn KeClearEvent(event: Ptr<KEvent>) {
    KeResetEvent(event);
}

extern "win64" fn KePulseEvent(event: Ptr<KEvent>, increment: i32, wait: u8) -> i32 {
    let old = KeSetEvent(event, increment, wait);
    thread::let_others_run();
    KeResetEvent(event);
    old
}

extern "win64" fn KeReadStateEvent(event: Ptr<KEvent>) -> i32 {
    require_irql(DISPATCH_LEVEL);
    field!(event, Header.SignalState).read()
}

extern "win64" fn KeInitializeSemaphore(semaphore: Ptr<KSemaphore>, count: i32, limit: i32) {
    if limit <= 0 || count < 0 || count > limit {
        bad_parameter(&format!("count {count} and limit {limit}"), "pass 0 <= count <= limit");
    }
    let at = semaphore.cast::<DispatcherHeader>();
    at.write(header(SEMAPHORE, 8, count, at));
    field!(semaphore, Limit).write(limit);
}

extern "win64" fn KeReleaseSemaphore(semaphore: Ptr<KSemaphore>, _increment: i32, adjustment: i32, wait: u8) -> i32 {
    require_irql(if wait != 0 { APC_LEVEL } else { DISPATCH_LEVEL });
    let object = semaphore.cast::<DispatcherHeader>();
    if !checked(object, &[SEMAPHORE], "semaphore") {
        return 0;
    }
    let limit = field!(semaphore, Limit).read();
    let kernel = thread::current();
    let guard = kernel.dispatcher.lock();
    let state = field!(object, SignalState);
    let old = state.read();
    let new = old.checked_add(adjustment).filter(|new| *new <= limit && adjustment > 0);
    if let Some(new) = new {
        state.write(new);
    }
    drop(guard);
    if new.is_none() {
        report::bugcheck(
            crate::nt::KMODE_EXCEPTION_NOT_HANDLED,
            [NtStatus::SEMAPHORE_LIMIT_EXCEEDED.0 as u32 as u64, 0, 0, 0],
            &format!("KeReleaseSemaphore by {adjustment} from {old} passes the limit {limit}"),
        );
    }
    kernel.dispatcher.signal();
    old
}

extern "win64" fn KeReadStateSemaphore(semaphore: Ptr<KSemaphore>) -> i32 {
    field!(semaphore, Header.SignalState).read()
}

extern "win64" fn KeInitializeMutex(mutex: Ptr<KMutant>, _level: u32) {
    KeInitializeMutant(mutex, 0);
    field!(mutex, ApcDisable).write(1);
}

extern "win64" fn KeInitializeMutant(mutex: Ptr<KMutant>, owned: u8) {
    let at = mutex.cast::<DispatcherHeader>();
    mutex.write(KMutant {
        Header: header(MUTANT, 14, i32::from(owned == 0), at),
        MutantListEntry: ListEntry { Flink: Ptr::NULL, Blink: Ptr::NULL },
        OwnerThread: if owned != 0 { thread::current_thread().address() } else { 0 },
        Abandoned: 0,
        ApcDisable: 0,
    });
}

extern "win64" fn KeReleaseMutex(mutex: Ptr<KMutant>, wait: u8) -> i32 {
    require_irql(if wait != 0 { APC_LEVEL } else { DISPATCH_LEVEL });
    let object = mutex.cast::<DispatcherHeader>();
    if !checked(object, &[MUTANT], "mutex") {
        return 0;
    }
    if field!(mutex, OwnerThread).read() != thread::current_thread().address() {
        report::bugcheck(
            crate::nt::KMODE_EXCEPTION_NOT_HANDLED,
            [NtStatus::MUTANT_NOT_OWNED.0 as u32 as u64, 0, 0, 0],
            &format!("{} on a mutex that this thread does not own", export::current_name()),
        );
    }
    let kernel = thread::current();
    let guard = kernel.dispatcher.lock();
    let state = field!(object, SignalState);
    let old = state.read();
    state.write(old + 1);
    if old + 1 == 1 {
        field!(mutex, OwnerThread).write(0);
    }
    drop(guard);
    let page = thread::page();
    if old + 1 == 1 && field!(mutex, ApcDisable).read() != 0 {
        page.critical_regions.set(page.critical_regions.get() - 1);
    }
    kernel.dispatcher.signal();
    old
}

extern "win64" fn KeReleaseMutant(mutex: Ptr<KMutant>, _increment: i32, _abandoned: u8, wait: u8) -> i32 {
    KeReleaseMutex(mutex, wait)
}

extern "win64" fn KeReadStateMutex(mutex: Ptr<KMutant>) -> i32 {
    field!(mutex, Header.SignalState).read()
}

/// Whether a wait for `object` would be satisfied now. Under the dispatcher lock.
fn is_signalled(object: Ptr<DispatcherHeader>) -> bool {
    let head = object.read();
    if head.Type & 0x7f == MUTANT {
        let owner = field!(object.cast::<KMutant>(), OwnerThread).read();
        return head.SignalState > 0 || owner == thread::current_thread().address();
    }
    head.SignalState > 0
}

/// Takes what a satisfied wait takes. Under the dispatcher lock.
fn consume(object: Ptr<DispatcherHeader>) {
    let state = field!(object, SignalState);
    match object.read().Type & 0x7f {
        SYNCHRONIZATION_EVENT | SYNCHRONIZATION_TIMER => state.write(0),
        SEMAPHORE => state.write(state.read() - 1),
        MUTANT => {
            let mutex = object.cast::<KMutant>();
            let old = state.read();
            state.write(old - 1);
            field!(mutex, OwnerThread).write(thread::current_thread().address());
            if old == 1 && field!(mutex, ApcDisable).read() != 0 {
                let page = thread::page();
                page.critical_regions.set(page.critical_regions.get() + 1);
            }
        }
        _ => {}
    }
}

/// A `PLARGE_INTEGER` time-out: negative is relative, in 100 ns; positive is a system time.
pub(crate) fn deadline(timeout: Ptr<i64>) -> Option<Instant> {
    let value = timeout.non_null()?.read();
    Some(crate::ntos::time::instant_of(value))
}

fn check_wait(timeout: Ptr<i64>) {
    let polls = !timeout.is_null() && timeout.read() == 0;
    if !polls && irql::current() >= DISPATCH_LEVEL {
        report::violation(Finding {
            kind: Kind::Irql,
            what: format!(
                "{} would wait at {}; only a wait with a time-out of zero is permitted there",
                export::current_name(),
                irql::name(irql::current())
            ),
            remedy: "wait at PASSIVE_LEVEL or APC_LEVEL, for example in a work item".into(),
        });
    }
}

const WAITABLE: &[u8] =
    &[NOTIFICATION_EVENT, SYNCHRONIZATION_EVENT, MUTANT, SEMAPHORE, THREAD, NOTIFICATION_TIMER, SYNCHRONIZATION_TIMER];

extern "win64" fn KeWaitForSingleObject(
    object: Ptr<DispatcherHeader>,
    _reason: u32,
    _mode: u8,
    _alertable: u8,
    timeout: Ptr<i64>,
) -> NtStatus {
    check_wait(timeout);
    if !checked(object, WAITABLE, "object to wait for") {
        return NtStatus::INVALID_PARAMETER;
    }
    wait_for(object, deadline(timeout))
}

/// Waits for one object, as `KeWaitForSingleObject` does after its checks.
pub(crate) fn wait_for(object: Ptr<DispatcherHeader>, deadline: Option<Instant>) -> NtStatus {
    let waited = thread::current().dispatcher.wait(deadline, || is_signalled(object).then(|| consume(object)));
    if waited.is_some() { NtStatus::SUCCESS } else { NtStatus::TIMEOUT }
}

extern "win64" fn KeWaitForMutexObject(
    object: Ptr<DispatcherHeader>,
    reason: u32,
    mode: u8,
    alertable: u8,
    timeout: Ptr<i64>,
) -> NtStatus {
    KeWaitForSingleObject(object, reason, mode, alertable, timeout)
}

extern "win64" fn KeWaitForMultipleObjects(
    count: u32,
    objects: Ptr<Ptr<DispatcherHeader>>,
    wait_type: u32,
    _reason: u32,
    _mode: u8,
    _alertable: u8,
    timeout: Ptr<i64>,
    wait_blocks: u64,
) -> NtStatus {
    const THREAD_WAIT_OBJECTS: u32 = 3;
    const MAXIMUM_WAIT_OBJECTS: u32 = 64;
    const WAIT_ANY: u32 = 1;
    check_wait(timeout);
    if count == 0 || count > MAXIMUM_WAIT_OBJECTS || (count > THREAD_WAIT_OBJECTS && wait_blocks == 0) {
        report::bugcheck(
            0xC,
            [u64::from(count), 0, 0, 0],
            &format!(
                "KeWaitForMultipleObjects for {count} objects{}",
                if wait_blocks == 0 { " without a wait block array, which more than 3 need" } else { "" }
            ),
        );
    }
    let objects = objects.to_vec(count as usize);
    if !objects.iter().all(|object| checked(*object, WAITABLE, "object to wait for")) {
        return NtStatus::INVALID_PARAMETER;
    }
    let waited = thread::current().dispatcher.wait(deadline(timeout), || {
        if wait_type == WAIT_ANY {
            let index = objects.iter().position(|object| is_signalled(*object))?;
            consume(objects[index]);
            Some(index as i32)
        } else {
            objects.iter().all(|object| is_signalled(*object)).then(|| {
                objects.iter().for_each(|object| consume(*object));
                0
            })
        }
    });
    waited.map_or(NtStatus::TIMEOUT, NtStatus)
}

extern "win64" fn KeDelayExecutionThread(_mode: u8, _alertable: u8, interval: Ptr<i64>) -> NtStatus {
    require_irql(APC_LEVEL);
    let until = deadline(interval);
    thread::current().dispatcher.wait(until, || None::<()>);
    NtStatus::SUCCESS
}

/// `FAST_MUTEX`, which `KGUARDED_MUTEX` shares its layout with. `ExInitializeFastMutex` is inline.
#[repr(C)]
#[derive(Clone, Copy)]
struct FastMutex {
    /// 1 when free.
    Count: i32,
    Owner: u64,
    Contention: u32,
    Event: KEvent,
    OldIrql: u32,
}

const _: () = assert!(size_of::<FastMutex>() == 0x38);

fn acquire_fast(mutex: Ptr<FastMutex>) {
    let owner = field!(mutex, Owner);
    if owner.read() == thread::current_thread().address() {
        report::bugcheck(
            0xC4,
            [mutex.address(), 0, 0, 0],
            &format!("{} on a mutex that this thread already owns: a deadlock", export::current_name()),
        );
    }
    thread::current().dispatcher.wait(None, || {
        (field!(mutex, Count).read() == 1).then(|| {
            field!(mutex, Count).write(0);
            owner.write(thread::current_thread().address());
        })
    });
}

fn release_fast(mutex: Ptr<FastMutex>) {
    let owner = field!(mutex, Owner);
    if owner.read() != thread::current_thread().address() {
        report::bugcheck(
            0xC4,
            [mutex.address(), 0, 0, 0],
            &format!("{} on a mutex that this thread does not own", export::current_name()),
        );
    }
    let kernel = thread::current();
    let guard = kernel.dispatcher.lock();
    owner.write(0);
    field!(mutex, Count).write(1);
    drop(guard);
    kernel.dispatcher.signal();
}

fn try_fast(mutex: Ptr<FastMutex>) -> bool {
    let free = field!(mutex, Count).read();
    let kernel = thread::current();
    let _guard = kernel.dispatcher.lock();
    let taken = free == 1 && field!(mutex, Count).read() == 1;
    if taken {
        field!(mutex, Count).write(0);
        field!(mutex, Owner).write(thread::current_thread().address());
    }
    taken
}

extern "win64" fn ExAcquireFastMutex(mutex: Ptr<FastMutex>) {
    require_irql(APC_LEVEL);
    let old = irql::current();
    acquire_fast(mutex);
    field!(mutex, OldIrql).write(u32::from(old));
    thread::page().irql.set(APC_LEVEL);
}

extern "win64" fn ExReleaseFastMutex(mutex: Ptr<FastMutex>) {
    irql::require_irql_exactly(APC_LEVEL);
    let old = field!(mutex, OldIrql).read() as u8;
    release_fast(mutex);
    irql::lower(old.min(irql::current()));
}

extern "win64" fn ExTryToAcquireFastMutex(mutex: Ptr<FastMutex>) -> u8 {
    require_irql(APC_LEVEL);
    let old = irql::current();
    if !try_fast(mutex) {
        return 0;
    }
    field!(mutex, OldIrql).write(u32::from(old));
    thread::page().irql.set(APC_LEVEL);
    1
}

extern "win64" fn ExAcquireFastMutexUnsafe(mutex: Ptr<FastMutex>) {
    require_irql(APC_LEVEL);
    require_apcs_disabled();
    acquire_fast(mutex);
}

extern "win64" fn ExReleaseFastMutexUnsafe(mutex: Ptr<FastMutex>) {
    require_irql(APC_LEVEL);
    release_fast(mutex);
}

extern "win64" fn KeInitializeGuardedMutex(mutex: Ptr<FastMutex>) {
    let event = field!(mutex, Event).cast::<DispatcherHeader>();
    mutex.write(FastMutex {
        Count: 1,
        Owner: 0,
        Contention: 0,
        Event: KEvent { Header: header(SYNCHRONIZATION_EVENT, 6, 0, event) },
        OldIrql: 0,
    });
}

extern "win64" fn KeAcquireGuardedMutex(mutex: Ptr<FastMutex>) {
    require_irql(APC_LEVEL);
    region(1);
    acquire_fast(mutex);
}

extern "win64" fn KeReleaseGuardedMutex(mutex: Ptr<FastMutex>) {
    require_irql(APC_LEVEL);
    release_fast(mutex);
    region(-1);
}

extern "win64" fn KeTryToAcquireGuardedMutex(mutex: Ptr<FastMutex>) -> u8 {
    require_irql(APC_LEVEL);
    let taken = try_fast(mutex);
    if taken {
        region(1);
    }
    u8::from(taken)
}

extern "win64" fn KeAcquireGuardedMutexUnsafe(mutex: Ptr<FastMutex>) {
    acquire_fast(mutex);
}

extern "win64" fn KeReleaseGuardedMutexUnsafe(mutex: Ptr<FastMutex>) {
    release_fast(mutex);
}

fn region(by: i32) {
    let page = thread::page();
    page.critical_regions.set(page.critical_regions.get() + by);
}

fn require_apcs_disabled() {
    if irql::current() < APC_LEVEL && thread::page().critical_regions.get() <= 0 {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("{} was called with normal kernel APCs enabled", export::current_name()),
            remedy: "call KeEnterCriticalRegion first".into(),
        });
    }
}

extern "win64" fn KeEnterCriticalRegion() {
    require_irql(APC_LEVEL);
    region(1);
}

extern "win64" fn KeLeaveCriticalRegion() {
    require_irql(APC_LEVEL);
    region(-1);
}

extern "win64" fn KeEnterGuardedRegion() {
    require_irql(APC_LEVEL);
    region(1);
}

extern "win64" fn KeLeaveGuardedRegion() {
    require_irql(APC_LEVEL);
    region(-1);
}

extern "win64" fn FsRtlEnterFileSystem() {
    region(1);
}

extern "win64" fn FsRtlExitFileSystem() {
    region(-1);
}

extern "win64" fn KeAreApcsDisabled() -> u8 {
    u8::from(thread::page().critical_regions.get() > 0 || irql::current() >= APC_LEVEL)
}

extern "win64" fn KeAreAllApcsDisabled() -> u8 {
    KeAreApcsDisabled()
}

/// `ERESOURCE`, with the lab's own use of its fields behind the list entry that driver code may look at.
#[repr(C)]
#[derive(Clone, Copy)]
struct Resource {
    SystemResourcesList: ListEntry,
    OwnerTable: u64,
    /// Owners: -1 exclusive, else the number of shared acquisitions.
    ActiveCount: i16,
    Flag: u16,
    SharedWaiters: u64,
    ExclusiveWaiters: u64,
    OwnerThread: u64,
    /// Recursive exclusive acquisitions.
    OwnerCount: u64,
    ActiveEntries: u32,
    ContentionCount: u32,
    Waiters: [u32; 2],
    Reserved2: u64,
    Address: u64,
    SpinLock: u64,
}

const _: () = assert!(size_of::<Resource>() == 0x68);

const INITIALISED: u64 = 0x4e49_5345_5220_5352;

extern "win64" fn ExInitializeResourceLite(resource: Ptr<Resource>) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    resource.write(Resource {
        SystemResourcesList: ListEntry { Flink: Ptr::NULL, Blink: Ptr::NULL },
        OwnerTable: 0,
        ActiveCount: 0,
        Flag: 0,
        SharedWaiters: 0,
        ExclusiveWaiters: 0,
        OwnerThread: 0,
        OwnerCount: 0,
        ActiveEntries: 0,
        ContentionCount: 0,
        Waiters: [0; 2],
        Reserved2: INITIALISED,
        Address: 0,
        SpinLock: 0,
    });
    thread::current().resources.insert(resource.address());
    NtStatus::SUCCESS
}

extern "win64" fn ExReinitializeResourceLite(resource: Ptr<Resource>) -> NtStatus {
    field!(resource, ActiveCount).write(0);
    field!(resource, OwnerThread).write(0);
    field!(resource, OwnerCount).write(0);
    NtStatus::SUCCESS
}

extern "win64" fn ExDeleteResourceLite(resource: Ptr<Resource>) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    if field!(resource, ActiveCount).read() != 0 {
        bad_parameter("a resource that is held", "release it on all threads first");
    }
    field!(resource, Reserved2).write(0);
    thread::current().resources.remove(resource.address());
    NtStatus::SUCCESS
}

/// Acquires, waiting if asked to.
fn acquire_resource(resource: Ptr<Resource>, exclusive: bool, wait: u8) -> u8 {
    require_irql(APC_LEVEL);
    require_apcs_disabled();
    if field!(resource, Reserved2).read() != INITIALISED {
        bad_parameter("a resource that is not initialised", "call ExInitializeResourceLite first");
        return 0;
    }
    let me = thread::current_thread().address();
    let until = if wait != 0 { None } else { Some(thread::current().clock.now()) };
    let taken = thread::current().dispatcher.wait(until, || {
        let mut state = resource.read();
        if state.ActiveCount < 0 && state.OwnerThread == me {
            state.OwnerCount += 1;
        } else if exclusive && state.ActiveCount == 0 {
            state.ActiveCount = -1;
            state.OwnerThread = me;
            state.OwnerCount = 1;
        } else if !exclusive && state.ActiveCount >= 0 {
            state.ActiveCount += 1;
        } else {
            return None;
        }
        resource.write(state);
        Some(())
    });
    u8::from(taken.is_some())
}

fn release_resource(resource: Ptr<Resource>) {
    require_irql(DISPATCH_LEVEL);
    let me = thread::current_thread().address();
    if field!(resource, Reserved2).read() != INITIALISED {
        bad_parameter("a resource that is not initialised", "call ExInitializeResourceLite first");
        return;
    }
    let kernel = thread::current();
    let guard = kernel.dispatcher.lock();
    let mut state = resource.read();
    let right = if state.ActiveCount < 0 {
        state.OwnerCount = state.OwnerCount.saturating_sub(1);
        if state.OwnerCount == 0 {
            state.ActiveCount = 0;
        }
        state.OwnerThread == me
    } else {
        state.ActiveCount -= 1;
        state.ActiveCount >= 0
    };
    if right {
        if state.ActiveCount == 0 {
            state.OwnerThread = 0;
        }
        resource.write(state);
    }
    drop(guard);
    if !right {
        report::bugcheck(
            0xE3,
            [resource.address(), me, 0, 0],
            &format!("RESOURCE_NOT_OWNED: {} on a resource that this thread does not hold", export::current_name()),
        );
    }
    kernel.dispatcher.signal();
}

extern "win64" fn ExAcquireResourceExclusiveLite(resource: Ptr<Resource>, wait: u8) -> u8 {
    acquire_resource(resource, true, wait)
}

extern "win64" fn ExAcquireResourceSharedLite(resource: Ptr<Resource>, wait: u8) -> u8 {
    acquire_resource(resource, false, wait)
}

extern "win64" fn ExAcquireSharedStarveExclusive(resource: Ptr<Resource>, wait: u8) -> u8 {
    acquire_resource(resource, false, wait)
}

extern "win64" fn ExAcquireSharedWaitForExclusive(resource: Ptr<Resource>, wait: u8) -> u8 {
    acquire_resource(resource, false, wait)
}

extern "win64" fn ExReleaseResourceLite(resource: Ptr<Resource>) {
    release_resource(resource);
}

extern "win64" fn ExReleaseResourceForThreadLite(resource: Ptr<Resource>, _thread: u64) {
    release_resource(resource);
}

extern "win64" fn ExConvertExclusiveToSharedLite(resource: Ptr<Resource>) {
    let mut state = resource.read();
    if state.ActiveCount >= 0 {
        bad_parameter("a resource that is not held exclusively", "acquire it exclusively first");
        return;
    }
    let kernel = thread::current();
    let guard = kernel.dispatcher.lock();
    state.ActiveCount = state.OwnerCount as i16;
    state.OwnerThread = 0;
    state.OwnerCount = 0;
    resource.write(state);
    drop(guard);
    kernel.dispatcher.signal();
}

extern "win64" fn ExIsResourceAcquiredExclusiveLite(resource: Ptr<Resource>) -> u8 {
    let state = resource.read();
    u8::from(state.ActiveCount < 0 && state.OwnerThread == thread::current_thread().address())
}

extern "win64" fn ExIsResourceAcquiredSharedLite(resource: Ptr<Resource>) -> u32 {
    let state = resource.read();
    match state.ActiveCount {
        count if count > 0 => count as u32,
        count if count < 0 && state.OwnerThread == thread::current_thread().address() => state.OwnerCount as u32,
        _ => 0,
    }
}

extern "win64" fn ExEnterCriticalRegionAndAcquireResourceExclusive(resource: Ptr<Resource>) -> u64 {
    region(1);
    acquire_resource(resource, true, 1);
    thread::current_thread().address()
}

extern "win64" fn ExEnterCriticalRegionAndAcquireResourceShared(resource: Ptr<Resource>) -> u64 {
    region(1);
    acquire_resource(resource, false, 1);
    thread::current_thread().address()
}

extern "win64" fn ExReleaseResourceAndLeaveCriticalRegion(resource: Ptr<Resource>) {
    release_resource(resource);
    region(-1);
}

/// Resources that are initialised, by address; one that is never deleted leaves a dangling list entry in
/// Windows.
#[derive(Default)]
pub(crate) struct Resources(Mutex<std::collections::HashMap<u64, u64>>);

impl Resources {
    fn insert(&self, resource: u64) {
        let image = crate::image::number_at(thread::page().caller.get()).unwrap_or(0);
        lock(&self.0).insert(resource, image);
    }

    fn remove(&self, resource: u64) {
        if lock(&self.0).remove(&resource).is_none() {
            bad_parameter("a resource that is not initialised", "delete each resource once");
        }
    }

    pub fn take_owned_by(&self, image: u64) -> Vec<u64> {
        let mut resources = lock(&self.0);
        let owned = resources.iter().filter(|(_, owner)| **owner == image).map(|(at, _)| *at).collect();
        resources.retain(|_, owner| *owner != image);
        owned
    }
}

// Push locks: -1 exclusive, else the number of shared owners, in the pointer-sized word.

extern "win64" fn ExInitializePushLock(lock: Ptr<i64>) {
    lock.write(0);
}

fn acquire_push_lock(lock: Ptr<i64>, exclusive: bool) {
    require_irql(APC_LEVEL);
    require_apcs_disabled();
    let _ = lock.read();
    thread::current().dispatcher.wait(None, || {
        let now = lock.read();
        if (exclusive && now != 0) || now < 0 {
            return None;
        }
        lock.write(if exclusive { -1 } else { now + 1 });
        Some(())
    });
}

fn release_push_lock(lock: Ptr<i64>, exclusive: bool) {
    let held = lock.read();
    if (exclusive && held != -1) || (!exclusive && held <= 0) {
        bad_parameter("a push lock that is not held in that way", "release it as it was acquired");
        return;
    }
    let kernel = thread::current();
    let guard = kernel.dispatcher.lock();
    lock.write(if exclusive { 0 } else { lock.read() - 1 });
    drop(guard);
    kernel.dispatcher.signal();
}

extern "win64" fn ExAcquirePushLockExclusiveEx(lock: Ptr<i64>, _flags: u32) {
    acquire_push_lock(lock, true);
}

extern "win64" fn ExReleasePushLockExclusiveEx(lock: Ptr<i64>, _flags: u32) {
    release_push_lock(lock, true);
}

extern "win64" fn ExAcquirePushLockSharedEx(lock: Ptr<i64>, _flags: u32) {
    acquire_push_lock(lock, false);
}

extern "win64" fn ExReleasePushLockSharedEx(lock: Ptr<i64>, _flags: u32) {
    release_push_lock(lock, false);
}
