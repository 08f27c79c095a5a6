/* A WDM callout driver. Its service name says which mistake it makes; "correct" makes none. */
#include <ntddk.h>

#define TAG 'tduA'

NTKERNELAPI PVOID NTAPI ExAllocatePool2(ULONG64 Flags, SIZE_T Size, ULONG Tag);
#define POOL_FLAG_NON_PAGED 0x40ULL
NTSTATUS NTAPI WdmlibIoCreateDeviceSecure(PDRIVER_OBJECT driver, ULONG extension, PUNICODE_STRING name, ULONG type,
    ULONG characteristics, BOOLEAN exclusive, PCUNICODE_STRING sddl, const GUID *class, PDEVICE_OBJECT *device);
NTSTATUS NTAPI ZwWaitForSingleObject(HANDLE handle, BOOLEAN alertable, PLARGE_INTEGER timeout);

/* fwpsk.h and fwpmk.h, which mingw does not have: what is used here. */
#define STATUS_FWP_CALLOUT_NOT_FOUND ((NTSTATUS)0xC0220001)
#define ACTION_PERMIT 0x1002
#define ACTION_CALLOUT_TERMINATING 0x5003
#define RIGHT_ACTION_WRITE 1
#define CONDITIONAL_ON_FLOW 1
#define SESSION_FLAG_DYNAMIC 1
#define LAYER_OUTBOUND_TRANSPORT_V4 14

typedef struct { PCWSTR name, description; } DISPLAY_DATA;
typedef struct { UINT32 size; PVOID data; } BLOB;
typedef struct { UINT32 type; UINT64 value; } VALUE;
typedef struct {
    GUID key; DISPLAY_DATA display; UINT32 flags, wait, process; PVOID sid; PCWSTR user; BOOL kernel;
} SESSION;
typedef struct {
    GUID key; DISPLAY_DATA display; UINT32 flags; const GUID *provider; BLOB data; GUID layer; UINT32 id;
} CALLOUT_OBJECT;
typedef struct {
    GUID key; DISPLAY_DATA display; UINT32 flags; const GUID *provider; BLOB data; GUID layer, sublayer; VALUE weight;
    UINT32 conditions; PVOID condition; struct { UINT32 type; GUID callout; } action;
    union { UINT64 context; GUID provider; } u; GUID *reserved; UINT64 id; VALUE effective;
} FILTER;
C_ASSERT(sizeof(SESSION) == 72 && sizeof(FILTER) == 200);

typedef struct { UINT32 action; UINT64 context, filter; UINT32 rights, flags, reserved; } CLASSIFY_OUT;
typedef struct { UINT32 present, flags; UINT64 reserved[3]; UINT64 flow; } METADATA;
typedef struct { GUID key; UINT32 flags; PVOID classify, notify, flowDelete; } CALLOUT;

NTSTATUS NTAPI FwpsCalloutRegister1(PVOID device, const CALLOUT *callout, UINT32 *id);
NTSTATUS NTAPI FwpsCalloutUnregisterById0(UINT32 id);
NTSTATUS NTAPI FwpsFlowAssociateContext0(UINT64 flow, UINT16 layer, UINT32 callout, UINT64 context);
NTSTATUS NTAPI FwpsFlowRemoveContext0(UINT64 flow, UINT16 layer, UINT32 callout);
NTSTATUS NTAPI FwpsInjectionHandleCreate0(UINT16 family, UINT32 flags, HANDLE *handle);
NTSTATUS NTAPI FwpsInjectionHandleDestroy0(HANDLE handle);
NTSTATUS NTAPI FwpmEngineOpen0(PCWSTR server, UINT32 service, PVOID identity, const SESSION *session, HANDLE *engine);
NTSTATUS NTAPI FwpmEngineClose0(HANDLE engine);
NTSTATUS NTAPI FwpmCalloutAdd0(HANDLE engine, const CALLOUT_OBJECT *callout, PVOID security, UINT32 *id);
NTSTATUS NTAPI FwpmFilterAdd0(HANDLE engine, const FILTER *filter, PVOID security, UINT64 *id);

