//! An IRP that is the driver's.

use postern_filtering::{AnswerParked, Buffers, expect_buffered};
use wdk_sys::ntddk::IofCompleteRequest;
use wdk_sys::{FILE_OBJECT, IO_NO_INCREMENT, IO_STACK_LOCATION, IRP, NTSTATUS, STATUS_SUCCESS, ULONG, ULONG_PTR};

/// An IRP that the driver has and must complete.
#[must_use = "an IRP that is not completed keeps its file open for good"]
pub struct Irp(*mut IRP);

impl Irp {
    /// # Safety
    ///
    /// The IRP is the driver's, which has it here alone, with a stack location that is the driver's.
    pub unsafe fn new(irp: *mut IRP) -> Self {
        Irp(irp)
    }

    /// `IoGetCurrentIrpStackLocation`.
    fn location(&self) -> &IO_STACK_LOCATION {
        // SAFETY: an IRP that is ours is not written to by others.
        let irp = unsafe { &*self.0 };
        // SAFETY: every IRP that is sent to a driver has its `Overlay`.
        let overlay = unsafe { &irp.Tail.Overlay };
        // SAFETY: the packet type takes this place in IRPs that are queued by the I/O manager itself, which are sent to no driver.
        let location = unsafe { overlay.__bindgen_anon_2.__bindgen_anon_1.CurrentStackLocation };
        // SAFETY: the current location is this driver's until the IRP is completed.
        unsafe { &*location }
    }

    /// Code and buffers of a device control request.
    ///
    /// # Safety
    ///
    /// It is a device control request.
    pub unsafe fn device_control(&self) -> Result<(ULONG, Buffers), NTSTATUS> {
        // SAFETY: the caller's promise.
        let parameters = unsafe { self.location().Parameters.DeviceIoControl };
        let code = parameters.IoControlCode;
        expect_buffered(code)?;
        // SAFETY: an IRP that is ours is not written to by others.
        let irp = unsafe { &*self.0 };
        // SAFETY: of the union's meanings, a request with METHOD_BUFFERED has this one.
        let buffer = unsafe { irp.AssociatedIrp.SystemBuffer }.cast();
        let (input_length, output_length) =
            (parameters.InputBufferLength as usize, parameters.OutputBufferLength as usize);
        Ok((code, Buffers { input: buffer, input_length, output: buffer, output_length }))
    }

    /// The file that it came through.
    pub fn file(&self) -> *mut FILE_OBJECT {
        self.location().FileObject
    }

    /// Has a parked request answered. Whether it was, and is concluded.
    pub fn answer(&mut self, answer: &mut AnswerParked<'_>) -> bool {
        // SAFETY: device control requests alone are parked.
        let answered = unsafe { self.device_control() }.and_then(|(_, buffers)| {
            // SAFETY: the I/O manager vouches for the buffers, and the IRP, ours until it is completed, is the only way to them.
            unsafe { buffers.with(answer) }
        });
        match answered {
            Ok(None) => return false,
            Ok(Some(result)) => self.conclude(result),
            Err(status) => self.conclude(Err(status)),
        };
        true
    }

    /// Says what it is completed with, and returns that status.
    pub fn conclude(&mut self, result: Result<usize, NTSTATUS>) -> NTSTATUS {
        let (status, information) = match result {
            Ok(length) => (STATUS_SUCCESS, length),
            Err(status) => (status, 0),
        };
        // SAFETY: an IRP that is ours is not used by others.
        let irp = unsafe { &mut *self.0 };
        irp.IoStatus.Information = information as ULONG_PTR;
        irp.IoStatus.__bindgen_anon_1.Status = status;
        status
    }

    /// Completes it with what was concluded. IRQL: at most DISPATCH_LEVEL.
    pub fn complete(self) {
        // SAFETY: the IRP is ours, and nobody uses it after this.
        unsafe { IofCompleteRequest(self.0, IO_NO_INCREMENT as i8) };
    }

    /// Gives it away.
    pub fn into_raw(self) -> *mut IRP {
        self.0
    }
}
