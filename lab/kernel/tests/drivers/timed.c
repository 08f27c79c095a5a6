/* A callout driver for the lab's own tests whose mistakes only timing shows. Its service name says which it makes; "timed" makes none. */
#include <ntddk.h>

#define TAG 'dmiT'

NTKERNELAPI PVOID NTAPI ExAllocatePool2(ULONG64 Flags, SIZE_T Size, ULONG Tag);
#define POOL_FLAG_NON_PAGED 0x40ULL

/* fwpsk.h, which mingw does not have. */
typedef struct { UINT32 actionType; UINT64 outContext; UINT64 filterId; UINT32 rights; UINT32 flags; UINT32 reserved; } CLASSIFY_OUT;
typedef struct { GUID calloutKey; UINT32 flags; PVOID classifyFn; PVOID notifyFn; PVOID flowDeleteFn; } CALLOUT;
NTSTATUS NTAPI FwpsCalloutRegister0(PVOID device, const CALLOUT *callout, UINT32 *id);
NTSTATUS NTAPI FwpsCalloutUnregisterById0(UINT32 id);
#define ACTION_PERMIT 0x1002

#define IOCTL_WORK CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)

typedef struct { volatile LONG Connections; } STATE;

static PDEVICE_OBJECT Device;
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\??\\LabTimed");
static WCHAR Name[64];
static KDPC Dpc;
static KEVENT Stop, ThreadDone, WorkDone, DpcDone;
static PVOID Thread;
static PIO_WORKITEM Work;
static WORK_QUEUE_ITEM BareWork;
static EX_RUNDOWN_REF Gate;
static volatile LONG Leaving, Inside, Lock;
static STATE *State;
static UINT32 CalloutId;

static BOOLEAN Is(const WCHAR *what)
{
    const WCHAR *name = Name;
    while (*what && *what == *name) { what++; name++; }
    return *what == *name;
}

static VOID NTAPI Deferred(PKDPC dpc, PVOID context, PVOID a, PVOID b)
{
    KeSetEvent(&DpcDone, 0, FALSE);
}

static VOID NTAPI BareRoutine(PVOID context)
{
    KeSetEvent(&WorkDone, 0, FALSE);
}

static VOID NTAPI Routine(PDEVICE_OBJECT device, PVOID context)
{
    KeSetEvent(&WorkDone, 0, FALSE);
}

static VOID NTAPI Worker(PVOID context)
{
    KeWaitForSingleObject(&Stop, Executive, KernelMode, FALSE, NULL);
    KeSetEvent(&ThreadDone, 0, FALSE);
}

static VOID NTAPI Classify(PVOID values, PVOID meta, PVOID data, PVOID filter, UINT64 flow, CLASSIFY_OUT *out)
{
    out->actionType = ACTION_PERMIT;
    if (Is(L"flag")) {
        /* Between the look and the use, unloading may free. */
        if (Leaving) return;
        KeReadStateEvent(&Stop);
        InterlockedIncrement(&State->Connections);
    } else if (Is(L"drain-first")) {
        if (Leaving) return;
        InterlockedIncrement(&Inside);
        KeReadStateEvent(&Stop);
        InterlockedIncrement(&State->Connections);
        InterlockedDecrement(&Inside);
    } else {
        if (!ExAcquireRundownProtection(&Gate)) return;
        KeReadStateEvent(&Stop);
        InterlockedIncrement(&State->Connections);
        ExReleaseRundownProtection(&Gate);
    }
}

/* The windows of the three that follow have no call into the kernel. */

static VOID NTAPI ClassifyLooksFirst(PVOID values, PVOID meta, PVOID data, PVOID filter, UINT64 flow, CLASSIFY_OUT *out)
{
    out->actionType = ACTION_PERMIT;
    if (Leaving) return;
    /* Unloading may see nobody inside. */
    InterlockedIncrement(&Inside);
    State->Connections++;
    InterlockedDecrement(&Inside);
}

static VOID NTAPI ClassifyLeavesEarly(PVOID values, PVOID meta, PVOID data, PVOID filter, UINT64 flow, CLASSIFY_OUT *out)
{
    out->actionType = ACTION_PERMIT;
    InterlockedIncrement(&Inside);
    if (Leaving) {
        InterlockedDecrement(&Inside);
        return;
    }
    InterlockedDecrement(&Inside);
    /* Unloading may have seen nobody inside. */
    State->Connections++;
}

