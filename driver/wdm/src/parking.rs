//! Requests that wait, in a cancel-safe queue ("Cancel-Safe IRP Queues"): the system cancels what is in it, and takes nothing from it that
//! is being cancelled.
//!
//! What covers the last instructions of the queue's routines, which the cancel routine calls too: the file object. Whoever cancels an IRP has
//! a reference to it until the cancel routine has returned, or is the thread that the IRP belongs to and that its completion runs in;
//! while it exists the system does not call the unload function.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::{self, offset_of};
use core::ptr;

use postern_filtering::{AnswerParked, WATCHERS, exactly_success, parked, unparked};
use wdk_sys::ntddk::{
    IoCsqInitialize, IoCsqInsertIrp, IoCsqRemoveNextIrp, KeAcquireSpinLockRaiseToDpc, KeReleaseSpinLock,
};
use wdk_sys::{FILE_OBJECT, IO_CSQ, IRP, KIRQL, KSPIN_LOCK, LIST_ENTRY, NTSTATUS, STATUS_CANCELLED, STATUS_PENDING};

use crate::irp::Irp;

struct Queue {
    csq: UnsafeCell<IO_CSQ>,
    lock: UnsafeCell<KSPIN_LOCK>,
    /// Head of the list of IRPs, oldest first.
    irps: UnsafeCell<LIST_ENTRY>,
}

// SAFETY: whoever uses the list holds the lock; lock and queue are the system's, whose functions any processor may call.
unsafe impl Sync for Queue {}

static QUEUE: Queue = Queue {
    // SAFETY: plain data, which `prepare` writes before it is used.
    csq: UnsafeCell::new(unsafe { mem::zeroed() }),
    // `KeInitializeSpinLock` of wdm.h is this store of zero.
    lock: UnsafeCell::new(0),
    irps: UnsafeCell::new(LIST_ENTRY { Flink: ptr::null_mut(), Blink: ptr::null_mut() }),
};

/// Makes the queue usable. IRQL: PASSIVE_LEVEL.
///
/// # Safety
///
/// Nobody uses it yet.
pub unsafe fn prepare() -> Result<(), NTSTATUS> {
    let head = QUEUE.irps.get();
    // SAFETY: by the caller's promise nobody uses the list. It is empty when its head leads to itself.
    unsafe { *head = LIST_ENTRY { Flink: head, Blink: head } };
    // SAFETY: the queue lies in the image's data, which is not paged, and the routines are of the types that they are given as.
    exactly_success(unsafe {
        IoCsqInitialize(
            QUEUE.csq.get(),
            Some(insert),
            Some(remove),
            Some(peek),
            Some(acquire),
            Some(release),
            Some(complete_canceled),
        )
    })
}

/// Keeps an IRP that has its place, and returns what the dispatch routine returns. IRQL: at most DISPATCH_LEVEL.
pub fn keep(irp: Irp) -> NTSTATUS {
    // The function marks it as pending. An IRP that is cancelled already is completed at once.
    // SAFETY: the queue is initialized, and the IRP is ours.
    unsafe { IoCsqInsertIrp(QUEUE.csq.get(), irp.into_raw(), ptr::null_mut()) };
    parked();
    STATUS_PENDING
}

/// Goes once through the requests: see [`postern_filtering::Shell::serve_parked`]. Each is looked at where it is, under the queue's lock, so
/// that none is away when its file is closed. IRQL: at most DISPATCH_LEVEL.
pub fn serve(answer: &mut AnswerParked<'_>) {
    let mut wanted = Wanted::Answered(answer);
    // There is no more room than this. Who finds room meanwhile wakes the worker again.
    for _ in 0..WATCHERS {
        let Some(irp) = take(&mut wanted) else { break };
        unparked();
        irp.complete();
    }
}

/// Cancels the requests of a file. IRQL: at most DISPATCH_LEVEL.
pub fn cancel_of_file(file: *mut FILE_OBJECT) {
    while let Some(mut irp) = take(&mut Wanted::OfFile(file)) {
        unparked();
        irp.conclude(Err(STATUS_CANCELLED));
        irp.complete();
    }
}

/// The IRP that is looked for.
enum Wanted<'a, 'b> {
    OfFile(*mut FILE_OBJECT),
    /// One that there is an answer to; it is concluded with that.
    Answered(&'a mut AnswerParked<'b>),
}

