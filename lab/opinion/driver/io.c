/* Devices, links, IRPs, cancel-safe queues, remove locks, device queues. */
#include "opinion.h"

#undef IoCompleteRequest
#undef IoCallDriver

KERNEL(NTSTATUS, io_device, "IoCreateDevice", PDRIVER_OBJECT, ULONG, PUNICODE_STRING, ULONG, ULONG, BOOLEAN, PDEVICE_OBJECT *);
KERNEL(NTSTATUS, io_secure, "IoCreateDeviceSecure", PDRIVER_OBJECT, ULONG, PUNICODE_STRING, ULONG, ULONG, BOOLEAN, PCUNICODE_STRING, const GUID *, PDEVICE_OBJECT *);
KERNEL(NTSTATUS, io_wdmlib, "WdmlibIoCreateDeviceSecure", PDRIVER_OBJECT, ULONG, PUNICODE_STRING, ULONG, ULONG, BOOLEAN, PCUNICODE_STRING, const GUID *, PDEVICE_OBJECT *);
KERNEL(VOID, io_delete, "IoDeleteDevice", PDEVICE_OBJECT);
KERNEL(NTSTATUS, io_link, "IoCreateSymbolicLink", PUNICODE_STRING, PUNICODE_STRING);
KERNEL(NTSTATUS, io_unprotected, "IoCreateUnprotectedSymbolicLink", PUNICODE_STRING, PUNICODE_STRING);
KERNEL(NTSTATUS, io_unlink, "IoDeleteSymbolicLink", PUNICODE_STRING);
static UNICODE_STRING DeviceName = RTL_CONSTANT_STRING(L"\\Device\\Opinion"), OtherName = RTL_CONSTANT_STRING(L"\\Device\\OpinionToo");
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\??\\OpinionLink"), Sddl = RTL_CONSTANT_STRING(L"D:P(A;;GA;;;SY)(A;;GA;;;BA)");
TEST(IoCreateDevice)
{
    PDEVICE_OBJECT device = NULL;
    UNICODE_STRING relative = RTL_CONSTANT_STRING(L"relative");
    NTSTATUS status = io_device(Driver, 24, &OtherName, FILE_DEVICE_UNKNOWN, 0x100, FALSE, &device);
    SAY("(24, a name) -> %x, type %u, characteristics %x, flags %x, stack %d, extension %p", status, device->DeviceType, device->Characteristics, device->Flags, device->StackSize, device->DeviceExtension);
    SAY("(24, a name), the driver's first device: %b; its driver: %b -> %d", Driver->DeviceObject == device, device->DriverObject == Driver, device->Type);
    PDEVICE_OBJECT second = NULL;
    SAY("(a name that is taken) -> %x, %p", io_device(Driver, 0, &DeviceName, FILE_DEVICE_UNKNOWN, 0, FALSE, &second), second);
    io_delete(device);
    SAY("(a relative name) -> %x", io_device(Driver, 0, &relative, FILE_DEVICE_UNKNOWN, 0, FALSE, &second));
    status = io_device(Driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, TRUE, &device);
    SAY("(0, no name, exclusive) -> %x, flags %x, extension %p", status, device->Flags, device->DeviceExtension);
    io_delete(device);
}
TEST(IoDeleteDevice) { PDEVICE_OBJECT device = NULL, first = Driver->DeviceObject; io_device(Driver, 0, NULL, FILE_DEVICE_UNKNOWN, 0, FALSE, &device); io_delete(device); SAY("() -> the list is as it was: %b", Driver->DeviceObject == first); }
TEST(IoCreateDeviceSecure) { PDEVICE_OBJECT device = NULL; SAY("(a name, SDDL) -> %x", io_secure(Driver, 0, &OtherName, FILE_DEVICE_UNKNOWN, 0, FALSE, &Sddl, NULL, &device)); io_delete(device); }
TEST(WdmlibIoCreateDeviceSecure) { PDEVICE_OBJECT device = NULL; SAY("(a name, SDDL) -> %x", io_wdmlib(Driver, 0, &OtherName, FILE_DEVICE_UNKNOWN, 0, FALSE, &Sddl, NULL, &device)); io_delete(device); }
TEST(IoCreateSymbolicLink)
{
    SAY("(new) -> %x", io_link(&LinkName, &DeviceName));
    SAY("(taken) -> %x", io_link(&LinkName, &DeviceName));
    io_unlink(&LinkName);
}
TEST(IoCreateUnprotectedSymbolicLink) { SAY("(new) -> %x", io_unprotected(&LinkName, &DeviceName)); io_unlink(&LinkName); }
TEST(IoDeleteSymbolicLink) { io_link(&LinkName, &DeviceName); SAY("(there) -> %x", io_unlink(&LinkName)); }
KERNEL(NTSTATUS, io_pointer, "IoGetDeviceObjectPointer", PUNICODE_STRING, ULONG, PFILE_OBJECT *, PDEVICE_OBJECT *);
TEST(IoGetDeviceObjectPointer)
{
    UNICODE_STRING none = RTL_CONSTANT_STRING(L"\\Device\\OpinionNone");
    PFILE_OBJECT file = NULL;
    PDEVICE_OBJECT device = NULL;
    SAY("(no such device) -> %x", io_pointer(&none, 1, &file, &device));
}

