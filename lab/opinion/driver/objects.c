/* Handles, references, threads, processes. */
#include "opinion.h"

KERNEL(NTSTATUS, o_by_handle, "ObReferenceObjectByHandle", HANDLE, ULONG, PVOID, CHAR, PVOID *, PVOID);
KERNEL(NTSTATUS, o_by_handle_tag, "ObReferenceObjectByHandleWithTag", HANDLE, ULONG, PVOID, CHAR, ULONG, PVOID *, PVOID);
KERNEL(NTSTATUS, o_by_pointer, "ObReferenceObjectByPointer", PVOID, ULONG, PVOID, CHAR);
KERNEL(NTSTATUS, o_by_pointer_tag, "ObReferenceObjectByPointerWithTag", PVOID, ULONG, PVOID, CHAR, ULONG);
KERNEL(LONG64, o_reference, "ObfReferenceObject", PVOID);
KERNEL(LONG64, o_reference_tag, "ObfReferenceObjectWithTag", PVOID, ULONG);
KERNEL(LONG64, o_dereference, "ObfDereferenceObject", PVOID);
KERNEL(LONG64, o_dereference_tag, "ObfDereferenceObjectWithTag", PVOID, ULONG);
KERNEL(VOID, o_defer, "ObDereferenceObjectDeferDelete", PVOID);
KERNEL(NTSTATUS, o_close, "ObCloseHandle", HANDLE, CHAR);
KERNEL(NTSTATUS, z_close, "ZwClose", HANDLE);
KERNEL(NTSTATUS, n_close, "NtClose", HANDLE);
KERNEL(NTSTATUS, z_create_event, "ZwCreateEvent", PHANDLE, ULONG, PVOID, ULONG, BOOLEAN);
KERNEL(NTSTATUS, z_set_event, "ZwSetEvent", HANDLE, PLONG);
KERNEL(NTSTATUS, z_reset_event, "ZwResetEvent", HANDLE, PLONG);
KERNEL(NTSTATUS, z_clear_event, "ZwClearEvent", HANDLE);
KERNEL(NTSTATUS, z_wait, "ZwWaitForSingleObject", HANDLE, BOOLEAN, PLARGE_INTEGER);
KERNEL(PKEVENT, i_notification, "IoCreateNotificationEvent", PUNICODE_STRING, PHANDLE);
KERNEL(PKEVENT, i_synchronization, "IoCreateSynchronizationEvent", PUNICODE_STRING, PHANDLE);
#define ALL_EVENT 0x1F0003
static HANDLE NewEvent(ULONG kind, BOOLEAN set) { HANDLE handle = NULL; OBJECT_ATTRIBUTES attributes; InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL); z_create_event(&handle, ALL_EVENT, &attributes, kind, set); return handle; }