/// Takes the first IRP that is wanted and is not being cancelled.
fn take(wanted: &mut Wanted<'_, '_>) -> Option<Irp> {
    // SAFETY: the queue is initialized, and `peek` expects what it is given here.
    let irp = unsafe { IoCsqRemoveNextIrp(QUEUE.csq.get(), ptr::from_mut(wanted).cast()) };
    // SAFETY: what the function returns is in no queue any more, and ours.
    (!irp.is_null()).then(|| unsafe { Irp::new(irp) })
}

/// An IRP's place in the list.
fn entry(irp: *mut IRP) -> *mut LIST_ENTRY {
    irp.wrapping_byte_add(ENTRY).cast()
}

/// `CONTAINING_RECORD`.
fn of_entry(entry: *mut LIST_ENTRY) -> *mut IRP {
    entry.wrapping_byte_sub(ENTRY).cast()
}

/// A driver that has an IRP may use this member for a list ("IRP structure", wdm.h).
const ENTRY: usize = offset_of!(IRP, Tail.Overlay.__bindgen_anon_2.ListEntry);

/// `CsqInsertIrp`, under the lock. IRQL: DISPATCH_LEVEL.
unsafe extern "C" fn insert(_csq: *mut IO_CSQ, irp: *mut IRP) {
    let (head, entry) = (QUEUE.irps.get(), entry(irp));
    // SAFETY: the lock is held, so the list is ours.
    let last = unsafe { (*head).Blink };
    // SAFETY: the IRP is ours, and in no list.
    unsafe { *entry = LIST_ENTRY { Flink: head, Blink: last } };
    // SAFETY: entries of the list are of IRPs that are there, or its head.
    unsafe { (*last).Flink = entry };
    // SAFETY: the lock is held, so the list is ours.
    unsafe { (*head).Blink = entry };
}

/// `CsqRemoveIrp`, under the lock. IRQL: DISPATCH_LEVEL.
unsafe extern "C" fn remove(_csq: *mut IO_CSQ, irp: *mut IRP) {
    // SAFETY: the lock is held, and the IRP is in the list.
    let LIST_ENTRY { Flink: next, Blink: previous } = unsafe { *entry(irp) };
    // SAFETY: entries of the list are of IRPs that are there, or its head.
    unsafe { (*previous).Flink = next };
    // SAFETY: as above.
    unsafe { (*next).Blink = previous };
}

/// `CsqPeekNextIrp`, under the lock. IRQL: DISPATCH_LEVEL.
unsafe extern "C" fn peek(_csq: *mut IO_CSQ, after: *mut IRP, wanted: *mut c_void) -> *mut IRP {
    // SAFETY: `take` passes this, and waits.
    let wanted = unsafe { &mut *wanted.cast::<Wanted<'_, '_>>() };
    let head = QUEUE.irps.get();
    let mut at = if after.is_null() { head } else { entry(after) };
    loop {
        // SAFETY: the lock is held; entries of the list are of IRPs that are there, or its head.
        at = unsafe { (*at).Flink };
        if at == head {
            return ptr::null_mut();
        }
        // SAFETY: an IRP in the list is ours. If it is being cancelled, that waits for the lock before it goes on.
        let mut irp = unsafe { Irp::new(of_entry(at)) };
        let found = match wanted {
            Wanted::OfFile(file) => irp.file() == *file,
            Wanted::Answered(answer) => irp.answer(&mut **answer),
        };
        if found {
            return irp.into_raw();
        }
    }
}

/// `CsqAcquireLock`. IRQL: at most DISPATCH_LEVEL.
unsafe extern "C" fn acquire(_csq: *mut IO_CSQ, irql: *mut KIRQL) {
    // SAFETY: the lock is initialized, and lies in the image's data, which is not paged.
    let before = unsafe { KeAcquireSpinLockRaiseToDpc(QUEUE.lock.get()) };
    // SAFETY: the system passes a variable of its own.
    unsafe { *irql = before };
}

/// `CsqReleaseLock`. IRQL: DISPATCH_LEVEL.
unsafe extern "C" fn release(_csq: *mut IO_CSQ, irql: KIRQL) {
    // SAFETY: the lock is held, and the IRQL is that of before.
    unsafe { KeReleaseSpinLock(QUEUE.lock.get(), irql) };
}

/// `CsqCompleteCanceledIrp`. IRQL: at most DISPATCH_LEVEL.
unsafe extern "C" fn complete_canceled(_csq: *mut IO_CSQ, irp: *mut IRP) {
    // SAFETY: the system has taken the IRP out of the queue; it is ours.
    let mut irp = unsafe { Irp::new(irp) };
    unparked();
    irp.conclude(Err(STATUS_CANCELLED));
    irp.complete();
}
