/* A driver that leaves with the help of a function that the lab does not supply. */
#include <ntddk.h>

NTSTATUS NTAPI FwpmEngineGetOption0(HANDLE engine, UINT32 option, PVOID *value);

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    PVOID value;
    FwpmEngineGetOption0(NULL, 0, &value);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    driver->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
