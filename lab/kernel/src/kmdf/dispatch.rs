//! The framework's dispatch routine: from IRPs to callbacks and queues.

use core::sync::atomic::Ordering;

use crate::export::{Export, exports};
use crate::irql::{self, require_irql};
use crate::kmdf::client::Globals;
use crate::kmdf::device::{self, Device};
use crate::kmdf::file::{self, File};
use crate::kmdf::object::{Ref, find, find_quiet};
use crate::kmdf::queue::{self, Queue};
use crate::kmdf::report::broken;
use crate::kmdf::request::{self, Request};
use crate::kmdf::wdm;
use crate::nt::{DISPATCH_LEVEL, DeviceObject, Irp, NtStatus};
use crate::ptr::{Ptr, field};

/// `DRIVER_DISPATCH` of every major function.
pub(super) extern "win64" fn dispatch(wdm_device: Ptr<DeviceObject>, irp: Ptr<Irp>) -> NtStatus {
    let Some(device) = device::of(wdm_device) else {
        return finish(irp, NtStatus::NO_SUCH_DEVICE);
    };
    let location = wdm::location(irp);
    let (major, minor) = (field!(location, MajorFunction).read(), field!(location, MinorFunction).read());
    let preprocess = device
        .init
        .preprocess
        .iter()
        .find(|one| one.major == major && (one.minors.is_empty() || one.minors.contains(&minor)));
    if let Some(preprocess) = preprocess {
        let client = &device.object.client;
        let arguments = (device.handle(), irp);
        let status = client.call("EvtDeviceWdmIrpPreprocess", "", irql::current(), preprocess.callback, arguments);
        return NtStatus(status as u32 as i32);
    }
    handle(&device, irp, major)
}

/// Completes an IRP that no driver callback sees.
fn finish(irp: Ptr<Irp>, status: NtStatus) -> NtStatus {
    wdm::complete(irp, status, 0);
    status
}

fn handle(device: &Ref<Device>, irp: Ptr<Irp>, major: u8) -> NtStatus {
    match major {
        wdm::IRP_MJ_CREATE => create(device, irp),
        wdm::IRP_MJ_CLEANUP => cleanup(device, irp),
        wdm::IRP_MJ_CLOSE => close(device, irp),
        wdm::IRP_MJ_READ | wdm::IRP_MJ_WRITE | wdm::IRP_MJ_DEVICE_CONTROL | wdm::IRP_MJ_INTERNAL_DEVICE_CONTROL => {
            input_or_output(device, irp)
        }
        wdm::IRP_MJ_SHUTDOWN => {
            if device.init.shutdown != 0 {
                let client = &device.object.client;
                client.call(
                    "EvtDeviceShutdownNotification",
                    "",
                    irql::current(),
                    device.init.shutdown,
                    (device.handle(),),
                );
            }
            finish(irp, NtStatus::SUCCESS)
        }
        _ => finish(irp, NtStatus::INVALID_DEVICE_REQUEST),
    }
}

fn create(device: &Ref<Device>, irp: Ptr<Irp>) -> NtStatus {
    if !device.is_finished() {
        broken(
            format!("a file was opened on {} before WdfControlFinishInitializing", device.object.describe()),
            "call WdfControlFinishInitializing when the device's queues are there",
        );
        return finish(irp, NtStatus::NO_SUCH_DEVICE);
    }
    let file = file::open(device, irp);
    device.files.fetch_add(1, Ordering::AcqRel);
    let callback = device.init.files.as_ref().map_or(0, |files| files.create);
    let queue = device.route(u32::from(wdm::IRP_MJ_CREATE)).and_then(find_quiet::<Queue>);
    if callback == 0 && queue.is_none() {
        return finish(irp, NtStatus::SUCCESS);
    }
    wdm::mark_pending(irp);
    let request = request::create(device, irp, file.as_ref());
    match queue {
        Some(queue) => queue::insert_or_fail(&queue, &request),
        None => {
            request.give_to_driver(0);
            let arguments = (device.handle(), request.handle(), file.as_ref().map_or(0, Ref::handle));
            let client = &device.object.client;
            client.call("EvtDeviceFileCreate", "", irql::current(), callback, arguments);
        }
    }
    NtStatus::PENDING
}

