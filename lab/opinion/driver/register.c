/* What is registered and told: event tracing, callbacks, notifications, access checks, stacks. */
#include "opinion.h"

static const GUID Provider = {0x5f2d6e4a, 0x1111, 0x2222, {1, 2, 3, 4, 5, 6, 7, 8}};
static ULONG64 Trace;
static USHORT Event[8] = {1};
KERNEL(NTSTATUS, et_register, "EtwRegister", const GUID *, PVOID, PVOID, PULONG64);
KERNEL(NTSTATUS, et_unregister, "EtwUnregister", ULONG64);
KERNEL(NTSTATUS, et_write, "EtwWrite", ULONG64, PVOID, PVOID, ULONG, PVOID);
KERNEL(NTSTATUS, et_write_ex, "EtwWriteEx", ULONG64, PVOID, ULONG64, ULONG, PVOID, PVOID, ULONG, PVOID);
KERNEL(NTSTATUS, et_transfer, "EtwWriteTransfer", ULONG64, PVOID, PVOID, PVOID, ULONG, PVOID);
KERNEL(NTSTATUS, et_string, "EtwWriteString", ULONG64, UCHAR, ULONG64, PVOID, PCWSTR);
KERNEL(BOOLEAN, et_enabled, "EtwEventEnabled", ULONG64, PVOID);
KERNEL(BOOLEAN, et_provider, "EtwProviderEnabled", ULONG64, UCHAR, ULONG64);
KERNEL(NTSTATUS, et_activity, "EtwActivityIdControl", ULONG, PVOID);
KERNEL(NTSTATUS, et_set, "EtwSetInformation", ULONG64, ULONG, PVOID, ULONG);
#define TRACED(name, body) TEST(name) { et_register(&Provider, NULL, NULL, &Trace); body; et_unregister(Trace); }
TEST(EtwRegister) { NTSTATUS status = et_register(&Provider, NULL, NULL, &Trace); SAY("() -> %x, a handle: %b", status, Trace != 0); et_unregister(Trace); }
TEST(EtwUnregister) { et_register(&Provider, NULL, NULL, &Trace); SAY("() -> %x", et_unregister(Trace)); }
TRACED(EtwWrite, SAY("(no data) -> %x", et_write(Trace, Event, NULL, 0, NULL)))
TRACED(EtwWriteEx, SAY("(no data) -> %x", et_write_ex(Trace, Event, 0, 0, NULL, NULL, 0, NULL)))
TRACED(EtwWriteTransfer, SAY("(no data) -> %x", et_transfer(Trace, Event, NULL, NULL, 0, NULL)))
TRACED(EtwWriteString, SAY("(\"text\") -> %x", et_string(Trace, 4, 0, NULL, L"text")))
TRACED(EtwEventEnabled, et_enabled(Trace, Event); SAY("() -> returns"))
TRACED(EtwProviderEnabled, et_provider(Trace, 4, 0); SAY("() -> returns"))
TRACED(EtwSetInformation, SAY("(2, nothing) -> %x", et_set(Trace, 2, NULL, 0)))
TEST(EtwActivityIdControl) { GUID id = {0}; SAY("(EVENT_ACTIVITY_CTRL_CREATE_ID) -> %x", et_activity(3, &id)); }

static ULONG64 Record[16];
static VOID NTAPI OnBugCheck(PVOID buffer, ULONG length) {}
KERNEL(BOOLEAN, bc_register, "KeRegisterBugCheckCallback", PVOID, PVOID, PVOID, ULONG, PVOID);
KERNEL(BOOLEAN, bc_deregister, "KeDeregisterBugCheckCallback", PVOID);
KERNEL(BOOLEAN, bc_register_reason, "KeRegisterBugCheckReasonCallback", PVOID, PVOID, ULONG, PVOID);
KERNEL(BOOLEAN, bc_deregister_reason, "KeDeregisterBugCheckReasonCallback", PVOID);
#define CALLBACK(name, on, off) TEST(name) { RtlZeroMemory(Record, sizeof(Record)); BOOLEAN a = on, b = off; SAY("() -> %b, taken back %b", a, b); }
CALLBACK(KeRegisterBugCheckCallback, bc_register(Record, OnBugCheck, NULL, 0, "opinion"), bc_deregister(Record))
CALLBACK(KeDeregisterBugCheckCallback, bc_register(Record, OnBugCheck, NULL, 0, "opinion"), bc_deregister(Record))
CALLBACK(KeRegisterBugCheckReasonCallback, bc_register_reason(Record, OnBugCheck, 2, "opinion"), bc_deregister_reason(Record))
CALLBACK(KeDeregisterBugCheckReasonCallback, bc_register_reason(Record, OnBugCheck, 2, "opinion"), bc_deregister_reason(Record))

