/* Events, semaphores, mutexes, timers, DPCs, waits, spin locks and IRQL. */
#include "opinion.h"

static NTSTATUS Wait(PVOID object, PLARGE_INTEGER timeout)
{
    return KeWaitForSingleObject(object, Executive, KernelMode, FALSE, timeout);
}

TEST(KeInitializeEvent)
{
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, TRUE);
    SAY("(NotificationEvent, TRUE) -> type %u, state %d", event.Header.Type, event.Header.SignalState);
    KeInitializeEvent(&event, SynchronizationEvent, FALSE);
    SAY("(SynchronizationEvent, FALSE) -> type %u, state %d", event.Header.Type, event.Header.SignalState);
}

TEST(KeSetEvent)
{
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    LONG first = KeSetEvent(&event, 0, FALSE), second = KeSetEvent(&event, 0, FALSE);
    SAY("() -> %d, again %d", first, second);
    SAY("(), then two waits -> %x %x", Wait(&event, &Now), Wait(&event, &Now));
    KeInitializeEvent(&event, SynchronizationEvent, FALSE);
    KeSetEvent(&event, 0, FALSE);
    SAY("() of a synchronization event, then two waits -> %x %x", Wait(&event, &Now), Wait(&event, &Now));
}

TEST(KeResetEvent)
{
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, TRUE);
    LONG first = KeResetEvent(&event), second = KeResetEvent(&event);
    SAY("() -> %d, again %d; a wait: %x", first, second, Wait(&event, &Now));
}

TEST(KeClearEvent)
{
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, TRUE);
    KeClearEvent(&event);
    SAY("() -> a wait: %x", Wait(&event, &Now));
}

KERNEL(LONG, k_KePulseEvent, "KePulseEvent", PKEVENT, KPRIORITY, BOOLEAN);
TEST(KePulseEvent)
{
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    LONG old = k_KePulseEvent(&event, 0, FALSE);
    SAY("() -> %d; a wait: %x", old, Wait(&event, &Now));
}

TEST(KeReadStateEvent)
{
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, TRUE);
    LONG set = KeReadStateEvent(&event);
    KeClearEvent(&event);
    SAY("(set; clear) -> %d %d", set, KeReadStateEvent(&event));
}

TEST(KeInitializeSemaphore)
{
    KSEMAPHORE semaphore;
    KeInitializeSemaphore(&semaphore, 1, 3);
    SAY("(1, 3) -> type %u, state %d, limit %d", semaphore.Header.Type, semaphore.Header.SignalState, semaphore.Limit);
    SAY("(1, 3), then two waits -> %x %x", Wait(&semaphore, &Now), Wait(&semaphore, &Now));
}

TEST(KeReleaseSemaphore)
{
    KSEMAPHORE semaphore;
    KeInitializeSemaphore(&semaphore, 0, 3);
    LONG first = KeReleaseSemaphore(&semaphore, 0, 2, FALSE), second = KeReleaseSemaphore(&semaphore, 0, 1, FALSE);
    SAY("(2), then (1) -> %d %d", first, second);
    SAY("(2), then (1), then four waits -> %x %x %x %x", Wait(&semaphore, &Now), Wait(&semaphore, &Now), Wait(&semaphore, &Now), Wait(&semaphore, &Now));
}

TEST(KeReadStateSemaphore)
{
    KSEMAPHORE semaphore;
    KeInitializeSemaphore(&semaphore, 2, 3);
    SAY("() -> %d", KeReadStateSemaphore(&semaphore));
}

TEST(KeInitializeMutex)
{
    KMUTEX mutex;
    KeInitializeMutex(&mutex, 0);
    SAY("(0) -> type %u, state %d", mutex.Header.Type, mutex.Header.SignalState);
}

KERNEL(VOID, k_KeInitializeMutant, "KeInitializeMutant", PRKMUTANT, BOOLEAN);
KERNEL(LONG, k_KeReleaseMutant, "KeReleaseMutant", PRKMUTANT, KPRIORITY, BOOLEAN, BOOLEAN);
TEST(KeInitializeMutant)
{
    KMUTANT mutant;
    k_KeInitializeMutant(&mutant, FALSE);
    SAY("(FALSE) -> type %u, state %d", mutant.Header.Type, mutant.Header.SignalState);
    k_KeInitializeMutant(&mutant, TRUE);
    SAY("(TRUE) -> state %d", mutant.Header.SignalState);
    k_KeReleaseMutant(&mutant, 0, FALSE, FALSE);
}

