/* A WDM driver for the lab's own tests. Its service name says what it does wrong; "well" does nothing wrong. */
#include <ntddk.h>

#define TAG 'tseT'

NTKERNELAPI PVOID NTAPI ExAllocatePool2(ULONG64 Flags, SIZE_T Size, ULONG Tag);
#define POOL_FLAG_NON_PAGED 0x40ULL

#define IOCTL_ECHO CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_PARK CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_DOUBLE CTL_CODE(FILE_DEVICE_UNKNOWN, 0x802, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_DIRECT CTL_CODE(FILE_DEVICE_UNKNOWN, 0x803, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)
#define IOCTL_MISBEHAVE CTL_CODE(FILE_DEVICE_UNKNOWN, 0x804, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_WORK CTL_CODE(FILE_DEVICE_UNKNOWN, 0x805, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_LATE CTL_CODE(FILE_DEVICE_UNKNOWN, 0x806, METHOD_BUFFERED, FILE_ANY_ACCESS)

static PDEVICE_OBJECT Device;
static UNICODE_STRING LinkName = RTL_CONSTANT_STRING(L"\\??\\LabTest");
static WCHAR Name[64];
static KSPIN_LOCK Lock;
static KTIMER Timer;
static KDPC Dpc;
static KEVENT Stop, Idle;
static PVOID Thread;
static PIO_WORKITEM Work;
static NPAGED_LOOKASIDE_LIST Lookaside;
static volatile LONG Ticks;

static BOOLEAN Is(const WCHAR *what)
{
    const WCHAR *name = Name;
    while (*what && *what == *name) { what++; name++; }
    return *what == *name;
}

static VOID NTAPI Tick(PKDPC dpc, PVOID context, PVOID a, PVOID b)
{
    InterlockedIncrement(&Ticks);
    if (Is(L"wait-in-dpc")) {
        LARGE_INTEGER soon; soon.QuadPart = -10000;
        KeWaitForSingleObject(&Stop, Executive, KernelMode, FALSE, &soon);
    }
}