static VOID NTAPI ClassifySpins(PVOID values, PVOID meta, PVOID data, PVOID filter, UINT64 flow, CLASSIFY_OUT *out)
{
    out->actionType = ACTION_PERMIT;
    if (!ExAcquireRundownProtection(&Gate)) return;
    while (InterlockedExchange(&Lock, 1)) {}
    State->Connections++;
    InterlockedExchange(&Lock, 0);
    ExReleaseRundownProtection(&Gate);
}

static NTSTATUS NTAPI Notify(UINT32 type, const GUID *key, PVOID filter)
{
    return STATUS_SUCCESS;
}

static NTSTATUS Complete(PIRP irp, NTSTATUS status)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = 0;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI OpenClose(PDEVICE_OBJECT device, PIRP irp)
{
    return Complete(irp, STATUS_SUCCESS);
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    if (stack->Parameters.DeviceIoControl.IoControlCode != IOCTL_WORK)
        return Complete(irp, STATUS_INVALID_DEVICE_REQUEST);
    KeClearEvent(&WorkDone);
    KeClearEvent(&DpcDone);
    if (Is(L"work")) ExQueueWorkItem(&BareWork, DelayedWorkQueue);
    else IoQueueWorkItem(Work, Routine, DelayedWorkQueue, NULL);
    KeInsertQueueDpc(&Dpc, NULL, NULL);
    return Complete(irp, STATUS_SUCCESS);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    LARGE_INTEGER little; little.QuadPart = -10000;
    if (Is(L"drain-first")) {
        while (Inside) KeDelayExecutionThread(KernelMode, FALSE, &little);
        KeSetEvent(&Stop, 0, FALSE);
        Leaving = 1;
    } else {
        Leaving = 1;
        while (Inside) KeDelayExecutionThread(KernelMode, FALSE, &little);
        ExWaitForRundownProtectionRelease(&Gate);
        KeSetEvent(&Stop, 0, FALSE);
    }
    ExFreePoolWithTag(State, TAG);
    while (FwpsCalloutUnregisterById0(CalloutId) != STATUS_SUCCESS) KeDelayExecutionThread(KernelMode, FALSE, &little);
    KeWaitForSingleObject(&WorkDone, Executive, KernelMode, FALSE, NULL);
    if (Is(L"dpc")) KeWaitForSingleObject(&DpcDone, Executive, KernelMode, FALSE, NULL);
    else KeFlushQueuedDpcs();
    KeWaitForSingleObject(Is(L"thread") ? (PVOID)&ThreadDone : Thread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(Thread);
    IoFreeWorkItem(Work);
    IoDeleteSymbolicLink(&LinkName);
    IoDeleteDevice(Device);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    CALLOUT callout = { { 0x7a6d6974, 1, 2, { 3, 4, 5, 6, 7, 8, 9, 10 } }, 0, Classify, Notify, NULL };
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\LabTimed");
    HANDLE thread;
    USHORT i, n = path->Length / 2, from = n;

    while (from && path->Buffer[from - 1] != L'\\') from--;
    for (i = 0; from + i < n && i < 63; i++) Name[i] = path->Buffer[from + i];
    Name[i] = 0;
    KeInitializeEvent(&Stop, NotificationEvent, FALSE);
    KeInitializeEvent(&ThreadDone, NotificationEvent, FALSE);
    KeInitializeEvent(&WorkDone, NotificationEvent, TRUE);
    KeInitializeEvent(&DpcDone, NotificationEvent, TRUE);
    KeInitializeDpc(&Dpc, Deferred, NULL);
    ExInitializeWorkItem(&BareWork, BareRoutine, NULL);
    ExInitializeRundownProtection(&Gate);
    State = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(STATE), TAG);
    IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &Device);
    IoCreateSymbolicLink(&LinkName, &name);
    driver->MajorFunction[IRP_MJ_CREATE] = OpenClose;
    driver->MajorFunction[IRP_MJ_CLEANUP] = OpenClose;
    driver->MajorFunction[IRP_MJ_CLOSE] = OpenClose;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    driver->DriverUnload = Unload;
    Work = IoAllocateWorkItem(Device);
    if (Is(L"looks-first")) callout.classifyFn = ClassifyLooksFirst;
    if (Is(L"leaves-early")) callout.classifyFn = ClassifyLeavesEarly;
    if (Is(L"spins")) callout.classifyFn = ClassifySpins;
    FwpsCalloutRegister0(Device, &callout, &CalloutId);
    PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, Worker, NULL);
    ObReferenceObjectByHandle(thread, THREAD_ALL_ACCESS, NULL, KernelMode, &Thread, NULL);
    ZwClose(thread);
    return STATUS_SUCCESS;
}