TEST(ZwCreateEvent)
{
    HANDLE handle = NULL;
    OBJECT_ATTRIBUTES attributes;
    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    NTSTATUS status = z_create_event(&handle, ALL_EVENT, &attributes, NotificationEvent, TRUE);
    SAY("(NotificationEvent, TRUE) -> %x, %p; a wait: %x", status, handle, z_wait(handle, FALSE, &Now));
    z_close(handle);
    SAY("(type 7) -> %x", z_create_event(&handle, ALL_EVENT, &attributes, 7, TRUE));
}
TEST(ZwSetEvent)
{
    HANDLE handle = NewEvent(SynchronizationEvent, FALSE);
    LONG old = 9;
    NTSTATUS status = z_set_event(handle, &old), first = z_wait(handle, FALSE, &Now), second = z_wait(handle, FALSE, &Now);
    SAY("() -> %x, was %d; two waits: %x %x", status, old, first, second);
    z_close(handle);
}
TEST(ZwResetEvent) { HANDLE handle = NewEvent(NotificationEvent, TRUE); LONG old = 9; NTSTATUS status = z_reset_event(handle, &old); SAY("() -> %x, was %d; a wait: %x", status, old, z_wait(handle, FALSE, &Now)); z_close(handle); }
TEST(ZwClearEvent) { HANDLE handle = NewEvent(NotificationEvent, TRUE); NTSTATUS status = z_clear_event(handle); SAY("() -> %x; a wait: %x", status, z_wait(handle, FALSE, &Now)); z_close(handle); }
TEST(ZwWaitForSingleObject) { HANDLE handle = NewEvent(NotificationEvent, FALSE); SAY("(not signalled, a moment) -> %x", z_wait(handle, FALSE, &Moment)); z_close(handle); SAY("(no handle) -> %x", z_wait((HANDLE)0x7ffc, FALSE, &Now)); }
TEST(ZwClose) { SAY("() -> %x", z_close(NewEvent(0, FALSE))); }
TEST(NtClose) { SAY("() -> %x", n_close(NewEvent(0, FALSE))); }
TEST(ObCloseHandle) { SAY("() -> %x", o_close(NewEvent(0, FALSE), KernelMode)); }
KERNEL_DATA(POBJECT_TYPE, o_event_type) __asm__("ExEventObjectType");
KERNEL_DATA(POBJECT_TYPE, o_file_type) __asm__("IoFileObjectType");
KERNEL_DATA(POBJECT_TYPE, o_thread_type) __asm__("PsThreadType");
TEST(ObReferenceObjectByHandle)
{
    HANDLE handle = NewEvent(NotificationEvent, TRUE);
    PVOID object = NULL;
    NTSTATUS status = o_by_handle(handle, ALL_EVENT, o_event_type, KernelMode, &object, NULL);
    SAY("(an event) -> %x, %p; its state: %d", status, object, object ? KeReadStateEvent(object) : -1);
    if (object) o_dereference(object);
    status = o_by_handle(handle, ALL_EVENT, o_file_type, KernelMode, &object, NULL);
    SAY("(an event, as a file) -> %x", status);
    if (NT_SUCCESS(status)) o_dereference(object);
    z_close(handle);
}
TEST(ObReferenceObjectByHandleWithTag) { HANDLE handle = NewEvent(0, FALSE); PVOID object = NULL; NTSTATUS status = o_by_handle_tag(handle, ALL_EVENT, NULL, KernelMode, TAG, &object, NULL); SAY("(an event) -> %x, %p", status, object); if (object) o_dereference_tag(object, TAG); z_close(handle); }
#define WITH_OBJECT(name, body) TEST(name) { HANDLE handle = NewEvent(0, FALSE); PVOID object = NULL; o_by_handle(handle, ALL_EVENT, NULL, KernelMode, &object, NULL); body; o_dereference(object); z_close(handle); }
WITH_OBJECT(ObReferenceObjectByPointer, SAY("() -> %x", o_by_pointer(object, 0, NULL, KernelMode)); o_dereference(object))
WITH_OBJECT(ObReferenceObjectByPointerWithTag, SAY("() -> %x", o_by_pointer_tag(object, 0, NULL, KernelMode, TAG)); o_dereference_tag(object, TAG))
WITH_OBJECT(ObfReferenceObject, LONG64 once = o_reference(object); LONG64 twice = o_reference(object); SAY("() twice -> one more: %b", twice == once + 1); o_dereference(object); o_dereference(object))
WITH_OBJECT(ObfReferenceObjectWithTag, LONG64 once = o_reference_tag(object, TAG); LONG64 twice = o_reference_tag(object, TAG); SAY("() twice -> one more: %b", twice == once + 1); o_dereference_tag(object, TAG); o_dereference_tag(object, TAG))
WITH_OBJECT(ObfDereferenceObject, LONG64 before = o_reference(object); SAY("() -> one less: %b", o_dereference(object) == before - 1))
WITH_OBJECT(ObfDereferenceObjectWithTag, LONG64 before = o_reference_tag(object, TAG); SAY("() -> one less: %b", o_dereference_tag(object, TAG) == before - 1))
WITH_OBJECT(ObDereferenceObjectDeferDelete, o_reference(object); o_defer(object); SAY("() -> returns"))
TEST(IoCreateNotificationEvent) { UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\BaseNamedObjects\\OpinionN"); HANDLE handle = NULL; PKEVENT event = i_notification(&name, &handle); SAY("() -> %p, state %d, type %u", event, event->Header.SignalState, event->Header.Type); z_close(handle); }
TEST(IoCreateSynchronizationEvent) { UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\BaseNamedObjects\\OpinionS"); HANDLE handle = NULL; PKEVENT event = i_synchronization(&name, &handle); SAY("() -> %p, state %d, type %u", event, event->Header.SignalState, event->Header.Type); z_close(handle); }

KERNEL(NTSTATUS, t_create, "PsCreateSystemThread", PHANDLE, ULONG, PVOID, HANDLE, PVOID, PVOID, PVOID);
KERNEL(NTSTATUS, t_io_create, "IoCreateSystemThread", PVOID, PHANDLE, ULONG, PVOID, HANDLE, PVOID, PVOID, PVOID);
KERNEL(NTSTATUS, t_terminate, "PsTerminateSystemThread", NTSTATUS);
static volatile LONG ThreadRan;
static PVOID ThreadSeen;
static VOID NTAPI Run(PVOID context) { ThreadSeen = k_thread(); InterlockedExchange(&ThreadRan, (LONG)(ULONG_PTR)context); t_terminate(STATUS_SUCCESS); ThreadRan = -1; }
static VOID NTAPI Return(PVOID context) { InterlockedExchange(&ThreadRan, (LONG)(ULONG_PTR)context); }
TEST(PsCreateSystemThread)
{
    HANDLE handle = NULL;
    PVOID object = NULL;
    ThreadRan = 0;
    NTSTATUS status = t_create(&handle, 0x1FFFFF, NULL, NULL, NULL, Return, (PVOID)7), waited = z_wait(handle, FALSE, &Patience);
    SAY("(7) -> %x, a wait: %x, ran with %d", status, waited, ThreadRan);
    status = o_by_handle(handle, 0x1FFFFF, o_thread_type, KernelMode, &object, NULL);
    SAY("(7), its object -> %x, a wait: %x", status, object ? KeWaitForSingleObject(object, Executive, KernelMode, FALSE, &Now) : -1);
    if (object) o_dereference(object);
    z_close(handle);
}
TEST(IoCreateSystemThread) { HANDLE handle = NULL; ThreadRan = 0; NTSTATUS status = t_io_create(Device, &handle, 0x1FFFFF, NULL, NULL, NULL, Return, (PVOID)8), waited = z_wait(handle, FALSE, &Patience); SAY("(8) -> %x, a wait: %x, ran with %d", status, waited, ThreadRan); z_close(handle); }
TEST(PsTerminateSystemThread) { HANDLE handle = NULL; ThreadRan = 0; t_create(&handle, 0x1FFFFF, NULL, NULL, NULL, Run, (PVOID)9); NTSTATUS waited = z_wait(handle, FALSE, &Patience); SAY("() in a thread -> a wait: %x, does not return: %b", waited, ThreadRan == 9); z_close(handle); }

KERNEL(PVOID, t_current, "PsGetCurrentThread", void);
KERNEL(HANDLE, t_current_id, "PsGetCurrentThreadId", void);
KERNEL(HANDLE, t_id, "PsGetThreadId", PVOID);
KERNEL(HANDLE, t_process_id, "PsGetCurrentProcessId", void);
KERNEL(PVOID, t_process, "PsGetCurrentProcess", void);
KERNEL(PVOID, t_io_process, "IoGetCurrentProcess", void);
KERNEL(HANDLE, t_id_of, "PsGetProcessId", PVOID);
KERNEL(HANDLE, t_thread_process_id, "PsGetThreadProcessId", PVOID);
KERNEL(NTSTATUS, t_lookup, "PsLookupProcessByProcessId", HANDLE, PVOID *);
KERNEL(NTSTATUS, t_lookup_thread, "PsLookupThreadByThreadId", HANDLE, PVOID *);
KERNEL(BOOLEAN, t_is_system, "PsIsSystemThread", PVOID);
KERNEL(BOOLEAN, t_is_terminating, "PsIsThreadTerminating", PVOID);
KERNEL(char *, t_image, "PsGetProcessImageFileName", PVOID);
KERNEL(LONG64, t_created, "PsGetProcessCreateTimeQuadPart", PVOID);
TEST(KeGetCurrentThread) { SAY("() -> %p, the same again: %b", k_thread(), k_thread() == k_thread()); }
TEST(PsGetCurrentThread) { SAY("() -> KeGetCurrentThread's: %b", t_current() == (PVOID)k_thread()); }
TEST(PsGetCurrentThreadId) { SAY("() -> %p, a multiple of 4: %b", t_current_id(), ((ULONG_PTR)t_current_id() & 3) == 0); }
TEST(PsGetThreadId) { SAY("(this thread) -> PsGetCurrentThreadId's: %b", t_id(k_thread()) == t_current_id()); }
TEST(PsGetCurrentProcessId) { SAY("() -> %p, a multiple of 4: %b", t_process_id(), ((ULONG_PTR)t_process_id() & 3) == 0); SAY("() in DriverEntry -> System's: %b", t_process_id() == (HANDLE)4); }
TEST(PsGetCurrentProcess) { SAY("() -> %p", t_process()); }
TEST(IoGetCurrentProcess) { SAY("() -> %p", t_io_process()); }
TEST(PsGetProcessId) { SAY("(this process) -> PsGetCurrentProcessId's: %b", t_id_of(t_io_process()) == t_process_id()); }
TEST(PsGetThreadProcessId) { SAY("(this thread) -> PsGetCurrentProcessId's: %b", t_thread_process_id(k_thread()) == t_process_id()); }
TEST(PsLookupProcessByProcessId)
{
    PVOID process = NULL;
    NTSTATUS status = t_lookup(t_process_id(), &process);
    SAY("(this process) -> %x, IoGetCurrentProcess's: %b", status, process == t_io_process());
    if (NT_SUCCESS(status)) o_dereference(process);
    SAY("(0xfffffff0) -> %x", t_lookup((HANDLE)0xfffffff0, &process));
}
TEST(PsLookupThreadByThreadId) { PVOID thread = NULL; SAY("(0xfffffff0) -> %x", t_lookup_thread((HANDLE)0xfffffff0, &thread)); NTSTATUS status = t_lookup_thread(t_current_id(), &thread); SAY("(this thread) -> %x, KeGetCurrentThread's: %b", status, thread == (PVOID)k_thread()); if (NT_SUCCESS(status)) o_dereference(thread); }
TEST(PsIsSystemThread) { SAY("(this thread) -> %b", t_is_system(k_thread())); }
TEST(PsIsThreadTerminating) { SAY("(this thread) -> %b", t_is_terminating(k_thread())); }
TEST(PsGetProcessImageFileName) { SAY("(the system process) -> %s", t_image(t_io_process())); }
TEST(PsGetProcessCreateTimeQuadPart) { SAY("(this process) -> is a time: %b", t_created(t_io_process()) > 0); }

KERNEL(KPRIORITY, t_set_priority, "KeSetPriorityThread", PVOID, KPRIORITY);
KERNEL(KPRIORITY, t_priority, "KeQueryPriorityThread", PVOID);
KERNEL(LONG, t_base, "KeSetBasePriorityThread", PVOID, LONG);
KERNEL(VOID, t_affinity, "KeSetSystemAffinityThread", ULONG_PTR);
KERNEL(ULONG_PTR, t_affinity_ex, "KeSetSystemAffinityThreadEx", ULONG_PTR);
KERNEL(VOID, t_revert, "KeRevertToUserAffinityThread", void);
KERNEL(VOID, t_revert_ex, "KeRevertToUserAffinityThreadEx", ULONG_PTR);
KERNEL(VOID, t_group, "KeSetSystemGroupAffinityThread", PGROUP_AFFINITY, PGROUP_AFFINITY);
KERNEL(VOID, t_revert_group, "KeRevertToUserGroupAffinityThread", PGROUP_AFFINITY);
TEST(KeSetPriorityThread) { KPRIORITY old = t_set_priority(k_thread(), 12), set = t_set_priority(k_thread(), old ? old : 8); SAY("(12), then back -> what it was: %b, then %d", old > 0 && old < 32, set); }
TEST(KeQueryPriorityThread) { KPRIORITY old = t_set_priority(k_thread(), 12); SAY("() after 12 was set -> %d", t_priority(k_thread())); t_set_priority(k_thread(), old ? old : 8); }
TEST(KeSetBasePriorityThread) { LONG first = t_base(k_thread(), 1), second = t_base(k_thread(), 0); SAY("(1), then (0) -> %d %d", first, second); }
TEST(KeSetSystemAffinityThread) { t_affinity(1); t_revert(); SAY("(1) -> returns"); }
TEST(KeSetSystemAffinityThreadEx) { ULONG_PTR first = t_affinity_ex(1), second = t_affinity_ex(1); t_revert_ex(second); t_revert_ex(first); SAY("(1) twice -> %X %X", (ULONG64)first, (ULONG64)second); }
TEST(KeRevertToUserAffinityThread) { t_affinity(1); t_revert(); SAY("() -> returns"); }
TEST(KeRevertToUserAffinityThreadEx) { t_revert_ex(t_affinity_ex(1)); SAY("() -> returns"); }
TEST(KeSetSystemGroupAffinityThread) { GROUP_AFFINITY one = {1, 0}, old = {77, 7}; t_group(&one, &old); t_revert_group(&old); SAY("(0:1) -> was %X, group %u", (ULONG64)old.Mask, old.Group); }
TEST(KeRevertToUserGroupAffinityThread) { GROUP_AFFINITY one = {1, 0}, old; t_group(&one, &old); t_revert_group(&old); SAY("() -> returns"); }
