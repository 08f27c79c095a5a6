//! Sessions and transactions.

use core::ffi::c_void;

use fwps::sys::{FWPM_SESSION0, FWPM_TXN_READ_ONLY, RPC_C_AUTHN_DEFAULT, RPC_C_AUTHN_WINNT};
use postern_engine::FwpError;
use postern_wine_protocol::Call;
use windows_sys::Win32::Foundation::{ERROR_INVALID_PARAMETER, ERROR_NOT_SUPPORTED};

use crate::error::{Error, code};
use crate::fwp::marshal;
use crate::handles::{self, Client, GIVEN};
use crate::ptr::Ptr;

#[unsafe(no_mangle)]
extern "system" fn FwpmEngineOpen0(
    server_name: Ptr<u16>,
    authn_service: u32,
    _auth_identity: Ptr<c_void>,
    session: Ptr<FWPM_SESSION0>,
    engine_handle: Ptr<u64>,
) -> u32 {
    code((|| {
        if engine_handle.is_null() {
            return Err(FwpError::NullPointer.into());
        }
        if !server_name.is_null() {
            // Another computer's engine.
            return Err(Error(ERROR_NOT_SUPPORTED));
        }
        if !matches!(authn_service, RPC_C_AUTHN_WINNT | RPC_C_AUTHN_DEFAULT) {
            return Err(Error(ERROR_INVALID_PARAMETER));
        }
        let mut session = marshal::session(session, std::process::id())?;
        session.kernel_mode = false;
        session.user = std::env::var("USERNAME").unwrap_or_default();
        engine_handle.write(handles::add_client(Client::open(session)?));
        Ok(())
    })())
}

#[unsafe(no_mangle)]
extern "system" fn FwpmEngineClose0(engine_handle: u64) -> u32 {
    code((|| {
        match handles::client(engine_handle)?.call(Call::Close) {
            // An aborted session, such as one of a base filtering engine that has stopped, is gone already.
            Ok(()) => {}
            Err(error) if error == FwpError::SessionAborted.into() => {}
            Err(error) => return Err(error),
        }
        handles::remove_client(engine_handle);
        Ok(())
    })())
}

#[unsafe(no_mangle)]
extern "system" fn FwpmTransactionBegin0(engine_handle: u64, flags: u32) -> u32 {
    code((|| {
        if flags & !FWPM_TXN_READ_ONLY != 0 {
            return Err(FwpError::InvalidFlags.into());
        }
        let read_only = flags & FWPM_TXN_READ_ONLY != 0;
        handles::client(engine_handle)?.call(Call::TransactionBegin { read_only })
    })())
}

#[unsafe(no_mangle)]
extern "system" fn FwpmTransactionCommit0(engine_handle: u64) -> u32 {
    code(handles::client(engine_handle).and_then(|client| client.call(Call::TransactionCommit)))
}

#[unsafe(no_mangle)]
extern "system" fn FwpmTransactionAbort0(engine_handle: u64) -> u32 {
    code(handles::client(engine_handle).and_then(|client| client.call(Call::TransactionAbort)))
}

/// Frees what a function here returned, and sets the program's pointer to NULL.
#[unsafe(no_mangle)]
extern "system" fn FwpmFreeMemory0(memory: Ptr<u64>) {
    GIVEN.free(memory.read());
    memory.write(0);
}