KERNEL(NTSTATUS, cb_objects, "ObRegisterCallbacks", PVOID, PVOID *);
KERNEL(VOID, cb_no_objects, "ObUnRegisterCallbacks", PVOID);
static OB_OPERATION_REGISTRATION Operation;
static OB_CALLBACK_REGISTRATION Callbacks = {0x100, 1, RTL_CONSTANT_STRING(L"385000.7"), NULL, &Operation};
KERNEL_DATA(POBJECT_TYPE, cb_process_type) __asm__("PsProcessType");
static OB_PREOP_CALLBACK_STATUS NTAPI BeforeOpen(PVOID context, POB_PRE_OPERATION_INFORMATION information) { return OB_PREOP_SUCCESS; }
static NTSTATUS RegisterObjects(PVOID *handle) { Operation.ObjectType = (PVOID)&cb_process_type; Operation.Operations = 1; Operation.PreOperation = BeforeOpen; return cb_objects(&Callbacks, handle); }
TEST(ObRegisterCallbacks) { PVOID handle = NULL; NTSTATUS status = RegisterObjects(&handle); SAY("(processes) -> %x, %p", status, handle); if (handle) cb_no_objects(handle); }
TEST(ObUnRegisterCallbacks) { PVOID handle = NULL; RegisterObjects(&handle); if (handle) cb_no_objects(handle); SAY("() -> returns"); }
KERNEL(PVOID, cb_processors, "KeRegisterProcessorChangeCallback", PVOID, PVOID, ULONG);
KERNEL(VOID, cb_no_processors, "KeDeregisterProcessorChangeCallback", PVOID);
static VOID NTAPI OnProcessors(PVOID context, PVOID change, PNTSTATUS status) {}
TEST(KeRegisterProcessorChangeCallback) { PVOID handle = cb_processors(OnProcessors, NULL, 0); SAY("() -> %p", handle); cb_no_processors(handle); }
TEST(KeDeregisterProcessorChangeCallback) { cb_no_processors(cb_processors(OnProcessors, NULL, 0)); SAY("() -> returns"); }
KERNEL(NTSTATUS, cb_create, "ExCreateCallback", PVOID *, POBJECT_ATTRIBUTES, BOOLEAN, BOOLEAN);
KERNEL(PVOID, cb_register, "ExRegisterCallback", PVOID, PVOID, PVOID);
KERNEL(VOID, cb_unregister, "ExUnregisterCallback", PVOID);
KERNEL(VOID, cb_notify, "ExNotifyCallback", PVOID, PVOID, PVOID);
static LONG Notified;
static VOID NTAPI OnNotify(PVOID context, PVOID a, PVOID b) { Notified += (LONG)(ULONG_PTR)a + (LONG)(ULONG_PTR)b + (LONG)(ULONG_PTR)context; }
static PVOID NewCallback(PNTSTATUS status)
{
    static UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Callback\\Opinion");
    OBJECT_ATTRIBUTES attributes;
    PVOID object = NULL;
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE, NULL, NULL);
    *status = cb_create(&object, &attributes, TRUE, TRUE);
    return object;
}
TEST(ExCreateCallback) { NTSTATUS status; PVOID object = NewCallback(&status); SAY("(new) -> %x, %p", status, object); ObDereferenceObject(object); }
TEST(ExRegisterCallback) { NTSTATUS status; PVOID object = NewCallback(&status), handle = cb_register(object, OnNotify, NULL); SAY("() -> %p", handle); cb_unregister(handle); ObDereferenceObject(object); }
TEST(ExUnregisterCallback) { NTSTATUS status; PVOID object = NewCallback(&status); cb_unregister(cb_register(object, OnNotify, NULL)); SAY("() -> returns"); ObDereferenceObject(object); }
TEST(ExNotifyCallback) { NTSTATUS status; PVOID object = NewCallback(&status), handle = cb_register(object, OnNotify, (PVOID)100); Notified = 0; cb_notify(object, (PVOID)20, (PVOID)3); SAY("(20, 3) -> the routine got %d", Notified); cb_unregister(handle); ObDereferenceObject(object); }
KERNEL(NTSTATUS, cb_power, "PoRegisterPowerSettingCallback", PDEVICE_OBJECT, const GUID *, PVOID, PVOID, PVOID *);
KERNEL(NTSTATUS, cb_no_power, "PoUnregisterPowerSettingCallback", PVOID);
static NTSTATUS NTAPI OnPower(const GUID *setting, PVOID value, ULONG length, PVOID context) { return STATUS_SUCCESS; }
TEST(PoRegisterPowerSettingCallback) { PVOID handle = NULL; NTSTATUS status = cb_power(Device, &Provider, OnPower, NULL, &handle); SAY("() -> %x, %p", status, handle); cb_no_power(handle); }
TEST(PoUnregisterPowerSettingCallback) { PVOID handle = NULL; cb_power(Device, &Provider, OnPower, NULL, &handle); SAY("() -> %x", cb_no_power(handle)); }
KERNEL(VOID, cb_next_power, "PoStartNextPowerIrp", PIRP);
TEST(PoStartNextPowerIrp) { PIRP irp = irp_allocate(1, FALSE); cb_next_power(irp); irp_free(irp); SAY("() -> returns"); }
KERNEL(NTSTATUS, cb_pnp, "IoRegisterPlugPlayNotification", ULONG, ULONG, PVOID, PDRIVER_OBJECT, PVOID, PVOID, PVOID *);
KERNEL(NTSTATUS, cb_no_pnp, "IoUnregisterPlugPlayNotification", PVOID);
KERNEL(NTSTATUS, cb_no_pnp_ex, "IoUnregisterPlugPlayNotificationEx", PVOID);
static NTSTATUS NTAPI OnPnp(PVOID structure, PVOID context) { return STATUS_SUCCESS; }
#define PNP(name, off) TEST(name) { PVOID entry = NULL; NTSTATUS a = cb_pnp(2, 0, (PVOID)&Provider, Driver, OnPnp, NULL, &entry), b = off; SAY("() -> %x, taken back %x", a, b); }
PNP(IoRegisterPlugPlayNotification, cb_no_pnp(entry))
PNP(IoUnregisterPlugPlayNotification, cb_no_pnp(entry))
PNP(IoUnregisterPlugPlayNotificationEx, cb_no_pnp_ex(entry))
KERNEL(NTSTATUS, cb_wmi, "IoWMIRegistrationControl", PDEVICE_OBJECT, ULONG);
TEST(IoWMIRegistrationControl) { NTSTATUS a = cb_wmi(Device, 1), b = cb_wmi(Device, 2); SAY("(register; deregister) -> %x %x", a, b); }
KERNEL(VOID, cb_log_write, "IoWriteErrorLogEntry", PVOID);
TEST(IoWriteErrorLogEntry) { PIO_ERROR_LOG_PACKET packet = b_log(Driver, 48); RtlZeroMemory(packet, 48); packet->ErrorCode = 0x40000000; cb_log_write(packet); SAY("() -> returns"); }