TEST(KeReleaseMutex)
{
    KMUTEX mutex;
    KeInitializeMutex(&mutex, 0);
    NTSTATUS first = Wait(&mutex, &Now), again = Wait(&mutex, &Now);
    LONG inner = KeReleaseMutex(&mutex, FALSE), outer = KeReleaseMutex(&mutex, FALSE);
    SAY("() after two waits of one thread (%x %x) -> %d %d, then state %d", first, again, inner, outer, mutex.Header.SignalState);
}

TEST(KeReleaseMutant)
{
    KMUTANT mutant;
    k_KeInitializeMutant(&mutant, TRUE);
    LONG old = k_KeReleaseMutant(&mutant, 0, FALSE, FALSE);
    SAY("() of an owned one -> %d", old);
}

TEST(KeReadStateMutex)
{
    KMUTEX mutex;
    KeInitializeMutex(&mutex, 0);
    LONG free = KeReadStateMutex(&mutex);
    Wait(&mutex, &Now);
    LONG held = KeReadStateMutex(&mutex);
    KeReleaseMutex(&mutex, FALSE);
    SAY("(free; held) -> %d %d", free, held);
}

TEST(KeWaitForSingleObject)
{
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    SAY("(not signalled, a moment) -> %x", Wait(&event, &Moment));
    LARGE_INTEGER past = {.QuadPart = 1};
    SAY("(not signalled, a time long ago) -> %x", Wait(&event, &past));
    KeSetEvent(&event, 0, FALSE);
    SAY("(signalled, no time-out) -> %x", Wait(&event, NULL));
}

KERNEL(NTSTATUS, k_KeWaitForMutexObject, "KeWaitForMutexObject", PVOID, KWAIT_REASON, KPROCESSOR_MODE, BOOLEAN, PLARGE_INTEGER);
TEST(KeWaitForMutexObject)
{
    KMUTEX mutex;
    KeInitializeMutex(&mutex, 0);
    NTSTATUS status = k_KeWaitForMutexObject(&mutex, Executive, KernelMode, FALSE, &Now);
    SAY("(free) -> %x, then state %d", status, KeReadStateMutex(&mutex));
    KeReleaseMutex(&mutex, FALSE);
}

TEST(KeWaitForMultipleObjects)
{
    KEVENT a, b;
    PVOID objects[] = {&a, &b};
    KeInitializeEvent(&a, NotificationEvent, FALSE);
    KeInitializeEvent(&b, SynchronizationEvent, TRUE);
    SAY("(any of two, the second is set) -> %x", KeWaitForMultipleObjects(2, objects, WaitAny, Executive, KernelMode, FALSE, &Now, NULL));
    SAY("(any of two, none is set) -> %x", KeWaitForMultipleObjects(2, objects, WaitAny, Executive, KernelMode, FALSE, &Moment, NULL));
    KeSetEvent(&b, 0, FALSE);
    SAY("(all of two, the second is set) -> %x", KeWaitForMultipleObjects(2, objects, WaitAll, Executive, KernelMode, FALSE, &Moment, NULL));
    SAY("(all of two, the second is set), then its state -> %d", KeReadStateEvent(&b));
    KeSetEvent(&a, 0, FALSE);
    SAY("(all of two, both are set) -> %x", KeWaitForMultipleObjects(2, objects, WaitAll, Executive, KernelMode, FALSE, &Now, NULL));
    SAY("(all of two, both are set), then their states -> %d %d", KeReadStateEvent(&a), KeReadStateEvent(&b));
}

static ULONG64 Milliseconds(void)
{
    LARGE_INTEGER frequency, now = KeQueryPerformanceCounter(&frequency);
    return now.QuadPart * 1000 / frequency.QuadPart;
}

TEST(KeDelayExecutionThread)
{
    LARGE_INTEGER time = {.QuadPart = -300000};
    ULONG64 before = Milliseconds();
    NTSTATUS status = KeDelayExecutionThread(KernelMode, FALSE, &time);
    ULONG64 taken = Milliseconds() - before;
    SAY("(30 ms) -> %x; it took that long: %b", status, taken >= 28 && taken < 5000);
}