KERNEL(PIRP, irp_allocate, "IoAllocateIrp", CCHAR, BOOLEAN);
KERNEL(VOID, irp_free, "IoFreeIrp", PIRP);
KERNEL(VOID, irp_init, "IoInitializeIrp", PIRP, USHORT, CCHAR);
KERNEL(VOID, irp_reuse, "IoReuseIrp", PIRP, NTSTATUS);
KERNEL(USHORT, irp_size, "IoSizeOfIrpEx", PDEVICE_OBJECT, CCHAR);
KERNEL(PIRP, irp_build, "IoBuildDeviceIoControlRequest", ULONG, PDEVICE_OBJECT, PVOID, ULONG, PVOID, ULONG, BOOLEAN, PKEVENT, PIO_STATUS_BLOCK);
KERNEL(NTSTATUS, irp_call, "IofCallDriver", PDEVICE_OBJECT, PIRP);
KERNEL(NTSTATUS, irp_call2, "IoCallDriver", PDEVICE_OBJECT, PIRP);
KERNEL(VOID, irp_complete, "IofCompleteRequest", PIRP, CHAR);
KERNEL(VOID, irp_complete2, "IoCompleteRequest", PIRP, CHAR);
KERNEL(BOOLEAN, irp_cancel, "IoCancelIrp", PIRP);
KERNEL(VOID, irp_lock, "IoAcquireCancelSpinLock", PKIRQL);
KERNEL(VOID, irp_unlock, "IoReleaseCancelSpinLock", KIRQL);
TEST(IoAllocateIrp)
{
    PIRP irp = irp_allocate(3, FALSE);
    SAY("(3) -> type %d, stack %d, location %d, size %u", irp->Type, irp->StackCount, irp->CurrentLocation, irp->Size);
    SAY("(3), the current location is behind the last: %b -> %b", IoGetCurrentIrpStackLocation(irp) == (PIO_STACK_LOCATION)(irp + 1) + 3, irp->Cancel);
    irp_free(irp);
}
TEST(IoFreeIrp) { irp_free(irp_allocate(1, FALSE)); SAY("() -> returns"); }
static ULONG64 IrpSpace[128];
TEST(IoInitializeIrp) { PIRP irp = (PIRP)IrpSpace; irp_init(irp, IoSizeOfIrp(2), 2); SAY("(2) -> type %d, size %u, stack %d, location %d", irp->Type, irp->Size, irp->StackCount, irp->CurrentLocation); }
TEST(IoReuseIrp) { PIRP irp = irp_allocate(1, FALSE); irp->IoStatus.Information = 5; irp->Cancel = TRUE; irp_reuse(irp, STATUS_UNSUCCESSFUL); SAY("(STATUS_UNSUCCESSFUL) -> status %x, stack %d, location %d, cancelled %b", irp->IoStatus.Status, irp->StackCount, irp->CurrentLocation, irp->Cancel); irp_free(irp); }
TEST(IoSizeOfIrpEx) { SAY("(0; 2) -> %u %u", irp_size(Device, 0), irp_size(Device, 2)); }
static PIRP Request(PIO_STATUS_BLOCK block, PKEVENT event) { KeInitializeEvent(event, NotificationEvent, FALSE); return irp_build(0x222000, Device, NULL, 0, NULL, 0, FALSE, event, block); }
TEST(IoBuildDeviceIoControlRequest)
{
    IO_STATUS_BLOCK block = {{7}, 7};
    KEVENT event;
    UCHAR in[4] = {1, 2, 3, 4}, out[8];
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    PIRP irp = irp_build(0x222004, Device, in, 4, out, 8, FALSE, &event, &block);
    PIO_STACK_LOCATION next = IoGetNextIrpStackLocation(irp);
    SAY("(0x222004, 4, 8) -> major %u, code %x, in %u, out %u, buffer %p", next->MajorFunction, next->Parameters.DeviceIoControl.IoControlCode, next->Parameters.DeviceIoControl.InputBufferLength, next->Parameters.DeviceIoControl.OutputBufferLength, irp->AssociatedIrp.SystemBuffer);
    NTSTATUS status = irp_call(Device, irp);
    SAY("(0x222004, 4, 8), sent -> %x, the event: %x, block %x", status, KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &Patience), block.Status);
    irp = irp_build(0x222004, Device, NULL, 0, NULL, 0, TRUE, &event, &block);
    SAY("(internal) -> major %u", IoGetNextIrpStackLocation(irp)->MajorFunction);
    KeClearEvent(&event);
    irp_call(Device, irp);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &Patience);
}
TEST(IofCallDriver) { IO_STATUS_BLOCK block; KEVENT event; PIRP irp = Request(&block, &event); SAY("() -> %x", irp_call(Device, irp)); KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &Patience); }
TEST(IoCallDriver) { IO_STATUS_BLOCK block; KEVENT event; PIRP irp = Request(&block, &event); SAY("() -> %x", irp_call2(Device, irp)); KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &Patience); }
static LONG Completed;
static NTSTATUS NTAPI OnCompletion(PDEVICE_OBJECT device, PIRP irp, PVOID context) { Completed += (LONG)(ULONG_PTR)context; return STATUS_MORE_PROCESSING_REQUIRED; }
#define COMPLETION(name, call) \
    TEST(name) { PIRP irp = irp_allocate(2, FALSE); Completed = 0; IoGetNextIrpStackLocation(irp)->MajorFunction = IRP_MJ_DEVICE_CONTROL; \
        IoSetCompletionRoutine(irp, OnCompletion, (PVOID)1, TRUE, TRUE, TRUE); IoSetNextIrpStackLocation(irp); irp->IoStatus.Status = STATUS_UNSUCCESSFUL; call(irp, 0); \
        SAY("() with a completion routine -> called %d times, location %d", Completed, irp->CurrentLocation); irp_free(irp); }
