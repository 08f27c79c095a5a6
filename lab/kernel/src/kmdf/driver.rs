//! `WDFDRIVER`: creating it, and what unloading does.

#![allow(non_snake_case, reason = "functions and fields have the names of wdfdriver.h")]

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::export::{Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::kernel::lock;
use crate::kmdf::attributes::{self, Attributes, Rules, Scope};
use crate::kmdf::client::{self, Client, Globals};
use crate::kmdf::dispatch;
use crate::kmdf::object::{self, Body, New, Object, Ref, Typed};
use crate::kmdf::report::{broken, required};
use crate::kmdf::string;
use crate::nt::{DriverObject, NtStatus, OwnedUnicode, PASSIVE_LEVEL, UnicodeString};
use crate::ptr::{Ptr, field};
use crate::thread;

pub(super) const FUNCTIONS: &[Export] = exports![
    WdfDriverCreate,
    WdfDriverGetRegistryPath,
    WdfDriverWdmGetDriverObject,
    WdfWdmDriverGetWdfDriverHandle,
    WdfDriverRegisterTraceInfo,
    WdfDriverRetrieveVersionString,
    WdfDriverIsVersionAvailable,
    WdfDriverMiniportUnload,
    WdfVerifierDbgBreakPoint,
    WdfVerifierKeBugCheck,
    WdfGetTriageInfo,
];

/// `WDF_DRIVER_CONFIG`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DriverConfig {
    Size: u32,
    EvtDriverDeviceAdd: u64,
    EvtDriverUnload: u64,
    DriverInitFlags: u32,
    DriverPoolTag: u32,
}

const _: () = assert!(size_of::<DriverConfig>() == 0x20);

const NON_PNP_DRIVER: u32 = 0x1;
const NO_DISPATCH_OVERRIDE: u32 = 0x2;
const COMPANION: u32 = 0x10;

pub(super) struct Driver {
    unload: u64,
    registry_path: OwnedUnicode,
    scope: Scope,
    /// Whether `EvtDriverUnload` has been called or need not be.
    unloaded: AtomicBool,
}

impl Body for Driver {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }
    fn is_passive(&self) -> bool {
        true
    }
}

impl Typed for Driver {
    const TYPE: &'static str = "WDFDRIVER";
}

impl Driver {
    pub fn scope(&self) -> Scope {
        self.scope
    }
}

extern "win64" fn WdfDriverCreate(
    globals: Ptr<Globals>,
    driver_object: Ptr<DriverObject>,
    registry_path: Ptr<UnicodeString>,
    attributes: Ptr<Attributes>,
    config: Ptr<DriverConfig>,
    out: Ptr<u64>,
) -> NtStatus {
    let client = client::of(globals);
    required(driver_object, "DriverObject");
    required(registry_path, "RegistryPath");
    required(config, "DriverConfig");
    if field!(config, Size).read() as usize != size_of::<DriverConfig>() {
        return NtStatus::INFO_LENGTH_MISMATCH;
    }
    let config = config.read();
    if config.DriverInitFlags & !(NON_PNP_DRIVER | NO_DISPATCH_OVERRIDE | COMPANION) != 0 {
        return NtStatus::INVALID_PARAMETER;
    }
    if !require_irql(PASSIVE_LEVEL) {
        return NtStatus::INVALID_DEVICE_REQUEST;
    }
    let path = registry_path.read().text();
    if client.driver().is_some() {
        broken("WdfDriverCreate was called a second time".into(), "call it once, in DriverEntry");
        return NtStatus::DRIVER_INTERNAL_ERROR;
    }
    if driver_object != client.driver_object {
        broken(
            format!(
                "WdfDriverCreate was given the driver object {:#x}, which is not the driver's own",
                driver_object.address()
            ),
            "pass the driver object that DriverEntry was given",
        );
        return NtStatus::INVALID_PARAMETER;
    }
    out.write_optional(0);
    let overrides = config.DriverInitFlags & NO_DISPATCH_OVERRIDE == 0;
    let non_pnp = config.DriverInitFlags & NON_PNP_DRIVER != 0;
    if overrides && non_pnp && config.EvtDriverDeviceAdd != 0 {
        broken(
            "a non-PnP driver has set EvtDriverDeviceAdd".into(),
            "leave EvtDriverDeviceAdd null, or do not set WdfDriverInitNonPnpDriver",
        );
        return NtStatus::INVALID_PARAMETER;
    }
    let checked = attributes::check(attributes, Rules { parent_forbidden: true, levels_allowed: true });
    let checked = match checked {
        Ok(checked) => checked,
        Err(status) => return status,
    };
    if let Some(status) = inject::faulted() {
        return status;
    }
    let driver = New {
        client: client.clone(),
        parent: None,
        callback_lock: None,
        passive_callbacks: checked.passive_callbacks(false),
        contexts: checked.contexts(),
        body: Driver {
            unload: config.EvtDriverUnload,
            registry_path: OwnedUnicode::new(&path),
            scope: checked.scope().unwrap_or(Scope::None),
            unloaded: AtomicBool::new(false),
        },
    }
    .create();
    client.set_driver(driver.handle());
    fill_in(driver_object, &config);
    field!(globals, Driver).write(driver.handle());
    field!(globals, DriverFlags).write(config.DriverInitFlags);
    field!(globals, DriverTag).write(tag(&client, config.DriverPoolTag));
    let displace = config.EvtDriverUnload != 0 || (overrides && !non_pnp);
    field!(globals, DisplaceDriverUnload).write(u8::from(displace));
    out.write_optional(driver.handle());
    NtStatus::SUCCESS
}

