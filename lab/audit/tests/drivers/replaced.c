/* A KMDF driver, bound to the framework by hand as the WDK's entry point does it, that writes DRIVER_OBJECT.DriverUnload itself. */
#include <ntddk.h>

typedef struct { ULONG Size; PWSTR Component; ULONG Major, Minor, Build, Count; PVOID *Table; PVOID Module; } BIND_INFO;
typedef struct { ULONG Size; PVOID DeviceAdd, Unload; ULONG Flags, Tag; } DRIVER_CONFIG;
NTSTATUS NTAPI WdfVersionBind(PDRIVER_OBJECT driver, PUNICODE_STRING path, BIND_INFO *info, PVOID *globals);
NTSTATUS NTAPI WdfVersionUnbind(PUNICODE_STRING path, BIND_INFO *info, PVOID globals);

/* KMDF 1.15. */
enum { FUNCTIONS = 444, CREATE_DRIVER = 116, NON_PNP = 1 };
typedef NTSTATUS (NTAPI *CREATE)(PVOID globals, PDRIVER_OBJECT driver, PUNICODE_STRING path, PVOID attributes, DRIVER_CONFIG *config, PVOID *handle);

static PVOID *Functions, Globals;
static BIND_INFO Info = { sizeof Info, L"KmdfLibrary", 1, 15, 0, FUNCTIONS, (PVOID *)&Functions, NULL };

static VOID NTAPI Unload(PDRIVER_OBJECT driver) { WdfVersionUnbind(NULL, &Info, Globals); }
static VOID NTAPI EvtUnload(PVOID driver) { }

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    DRIVER_CONFIG config = { sizeof config, NULL, EvtUnload, NON_PNP, 0 };
    NTSTATUS status = WdfVersionBind(driver, path, &Info, &Globals);
    if (!NT_SUCCESS(status)) return status;
    status = ((CREATE)Functions[CREATE_DRIVER])(Globals, driver, path, NULL, &config, NULL);
    if (!NT_SUCCESS(status)) { WdfVersionUnbind(path, &Info, Globals); return status; }
    driver->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
