//! The buffers of requests.

#![allow(non_snake_case, reason = "functions have the names of wdfrequest.h")]

use crate::export::{self, Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::kernel::lock;
use crate::kmdf::client::Globals;
use crate::kmdf::device::Device;
use crate::kmdf::init::IoType;
use crate::kmdf::memory;
use crate::kmdf::object::{Ref, find_quiet};
use crate::kmdf::report::{broken, required};
use crate::kmdf::request::{Request, driver_owned};
use crate::kmdf::wdm;
use crate::nt::{APC_LEVEL, DISPATCH_LEVEL, Mdl, NtStatus};
use crate::ntos;
use crate::ptr::Ptr;

pub(super) const FUNCTIONS: &[Export] = exports![
    WdfRequestRetrieveInputBuffer,
    WdfRequestRetrieveOutputBuffer,
    WdfRequestRetrieveInputMemory,
    WdfRequestRetrieveOutputMemory,
    WdfRequestRetrieveInputWdmMdl,
    WdfRequestRetrieveOutputWdmMdl,
    WdfRequestRetrieveUnsafeUserInputBuffer,
    WdfRequestRetrieveUnsafeUserOutputBuffer,
    WdfRequestProbeAndLockUserBufferForRead,
    WdfRequestProbeAndLockUserBufferForWrite,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Input = 0,
    Output = 1,
}

/// How a buffer reaches the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    System,
    Mdl,
    User,
}

struct Buffer {
    way: Way,
    address: Ptr<u8>,
    length: usize,
    mdl: Ptr<Mdl>,
}

/// Where one side's buffer of a request is. Reads have only output, writes only input.
fn buffer(request: &Ref<Request>, side: Side) -> Result<Buffer, NtStatus> {
    let irp = request.irp().read();
    let location = wdm::location(request.irp()).read();
    let (first, second) = (location.OutputBufferLength as u32 as usize, location.InputBufferLength as u32 as usize);
    let system = |length| Buffer { way: Way::System, address: irp.SystemBuffer, length, mdl: Ptr::NULL };
    let direct = |length| Buffer { way: Way::Mdl, address: mapped(irp.MdlAddress), length, mdl: irp.MdlAddress };
    let user = |address, length| Buffer { way: Way::User, address, length, mdl: Ptr::NULL };
    match request.major {
        wdm::IRP_MJ_READ | wdm::IRP_MJ_WRITE => {
            let side_of_request = if request.major == wdm::IRP_MJ_READ { Side::Output } else { Side::Input };
            if side != side_of_request {
                return Err(NtStatus::INVALID_DEVICE_REQUEST);
            }
            let io_type = find_quiet::<Device>(request.device).map_or(IoType::Buffered, |device| device.init.io_type);
            Ok(match io_type {
                IoType::Buffered => system(first),
                IoType::Direct => direct(first),
                IoType::Neither => user(irp.UserBuffer, first),
            })
        }
        wdm::IRP_MJ_DEVICE_CONTROL | wdm::IRP_MJ_INTERNAL_DEVICE_CONTROL => {
            let method = location.IoControlCode & 3;
            Ok(match (method, side) {
                (3, Side::Input) => user(location.Type3InputBuffer, second),
                (3, Side::Output) => user(irp.UserBuffer, first),
                (_, Side::Input) => system(second),
                (0, Side::Output) => system(first),
                (_, Side::Output) => direct(first),
            })
        }
        _ => Err(NtStatus::INVALID_DEVICE_REQUEST),
    }
}

/// `MmGetSystemAddressForMdlSafe`.
fn mapped(mdl: Ptr<Mdl>) -> Ptr<u8> {
    const MAPPED: u16 = 0x1 | 0x4;
    if mdl.is_null() {
        return Ptr::NULL;
    }
    let value = mdl.read();
    if value.MdlFlags & MAPPED != 0 {
        value.MappedSystemVa
    } else {
        Ptr::from_address(value.StartVa + u64::from(value.ByteOffset))
    }
}

/// A buffer that the driver may touch, of at least `minimum` bytes.
fn checked(request: &Ref<Request>, side: Side, minimum: usize) -> Result<Buffer, NtStatus> {
    let buffer = buffer(request, side)?;
    if buffer.way == Way::User {
        broken(
            format!("{} was called for a request with METHOD_NEITHER", export::current_name()),
            "use WdfRequestRetrieveUnsafeUserInputBuffer in EvtIoInCallerContext, or another transfer method",
        );
        return Err(NtStatus::INVALID_DEVICE_REQUEST);
    }
    if buffer.length == 0 || buffer.length < minimum {
        return Err(NtStatus::BUFFER_TOO_SMALL);
    }
    Ok(buffer)
}

fn retrieve_buffer(request: u64, side: Side, minimum: u64, out: Ptr<Ptr<u8>>, length: Ptr<u64>) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let request = driver_owned(request);
    required(out, "Buffer").write(Ptr::NULL);
    length.write_optional(0);
    if let Some(status) = inject::faulted() {
        return status;
    }
    match checked(&request, side, minimum as usize) {
        Ok(buffer) => {
            out.write(buffer.address);
            length.write_optional(buffer.length as u64);
            NtStatus::SUCCESS
        }
        Err(status) => status,
    }
}

extern "win64" fn WdfRequestRetrieveInputBuffer(
    _globals: Ptr<Globals>,
    request: u64,
    minimum: u64,
    out: Ptr<Ptr<u8>>,
    length: Ptr<u64>,
) -> NtStatus {
    retrieve_buffer(request, Side::Input, minimum, out, length)
}