KERNEL(VOID, k_ExAcquireFastMutex, "ExAcquireFastMutex", PFAST_MUTEX);
KERNEL(VOID, k_ExReleaseFastMutex, "ExReleaseFastMutex", PFAST_MUTEX);
KERNEL(BOOLEAN, k_ExTryToAcquireFastMutex, "ExTryToAcquireFastMutex", PFAST_MUTEX);
TEST(ExAcquireFastMutex)
{
    FAST_MUTEX mutex;
    ExInitializeFastMutex(&mutex);
    k_ExAcquireFastMutex(&mutex);
    LONG count = mutex.Count;
    BOOLEAN mine = mutex.Owner == (PVOID)k_thread();
    k_ExReleaseFastMutex(&mutex);
    SAY("() -> count %d, mine: %b; after the release: %d", count, mine, mutex.Count);
}

TEST(ExReleaseFastMutex)
{
    FAST_MUTEX mutex;
    ExInitializeFastMutex(&mutex);
    k_ExAcquireFastMutex(&mutex);
    k_ExReleaseFastMutex(&mutex);
    SAY("() -> owner %p", mutex.Owner);
}

TEST(ExTryToAcquireFastMutex)
{
    FAST_MUTEX mutex;
    ExInitializeFastMutex(&mutex);
    BOOLEAN first = k_ExTryToAcquireFastMutex(&mutex), second = k_ExTryToAcquireFastMutex(&mutex);
    k_ExReleaseFastMutex(&mutex);
    SAY("(free; held) -> %b %b", first, second);
}

KERNEL(VOID, k_ExAcquireFastMutexUnsafe, "ExAcquireFastMutexUnsafe", PFAST_MUTEX);
KERNEL(VOID, k_ExReleaseFastMutexUnsafe, "ExReleaseFastMutexUnsafe", PFAST_MUTEX);
TEST(ExAcquireFastMutexUnsafe)
{
    FAST_MUTEX mutex;
    ExInitializeFastMutex(&mutex);
    KeEnterCriticalRegion();
    k_ExAcquireFastMutexUnsafe(&mutex);
    LONG count = mutex.Count;
    k_ExReleaseFastMutexUnsafe(&mutex);
    KeLeaveCriticalRegion();
    SAY("() -> count %d; after the release: %d", count, mutex.Count);
}

TEST(ExReleaseFastMutexUnsafe)
{
    FAST_MUTEX mutex;
    ExInitializeFastMutex(&mutex);
    KeEnterCriticalRegion();
    k_ExAcquireFastMutexUnsafe(&mutex);
    k_ExReleaseFastMutexUnsafe(&mutex);
    KeLeaveCriticalRegion();
    SAY("() -> owner %p", mutex.Owner);
}

#undef KeInitializeGuardedMutex
#undef KeAcquireGuardedMutex
#undef KeReleaseGuardedMutex
#undef KeTryToAcquireGuardedMutex
#undef KeAcquireGuardedMutexUnsafe
#undef KeReleaseGuardedMutexUnsafe
KERNEL(VOID, g_init, "KeInitializeGuardedMutex", PVOID);
KERNEL(VOID, g_acquire, "KeAcquireGuardedMutex", PVOID);
KERNEL(VOID, g_release, "KeReleaseGuardedMutex", PVOID);
KERNEL(BOOLEAN, g_try, "KeTryToAcquireGuardedMutex", PVOID);
KERNEL(VOID, g_acquire_unsafe, "KeAcquireGuardedMutexUnsafe", PVOID);
KERNEL(VOID, g_release_unsafe, "KeReleaseGuardedMutexUnsafe", PVOID);
static ULONG64 Guarded[16];
TEST(KeInitializeGuardedMutex) { g_init(Guarded); BOOLEAN taken = g_try(Guarded); g_release(Guarded); SAY("() -> can be taken: %b", taken); }
TEST(KeAcquireGuardedMutex) { g_init(Guarded); g_acquire(Guarded); BOOLEAN disabled = KeAreAllApcsDisabled(); g_release(Guarded); SAY("() -> APCs are disabled: %b", disabled); }
TEST(KeReleaseGuardedMutex) { g_init(Guarded); g_acquire(Guarded); g_release(Guarded); SAY("() -> APCs are disabled: %b", KeAreAllApcsDisabled()); }
TEST(KeTryToAcquireGuardedMutex) { g_init(Guarded); BOOLEAN first = g_try(Guarded), second = g_try(Guarded); g_release(Guarded); SAY("(free; held) -> %b %b", first, second); }
TEST(KeAcquireGuardedMutexUnsafe) { g_init(Guarded); KeEnterGuardedRegion(); g_acquire_unsafe(Guarded); g_release_unsafe(Guarded); KeLeaveGuardedRegion(); SAY("() -> returns"); }
TEST(KeReleaseGuardedMutexUnsafe) { g_init(Guarded); KeEnterGuardedRegion(); g_acquire_unsafe(Guarded); g_release_unsafe(Guarded); BOOLEAN taken = g_try(Guarded); g_release(Guarded); KeLeaveGuardedRegion(); SAY("() -> can be taken: %b", taken); }