/* Flow established, outbound transport, connect. */
enum { ESTABLISHED, TRANSPORT, CONNECT, CALLOUTS };
static const GUID Layers[CALLOUTS] = {
    { 0xaf80470a, 0x5596, 0x4c13, { 0x99, 0x92, 0x53, 0x9e, 0x6f, 0xe5, 0x79, 0x67 } },
    { 0x09e61aea, 0xd214, 0x46e2, { 0x9b, 0x21, 0xb2, 0x6b, 0x0b, 0x2f, 0x28, 0xc8 } },
    { 0xc38d57d1, 0x05a7, 0x4c33, { 0x90, 0x4f, 0x7f, 0xbc, 0xee, 0xe6, 0x0e, 0x82 } },
};
static const GUID Keys[CALLOUTS] = {
    { 0x6a3ee1d0, 1, 1, { 1, 2, 3, 4, 5, 6, 7, 8 } },
    { 0x6a3ee1d0, 2, 2, { 1, 2, 3, 4, 5, 6, 7, 8 } },
    { 0x6a3ee1d0, 3, 3, { 1, 2, 3, 4, 5, 6, 7, 8 } },
};

typedef struct { LIST_ENTRY links; UINT64 flow; } FLOW;

static WCHAR Name[64];
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\??\\AuditTest");
static PDEVICE_OBJECT Device;
static BOOLEAN Linked, TimerSet, Watching;
static HANDLE Engine, Injection, ThreadHandle;
static UINT32 Ids[CALLOUTS];
static PVOID Thread, Table;
static PIO_WORKITEM Work;
static volatile LONG WorkQueued;
static KEVENT Stop, ThreadDone, WorkDone, Drained;
static KTIMER Timer;
static KDPC Dpc;
static EX_RUNDOWN_REF Gate;
static KSPIN_LOCK Lock;
static LIST_ENTRY Contexts;
static LONG Outstanding;
static volatile LONG Leaving;

static BOOLEAN Is(const WCHAR *what)
{
    const WCHAR *name = Name;
    while (*what && *what == *name) { what++; name++; }
    return *what == *name;
}

static VOID Pause(LONG milliseconds)
{
    LARGE_INTEGER time;
    time.QuadPart = -10000LL * milliseconds;
    KeDelayExecutionThread(KernelMode, FALSE, &time);
}

static VOID NTAPI Tick(PKDPC dpc, PVOID context, PVOID a, PVOID b) { }
static VOID NTAPI ProcessNotify(HANDLE parent, HANDLE process, BOOLEAN create) { }

static VOID NTAPI Routine(PDEVICE_OBJECT device, PVOID context)
{
    InterlockedExchange(&WorkQueued, 0);
    KeSetEvent(&WorkDone, 0, FALSE);
}

static VOID NTAPI Worker(PVOID context)
{
    KeWaitForSingleObject(&Stop, Executive, KernelMode, FALSE, NULL);
    KeSetEvent(&ThreadDone, 0, FALSE);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

/* Takes a context out of the list; a context is counted until it is freed. */
static VOID Forget(FLOW *context)
{
    KIRQL irql;
    KeAcquireSpinLock(&Lock, &irql);
    RemoveEntryList(&context->links);
    KeReleaseSpinLock(&Lock, irql);
    ExFreePoolWithTag(context, TAG);
    KeAcquireSpinLock(&Lock, &irql);
    if (--Outstanding == 0) KeSetEvent(&Drained, 0, FALSE);
    KeReleaseSpinLock(&Lock, irql);
}

static VOID NTAPI FlowDelete(UINT16 layer, UINT32 callout, UINT64 context)
{
    Forget((FLOW *)(ULONG_PTR)context);
}

static VOID Remember(UINT64 flow)
{
    KIRQL irql;
    FLOW *context = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof *context, TAG);
    if (context == NULL && !Is(L"null-not-checked")) return;
    context->flow = flow;
    /* The context is on its flow before it is on the list. */
    if (Is(L"gate-not-waited-for")
        && FwpsFlowAssociateContext0(flow, LAYER_OUTBOUND_TRANSPORT_V4, Ids[TRANSPORT], (UINT64)(ULONG_PTR)context) != STATUS_SUCCESS) {
        ExFreePoolWithTag(context, TAG);
        return;
    }
    KeAcquireSpinLock(&Lock, &irql);
    InsertTailList(&Contexts, &context->links);
    Outstanding++;
    KeReleaseSpinLock(&Lock, irql);
    if (Is(L"gate-not-waited-for")) return;
    if (FwpsFlowAssociateContext0(flow, LAYER_OUTBOUND_TRANSPORT_V4, Ids[TRANSPORT], (UINT64)(ULONG_PTR)context) != STATUS_SUCCESS)
        Forget(context);
}