static VOID NTAPI Worker(PVOID context)
{
    if (Is(L"leave-spinning"))
        for (;;) Ticks++;
    KeWaitForSingleObject(&Stop, Executive, KernelMode, FALSE, NULL);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static VOID NTAPI Workload(PDEVICE_OBJECT device, PVOID context)
{
    LARGE_INTEGER little; little.QuadPart = -100000;
    KeDelayExecutionThread(KernelMode, FALSE, &little);
    KeSetEvent(&Idle, 0, FALSE);
}

static NTSTATUS Complete(PIRP irp, NTSTATUS status, ULONG_PTR information)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI OpenClose(PDEVICE_OBJECT device, PIRP irp)
{
    return Complete(irp, STATUS_SUCCESS, 0);
}

static VOID NTAPI CancelParked(PDEVICE_OBJECT device, PIRP irp)
{
    IoReleaseCancelSpinLock(irp->CancelIrql);
    Complete(irp, STATUS_CANCELLED, 0);
}

static __attribute__((noinline)) VOID Misbehave(VOID)
{
    KIRQL irql;
    volatile UCHAR *memory;
    if (Is(L"overrun")) {
        memory = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, TAG);
        memory[64] = 1;
    } else if (Is(L"use-after-free")) {
        memory = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, TAG);
        ExFreePoolWithTag((PVOID)memory, TAG);
        memory[0] = 1;
    } else if (Is(L"double-free")) {
        memory = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, TAG);
        ExFreePoolWithTag((PVOID)memory, TAG);
        ExFreePoolWithTag((PVOID)memory, TAG);
    } else if (Is(L"wrong-tag")) {
        memory = ExAllocatePool2(POOL_FLAG_NON_PAGED, 64, TAG);
        ExFreePoolWithTag((PVOID)memory, 'gnrw');
    } else if (Is(L"small-overrun")) {
        memory = ExAllocatePool2(POOL_FLAG_NON_PAGED, 60, TAG);
        memory[60] = 1;
        ExFreePoolWithTag((PVOID)memory, TAG);
    } else if (Is(L"null")) {
        memory = NULL;
        memory[8] = 1;
    } else if (Is(L"lock-kept")) {
        KeAcquireSpinLock(&Lock, &irql);
    } else if (Is(L"lock-twice")) {
        KeAcquireSpinLock(&Lock, &irql);
        KeAcquireSpinLock(&Lock, &irql);
    } else if (Is(L"lock-not-held")) {
        KeRaiseIrql(DISPATCH_LEVEL, &irql);
        KeReleaseSpinLock(&Lock, irql);
    } else if (Is(L"irql-kept")) {
        KeRaiseIrql(DISPATCH_LEVEL, &irql);
    } else if (Is(L"passive-at-dispatch")) {
        UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\??\\Nope");
        KeAcquireSpinLock(&Lock, &irql);
        IoCreateSymbolicLink(&name, &LinkName);
        KeReleaseSpinLock(&Lock, irql);
        IoDeleteSymbolicLink(&name);
    } else if (Is(L"wait-at-dispatch")) {
        LARGE_INTEGER soon; soon.QuadPart = -10000;
        KeAcquireSpinLock(&Lock, &irql);
        KeWaitForSingleObject(&Stop, Executive, KernelMode, FALSE, &soon);
        KeReleaseSpinLock(&Lock, irql);
    } else if (Is(L"bugcheck")) {
        KeBugCheckEx(0xE2, 1, 2, 3, 4);
    } else if (Is(L"fast-fail")) {
        __asm__ volatile("mov $3, %%ecx; int $0x29" ::: "ecx");
    } else if (Is(L"divide")) {
        volatile int zero = 0;
        Ticks = 100 / zero;
    } else if (Is(L"breakpoint")) {
        DbgBreakPoint();
    } else if (Is(L"int3")) {
        __asm__ volatile("int3");
    } else if (Is(L"bad-pointer")) {
        KeSetEvent((PKEVENT)(ULONG_PTR)0x10, 0, FALSE);
    } else if (Is(L"region-kept")) {
        KeEnterCriticalRegion();
    } else if (Is(L"free-armed-timer")) {
        PKTIMER timer = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(KTIMER), TAG);
        LARGE_INTEGER far; far.QuadPart = -10000000LL * 3600;
        KeInitializeTimer(timer);
        KeSetTimer(timer, far, NULL);
        ExFreePoolWithTag(timer, TAG);
    } else if (Is(L"cr8")) {
        ULONG_PTR level;
        __asm__ volatile("mov %%cr8, %0" : "=r"(level));
        __asm__ volatile("mov %0, %%cr8" :: "r"((ULONG_PTR)2));
        if (level != 0 || KeGetCurrentIrql() != 2) KeBugCheckEx(1, level, 0, 0, 0);
        __asm__ volatile("mov %0, %%cr8" :: "r"(level));
    } else if (Is(L"gs")) {
        PVOID thread; ULONG number;
        __asm__ volatile("mov %%gs:0x188, %0" : "=r"(thread));
        __asm__ volatile("mov %%gs:0x1a4, %0" : "=r"(number));
        if (thread != KeGetCurrentThread() || number > 1023) KeBugCheckEx(1, (ULONG_PTR)thread, number, 0, 0);
    }
}