KERNEL(BOOLEAN, k_KeAreApcsDisabled, "KeAreApcsDisabled", void);
KERNEL(BOOLEAN, k_KeAreAllApcsDisabled, "KeAreAllApcsDisabled", void);
KERNEL(VOID, k_KeEnterCriticalRegion, "KeEnterCriticalRegion", void);
KERNEL(VOID, k_KeLeaveCriticalRegion, "KeLeaveCriticalRegion", void);
KERNEL(VOID, k_KeEnterGuardedRegion, "KeEnterGuardedRegion", void);
KERNEL(VOID, k_KeLeaveGuardedRegion, "KeLeaveGuardedRegion", void);
TEST(KeEnterCriticalRegion) { k_KeEnterCriticalRegion(); BOOLEAN disabled = k_KeAreApcsDisabled(); k_KeLeaveCriticalRegion(); SAY("() -> normal APCs are disabled: %b", disabled); }
TEST(KeLeaveCriticalRegion)
{
    k_KeEnterCriticalRegion();
    k_KeEnterCriticalRegion();
    k_KeLeaveCriticalRegion();
    BOOLEAN inner = k_KeAreApcsDisabled();
    k_KeLeaveCriticalRegion();
    SAY("() once of two; twice -> normal APCs are disabled: %b, %b", inner, k_KeAreApcsDisabled());
}
TEST(KeEnterGuardedRegion) { k_KeEnterGuardedRegion(); BOOLEAN disabled = k_KeAreAllApcsDisabled(); k_KeLeaveGuardedRegion(); SAY("() -> all APCs are disabled: %b", disabled); }
TEST(KeLeaveGuardedRegion) { k_KeEnterGuardedRegion(); k_KeLeaveGuardedRegion(); SAY("() -> all APCs are disabled: %b", k_KeAreAllApcsDisabled()); }
TEST(KeAreApcsDisabled) { SAY("() -> %b", k_KeAreApcsDisabled()); }
TEST(KeAreAllApcsDisabled)
{
    BOOLEAN outside = k_KeAreAllApcsDisabled();
    k_KeEnterCriticalRegion();
    BOOLEAN critical = k_KeAreAllApcsDisabled();
    k_KeLeaveCriticalRegion();
    SAY("() outside; in a critical region -> %b, %b", outside, critical);
}
KERNEL(VOID, k_FsRtlEnterFileSystem, "FsRtlEnterFileSystem", void);
KERNEL(VOID, k_FsRtlExitFileSystem, "FsRtlExitFileSystem", void);
TEST(FsRtlEnterFileSystem) { k_FsRtlEnterFileSystem(); BOOLEAN disabled = k_KeAreApcsDisabled(); k_FsRtlExitFileSystem(); SAY("() -> normal APCs are disabled: %b", disabled); }
TEST(FsRtlExitFileSystem) { k_FsRtlEnterFileSystem(); k_FsRtlExitFileSystem(); SAY("() -> normal APCs are disabled: %b", k_KeAreApcsDisabled()); }

/* Timers and DPCs. */

static struct {
    volatile LONG calls;
    PVOID context, first, second;
} Called;
static KEVENT Done;

static VOID NTAPI Deferred(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    Called.context = context, Called.first = first, Called.second = second;
    InterlockedIncrement(&Called.calls);
    KeSetEvent(&Done, 0, FALSE);
}

/* Waits for the callback; where it has once not come it is not waited for so long again. */
static NTSTATUS WaitForCall(VOID)
{
    static PLARGE_INTEGER patience = &Patience;
    NTSTATUS status = Wait(&Done, patience);
    if (status == STATUS_TIMEOUT) patience = &Moment;
    return status;
}

static KDPC Dpc;
static KTIMER Timer;
static VOID Prepare(VOID)
{
    Called.calls = 0;
    KeInitializeEvent(&Done, SynchronizationEvent, FALSE);
    KeInitializeDpc(&Dpc, Deferred, (PVOID)7);
    KeInitializeTimer(&Timer);
}