COMPLETION(IofCompleteRequest, irp_complete)
COMPLETION(IoCompleteRequest, irp_complete2)
static LONG Cancelled;
static VOID NTAPI OnCancel(PDEVICE_OBJECT device, PIRP irp) { Cancelled++; irp_unlock(irp->CancelIrql); }
TEST(IoCancelIrp)
{
    PIRP irp = irp_allocate(1, FALSE);
    Cancelled = 0;
    BOOLEAN without = irp_cancel(irp), marked = irp->Cancel;
    irp->Cancel = FALSE;
    IoSetNextIrpStackLocation(irp);
    IoSetCancelRoutine(irp, OnCancel);
    BOOLEAN with = irp_cancel(irp);
    SAY("(without a routine; with one) -> %b (marked: %b), %b, called %d times", without, marked, with, Cancelled);
    irp_free(irp);
}
TEST(IoAcquireCancelSpinLock) { KIRQL old = 9; irp_lock(&old); irp_unlock(old); SAY("() -> was %u", old); }
TEST(IoReleaseCancelSpinLock) { KIRQL old; irp_lock(&old); irp_unlock(old); irp_lock(&old); irp_unlock(old); SAY("() -> it can be taken again"); }

static LIST_ENTRY Waiting;
static VOID NTAPI CsqInsert(PIO_CSQ csq, PIRP irp) { InsertTailList(&Waiting, &irp->Tail.Overlay.ListEntry); }
static NTSTATUS NTAPI CsqInsertEx(PIO_CSQ csq, PIRP irp, PVOID context) { if (context) return STATUS_UNSUCCESSFUL; CsqInsert(csq, irp); return STATUS_SUCCESS; }
static VOID NTAPI CsqRemove(PIO_CSQ csq, PIRP irp) { RemoveEntryList(&irp->Tail.Overlay.ListEntry); }
static PIRP NTAPI CsqPeek(PIO_CSQ csq, PIRP irp, PVOID context) { PLIST_ENTRY next = irp ? irp->Tail.Overlay.ListEntry.Flink : Waiting.Flink; return next == &Waiting ? NULL : CONTAINING_RECORD(next, IRP, Tail.Overlay.ListEntry); }
static VOID NTAPI CsqAcquire(PIO_CSQ csq, PKIRQL old) { *old = 0; }
static VOID NTAPI CsqRelease(PIO_CSQ csq, KIRQL old) {}
static VOID NTAPI CsqComplete(PIO_CSQ csq, PIRP irp) { Cancelled++; }
static IO_CSQ Csq;
KERNEL(NTSTATUS, csq_init, "IoCsqInitialize", PIO_CSQ, PVOID, PVOID, PVOID, PVOID, PVOID, PVOID);
KERNEL(NTSTATUS, csq_init_ex, "IoCsqInitializeEx", PIO_CSQ, PVOID, PVOID, PVOID, PVOID, PVOID, PVOID);
KERNEL(VOID, csq_insert, "IoCsqInsertIrp", PIO_CSQ, PIRP, PIO_CSQ_IRP_CONTEXT);
KERNEL(NTSTATUS, csq_insert_ex, "IoCsqInsertIrpEx", PIO_CSQ, PIRP, PIO_CSQ_IRP_CONTEXT, PVOID);
KERNEL(PIRP, csq_remove, "IoCsqRemoveIrp", PIO_CSQ, PIO_CSQ_IRP_CONTEXT);
KERNEL(PIRP, csq_next, "IoCsqRemoveNextIrp", PIO_CSQ, PVOID);
static PIRP Queue(VOID) { InitializeListHead(&Waiting); Cancelled = 0; csq_init(&Csq, CsqInsert, CsqRemove, CsqPeek, CsqAcquire, CsqRelease, CsqComplete); PIRP irp = irp_allocate(1, FALSE); IoSetNextIrpStackLocation(irp); return irp; }
TEST(IoCsqInitialize) { SAY("() -> %x", csq_init(&Csq, CsqInsert, CsqRemove, CsqPeek, CsqAcquire, CsqRelease, CsqComplete)); }
TEST(IoCsqInitializeEx) { SAY("() -> %x", csq_init_ex(&Csq, CsqInsertEx, CsqRemove, CsqPeek, CsqAcquire, CsqRelease, CsqComplete)); }
TEST(IoCsqInsertIrp)
{
    PIRP irp = Queue();
    csq_insert(&Csq, irp, NULL);
    BOOLEAN queued = !IsListEmpty(&Waiting), pending = (IoGetCurrentIrpStackLocation(irp)->Control & SL_PENDING_RETURNED) != 0;
    BOOLEAN cancelled = irp_cancel(irp);
    SAY("(), then IoCancelIrp -> queued: %b, pending: %b, %b, completed %d times, queue empty: %b", queued, pending, cancelled, Cancelled, IsListEmpty(&Waiting));
    irp_free(irp);
}
TEST(IoCsqInsertIrpEx) { PIRP irp = Queue(); csq_init_ex(&Csq, CsqInsertEx, CsqRemove, CsqPeek, CsqAcquire, CsqRelease, CsqComplete); NTSTATUS refused = csq_insert_ex(&Csq, irp, NULL, (PVOID)1), taken = csq_insert_ex(&Csq, irp, NULL, NULL); csq_next(&Csq, NULL); SAY("(refused by the routine; taken) -> %x %x", refused, taken); irp_free(irp); }
TEST(IoCsqRemoveIrp) { PIRP irp = Queue(); IO_CSQ_IRP_CONTEXT context; csq_insert(&Csq, irp, &context); BOOLEAN found = csq_remove(&Csq, &context) == irp; SAY("(queued; not any more) -> it: %b, then %p", found, csq_remove(&Csq, &context)); irp_free(irp); }
TEST(IoCsqRemoveNextIrp) { PIRP irp = Queue(); csq_insert(&Csq, irp, NULL); BOOLEAN found = csq_next(&Csq, NULL) == irp; SAY("(one; none) -> it: %b, then %p", found, csq_next(&Csq, NULL)); irp_free(irp); }