static NTSTATUS NTAPI Control(PDEVICE_OBJECT device, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength;
    ULONG out = stack->Parameters.DeviceIoControl.OutputBufferLength;
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_ECHO:
        if (out < in) return Complete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        return Complete(irp, STATUS_SUCCESS, in);
    case IOCTL_DIRECT: {
        PUCHAR bytes = MmGetSystemAddressForMdlSafe(irp->MdlAddress, NormalPagePriority);
        ULONG i;
        for (i = 0; i < out; i++) bytes[i] = (UCHAR)i;
        return Complete(irp, STATUS_SUCCESS, out);
    }
    case IOCTL_PARK:
        IoMarkIrpPending(irp);
        IoSetCancelRoutine(irp, CancelParked);
        return STATUS_PENDING;
    case IOCTL_DOUBLE:
        Complete(irp, STATUS_SUCCESS, 0);
        IoCompleteRequest(irp, IO_NO_INCREMENT);
        return STATUS_SUCCESS;
    case IOCTL_LATE:
        Complete(irp, STATUS_SUCCESS, 0);
        return irp->IoStatus.Status;
    case IOCTL_MISBEHAVE:
        Misbehave();
        return Complete(irp, STATUS_SUCCESS, 0);
    case IOCTL_WORK:
        KeClearEvent(&Idle);
        IoQueueWorkItem(Work, Workload, DelayedWorkQueue, NULL);
        KeWaitForSingleObject(&Idle, Executive, KernelMode, FALSE, NULL);
        return Complete(irp, STATUS_SUCCESS, 0);
    }
    if (Is(L"not-completed")) return STATUS_INVALID_DEVICE_REQUEST;
    return Complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    while (Is(L"leave-dpc") && Ticks == 0) {
        LARGE_INTEGER soon; soon.QuadPart = -10000;
        KeWaitForSingleObject(&Stop, Executive, KernelMode, FALSE, &soon);
    }
    if (!Is(L"leave-timer")) KeCancelTimer(&Timer);
    if (!Is(L"leave-dpc")) KeFlushQueuedDpcs();
    if (!Is(L"leave-thread") && !Is(L"leave-spinning")) {
        KeSetEvent(&Stop, 0, FALSE);
        KeWaitForSingleObject(Thread, Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(Thread);
    }
    if (!Is(L"leave-work")) IoFreeWorkItem(Work);
    if (!Is(L"leave-lookaside")) ExDeleteNPagedLookasideList(&Lookaside);
    if (!Is(L"leave-link")) IoDeleteSymbolicLink(&LinkName);
    if (!Is(L"leave-device")) IoDeleteDevice(Device);
    DbgPrint("unloaded after %s ticks: %ws\n", Ticks ? "some" : "no", Name);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\LabTest");
    LARGE_INTEGER due;
    HANDLE thread;
    NTSTATUS status;
    PVOID entry;
    USHORT i, n = path->Length / 2, from = n;

    while (from && path->Buffer[from - 1] != L'\\') from--;
    for (i = 0; from + i < n && i < 63; i++) Name[i] = path->Buffer[from + i];
    Name[i] = 0;
    DbgPrint("loading %wZ as %ws, %d%%\n", path, Name, 100);

    if (Is(L"fail-after-link")) {
        IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &Device);
        IoCreateSymbolicLink(&LinkName, &name);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    KeInitializeSpinLock(&Lock);
    KeInitializeEvent(&Stop, NotificationEvent, FALSE);
    KeInitializeEvent(&Idle, NotificationEvent, FALSE);
    status = IoCreateDevice(driver, 16, &name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &Device);
    if (!NT_SUCCESS(status)) return status;
    status = IoCreateSymbolicLink(&LinkName, &name);
    if (!NT_SUCCESS(status)) { IoDeleteDevice(Device); return status; }
    driver->MajorFunction[IRP_MJ_CREATE] = OpenClose;
    driver->MajorFunction[IRP_MJ_CLEANUP] = OpenClose;
    driver->MajorFunction[IRP_MJ_CLOSE] = OpenClose;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = Control;
    if (!Is(L"no-unload")) driver->DriverUnload = Unload;

    ExInitializeNPagedLookasideList(&Lookaside, NULL, NULL, 0, 100, TAG, 0);
    entry = ExAllocateFromNPagedLookasideList(&Lookaside);
    if (!Is(L"leak-pool")) ExFreeToNPagedLookasideList(&Lookaside, entry);
    Work = IoAllocateWorkItem(Device);
    KeInitializeTimer(&Timer);
    KeInitializeDpc(&Dpc, Tick, NULL);
    due.QuadPart = Is(L"leave-timer") ? -10000000LL * 3600 : -10000;
    KeSetTimerEx(&Timer, due, Is(L"leave-timer") ? 0 : 1, &Dpc);
    status = PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, Worker, NULL);
    if (!NT_SUCCESS(status)) { return status; }
    ObReferenceObjectByHandle(thread, THREAD_ALL_ACCESS, NULL, KernelMode, &Thread, NULL);
    if (!Is(L"leave-handle")) ZwClose(thread);
    return STATUS_SUCCESS;
}