/// Fills in `DRIVER_OBJECT`, as `FxDriver::Initialize` does.
fn fill_in(driver_object: Ptr<DriverObject>, config: &DriverConfig) {
    if config.DriverInitFlags & NO_DISPATCH_OVERRIDE != 0 {
        return;
    }
    field!(driver_object, MajorFunction).write([dispatch::dispatch as *const () as u64; 28]);
    let non_pnp = config.DriverInitFlags & NON_PNP_DRIVER != 0;
    let extension = field!(driver_object, DriverExtension).read();
    if !extension.is_null() {
        field!(extension, AddDevice).write(if non_pnp { 0 } else { add_device as *const () as u64 });
    }
    // Without EvtDriverUnload a non-PnP driver cannot be stopped.
    if !non_pnp || config.EvtDriverUnload != 0 {
        field!(driver_object, DriverUnload).write(unload as *const () as u64);
    }
}

/// The tag of the driver's allocations: its own, or from its name.
fn tag(client: &Client, asked_for: u32) -> u32 {
    const FORBIDDEN: u32 = u32::from_le_bytes(*b"Ddk ");
    if asked_for != 0 && asked_for != FORBIDDEN {
        return asked_for;
    }
    let mut bytes = *b"    ";
    for (slot, byte) in bytes.iter_mut().zip(client.name.bytes()) {
        *slot = byte;
    }
    u32::from_le_bytes(bytes)
}

/// `DRIVER_ADD_DEVICE`: the lab has no plug-and-play devices.
extern "win64" fn add_device(_driver: u64, _device: u64) -> NtStatus {
    NtStatus::NOT_SUPPORTED
}

/// `DRIVER_UNLOAD` of every framework driver.
extern "win64" fn unload(driver_object: Ptr<DriverObject>) {
    let client =
        lock(&thread::current().kmdf.clients).values().find(|client| client.driver_object == driver_object).cloned();
    if let Some(driver) = client.as_ref().and_then(|client| client.driver()) {
        run_unload(&driver);
    }
}

/// `FxDriver::Unload`: `EvtDriverUnload` first, then the driver's object with everything below it.
fn run_unload(driver: &Ref<Driver>) {
    if driver.unloaded.swap(true, Ordering::AcqRel) {
        return;
    }
    if driver.unload != 0 {
        let client = driver.object.client.clone();
        client.call("EvtDriverUnload", "", PASSIVE_LEVEL, driver.unload, (driver.handle(),));
    }
    delete_tree(&driver.object);
}

fn delete_tree(driver: &Arc<Object>) {
    let globals = driver.client.globals;
    object::delete(driver);
    field!(globals, Driver).write(0);
}