TEST(KeInitializeTimer)
{
    KeInitializeTimer(&Timer);
    SAY("() -> type %u, state %d", Timer.Header.Type, Timer.Header.SignalState);
}
TEST(KeInitializeTimerEx)
{
    KeInitializeTimerEx(&Timer, SynchronizationTimer);
    SAY("(SynchronizationTimer) -> type %u, state %d", Timer.Header.Type, Timer.Header.SignalState);
}
TEST(KeSetTimer)
{
    Prepare();
    BOOLEAN was = KeSetTimer(&Timer, Patience, NULL), again = KeSetTimer(&Timer, Patience, NULL);
    SAY("(far) -> %b, again: %b", was, again);
    SAY("(far), the state -> %d", (LONG)Timer.Header.SignalState);
    KeCancelTimer(&Timer);
    KeSetTimer(&Timer, Moment, NULL);
    NTSTATUS first = Wait(&Timer, &Patience), second = Wait(&Timer, &Now);
    SAY("(a moment), then two waits -> %x %x", first, second);
    KeInitializeTimerEx(&Timer, SynchronizationTimer);
    KeSetTimer(&Timer, Moment, NULL);
    first = Wait(&Timer, &Patience), second = Wait(&Timer, &Now);
    SAY("(a moment) of a synchronization timer, then two waits -> %x %x", first, second);
    Prepare();
    KeSetTimer(&Timer, Moment, &Dpc);
    NTSTATUS status = WaitForCall();
    SAY("(a moment, a DPC) -> %x, called %d times, context %d", status, Called.calls, (LONG)(ULONG_PTR)Called.context);
    SAY("(a moment, a DPC), then whether it is set -> %b", KeCancelTimer(&Timer));
}
TEST(KeSetTimerEx)
{
    Prepare();
    BOOLEAN was = KeSetTimerEx(&Timer, Moment, 5, &Dpc);
    NTSTATUS first = WaitForCall(), second = WaitForCall();
    BOOLEAN set = KeCancelTimer(&Timer);
    KeFlushQueuedDpcs();
    SAY("(a moment, every 5 ms, a DPC) -> %b, %x %x; still set: %b", was, first, second, set);
}
KERNEL(BOOLEAN, k_KeSetCoalescableTimer, "KeSetCoalescableTimer", PKTIMER, LARGE_INTEGER, ULONG, ULONG, PKDPC);
TEST(KeSetCoalescableTimer)
{
    Prepare();
    BOOLEAN was = k_KeSetCoalescableTimer(&Timer, Moment, 0, 5, NULL);
    SAY("(a moment, 5 ms of tolerance) -> %b, %x", was, Wait(&Timer, &Patience));
}
TEST(KeCancelTimer)
{
    Prepare();
    BOOLEAN idle = KeCancelTimer(&Timer);
    KeSetTimer(&Timer, Patience, NULL);
    BOOLEAN set = KeCancelTimer(&Timer), again = KeCancelTimer(&Timer);
    SAY("(not set; set; cancelled) -> %b %b %b", idle, set, again);
    KeSetTimer(&Timer, Moment, NULL);
    Wait(&Timer, &Patience);
    SAY("(expired) -> %b, state %d", KeCancelTimer(&Timer), Timer.Header.SignalState);
}
TEST(KeReadStateTimer)
{
    Prepare();
    KeSetTimer(&Timer, Moment, NULL);
    Wait(&Timer, &Patience);
    SAY("(expired) -> %b", KeReadStateTimer(&Timer));
}
TEST(KeInitializeDpc)
{
    KeInitializeDpc(&Dpc, Deferred, (PVOID)7);
    SAY("() -> type %u, importance %u, routine: %b, context %d", Dpc.Type, Dpc.Importance, (PVOID)Dpc.DeferredRoutine == (PVOID)Deferred, (LONG)(ULONG_PTR)Dpc.DeferredContext);
}
KERNEL(VOID, k_KeInitializeThreadedDpc, "KeInitializeThreadedDpc", PRKDPC, PKDEFERRED_ROUTINE, PVOID);
TEST(KeInitializeThreadedDpc)
{
    k_KeInitializeThreadedDpc(&Dpc, Deferred, NULL);
    SAY("() -> type %u", Dpc.Type);
}
TEST(KeInsertQueueDpc)
{
    Prepare();
    BOOLEAN queued = KeInsertQueueDpc(&Dpc, (PVOID)1, (PVOID)2);
    NTSTATUS status = WaitForCall();
    SAY("(1, 2) -> %b, %x, called %d times with %d %d %d", queued, status, Called.calls, (LONG)(ULONG_PTR)Called.context, (LONG)(ULONG_PTR)Called.first, (LONG)(ULONG_PTR)Called.second);
    KeFlushQueuedDpcs();
}
KERNEL(BOOLEAN, k_KeRemoveQueueDpc, "KeRemoveQueueDpc", PRKDPC);
TEST(KeRemoveQueueDpc) { Prepare(); SAY("(not queued) -> %b", k_KeRemoveQueueDpc(&Dpc)); }
TEST(KeFlushQueuedDpcs)
{
    Prepare();
    KeInsertQueueDpc(&Dpc, NULL, NULL);
    KeFlushQueuedDpcs();
    LONG calls = Called.calls;
    WaitForCall();
    SAY("() after a DPC was queued -> called %d times", calls);
}
TEST(KeSetImportanceDpc) { Prepare(); KeSetImportanceDpc(&Dpc, HighImportance); SAY("(HighImportance) -> %u", Dpc.Importance); }
KERNEL(VOID, k_KeSetTargetProcessorDpc, "KeSetTargetProcessorDpc", PRKDPC, CCHAR);
KERNEL(NTSTATUS, k_KeSetTargetProcessorDpcEx, "KeSetTargetProcessorDpcEx", PKDPC, PPROCESSOR_NUMBER);
TEST(KeSetTargetProcessorDpc) { Prepare(); k_KeSetTargetProcessorDpc(&Dpc, 0); KeInsertQueueDpc(&Dpc, NULL, NULL); SAY("(0) -> the DPC is called: %x", WaitForCall()); KeFlushQueuedDpcs(); }
TEST(KeSetTargetProcessorDpcEx)
{
    PROCESSOR_NUMBER number = {0, 0, 0}, none = {99, 0, 0};
    Prepare();
    SAY("(0:0) -> STATUS_SUCCESS: %b", k_KeSetTargetProcessorDpcEx(&Dpc, &number) == STATUS_SUCCESS);
    SAY("(99:0) -> STATUS_SUCCESS: %b", k_KeSetTargetProcessorDpcEx(&Dpc, &none) == STATUS_SUCCESS);
}