static VOID NTAPI Classify(const struct { UINT16 layer; } *values, const METADATA *metadata, PVOID data, PVOID classify,
    PVOID filter, UINT64 context, CLASSIFY_OUT *out)
{
    if (!(out->rights & RIGHT_ACTION_WRITE)) return;
    out->action = ACTION_PERMIT;
    if (values->layer == LAYER_OUTBOUND_TRANSPORT_V4) return;
    /* Looks only whether the driver is leaving; nobody waits for one that has looked. */
    if (Is(L"gate-not-waited-for") ? Leaving : !ExAcquireRundownProtection(&Gate)) return;
    /* Of the two others, only this one knows the flow. */
    if (metadata->present & 2) Remember(metadata->flow);
    if (!Is(L"gate-not-waited-for")) ExReleaseRundownProtection(&Gate);
}

static NTSTATUS NTAPI Notify(UINT32 type, const GUID *key, PVOID filter) { return STATUS_SUCCESS; }

static VOID RemoveContexts(VOID)
{
    KIRQL irql;
    if (Is(L"contexts-left")) return;
    if (Is(L"walks-its-list")) {
        LIST_ENTRY *entry = Contexts.Flink;
        while (entry != &Contexts) {
            FLOW *context = CONTAINING_RECORD(entry, FLOW, links);
            entry = entry->Flink;
            FwpsFlowRemoveContext0(context->flow, LAYER_OUTBOUND_TRANSPORT_V4, Ids[TRANSPORT]);
        }
    }
    for (;;) {
        UINT64 flow;
        NTSTATUS status;
        LARGE_INTEGER soon;
        KeAcquireSpinLock(&Lock, &irql);
        if (Outstanding == 0) { KeReleaseSpinLock(&Lock, irql); return; }
        flow = 0;
        if (!IsListEmpty(&Contexts)) {
            /* Only the number is used once the lock is released: the context may be freed at any moment. */
            LIST_ENTRY *entry = RemoveHeadList(&Contexts);
            InsertTailList(&Contexts, entry);
            flow = CONTAINING_RECORD(entry, FLOW, links)->flow;
        }
        KeClearEvent(&Drained);
        KeReleaseSpinLock(&Lock, irql);
        if (flow == 0) continue;
        status = FwpsFlowRemoveContext0(flow, LAYER_OUTBOUND_TRANSPORT_V4, Ids[TRANSPORT]);
        if (status == STATUS_SUCCESS) continue;
        if (Is(L"pending-is-done") && NT_SUCCESS(status)) return;
        soon.QuadPart = -10000;
        KeWaitForSingleObject(&Drained, Executive, KernelMode, FALSE, &soon);
    }
}

static __attribute__((noinline)) VOID Unregister(VOID)
{
    int i, tries;
    for (i = 0; i < CALLOUTS; i++) {
        for (tries = 0; Ids[i] != 0; tries++) {
            NTSTATUS status = FwpsCalloutUnregisterById0(Ids[i]);
            if (status == STATUS_SUCCESS || status == STATUS_FWP_CALLOUT_NOT_FOUND) break;
            if (Is(L"unregister-discarded") || Is(L"contexts-left") || Is(L"pending-is-done") || Is(L"drain-before-gate") || Is(L"gate-not-waited-for")) break;
            if (Is(L"gives-up") && tries == 10) break;
            RemoveContexts();
            Pause(1);
        }
        Ids[i] = 0;
    }
}

