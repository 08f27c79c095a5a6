//! The filter engine of Windows, through `fwpuclnt.dll`.

use std::ptr::{null, null_mut};

use bumpalo::Bump;
use postern_engine::FwpError;
use postern_engine::net_events::{EngineOption, NetEvent};
use postern_engine::objects::{Callout, Filter, Provider, ProviderContext, Session, Sublayer};
use postern_engine::template::FilterTemplate;
use uuid::Uuid;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform::*;
use windows_sys::Win32::System::Rpc::RPC_C_AUTHN_WINNT;

use super::{error, net_events};
use crate::engine::{Access, EngineError, FilterEngine, NetEventSubscription};
use crate::failure::Failure;
use crate::fwpm::{compose, parse};

/// An open session.
pub struct WindowsEngine(HANDLE);

/// `FwpmXxxCreateEnumHandle0`.
type Create<Template> = unsafe extern "system" fn(HANDLE, *const Template, *mut HANDLE) -> u32;
/// `FwpmXxxEnum0`.
type Next<T> = unsafe extern "system" fn(HANDLE, HANDLE, u32, *mut *mut *mut T, *mut u32) -> u32;
/// `FwpmXxxDestroyEnumHandle0`.
type Destroy = unsafe extern "system" fn(HANDLE, HANDLE) -> u32;

impl WindowsEngine {
    /// `FwpmEngineOpen0`.
    pub fn open(session: &Session) -> Result<WindowsEngine, EngineError> {
        let arena = Bump::new();
        let session = compose::session(&arena, session);
        let mut handle = null_mut();
        // SAFETY: The session and what it points to outlive the call, and `handle` takes the result.
        let code = unsafe { FwpmEngineOpen0(null(), RPC_C_AUTHN_WINNT, null(), &session, &mut handle) };
        check("FwpmEngineOpen0", code)?;
        Ok(WindowsEngine(handle))
    }

    pub fn handle(&self) -> HANDLE {
        self.0
    }

    /// Every object of a kind that a template describes; NULL describes all.
    fn all<Template, T, Object>(
        &self,
        function: &'static str,
        template: *const Template,
        create: Create<Template>,
        next: Next<T>,
        destroy: Destroy,
        read: unsafe fn(&T) -> Result<Object, parse::Unknown>,
    ) -> Result<Vec<Object>, EngineError> {
        let mut enumeration = null_mut();
        // SAFETY: The session is open; the template and what it points to outlive the call.
        check(function, unsafe { create(self.0, template, &mut enumeration) })?;
        let mut objects = Vec::new();
        let ended = loop {
            const PIECE: u32 = 256;
            let (mut entries, mut count) = (null_mut::<*mut T>(), 0);
            // SAFETY: Session and enumeration are open, and the last two take the results.
            let code = unsafe { next(self.0, enumeration, PIECE, &mut entries, &mut count) };
            if let Err(error) = check(function, code) {
                break Err(error);
            }
            let piece = match count {
                0 => &[],
                // SAFETY: The engine has returned an array of so many pointers.
                count => unsafe { std::slice::from_raw_parts(entries, count as usize) },
            };
            let read_one = |entry: &*mut T| {
                // SAFETY: It points to a structure of the engine's, which lives until the array is freed below.
                let structure = unsafe { &**entry };
                // SAFETY: The engine has made it.
                unsafe { read(structure) }
            };
            let read = piece.iter().map(read_one).collect::<Result<Vec<_>, _>>();
            // SAFETY: The array is the engine's, and nothing refers to it any more.
            unsafe { FwpmFreeMemory0((&raw mut entries).cast()) };
            match read {
                Ok(read) => objects.extend(read),
                Err(unknown) => {
                    let failure =
                        Failure::new(format!("{function}: this program does not know what it found: {unknown}"));
                    break Err(EngineError::Unreachable(failure));
                }
            }
            if count < PIECE {
                break Ok(objects);
            }
        };
        // SAFETY: Both are open. If it fails, the enumeration goes with the session.
        unsafe { destroy(self.0, enumeration) };
        ended
    }
}

pub fn check(function: &'static str, code: u32) -> Result<(), EngineError> {
    const FACILITY: u32 = 0x8032_0000;
    if code == 0 {
        return Ok(());
    }
    let known = (code & 0xFFFF_0000 == FACILITY).then(|| FwpError::from_code(code as u16)).flatten();
    Err(match known {
        Some(error) => EngineError::Refused { function, error },
        None => EngineError::Unreachable(error::failure(function, code)),
    })
}