extern "win64" fn WdfRequestRetrieveOutputBuffer(
    _globals: Ptr<Globals>,
    request: u64,
    minimum: u64,
    out: Ptr<Ptr<u8>>,
    length: Ptr<u64>,
) -> NtStatus {
    retrieve_buffer(request, Side::Output, minimum, out, length)
}

fn retrieve_memory(request: u64, side: Side, out: Ptr<u64>) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let request = driver_owned(request);
    required(out, "Memory").write(0);
    if let Some(status) = inject::faulted() {
        return status;
    }
    let buffer = match checked(&request, side, 0) {
        Ok(buffer) => buffer,
        Err(status) => return status,
    };
    let known = lock(&request.state).memory[side as usize];
    let handle = if known != 0 { known } else { memory::of_request(&request.object, buffer.address, buffer.length) };
    lock(&request.state).memory[side as usize] = handle;
    out.write(handle);
    NtStatus::SUCCESS
}

extern "win64" fn WdfRequestRetrieveInputMemory(_globals: Ptr<Globals>, request: u64, out: Ptr<u64>) -> NtStatus {
    retrieve_memory(request, Side::Input, out)
}

extern "win64" fn WdfRequestRetrieveOutputMemory(_globals: Ptr<Globals>, request: u64, out: Ptr<u64>) -> NtStatus {
    retrieve_memory(request, Side::Output, out)
}

fn retrieve_mdl(request: u64, side: Side, out: Ptr<Ptr<Mdl>>) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let request = driver_owned(request);
    required(out, "Mdl").write(Ptr::NULL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    let buffer = match checked(&request, side, 0) {
        Ok(buffer) => buffer,
        Err(status) => return status,
    };
    if buffer.way == Way::Mdl {
        out.write(buffer.mdl);
        return NtStatus::SUCCESS;
    }
    let known = lock(&request.state).mdls[side as usize];
    let mdl = if known.is_null() { ntos::memory::describe(buffer.address, buffer.length as u32) } else { known };
    lock(&request.state).mdls[side as usize] = mdl;
    out.write(mdl);
    NtStatus::SUCCESS
}

extern "win64" fn WdfRequestRetrieveInputWdmMdl(_globals: Ptr<Globals>, request: u64, out: Ptr<Ptr<Mdl>>) -> NtStatus {
    retrieve_mdl(request, Side::Input, out)
}

extern "win64" fn WdfRequestRetrieveOutputWdmMdl(_globals: Ptr<Globals>, request: u64, out: Ptr<Ptr<Mdl>>) -> NtStatus {
    retrieve_mdl(request, Side::Output, out)
}

fn retrieve_user(request: u64, side: Side, minimum: u64, out: Ptr<Ptr<u8>>, length: Ptr<u64>) -> NtStatus {
    require_irql(APC_LEVEL);
    let request = driver_owned(request);
    required(out, "Buffer").write(Ptr::NULL);
    length.write_optional(0);
    if let Some(status) = inject::faulted() {
        return status;
    }
    let buffer = match buffer(&request, side) {
        Ok(buffer) => buffer,
        Err(status) => return status,
    };
    if buffer.way != Way::User {
        broken(
            format!("{} was called for a request whose buffers are not user addresses", export::current_name()),
            "use it for METHOD_NEITHER only; otherwise WdfRequestRetrieveInputBuffer and its kin",
        );
        return NtStatus::INVALID_DEVICE_REQUEST;
    }
    if buffer.length == 0 || (buffer.length as u64) < minimum {
        return NtStatus::BUFFER_TOO_SMALL;
    }
    out.write(buffer.address);
    length.write_optional(buffer.length as u64);
    NtStatus::SUCCESS
}

extern "win64" fn WdfRequestRetrieveUnsafeUserInputBuffer(
    _globals: Ptr<Globals>,
    request: u64,
    minimum: u64,
    out: Ptr<Ptr<u8>>,
    length: Ptr<u64>,
) -> NtStatus {
    retrieve_user(request, Side::Input, minimum, out, length)
}

extern "win64" fn WdfRequestRetrieveUnsafeUserOutputBuffer(
    _globals: Ptr<Globals>,
    request: u64,
    minimum: u64,
    out: Ptr<Ptr<u8>>,
    length: Ptr<u64>,
) -> NtStatus {
    retrieve_user(request, Side::Output, minimum, out, length)
}

fn probe_and_lock(request: u64, address: Ptr<u8>, length: u64, out: Ptr<u64>) -> NtStatus {
    require_irql(APC_LEVEL);
    let request = driver_owned(request);
    required(address, "Buffer");
    required(out, "MemoryObject").write(0);
    if length == 0 {
        return crate::kmdf::status::INVALID_USER_BUFFER;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    out.write(memory::of_request(&request.object, address, length as usize));
    NtStatus::SUCCESS
}

extern "win64" fn WdfRequestProbeAndLockUserBufferForRead(
    _globals: Ptr<Globals>,
    request: u64,
    address: Ptr<u8>,
    length: u64,
    out: Ptr<u64>,
) -> NtStatus {
    probe_and_lock(request, address, length, out)
}

extern "win64" fn WdfRequestProbeAndLockUserBufferForWrite(
    _globals: Ptr<Globals>,
    request: u64,
    address: Ptr<u8>,
    length: u64,
    out: Ptr<u64>,
) -> NtStatus {
    probe_and_lock(request, address, length, out)
}