static VOID CloseEngine(VOID)
{
    if (Engine != NULL && !Is(L"session-left")) FwpmEngineClose0(Engine);
    Engine = NULL;
}

static VOID DestroyInjection(VOID)
{
    if (Injection != NULL && !Is(L"handle-left")) FwpsInjectionHandleDestroy0(Injection);
    Injection = NULL;
}

static VOID DeleteDevice(VOID)
{
    if (Linked && !Is(L"link-left")) IoDeleteSymbolicLink(&LinkName);
    Linked = FALSE;
    if (Device != NULL && !Is(L"device-left")) IoDeleteDevice(Device);
    Device = NULL;
}

static VOID Leave(VOID)
{
    if (Is(L"drain-before-gate")) RemoveContexts();
    if (Is(L"work-freed") && Work != NULL) IoQueueWorkItem(Work, Routine, DelayedWorkQueue, NULL);
    Leaving = 1;
    if (Is(L"gate-not-waited-for")) RemoveContexts();
    ExWaitForRundownProtectionRelease(&Gate);
    if (Is(L"handle-first")) DestroyInjection();
    if (!Is(L"callouts-first")) CloseEngine();
    if (!Is(L"drain-before-gate") && !Is(L"gate-not-waited-for")) RemoveContexts();
    if (Is(L"device-first")) DeleteDevice();
    Unregister();
    CloseEngine();
    DestroyInjection();
    if (TimerSet && !Is(L"timer-left")) {
        KeCancelTimer(&Timer);
        if (!Is(L"dpc-not-flushed")) KeFlushQueuedDpcs();
    }
    if (ThreadHandle != NULL || Thread != NULL) {
        KeSetEvent(&Stop, 0, FALSE);
        if (Is(L"event-not-thread")) KeWaitForSingleObject(&ThreadDone, Executive, KernelMode, FALSE, NULL);
        else if (!Is(L"thread-left")) {
            if (Thread != NULL) KeWaitForSingleObject(Thread, Executive, KernelMode, FALSE, NULL);
            else ZwWaitForSingleObject(ThreadHandle, FALSE, NULL);
        }
        if (Thread != NULL) ObDereferenceObject(Thread);
        if (ThreadHandle != NULL) ZwClose(ThreadHandle);
    }
    if (Watching && !Is(L"callback-left")) PsSetCreateProcessNotifyRoutine(ProcessNotify, TRUE);
    if (Work != NULL) {
        if (WorkQueued) KeWaitForSingleObject(&WorkDone, Executive, KernelMode, FALSE, NULL);
        IoFreeWorkItem(Work);
    }
    if (Table != NULL && !Is(L"memory-left")) ExFreePoolWithTag(Table, TAG);
    DeleteDevice();
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver) { Leave(); }

static NTSTATUS AddCallout(int i)
{
    CALLOUT callout = { Keys[i], 0, Classify, Notify, NULL };
    CALLOUT_OBJECT object = { Keys[i], { L"audit callout", NULL } };
    FILTER filter = { { 0 }, { L"audit filter", NULL } };
    NTSTATUS status;
    if (i == TRANSPORT) { callout.flags = CONDITIONAL_ON_FLOW; callout.flowDelete = FlowDelete; }
    status = FwpsCalloutRegister1(Device, &callout, &Ids[i]);
    if (!NT_SUCCESS(status)) return status;
    object.layer = Layers[i];
    status = FwpmCalloutAdd0(Engine, &object, NULL, NULL);
    if (!NT_SUCCESS(status)) return status;
    filter.layer = Layers[i];
    filter.action.type = ACTION_CALLOUT_TERMINATING;
    filter.action.callout = Keys[i];
    return FwpmFilterAdd0(Engine, &filter, NULL, NULL);
}

