/*
 * The entry point of a KMDF driver image, as WdfDriverEntry.lib supplies it on Windows: it binds the image to the framework,
 * calls DriverEntry, and unbinds when DriverEntry fails or after the driver has been unloaded.
 *
 * Left out, because a driver without class extensions and without typed object contexts has nothing to do there: binding class
 * extensions (WdfVersionBindClass) and initialising the context type table.
 */
#include <ntddk.h>
#include <wdf.h>

/* The record that WdfVersionBind takes from drivers built for KMDF 1.15. */
typedef struct _WDF_BIND_INFO {
    ULONG Size;
    PWCHAR Component;
    ULONG Major;
    ULONG Minor;
    ULONG Build;
    ULONG FuncCount;
    const WDFFUNC **FuncTable;
    PVOID Module;
} WDF_BIND_INFO, *PWDF_BIND_INFO;

_Static_assert(sizeof(WDF_BIND_INFO) == 0x30, "");
_Static_assert(FIELD_OFFSET(WDF_BIND_INFO, Component) == 0x08, "");
_Static_assert(FIELD_OFFSET(WDF_BIND_INFO, FuncCount) == 0x1C, "");
_Static_assert(FIELD_OFFSET(WDF_BIND_INFO, FuncTable) == 0x20, "");
_Static_assert(FIELD_OFFSET(DRIVER_OBJECT, DriverUnload) == 0x68, "");

__declspec(dllimport) NTSTATUS NTAPI WdfVersionBind(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath,
                                                    PWDF_BIND_INFO BindInfo, PWDF_DRIVER_GLOBALS *ComponentGlobals);
__declspec(dllimport) NTSTATUS NTAPI WdfVersionUnbind(PUNICODE_STRING RegistryPath, PWDF_BIND_INFO BindInfo,
                                                      PWDF_DRIVER_GLOBALS ComponentGlobals);

DRIVER_INITIALIZE DriverEntry;

const WDFFUNC *WdfFunctions;
PWDF_DRIVER_GLOBALS WdfDriverGlobals;

static WDF_BIND_INFO BindInfo = {
    .Size = sizeof(WDF_BIND_INFO),
    .Component = L"KmdfLibrary",
    .Major = 1,
    .Minor = 15,
    .FuncCount = WdfFunctionTableNumEntries,
    .FuncTable = &WdfFunctions,
};

/* Unbinding happens long after the caller's string is gone, so the path is kept here. */
static WCHAR RegistryPathBuffer[260];
static UNICODE_STRING RegistryPathCopy = {0, sizeof(RegistryPathBuffer), RegistryPathBuffer};

/* The framework's unload routine, which calls EvtDriverUnload. */
static PDRIVER_UNLOAD FrameworkUnload;

static VOID NTAPI StubDriverUnload(PDRIVER_OBJECT DriverObject)
{
    if (FrameworkUnload != NULL) {
        FrameworkUnload(DriverObject);
    }
    WdfVersionUnbind(&RegistryPathCopy, &BindInfo, WdfDriverGlobals);
}

NTSTATUS NTAPI FxDriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS status;

    /* An export driver is entered without a driver object and is not bound. */
    if (DriverObject == NULL) {
        return DriverEntry(DriverObject, RegistryPath);
    }

    RtlCopyUnicodeString(&RegistryPathCopy, RegistryPath);

    status = WdfVersionBind(DriverObject, &RegistryPathCopy, &BindInfo, &WdfDriverGlobals);
    if (!NT_SUCCESS(status)) {
        return status;
    }

    status = DriverEntry(DriverObject, RegistryPath);
    if (!NT_SUCCESS(status)) {
        WdfVersionUnbind(&RegistryPathCopy, &BindInfo, WdfDriverGlobals);
        return status;
    }

    if (WdfDriverGlobals->DisplaceDriverUnload) {
        FrameworkUnload = DriverObject->DriverUnload;
        DriverObject->DriverUnload = StubDriverUnload;
    }
    return status;
}
