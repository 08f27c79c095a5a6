/*
 * IoCreateDeviceSecure as wdmsec.lib supplies it: wdmsec.h gives the function the library's name, and the library looks the kernel's
 * up when it is called, because there are kernels without it.
 *
 * Left out: what Microsoft's library does on those kernels, which are older than any that the drivers of this project run on. It
 * creates the device and sets its security itself; this one refuses.
 */
#include <ntddk.h>
#include <wdmsec.h>

typedef NTSTATUS(NTAPI *IO_CREATE_DEVICE_SECURE)(PDRIVER_OBJECT DriverObject, ULONG DeviceExtensionSize,
                                                 PUNICODE_STRING DeviceName, DEVICE_TYPE DeviceType,
                                                 ULONG DeviceCharacteristics, BOOLEAN Exclusive,
                                                 PCUNICODE_STRING DefaultSDDLString, LPCGUID DeviceClassGuid,
                                                 PDEVICE_OBJECT *DeviceObject);

NTSTATUS WdmlibIoCreateDeviceSecure(PDRIVER_OBJECT DriverObject, ULONG DeviceExtensionSize, PUNICODE_STRING DeviceName,
                                    DEVICE_TYPE DeviceType, ULONG DeviceCharacteristics, BOOLEAN Exclusive,
                                    PCUNICODE_STRING DefaultSDDLString, LPCGUID DeviceClassGuid,
                                    PDEVICE_OBJECT *DeviceObject)
{
    static WCHAR Name[] = L"IoCreateDeviceSecure";
    UNICODE_STRING KernelName = {sizeof(Name) - sizeof(WCHAR), sizeof(Name), Name};
    IO_CREATE_DEVICE_SECURE Create = (IO_CREATE_DEVICE_SECURE)MmGetSystemRoutineAddress(&KernelName);

    if (Create == NULL) {
        return STATUS_PROCEDURE_NOT_FOUND;
    }
    return Create(DriverObject, DeviceExtensionSize, DeviceName, DeviceType, DeviceCharacteristics, Exclusive,
                  DefaultSDDLString, DeviceClassGuid, DeviceObject);
}
