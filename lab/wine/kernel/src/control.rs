//! The device that programs reach the filter engine through.

use core::slice;
use std::sync::Mutex;

use postern_wine_protocol::{ASK, DEVICE, LINK};

use crate::kernel::lock;
use crate::nt::{DeviceObject, DriverObject, IoStackLocation, Irp, NtStatus};
use crate::ntoskrnl;
use crate::ptr::{Ptr, field};
use crate::requests::Client;

const IRP_MJ_CREATE: usize = 0;
const IRP_MJ_CLOSE: usize = 2;
const IRP_MJ_DEVICE_CONTROL: usize = 14;
const IRP_MJ_CLEANUP: usize = 18;

/// `DRIVER_INITIALIZE`. The driver has no unload function: what others import from it stays.
pub fn driver_entry(driver: Ptr<DriverObject>) -> NtStatus {
    let routines: [(usize, extern "win64" fn(Ptr<DeviceObject>, Ptr<Irp>) -> NtStatus); 4] =
        [(IRP_MJ_CREATE, create), (IRP_MJ_CLEANUP, cleanup), (IRP_MJ_CLOSE, close), (IRP_MJ_DEVICE_CONTROL, control)];
    for (major, routine) in routines {
        field!(driver, MajorFunction).cast::<u64>().at(major).write(routine as *const () as u64);
    }
    let new = ntoskrnl::NewDevice {
        driver: &driver,
        extension: 0,
        name: Some(DEVICE),
        device_type: ntoskrnl::FILE_DEVICE_NETWORK,
        characteristics: 0,
        exclusive: false,
        security: None,
    };
    if let Err(status) = ntoskrnl::create_device(&new) {
        return status;
    }
    ntoskrnl::print("the filter engine is here");
    ntoskrnl::create_symbolic_link(LINK, DEVICE)
}

fn complete(irp: Ptr<Irp>, status: NtStatus, information: u64) -> NtStatus {
    field!(irp, IoStatus.Status).write(status);
    field!(irp, IoStatus.Information).write(information);
    ntoskrnl::complete(irp);
    status
}

fn location(irp: Ptr<Irp>) -> Ptr<IoStackLocation> {
    field!(irp, CurrentStackLocation).read()
}

/// Where an open file keeps its client.
fn client_of(irp: Ptr<Irp>) -> Ptr<u64> {
    let file = field!(location(irp), FileObject).read();
    field!(file, FsContext)
}

extern "win64" fn create(_device: Ptr<DeviceObject>, irp: Ptr<Irp>) -> NtStatus {
    let client: Box<Mutex<Client>> = Box::default();
    client_of(irp).write(Box::into_raw(client) as u64);
    complete(irp, NtStatus::SUCCESS, 0)
}

/// Comes before `close` on Windows, and not at all under Wine: what a client has begun ends with it.
extern "win64" fn cleanup(_device: Ptr<DeviceObject>, irp: Ptr<Irp>) -> NtStatus {
    complete(irp, NtStatus::SUCCESS, 0)
}

extern "win64" fn close(_device: Ptr<DeviceObject>, irp: Ptr<Irp>) -> NtStatus {
    let client = client_of(irp).read() as *mut Mutex<Client>;
    // SAFETY: `create` made it, and the file that it belongs to is gone with this request.
    drop(unsafe { Box::from_raw(client) });
    complete(irp, NtStatus::SUCCESS, 0)
}

extern "win64" fn control(_device: Ptr<DeviceObject>, irp: Ptr<Irp>) -> NtStatus {
    let location = location(irp).read();
    if location.IoControlCode as u32 != ASK {
        return complete(irp, NtStatus::INVALID_DEVICE_REQUEST, 0);
    }
    let buffer = field!(irp, SystemBuffer).read();
    let (input, room) = (location.InputBufferLength as u32 as usize, location.OutputBufferLength as u32 as usize);
    // SAFETY: with METHOD_BUFFERED the system buffer holds the input.
    let request = unsafe { slice::from_raw_parts(buffer.as_mut_ptr(), input) };
    let client: Ptr<Mutex<Client>> = Ptr::from_address(client_of(irp).read());
    let answer = lock(client.as_ref()).answer(request);
    if answer.len() > room {
        return complete(irp, NtStatus::BUFFER_TOO_SMALL, 0);
    }
    buffer.copy_from(&answer);
    complete(irp, NtStatus::SUCCESS, answer.len() as u64)
}