impl Drop for WindowsEngine {
    fn drop(&mut self) {
        // SAFETY: The session is open, and nobody else has its handle. If it fails, the session goes with the process.
        unsafe { FwpmEngineClose0(self.0) };
    }
}

impl FilterEngine for WindowsEngine {
    fn transaction_begin(&self, access: Access) -> Result<(), EngineError> {
        let flags = if access == Access::ReadOnly { FWPM_TXN_READ_ONLY } else { 0 };
        // SAFETY: The session is open.
        check("FwpmTransactionBegin0", unsafe { FwpmTransactionBegin0(self.0, flags) })
    }

    fn transaction_commit(&self) -> Result<(), EngineError> {
        // SAFETY: The session is open.
        check("FwpmTransactionCommit0", unsafe { FwpmTransactionCommit0(self.0) })
    }

    fn transaction_abort(&self) -> Result<(), EngineError> {
        // SAFETY: The session is open.
        check("FwpmTransactionAbort0", unsafe { FwpmTransactionAbort0(self.0) })
    }

    fn sessions(&self) -> Result<Vec<Session>, EngineError> {
        self.all(
            "FwpmSessionEnum0",
            null(),
            FwpmSessionCreateEnumHandle0,
            FwpmSessionEnum0,
            FwpmSessionDestroyEnumHandle0,
            parse::session,
        )
    }

    fn provider_add(&self, provider: &Provider) -> Result<(), EngineError> {
        let arena = Bump::new();
        let provider = compose::provider(&arena, provider);
        // SAFETY: The session is open; the structure and what it points to outlive the call.
        check("FwpmProviderAdd0", unsafe { FwpmProviderAdd0(self.0, &provider, null_mut()) })
    }

    fn provider_delete(&self, key: Uuid) -> Result<(), EngineError> {
        // SAFETY: The session is open, and the key outlives the call.
        check("FwpmProviderDeleteByKey0", unsafe { FwpmProviderDeleteByKey0(self.0, &compose::guid(key)) })
    }

    fn providers(&self) -> Result<Vec<Provider>, EngineError> {
        self.all(
            "FwpmProviderEnum0",
            null(),
            FwpmProviderCreateEnumHandle0,
            FwpmProviderEnum0,
            FwpmProviderDestroyEnumHandle0,
            parse::provider,
        )
    }

    fn provider_context_add(&self, context: &ProviderContext) -> Result<u64, EngineError> {
        let function = "FwpmProviderContextAdd3";
        let arena = Bump::new();
        let context = compose::provider_context(&arena, context).map_err(|policy| {
            EngineError::Unreachable(Failure::new(format!("{function}: this program cannot add {policy}")))
        })?;
        let mut id = 0;
        // SAFETY: The session is open; the structure and what it points to outlive the call, and `id` takes the result.
        check(function, unsafe { FwpmProviderContextAdd3(self.0, &context, null_mut(), &mut id) })?;
        Ok(id)
    }

    fn provider_context_delete(&self, key: Uuid) -> Result<(), EngineError> {
        // SAFETY: The session is open, and the key outlives the call.
        check("FwpmProviderContextDeleteByKey0", unsafe {
            FwpmProviderContextDeleteByKey0(self.0, &compose::guid(key))
        })
    }

    fn provider_contexts(&self) -> Result<Vec<ProviderContext>, EngineError> {
        self.all(
            "FwpmProviderContextEnum3",
            null(),
            FwpmProviderContextCreateEnumHandle0,
            FwpmProviderContextEnum3,
            FwpmProviderContextDestroyEnumHandle0,
            parse::provider_context,
        )
    }

    fn sublayer_add(&self, sublayer: &Sublayer) -> Result<(), EngineError> {
        let arena = Bump::new();
        let sublayer = compose::sublayer(&arena, sublayer);
        // SAFETY: The session is open; the structure and what it points to outlive the call.
        check("FwpmSubLayerAdd0", unsafe { FwpmSubLayerAdd0(self.0, &sublayer, null_mut()) })
    }