/// A create request has been completed; called before its IRP is.
pub(super) fn create_completed(request: &Ref<Request>, status: NtStatus) {
    if status.is_success() {
        return;
    }
    // There will be no IRP_MJ_CLOSE for a file that was not opened.
    let Some(device) = find_quiet::<Device>(request.device) else { return };
    if let Some(file) = find_quiet::<File>(request.file) {
        file::forget(&file);
    }
    device::file_closed(&device);
}

fn file_of(irp: Ptr<Irp>) -> Option<Ref<File>> {
    file::of(field!(wdm::location(irp), FileObject).read())
}

fn cleanup(device: &Ref<Device>, irp: Ptr<Irp>) -> NtStatus {
    let wdm_file = field!(wdm::location(irp), FileObject).read();
    if let (Some(file), Some(files)) = (file_of(irp), &device.init.files)
        && files.cleanup != 0
    {
        device.object.client.call("EvtFileCleanup", "", irql::current(), files.cleanup, (file.handle(),));
    }
    // After the callback, in which the driver completes what it has of the file's.
    queue::cancel_of_file(device, wdm_file);
    finish(irp, NtStatus::SUCCESS)
}

fn close(device: &Ref<Device>, irp: Ptr<Irp>) -> NtStatus {
    if let Some(file) = file_of(irp) {
        if let Some(files) = device.init.files.as_ref().filter(|files| files.close != 0) {
            device.object.client.call("EvtFileClose", "", irql::current(), files.close, (file.handle(),));
        }
        file::forget(&file);
    }
    let status = finish(irp, NtStatus::SUCCESS);
    device::file_closed(device);
    status
}

fn input_or_output(device: &Ref<Device>, irp: Ptr<Irp>) -> NtStatus {
    wdm::mark_pending(irp);
    let request = request::create(device, irp, file_of(irp).as_ref());
    if device.init.in_caller_context == 0 {
        enqueue(device, &request);
    } else {
        request.give_to_driver(0);
        let arguments = (device.handle(), request.handle());
        let client = &device.object.client;
        client.call("EvtIoInCallerContext", "", irql::current(), device.init.in_caller_context, arguments);
    }
    NtStatus::PENDING
}

fn enqueue(device: &Ref<Device>, request: &Ref<Request>) {
    let queue = device.queue_for(u32::from(request.major));
    match find_quiet::<Queue>(queue) {
        Some(queue) => queue::insert_or_fail(&queue, request),
        None => request::complete(request, NtStatus::INVALID_DEVICE_REQUEST, 0),
    }
}

pub(super) const FUNCTIONS: &[Export] = exports![WdfDeviceEnqueueRequest, WdfDeviceWdmDispatchPreprocessedIrp];

#[allow(non_snake_case, reason = "named in wdfdevice.h")]
extern "win64" fn WdfDeviceEnqueueRequest(_globals: Ptr<Globals>, device: u64, request: u64) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let device = find::<Device>(device);
    let request = request::driver_owned(request);
    if let Some(status) = crate::inject::faulted() {
        return status;
    }
    let Some(queue) = find_quiet::<Queue>(device.queue_for(u32::from(request.major))) else {
        return NtStatus::INVALID_DEVICE_REQUEST;
    };
    match queue::insert(&queue, &request) {
        Ok(()) => NtStatus::SUCCESS,
        Err(status) => status,
    }
}

#[allow(non_snake_case, reason = "named in wdfdevice.h")]
extern "win64" fn WdfDeviceWdmDispatchPreprocessedIrp(_globals: Ptr<Globals>, device: u64, irp: Ptr<Irp>) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let device = find::<Device>(device);
    // The driver has skipped its stack location for us.
    wdm::set_next_location(irp);
    let major = field!(wdm::location(irp), MajorFunction).read();
    handle(&device, irp, major)
}