KERNEL(BOOLEAN, ac_check, "SeAccessCheck", PVOID, PVOID, BOOLEAN, ULONG, ULONG, PVOID *, PGENERIC_MAPPING, CHAR, PULONG, PNTSTATUS);
TEST(SeAccessCheck)
{
    GENERIC_MAPPING mapping = {1, 2, 4, 15};
    ULONG granted = 0;
    NTSTATUS status = 9;
    y_descriptor(Descriptor, 1);
    y_dacl(Descriptor, TRUE, NULL, FALSE);
    u_capture(Subject);
    BOOLEAN access = ac_check(Descriptor, Subject, FALSE, 3, 0, NULL, &mapping, KernelMode, &granted, &status);
    SAY("(everybody, 3, KernelMode) -> %b, %x, %x", access, granted, status);
    u_release(Subject);
}
KERNEL(VOID, st_capture, "RtlCaptureContext", PVOID);
KERNEL(USHORT, st_trace, "RtlCaptureStackBackTrace", ULONG, ULONG, PVOID *, PULONG);
KERNEL(ULONG, st_walk, "RtlWalkFrameChain", PVOID *, ULONG, ULONG);
KERNEL(VOID, st_callers, "RtlGetCallersAddress", PVOID *, PVOID *);
TEST(RtlCaptureContext)
{
    static CONTEXT __attribute__((aligned(16))) context;
    PUCHAR image = (PUCHAR)&__ImageBase;
    st_capture(&context);
    PUCHAR rip = (PUCHAR)context.Rip, rsp = (PUCHAR)context.Rsp;
    SAY("() -> flags %x, Rip is in the image: %b, Rsp in this frame: %b", context.ContextFlags, rip > image && rip < image + 0x100000, rsp < (PUCHAR)&image + 512 && (PUCHAR)&image < rsp + 512);
    SAY("(), its segments and MxCsr -> %b %x", context.SegCs != 0, context.MxCsr);
}
TEST(RtlCaptureStackBackTrace) { PVOID frames[8]; SAY("(8) -> at most 8: %b", st_trace(0, 8, frames, NULL) <= 8); }
TEST(RtlWalkFrameChain) { PVOID frames[8]; SAY("(8) -> at most 8: %b", st_walk(frames, 8, 0) <= 8); }
TEST(RtlGetCallersAddress) { PVOID a, b; st_callers(&a, &b); SAY("() -> returns"); }