/* Spin locks and IRQL. */

static KSPIN_LOCK Spin;
#define SPIN(name, acquire, release) TEST(name) { Spin = 0; acquire; release; SAY("() -> free afterwards: %b", Spin == 0); }

KERNEL(VOID, k_KeInitializeSpinLock, "KeInitializeSpinLock", PKSPIN_LOCK);
TEST(KeInitializeSpinLock) { Spin = 9; k_KeInitializeSpinLock(&Spin); SAY("() -> %X", (ULONG64)Spin); }
KERNEL(KIRQL, k_raise_acquire, "KeAcquireSpinLockRaiseToDpc", PKSPIN_LOCK);
KERNEL(VOID, k_release, "KeReleaseSpinLock", PKSPIN_LOCK, KIRQL);
KERNEL(VOID, k_acquire_dpc, "KeAcquireSpinLockAtDpcLevel", PKSPIN_LOCK);
KERNEL(VOID, k_release_dpc, "KeReleaseSpinLockFromDpcLevel", PKSPIN_LOCK);
KERNEL(BOOLEAN, k_try_dpc, "KeTryToAcquireSpinLockAtDpcLevel", PKSPIN_LOCK);
KERNEL(BOOLEAN, k_test_spin, "KeTestSpinLock", PKSPIN_LOCK);
KERNEL(KIRQL, k_acquire_for_dpc, "KeAcquireSpinLockForDpc", PKSPIN_LOCK);
KERNEL(VOID, k_release_for_dpc, "KeReleaseSpinLockForDpc", PKSPIN_LOCK, KIRQL);
static KIRQL Old;
SPIN(KeAcquireSpinLockRaiseToDpc, Old = k_raise_acquire(&Spin), k_release(&Spin, Old))
SPIN(KeReleaseSpinLock, Old = k_raise_acquire(&Spin), k_release(&Spin, Old))
SPIN(KeAcquireSpinLockAtDpcLevel, Old = k_kf_raise(DISPATCH_LEVEL); k_acquire_dpc(&Spin), k_release_dpc(&Spin); k_lower(Old))
SPIN(KeReleaseSpinLockFromDpcLevel, Old = k_kf_raise(DISPATCH_LEVEL); k_acquire_dpc(&Spin), k_release_dpc(&Spin); k_lower(Old))
TEST(KeTryToAcquireSpinLockAtDpcLevel)
{
    Spin = 0;
    KIRQL old = k_kf_raise(DISPATCH_LEVEL);
    BOOLEAN first = k_try_dpc(&Spin), second = k_try_dpc(&Spin);
    k_release_dpc(&Spin);
    k_lower(old);
    SAY("(free; held) -> %b %b", first, second);
}
TEST(KeTestSpinLock)
{
    Spin = 0;
    BOOLEAN free = k_test_spin(&Spin);
    KIRQL old = k_raise_acquire(&Spin);
    BOOLEAN held = k_test_spin(&Spin);
    k_release(&Spin, old);
    SAY("(free; held) -> %b %b", free, held);
}
SPIN(KeAcquireSpinLockForDpc, Old = k_acquire_for_dpc(&Spin), k_release_for_dpc(&Spin, Old))
TEST(KeReleaseSpinLockForDpc) { Spin = 0; Old = k_acquire_for_dpc(&Spin); k_release_for_dpc(&Spin, Old); SAY("() -> free afterwards: %b", Spin == 0); }
static KLOCK_QUEUE_HANDLE Queued;
KERNEL(VOID, q_acquire, "KeAcquireInStackQueuedSpinLock", PKSPIN_LOCK, PKLOCK_QUEUE_HANDLE);
KERNEL(VOID, q_release, "KeReleaseInStackQueuedSpinLock", PKLOCK_QUEUE_HANDLE);
KERNEL(VOID, q_acquire_dpc, "KeAcquireInStackQueuedSpinLockAtDpcLevel", PKSPIN_LOCK, PKLOCK_QUEUE_HANDLE);
KERNEL(VOID, q_release_dpc, "KeReleaseInStackQueuedSpinLockFromDpcLevel", PKLOCK_QUEUE_HANDLE);
KERNEL(VOID, q_acquire_for, "KeAcquireInStackQueuedSpinLockForDpc", PKSPIN_LOCK, PKLOCK_QUEUE_HANDLE);
KERNEL(VOID, q_release_for, "KeReleaseInStackQueuedSpinLockForDpc", PKLOCK_QUEUE_HANDLE);
SPIN(KeAcquireInStackQueuedSpinLock, q_acquire(&Spin, &Queued), q_release(&Queued))
SPIN(KeReleaseInStackQueuedSpinLock, q_acquire(&Spin, &Queued), q_release(&Queued))
SPIN(KeAcquireInStackQueuedSpinLockAtDpcLevel, Old = k_kf_raise(DISPATCH_LEVEL); q_acquire_dpc(&Spin, &Queued), q_release_dpc(&Queued); k_lower(Old))
SPIN(KeReleaseInStackQueuedSpinLockFromDpcLevel, Old = k_kf_raise(DISPATCH_LEVEL); q_acquire_dpc(&Spin, &Queued), q_release_dpc(&Queued); k_lower(Old))
SPIN(KeAcquireInStackQueuedSpinLockForDpc, q_acquire_for(&Spin, &Queued), q_release_for(&Queued))
TEST(KeReleaseInStackQueuedSpinLockForDpc) { Spin = 0; q_acquire_for(&Spin, &Queued); q_release_for(&Queued); SAY("() -> free afterwards: %b", Spin == 0); }