KERNEL(PVOID, q_process, "IoGetRequestorProcess", PIRP);
KERNEL(ULONG, q_process_id, "IoGetRequestorProcessId", PIRP);
KERNEL(BOOLEAN, q_32, "IoIs32bitProcess", PIRP);
KERNEL(BOOLEAN, q_sync, "IoIsOperationSynchronous", PIRP);
KERNEL(BOOLEAN, q_system, "IoIsSystemThread", PVOID);
KERNEL(PIRP, q_top, "IoGetTopLevelIrp", void);
KERNEL(VOID, q_set_top, "IoSetTopLevelIrp", PIRP);
KERNEL(VOID, q_limits, "IoGetStackLimits", PULONG_PTR, PULONG_PTR);
KERNEL(NTSTATUS, q_shutdown, "IoRegisterShutdownNotification", PDEVICE_OBJECT);
KERNEL(VOID, q_no_shutdown, "IoUnregisterShutdownNotification", PDEVICE_OBJECT);
KERNEL(NTSTATUS, q_validate, "IoValidateDeviceIoControlAccess", PIRP, ULONG);
KERNEL(PDEVICE_OBJECT, q_attached, "IoGetAttachedDevice", PDEVICE_OBJECT);
KERNEL(PDEVICE_OBJECT, q_attached_reference, "IoGetAttachedDeviceReference", PDEVICE_OBJECT);
KERNEL(PDEVICE_OBJECT, q_related, "IoGetRelatedDeviceObject", PFILE_OBJECT);
#define WITH_IRP(name, body) TEST(name) { PIRP irp = irp_allocate(1, FALSE); irp->Tail.Overlay.Thread = (PVOID)k_thread(); IoSetNextIrpStackLocation(irp); body; irp_free(irp); }
WITH_IRP(IoGetRequestorProcess, SAY("(an IRP of this thread) -> %p", q_process(irp)))
WITH_IRP(IoGetRequestorProcessId, SAY("(an IRP of this thread) -> not 0: %b", q_process_id(irp) != 0))
WITH_IRP(IoIs32bitProcess, SAY("(an IRP) -> %b", q_32(irp)))
WITH_IRP(IoIsOperationSynchronous, irp->Flags = IRP_SYNCHRONOUS_API; SAY("(a synchronous IRP) -> %b", q_sync(irp)))
TEST(IoIsSystemThread) { SAY("(this thread) -> %b", q_system(k_thread())); }
TEST(IoGetTopLevelIrp) { SAY("() -> %p", q_top()); }
TEST(IoSetTopLevelIrp) { q_set_top((PIRP)1); PIRP set = q_top(); q_set_top(NULL); SAY("(1) -> %d", (LONG)(ULONG_PTR)set); }
TEST(IoGetStackLimits) { ULONG_PTR low = 0, high = 0; q_limits(&low, &high); SAY("() -> this frame is within: %b", low < (ULONG_PTR)&low && (ULONG_PTR)&low < high); }
TEST(IoRegisterShutdownNotification) { SAY("() -> %x", q_shutdown(Device)); q_no_shutdown(Device); }
TEST(IoUnregisterShutdownNotification) { q_shutdown(Device); q_no_shutdown(Device); SAY("() -> returns"); }
WITH_IRP(IoValidateDeviceIoControlAccess, irp->RequestorMode = KernelMode; SAY("(an IRP of the kernel, FILE_READ_ACCESS) -> %x", q_validate(irp, 1)))
TEST(IoGetAttachedDevice) { SAY("(nothing is attached) -> the device: %b", q_attached(Device) == Device); }
TEST(IoGetAttachedDeviceReference) { PDEVICE_OBJECT top = q_attached_reference(Device); SAY("(nothing is attached) -> the device: %b", top == Device); ObDereferenceObject(top); }
TEST(IoGetRelatedDeviceObject) { FILE_OBJECT file = {.Type = 5, .Size = sizeof(file), .DeviceObject = Device}; SAY("(a file of the device) -> the device: %b", q_related(&file) == Device); }