    fn sublayer_delete(&self, key: Uuid) -> Result<(), EngineError> {
        // SAFETY: The session is open, and the key outlives the call.
        check("FwpmSubLayerDeleteByKey0", unsafe { FwpmSubLayerDeleteByKey0(self.0, &compose::guid(key)) })
    }

    fn sublayers(&self) -> Result<Vec<Sublayer>, EngineError> {
        self.all(
            "FwpmSubLayerEnum0",
            null(),
            FwpmSubLayerCreateEnumHandle0,
            FwpmSubLayerEnum0,
            FwpmSubLayerDestroyEnumHandle0,
            parse::sublayer,
        )
    }

    fn callout_add(&self, callout: &Callout) -> Result<u32, EngineError> {
        let arena = Bump::new();
        let callout = compose::callout(&arena, callout);
        let mut id = 0;
        // SAFETY: The session is open; the structure and what it points to outlive the call, and `id` takes the result.
        check("FwpmCalloutAdd0", unsafe { FwpmCalloutAdd0(self.0, &callout, null_mut(), &mut id) })?;
        Ok(id)
    }

    fn callout_delete(&self, key: Uuid) -> Result<(), EngineError> {
        // SAFETY: The session is open, and the key outlives the call.
        check("FwpmCalloutDeleteByKey0", unsafe { FwpmCalloutDeleteByKey0(self.0, &compose::guid(key)) })
    }

    fn callouts(&self) -> Result<Vec<Callout>, EngineError> {
        self.all(
            "FwpmCalloutEnum0",
            null(),
            FwpmCalloutCreateEnumHandle0,
            FwpmCalloutEnum0,
            FwpmCalloutDestroyEnumHandle0,
            parse::callout,
        )
    }

    fn filter_add(&self, filter: &Filter) -> Result<u64, EngineError> {
        let function = "FwpmFilterAdd0";
        let arena = Bump::new();
        let filter = compose::filter(&arena, filter).map_err(|error| EngineError::Refused { function, error })?;
        let mut id = 0;
        // SAFETY: The session is open; the structure and what it points to outlive the call, and `id` takes the result.
        check(function, unsafe { FwpmFilterAdd0(self.0, &filter, null_mut(), &mut id) })?;
        Ok(id)
    }

    fn filter_delete(&self, key: Uuid) -> Result<(), EngineError> {
        // SAFETY: The session is open, and the key outlives the call.
        check("FwpmFilterDeleteByKey0", unsafe { FwpmFilterDeleteByKey0(self.0, &compose::guid(key)) })
    }

    fn filters(&self) -> Result<Vec<Filter>, EngineError> {
        self.filters_of(null())
    }

    fn filters_matching(&self, template: &FilterTemplate) -> Result<Vec<Filter>, EngineError> {
        let arena = Bump::new();
        let template = compose::filter_template(&arena, template)
            .map_err(|error| EngineError::Refused { function: ENUMERATE_FILTERS, error })?;
        self.filters_of(&template)
    }
}

const ENUMERATE_FILTERS: &str = "FwpmFilterCreateEnumHandle0";

impl WindowsEngine {
    fn filters_of(&self, template: *const FWPM_FILTER_ENUM_TEMPLATE0) -> Result<Vec<Filter>, EngineError> {
        self.all(
            ENUMERATE_FILTERS,
            template,
            FwpmFilterCreateEnumHandle0,
            FwpmFilterEnum0,
            FwpmFilterDestroyEnumHandle0,
            parse::filter,
        )
    }

    fn engine_option(&self, option: EngineOption) -> Result<u32, EngineError> {
        net_events::option(self, option as FWPM_ENGINE_OPTION)
    }

    fn engine_set_option(&self, option: EngineOption, value: u32) -> Result<(), EngineError> {
        net_events::set_option(self, option as FWPM_ENGINE_OPTION, value)
    }

    fn net_events(&self) -> Result<Vec<NetEvent>, EngineError> {
        self.all(
            "FwpmNetEventEnum3",
            FwpmNetEventCreateEnumHandle0,
            FwpmNetEventEnum3,
            FwpmNetEventDestroyEnumHandle0,
            parse::net_event,
        )
    }

    fn net_event_subscribe(&self) -> Result<Box<dyn NetEventSubscription + '_>, EngineError> {
        Ok(Box::new(net_events::Subscription::new(self)?))
    }
}