static LONG Shared;
KERNEL(KIRQL, x_exclusive, "ExAcquireSpinLockExclusive", PLONG);
KERNEL(VOID, x_release_exclusive, "ExReleaseSpinLockExclusive", PLONG, KIRQL);
KERNEL(KIRQL, x_shared, "ExAcquireSpinLockShared", PLONG);
KERNEL(VOID, x_release_shared, "ExReleaseSpinLockShared", PLONG, KIRQL);
KERNEL(VOID, x_exclusive_dpc, "ExAcquireSpinLockExclusiveAtDpcLevel", PLONG);
KERNEL(VOID, x_release_exclusive_dpc, "ExReleaseSpinLockExclusiveFromDpcLevel", PLONG);
KERNEL(VOID, x_shared_dpc, "ExAcquireSpinLockSharedAtDpcLevel", PLONG);
KERNEL(VOID, x_release_shared_dpc, "ExReleaseSpinLockSharedFromDpcLevel", PLONG);
KERNEL(LOGICAL, x_convert, "ExTryConvertSharedSpinLockExclusive", PLONG);
#define RAISED(body) do { KIRQL raised = k_kf_raise(DISPATCH_LEVEL); body; k_lower(raised); } while (0)
TEST(ExAcquireSpinLockExclusive) { Shared = 0; KIRQL old = x_exclusive(&Shared); LONG held = Shared; x_release_exclusive(&Shared, old); SAY("() -> held: %b, free afterwards: %b", held != 0, Shared == 0); }
TEST(ExReleaseSpinLockExclusive) { Shared = 0; KIRQL old = x_exclusive(&Shared); x_release_exclusive(&Shared, old); SAY("() -> free: %b", Shared == 0); }
TEST(ExAcquireSpinLockShared) { Shared = 0; KIRQL old = x_shared(&Shared); x_shared_dpc(&Shared); LONG held = Shared; x_release_shared_dpc(&Shared); x_release_shared(&Shared, old); SAY("() twice -> %x; free afterwards: %b", held, Shared == 0); }
TEST(ExReleaseSpinLockShared) { Shared = 0; KIRQL old = x_shared(&Shared); x_release_shared(&Shared, old); SAY("() -> free: %b", Shared == 0); }
TEST(ExAcquireSpinLockExclusiveAtDpcLevel) { Shared = 0; RAISED(x_exclusive_dpc(&Shared); x_release_exclusive_dpc(&Shared)); SAY("() -> free afterwards: %b", Shared == 0); }
TEST(ExReleaseSpinLockExclusiveFromDpcLevel) { Shared = 0; RAISED(x_exclusive_dpc(&Shared); x_release_exclusive_dpc(&Shared)); SAY("() -> free: %b", Shared == 0); }
TEST(ExAcquireSpinLockSharedAtDpcLevel) { Shared = 0; RAISED(x_shared_dpc(&Shared); x_release_shared_dpc(&Shared)); SAY("() -> free afterwards: %b", Shared == 0); }
TEST(ExReleaseSpinLockSharedFromDpcLevel) { Shared = 0; RAISED(x_shared_dpc(&Shared); x_release_shared_dpc(&Shared)); SAY("() -> free: %b", Shared == 0); }
TEST(ExTryConvertSharedSpinLockExclusive)
{
    ULONG alone = 9, together = 9;
    Shared = 0;
    RAISED(x_shared_dpc(&Shared); alone = x_convert(&Shared); x_release_exclusive_dpc(&Shared));
    RAISED(x_shared_dpc(&Shared); x_shared_dpc(&Shared); together = x_convert(&Shared); x_release_shared_dpc(&Shared); x_release_shared_dpc(&Shared));
    SAY("(one owner; two) -> %u %u", alone, together);
}
#define IRQL(name, raise, lower) \
    TEST(name) { KIRQL old = 77, before = k_irql(); raise; KIRQL raised = k_irql(); lower; SAY("() -> was %u, then %u; lowered: %u, of %u", old, raised, k_irql(), before); }