static IO_REMOVE_LOCK Remove;
KERNEL(VOID, rl_init, "IoInitializeRemoveLockEx", PIO_REMOVE_LOCK, ULONG, ULONG, ULONG, ULONG);
KERNEL(NTSTATUS, rl_acquire, "IoAcquireRemoveLockEx", PIO_REMOVE_LOCK, PVOID, const char *, ULONG, ULONG);
KERNEL(VOID, rl_release, "IoReleaseRemoveLockEx", PIO_REMOVE_LOCK, PVOID, ULONG);
KERNEL(VOID, rl_wait, "IoReleaseRemoveLockAndWaitEx", PIO_REMOVE_LOCK, PVOID, ULONG);
#define REMOVE_SIZE sizeof(IO_REMOVE_LOCK)
TEST(IoInitializeRemoveLockEx) { rl_init(&Remove, TAG, 0, 0, REMOVE_SIZE); SAY("() -> removed %b, count %d", Remove.Common.Removed, Remove.Common.IoCount); }
TEST(IoAcquireRemoveLockEx) { rl_init(&Remove, TAG, 0, 0, REMOVE_SIZE); NTSTATUS first = rl_acquire(&Remove, NULL, "", 1, REMOVE_SIZE); rl_wait(&Remove, NULL, REMOVE_SIZE); SAY("(before; after the removal) -> %x %x", first, rl_acquire(&Remove, NULL, "", 1, REMOVE_SIZE)); }
TEST(IoReleaseRemoveLockEx) { rl_init(&Remove, TAG, 0, 0, REMOVE_SIZE); rl_acquire(&Remove, NULL, "", 1, REMOVE_SIZE); rl_release(&Remove, NULL, REMOVE_SIZE); SAY("() -> count %d", Remove.Common.IoCount); }
TEST(IoReleaseRemoveLockAndWaitEx) { rl_init(&Remove, TAG, 0, 0, REMOVE_SIZE); rl_acquire(&Remove, NULL, "", 1, REMOVE_SIZE); rl_wait(&Remove, NULL, REMOVE_SIZE); SAY("() -> removed %b, count %d", Remove.Common.Removed, Remove.Common.IoCount); }

