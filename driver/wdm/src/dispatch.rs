//! The dispatch routines.
//!
//! What covers their last instructions: the file object that the IRP came through. The I/O manager gives back what that holds of the
//! device after the routine has returned, the one for `IRP_MJ_CLOSE` too, and while something holds the device the system does not call
//! the unload function ("Unload Routine Environment").

use postern_filtering::{Control, control, park};
use wdk_sys::{
    DEVICE_OBJECT, DRIVER_OBJECT, IRP, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, NTSTATUS,
};

use crate::irp::Irp;
use crate::parking;

/// Sets the dispatch routines. Every other request is completed with `STATUS_INVALID_DEVICE_REQUEST`, by the routine that the I/O manager
/// has put there.
pub fn install(driver: &mut DRIVER_OBJECT) {
    driver.MajorFunction[IRP_MJ_CREATE as usize] = Some(succeed);
    driver.MajorFunction[IRP_MJ_CLEANUP as usize] = Some(cleanup);
    driver.MajorFunction[IRP_MJ_CLOSE as usize] = Some(succeed);
    driver.MajorFunction[IRP_MJ_DEVICE_CONTROL as usize] = Some(device_control);
}

/// `DRIVER_DISPATCH` of `IRP_MJ_CREATE` and `IRP_MJ_CLOSE`. IRQL: PASSIVE_LEVEL.
unsafe extern "C" fn succeed(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager gives the IRP to this routine.
    end(unsafe { Irp::new(irp) }, Ok(0))
}

/// `DRIVER_DISPATCH` of `IRP_MJ_CLEANUP`: the last handle is closed, and the file goes when its requests have gone. IRQL: PASSIVE_LEVEL.
unsafe extern "C" fn cleanup(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager gives the IRP to this routine.
    let irp = unsafe { Irp::new(irp) };
    parking::cancel_of_file(irp.file());
    end(irp, Ok(0))
}

/// `DRIVER_DISPATCH` of `IRP_MJ_DEVICE_CONTROL`. IRQL: at most DISPATCH_LEVEL.
unsafe extern "C" fn device_control(_device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS {
    // SAFETY: the I/O manager gives the IRP to this routine.
    let irp = unsafe { Irp::new(irp) };
    // SAFETY: this is a device control request.
    let answer = unsafe { irp.device_control() }.and_then(|(code, buffers)| {
        // SAFETY: the I/O manager vouches for the buffers, and the IRP, ours until it is completed, is the only way to them.
        unsafe { buffers.with(|input, output| control(code, input, output)) }
    });
    match answer.unwrap_or_else(|status| Control::Done(Err(status))) {
        Control::Done(result) => end(irp, result),
        Control::Park => match park() {
            Ok(()) => parking::keep(irp),
            Err(status) => end(irp, Err(status)),
        },
    }
}

/// Completes an IRP, and returns what the dispatch routine returns.
fn end(mut irp: Irp, result: Result<usize, NTSTATUS>) -> NTSTATUS {
    let status = irp.conclude(result);
    irp.complete();
    status
}
