//! A request that the framework has given to the driver.

use core::ptr;

use postern_filtering::{Buffers, exactly_success};
use wdk_sys::{NTSTATUS, STATUS_SUCCESS, ULONG_PTR, WDFREQUEST, call_unsafe_wdf_function_binding};

/// The buffers of a request that is ours; those that it has. IRQL: at most DISPATCH_LEVEL.
pub fn buffers(request: WDFREQUEST, has_input: bool, has_output: bool) -> Result<Buffers, NTSTATUS> {
    let (mut input, mut input_length) = (ptr::null_mut(), 0);
    if has_input {
        // SAFETY: the request is ours until it is completed; the others outlive the call.
        exactly_success(unsafe {
            call_unsafe_wdf_function_binding!(
                WdfRequestRetrieveInputBuffer,
                request,
                1,
                &raw mut input,
                &raw mut input_length
            )
        })?;
    }
    let (mut output, mut output_length) = (ptr::null_mut(), 0);
    if has_output {
        // SAFETY: the request is ours until it is completed; the others outlive the call.
        exactly_success(unsafe {
            call_unsafe_wdf_function_binding!(
                WdfRequestRetrieveOutputBuffer,
                request,
                1,
                &raw mut output,
                &raw mut output_length
            )
        })?;
    }
    Ok(Buffers { input: input.cast(), input_length, output: output.cast(), output_length })
}

/// Completes a request that is ours. IRQL: at most DISPATCH_LEVEL.
pub fn complete(request: WDFREQUEST, result: Result<usize, NTSTATUS>) {
    let (status, information) = match result {
        Ok(length) => (STATUS_SUCCESS, length),
        Err(status) => (status, 0),
    };
    // SAFETY: the request is ours, and nobody uses it after this.
    unsafe {
        call_unsafe_wdf_function_binding!(WdfRequestCompleteWithInformation, request, status, information as ULONG_PTR)
    };
}