static KDEVICE_QUEUE DeviceQueue;
static KDEVICE_QUEUE_ENTRY EntryOne, EntryTwo;
KERNEL(VOID, dq_init, "KeInitializeDeviceQueue", PKDEVICE_QUEUE);
KERNEL(BOOLEAN, dq_insert, "KeInsertDeviceQueue", PKDEVICE_QUEUE, PKDEVICE_QUEUE_ENTRY);
KERNEL(PKDEVICE_QUEUE_ENTRY, dq_remove, "KeRemoveDeviceQueue", PKDEVICE_QUEUE);
TEST(KeInitializeDeviceQueue) { dq_init(&DeviceQueue); SAY("() -> type %d, busy %b", DeviceQueue.Type, DeviceQueue.Busy); }
TEST(KeInsertDeviceQueue) { dq_init(&DeviceQueue); KIRQL old = k_kf_raise(DISPATCH_LEVEL); BOOLEAN a = dq_insert(&DeviceQueue, &EntryOne), b = dq_insert(&DeviceQueue, &EntryTwo); dq_remove(&DeviceQueue); k_lower(old); SAY("(idle; busy) -> %b %b", a, b); }
TEST(KeRemoveDeviceQueue) { dq_init(&DeviceQueue); KIRQL old = k_kf_raise(DISPATCH_LEVEL); dq_insert(&DeviceQueue, &EntryOne); dq_insert(&DeviceQueue, &EntryTwo); BOOLEAN it = dq_remove(&DeviceQueue) == &EntryTwo; PVOID none = dq_remove(&DeviceQueue); k_lower(old); SAY("(one; none) -> it: %b, %p, busy %b", it, none, DeviceQueue.Busy); }
static LONG Started;
static VOID NTAPI StartIo(PDEVICE_OBJECT device, PIRP irp) { Started++; }
KERNEL(VOID, sp_start, "IoStartPacket", PDEVICE_OBJECT, PIRP, PULONG, PVOID);
KERNEL(VOID, sp_next, "IoStartNextPacket", PDEVICE_OBJECT, BOOLEAN);
#define PACKETS(name, body) TEST(name) { PIRP a = irp_allocate(1, FALSE), b = irp_allocate(1, FALSE); LONG first, second; Started = 0; Driver->DriverStartIo = StartIo; KeInitializeDeviceQueue(&Device->DeviceQueue); body; Driver->DriverStartIo = NULL; irp_free(a); irp_free(b); SAY("() of two -> %d, %d started", first, second); }
PACKETS(IoStartPacket, sp_start(Device, a, NULL, NULL); first = Started; sp_start(Device, b, NULL, NULL); second = Started; KIRQL old = k_kf_raise(DISPATCH_LEVEL); sp_next(Device, FALSE); sp_next(Device, FALSE); k_lower(old))
PACKETS(IoStartNextPacket, sp_start(Device, a, NULL, NULL); sp_start(Device, b, NULL, NULL); KIRQL old = k_kf_raise(DISPATCH_LEVEL); sp_next(Device, FALSE); first = Started; sp_next(Device, FALSE); second = Started; k_lower(old))