/// The driver unbinds and its WDFDRIVER still lives: `DriverEntry` has failed, or the framework's unload
/// routine was never called.
pub(super) fn delete_at_unbind(client: &Arc<Client>, driver: &Ref<Driver>) {
    let current = field!(client.driver_object, DriverUnload).read();
    let ours = unload as *const () as u64;
    if driver.unload != 0 && current != ours && !driver.unloaded.load(Ordering::Acquire) {
        broken(
            "the driver has replaced DRIVER_OBJECT.DriverUnload, so EvtDriverUnload was never called".into(),
            "leave DRIVER_OBJECT.DriverUnload alone after WdfDriverCreate; unload in EvtDriverUnload",
        );
    }
    delete_tree(&driver.object);
}

extern "win64" fn WdfDriverGetRegistryPath(_globals: Ptr<Globals>, driver: u64) -> Ptr<u16> {
    require_irql(PASSIVE_LEVEL);
    object::find::<Driver>(driver).registry_path.value().Buffer
}

extern "win64" fn WdfDriverWdmGetDriverObject(_globals: Ptr<Globals>, driver: u64) -> Ptr<DriverObject> {
    object::find::<Driver>(driver).object.client.driver_object
}

extern "win64" fn WdfWdmDriverGetWdfDriverHandle(globals: Ptr<Globals>, driver_object: Ptr<DriverObject>) -> u64 {
    required(driver_object, "DriverObject");
    let client = client::of(globals);
    if client.driver_object == driver_object { client.driver().map_or(0, |driver| driver.handle()) } else { 0 }
}

extern "win64" fn WdfDriverRegisterTraceInfo(
    _globals: Ptr<Globals>,
    _driver: u64,
    _callback: u64,
    _control: u64,
) -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn WdfDriverRetrieveVersionString(_globals: Ptr<Globals>, driver: u64, string: u64) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    object::find::<Driver>(driver);
    if let Some(status) = inject::faulted() {
        return status;
    }
    string::set(string, "Kernel Mode Driver Framework (verified) version v1.33");
    NtStatus::SUCCESS
}

/// `WDF_DRIVER_VERSION_AVAILABLE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
struct VersionAvailable {
    Size: u32,
    MajorVersion: u32,
    MinorVersion: u32,
}

extern "win64" fn WdfDriverIsVersionAvailable(
    _globals: Ptr<Globals>,
    driver: u64,
    version: Ptr<VersionAvailable>,
) -> u8 {
    require_irql(PASSIVE_LEVEL);
    object::find::<Driver>(driver);
    let asked_for = required(version, "VersionAvailableParams").read();
    if asked_for.Size as usize != size_of::<VersionAvailable>() {
        broken(
            format!("WDF_DRIVER_VERSION_AVAILABLE_PARAMS.Size is {}", asked_for.Size),
            "initialise it with WDF_DRIVER_VERSION_AVAILABLE_PARAMS_INIT",
        );
        return 0;
    }
    u8::from(asked_for.MajorVersion == 1 && asked_for.MinorVersion <= 33)
}

/// For drivers whose `DriverUnload` belongs to a port driver and not to the framework.
extern "win64" fn WdfDriverMiniportUnload(globals: Ptr<Globals>, driver: u64) {
    require_irql(PASSIVE_LEVEL);
    let client = client::of(globals);
    let driver = object::find::<Driver>(driver);
    if field!(globals, DriverFlags).read() & NO_DISPATCH_OVERRIDE == 0 {
        broken(
            format!("WdfDriverMiniportUnload was called by {}, which is no miniport driver", client.title),
            "call it only with WdfDriverInitNoDispatchOverride; otherwise the framework unloads the driver itself",
        );
        return;
    }
    run_unload(&driver);
}

extern "win64" fn WdfVerifierDbgBreakPoint(_globals: Ptr<Globals>) {
    broken("WdfVerifierDbgBreakPoint was called".into(), "the driver has noticed something itself: see its log");
}

extern "win64" fn WdfVerifierKeBugCheck(_globals: Ptr<Globals>, code: u32, a: u64, b: u64, c: u64, d: u64) {
    crate::report::bugcheck(code, [a, b, c, d], "the driver asked for it");
}

extern "win64" fn WdfGetTriageInfo(_globals: Ptr<Globals>) -> u64 {
    0
}