IRQL(KeRaiseIrqlToDpcLevel, old = k_raise_dpc(), k_lower(old))
IRQL(KfRaiseIrql, old = k_kf_raise(APC_LEVEL), k_lower(old))
IRQL(KeRaiseIrql, k_raise(APC_LEVEL, &old), k_lower(old))
IRQL(KeLowerIrql, old = k_kf_raise(DISPATCH_LEVEL), k_lower(old))
IRQL(KfLowerIrql, old = k_kf_raise(DISPATCH_LEVEL), k_kf_lower(old))
static volatile KIRQL DpcIrql;
static VOID NTAPI NoteIrql(PKDPC dpc, PVOID context, PVOID first, PVOID second) { DpcIrql = k_irql(); }
TEST(KeGetCurrentIrql)
{
    KIRQL outside = k_irql();
    SAY("() -> %u", outside);
    Spin = 0;
    KIRQL old = k_raise_acquire(&Spin), held = k_irql();
    k_release(&Spin, old);
    SAY("() with a spin lock; afterwards -> %u %u", held, k_irql());
    q_acquire(&Spin, &Queued);
    held = k_irql();
    q_release(&Queued);
    SAY("() with a queued spin lock; afterwards -> %u %u", held, k_irql());
    FAST_MUTEX mutex;
    ExInitializeFastMutex(&mutex);
    k_ExAcquireFastMutex(&mutex);
    held = k_irql();
    k_ExReleaseFastMutex(&mutex);
    SAY("() with a fast mutex; afterwards -> %u %u", held, k_irql());
    KeInitializeDpc(&Dpc, NoteIrql, NULL);
    KeInsertQueueDpc(&Dpc, NULL, NULL);
    KeFlushQueuedDpcs();
    SAY("() in a DPC -> %u", DpcIrql);
}