/* MDLs. */
static UCHAR __attribute__((aligned(4096))) Pages[8192];
KERNEL(PMDL, m_allocate, "IoAllocateMdl", PVOID, ULONG, BOOLEAN, BOOLEAN, PIRP);
KERNEL(VOID, m_free, "IoFreeMdl", PMDL);
KERNEL(VOID, m_partial, "IoBuildPartialMdl", PMDL, PMDL, PVOID, ULONG);
KERNEL(VOID, m_build, "MmBuildMdlForNonPagedPool", PMDL);
KERNEL(VOID, m_lock, "MmProbeAndLockPages", PMDL, CHAR, ULONG);
KERNEL(VOID, m_unlock, "MmUnlockPages", PMDL);
KERNEL(PVOID, m_map, "MmMapLockedPages", PMDL, CHAR);
KERNEL(PVOID, m_map_cache, "MmMapLockedPagesSpecifyCache", PMDL, CHAR, ULONG, PVOID, ULONG, ULONG);
KERNEL(VOID, m_unmap, "MmUnmapLockedPages", PVOID, PMDL);
KERNEL(SIZE_T, m_size, "MmSizeOfMdl", PVOID, SIZE_T);
KERNEL(NTSTATUS, m_protect, "MmProtectMdlSystemAddress", PMDL, ULONG);
TEST(IoAllocateMdl)
{
    PMDL mdl = m_allocate(Pages + 100, 5000, FALSE, FALSE, NULL);
    SAY("(100 behind a page, 5000) -> size %d, count %u, offset %u, the page: %b, next %p", mdl->Size, mdl->ByteCount, mdl->ByteOffset, mdl->StartVa == Pages, mdl->Next);
    SAY("(100 behind a page, 5000), its flags -> %x", mdl->MdlFlags);
    m_free(mdl);
    PIRP irp = irp_allocate(1, FALSE);
    PMDL first = m_allocate(Pages, 10, FALSE, FALSE, irp), second = m_allocate(Pages, 10, TRUE, FALSE, irp);
    SAY("(an IRP; secondary) -> the IRP's: %b, behind it: %b", irp->MdlAddress == first, first->Next == second);
    irp->MdlAddress = NULL;
    m_free(second);
    m_free(first);
    irp_free(irp);
}
TEST(IoFreeMdl) { m_free(m_allocate(Pages, 10, FALSE, FALSE, NULL)); SAY("() -> returns"); }
TEST(IoBuildPartialMdl) { PMDL all = m_allocate(Pages, 5000, FALSE, FALSE, NULL), part = m_allocate(Pages, 5000, FALSE, FALSE, NULL); m_build(all); m_partial(all, part, Pages + 100, 50); SAY("(100, 50) -> count %u, offset %u", part->ByteCount, part->ByteOffset); m_partial(all, part, Pages + 100, 0); SAY("(100, 0: the rest) -> count %u", part->ByteCount); m_free(part); m_free(all); }
TEST(MmBuildMdlForNonPagedPool) { PMDL mdl = m_allocate(Pages + 100, 10, FALSE, FALSE, NULL); m_build(mdl); SAY("() -> is mapped where it is: %b, flag %x", mdl->MappedSystemVa == Pages + 100, mdl->MdlFlags & MDL_SOURCE_IS_NONPAGED_POOL); m_free(mdl); }
TEST(MmProbeAndLockPages) { PMDL mdl = m_allocate(Pages + 100, 10, FALSE, FALSE, NULL); m_lock(mdl, KernelMode, IoWriteAccess); SAY("() -> flag %x", mdl->MdlFlags & MDL_PAGES_LOCKED); m_unlock(mdl); m_free(mdl); }
TEST(MmUnlockPages) { PMDL mdl = m_allocate(Pages + 100, 10, FALSE, FALSE, NULL); m_lock(mdl, KernelMode, IoWriteAccess); m_unlock(mdl); SAY("() -> flag %x", mdl->MdlFlags & MDL_PAGES_LOCKED); m_free(mdl); }
#define MAPPED(name, map) TEST(name) { PMDL mdl = m_allocate(Pages + 100, 10, FALSE, FALSE, NULL); Pages[100] = 42; m_lock(mdl, KernelMode, IoWriteAccess); PUCHAR at = map; SAY("() -> %d", at[0]); m_unmap(at, mdl); m_unlock(mdl); m_free(mdl); }
MAPPED(MmMapLockedPages, m_map(mdl, KernelMode))
MAPPED(MmMapLockedPagesSpecifyCache, m_map_cache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority))
MAPPED(MmUnmapLockedPages, m_map_cache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority))
TEST(MmSizeOfMdl) { SAY("(a page, 1; 4096; 4097) -> %u %u %u", (ULONG)m_size(Pages, 1), (ULONG)m_size(Pages, 4096), (ULONG)m_size(Pages, 4097)); SAY("(one before a page's end, 2) -> %u", (ULONG)m_size(Pages + 4095, 2)); }
TEST(MmProtectMdlSystemAddress) { PMDL mdl = m_allocate(Pages, 10, FALSE, FALSE, NULL); m_lock(mdl, KernelMode, IoWriteAccess); PVOID at = m_map_cache(mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority); SAY("(PAGE_READWRITE) -> %x", m_protect(mdl, PAGE_READWRITE)); m_unmap(at, mdl); m_unlock(mdl); m_free(mdl); }
KERNEL(BOOLEAN, v_valid, "MmIsAddressValid", PVOID);
KERNEL(PVOID, v_routine, "MmGetSystemRoutineAddress", PUNICODE_STRING);
KERNEL(ULONG, v_size, "MmQuerySystemSize", void);
KERNEL(PHYSICAL_ADDRESS, v_physical, "MmGetPhysicalAddress", PVOID);
KERNEL(PVOID, v_contiguous, "MmAllocateContiguousMemory", SIZE_T, PHYSICAL_ADDRESS);
KERNEL(VOID, v_free_contiguous, "MmFreeContiguousMemory", PVOID);
KERNEL(PVOID, v_noncached, "MmAllocateNonCachedMemory", SIZE_T);
KERNEL(VOID, v_free_noncached, "MmFreeNonCachedMemory", PVOID, SIZE_T);
KERNEL(PVOID, v_lock, "MmLockPagableDataSection", PVOID);
KERNEL(VOID, v_unlock, "MmUnlockPagableImageSection", PVOID);
KERNEL(PVOID, v_page, "MmPageEntireDriver", PVOID);
KERNEL(VOID, v_reset, "MmResetDriverPaging", PVOID);
KERNEL(VOID, v_probe_read, "ProbeForRead", const VOID *, SIZE_T, ULONG);
KERNEL(VOID, v_probe_write, "ProbeForWrite", PVOID, SIZE_T, ULONG);
TEST(MmIsAddressValid) { SAY("(data; NULL) -> %b %b", v_valid(Pages), v_valid(NULL)); }
TEST(MmGetSystemRoutineAddress) { UNICODE_STRING there = RTL_CONSTANT_STRING(L"IoCreateDevice"), none = RTL_CONSTANT_STRING(L"NoSuchRoutine"); SAY("(\"IoCreateDevice\", \"NoSuchRoutine\") -> %p, %p", v_routine(&there), v_routine(&none)); }
TEST(MmQuerySystemSize) { SAY("() -> at most 2: %b", v_size() <= 2); }
TEST(MmGetPhysicalAddress) { SAY("(a page, and 5 behind it) -> 5 apart: %b", v_physical(Pages + 5).QuadPart - v_physical(Pages).QuadPart == 5); }
TEST(MmAllocateContiguousMemory) { PHYSICAL_ADDRESS high = {.QuadPart = -1}; PVOID memory = v_contiguous(4096, high); SAY("(4096) -> %p", memory); v_free_contiguous(memory); }
TEST(MmFreeContiguousMemory) { PHYSICAL_ADDRESS high = {.QuadPart = -1}; v_free_contiguous(v_contiguous(4096, high)); SAY("() -> returns"); }
TEST(MmAllocateNonCachedMemory) { PVOID memory = v_noncached(4096); SAY("(4096) -> %p", memory); v_free_noncached(memory, 4096); }
TEST(MmFreeNonCachedMemory) { v_free_noncached(v_noncached(4096), 4096); SAY("() -> returns"); }
TEST(MmLockPagableDataSection) { PVOID handle = v_lock(Pages); SAY("(data) -> %p", handle); v_unlock(handle); }
TEST(MmUnlockPagableImageSection) { v_unlock(v_lock(Pages)); SAY("() -> returns"); }
TEST(MmPageEntireDriver) { SAY("(data) -> %p", v_page(Pages)); v_reset(Pages); }
TEST(MmResetDriverPaging) { v_reset(Pages); SAY("() -> returns"); }
TEST(ProbeForRead) { v_probe_read((PVOID)0x10000, 0, 1); v_probe_read((PVOID)0x20000, 16, 4); SAY("(user space; no bytes) -> returns"); }
TEST(ProbeForWrite) { v_probe_write((PVOID)0x10000, 0, 1); SAY("(no bytes) -> returns"); }
KERNEL_DATA(ULONG_PTR, x_highest) __asm__("MmHighestUserAddress");
KERNEL_DATA(ULONG_PTR, x_range) __asm__("MmSystemRangeStart");
KERNEL_DATA(ULONG_PTR, x_probe) __asm__("MmUserProbeAddress");
TEST(MmHighestUserAddress) { VARIABLE(x_highest); SAY("() -> %X", (ULONG64)x_highest); }
TEST(MmSystemRangeStart) { VARIABLE(x_range); SAY("() -> %X", (ULONG64)x_range); }
TEST(MmUserProbeAddress) { VARIABLE(x_probe); SAY("() -> %X", (ULONG64)x_probe); }