static NTSTATUS CreateDevice(PDRIVER_OBJECT driver)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\AuditTest");
    UNICODE_STRING closed = RTL_CONSTANT_STRING(L"D:P(A;;GA;;;SY)(A;;GA;;;BA)");
    UNICODE_STRING open = RTL_CONSTANT_STRING(L"D:P(A;;GA;;;SY)(A;;GRGW;;;WD)");
    if (Is(L"default-device"))
        return IoCreateDevice(driver, 0, &name, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &Device);
    return WdmlibIoCreateDeviceSecure(driver, 0, &name, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE,
        Is(L"open-device") ? &open : &closed, NULL, &Device);
}

static NTSTATUS Start(PDRIVER_OBJECT driver)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\AuditTest");
    SESSION session = { { 0 }, { L"audit session", NULL }, SESSION_FLAG_DYNAMIC };
    LARGE_INTEGER due;
    NTSTATUS status;
    int i;
    if (Is(L"objects-left")) session.flags = 0;
    status = CreateDevice(driver);
    if (!NT_SUCCESS(status)) return status;
    status = IoCreateSymbolicLink(&LinkName, &name);
    if (!NT_SUCCESS(status)) return status;
    Linked = TRUE;
    Table = ExAllocatePool2(POOL_FLAG_NON_PAGED, 512, TAG);
    Work = IoAllocateWorkItem(Device);
    if (Table == NULL || Work == NULL) return STATUS_INSUFFICIENT_RESOURCES;
    status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, Worker, NULL);
    if (!NT_SUCCESS(status)) return status;
    status = ObReferenceObjectByHandle(ThreadHandle, THREAD_ALL_ACCESS, NULL, KernelMode, &Thread, NULL);
    if (!NT_SUCCESS(status)) return status;
    ZwClose(ThreadHandle);
    ThreadHandle = NULL;
    status = PsSetCreateProcessNotifyRoutine(ProcessNotify, FALSE);
    if (!NT_SUCCESS(status)) return status;
    Watching = TRUE;
    due.QuadPart = -10000;
    KeSetTimerEx(&Timer, due, 1, &Dpc);
    TimerSet = TRUE;
    status = FwpsInjectionHandleCreate0(0, 4, &Injection);
    if (!NT_SUCCESS(status)) return status;
    status = FwpmEngineOpen0(NULL, 10, NULL, &session, &Engine);
    if (!NT_SUCCESS(status)) return status;
    for (i = 0; i < CALLOUTS; i++) {
        status = AddCallout(i);
        if (!NT_SUCCESS(status)) return status;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI Answer(PDEVICE_OBJECT device, PIRP irp)
{
    BOOLEAN control = IoGetCurrentIrpStackLocation(irp)->MajorFunction == IRP_MJ_DEVICE_CONTROL;
    NTSTATUS status = control ? STATUS_INVALID_DEVICE_REQUEST : STATUS_SUCCESS;
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = 0;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    USHORT i, n = path->Length / 2, from = n;
    NTSTATUS status;
    while (from && path->Buffer[from - 1] != L'\\') from--;
    for (i = 0; from + i < n && i < 63; i++) Name[i] = path->Buffer[from + i];
    Name[i] = 0;

    KeInitializeEvent(&Stop, NotificationEvent, FALSE);
    KeInitializeEvent(&ThreadDone, NotificationEvent, FALSE);
    KeInitializeEvent(&WorkDone, NotificationEvent, FALSE);
    KeInitializeEvent(&Drained, NotificationEvent, FALSE);
    KeInitializeTimer(&Timer);
    KeInitializeDpc(&Dpc, Tick, NULL);
    KeInitializeSpinLock(&Lock);
    InitializeListHead(&Contexts);
    ExInitializeRundownProtection(&Gate);
    driver->MajorFunction[IRP_MJ_CREATE] = Answer;
    driver->MajorFunction[IRP_MJ_CLEANUP] = Answer;
    driver->MajorFunction[IRP_MJ_CLOSE] = Answer;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Answer;
    if (!Is(L"no-unload")) driver->DriverUnload = Unload;

    status = Start(driver);
    if (!NT_SUCCESS(status)) {
        if (Is(L"partial-start")) {
            /* Forgets the callouts: the engine was not told of all of them. */
            for (i = 0; i < CALLOUTS; i++) Ids[i] = 0;
        }
        Leave();
    }
    return status;
}
