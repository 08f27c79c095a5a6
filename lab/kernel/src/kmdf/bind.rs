//! `wdfldr.sys`: binding drivers to the framework and unbinding them.

#![allow(non_snake_case, reason = "imports and fields have the names of Windows")]

use std::sync::Arc;

use crate::export::{Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::kernel::lock;
use crate::kmdf::client::{self, Client, Globals};
use crate::kmdf::driver;
use crate::kmdf::names::RELEASED_COUNTS;
use crate::kmdf::object;
use crate::kmdf::report::broken;
use crate::kmdf::table;
use crate::kmdf::wdm;
use crate::nt::{DriverObject, NtStatus, PASSIVE_LEVEL, UnicodeString};
use crate::ptr::{Ptr, field};
use crate::thread;

pub(super) const EXPORTS: &[Export] =
    exports![WdfVersionBind, WdfVersionUnbind, WdfVersionBindClass, WdfVersionUnbindClass];

/// `WDF_BIND_INFO`.
#[repr(C)]
#[derive(Clone, Copy)]
struct BindInfo {
    Size: u32,
    Component: Ptr<u16>,
    Major: u32,
    Minor: u32,
    Build: u32,
    FuncCount: u32,
    FuncTable: u64,
    Module: u64,
}

const _: () = assert!(size_of::<BindInfo>() == 0x30);

/// `WDF_BIND_INFO2`, which stubs of 1.25 and later pass, has five more members.
const BIND_INFO_2_SIZE: u32 = 0x58;
/// From this count on the driver has a pointer to the framework's table instead of an array of its own.
const FIRST_COUNT_BY_POINTER: u32 = 444;

fn component(pointer: Ptr<u16>) -> String {
    let units: Vec<u16> = (0..64).map(|index| pointer.at(index).read()).take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

extern "win64" fn WdfVersionBind(
    driver_object: Ptr<DriverObject>,
    registry_path: Ptr<UnicodeString>,
    info: Ptr<BindInfo>,
    globals_out: Ptr<Ptr<Globals>>,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if driver_object.is_null() || registry_path.is_null() || info.is_null() || globals_out.is_null() {
        broken("WdfVersionBind was called with a null parameter".into(), "link with WdfDriverEntry.lib");
        return NtStatus::INVALID_PARAMETER;
    }
    let size = field!(info, Size).read();
    if size as usize != size_of::<BindInfo>() && size != BIND_INFO_2_SIZE {
        broken(
            format!(
                "WdfVersionBind was given a WDF_BIND_INFO of {size:#x} bytes; it has 0x30, or 0x58 as WDF_BIND_INFO2"
            ),
            "set WDF_BIND_INFO.Size to the structure's size",
        );
        return NtStatus::INFO_LENGTH_MISMATCH;
    }
    let value = info.read();
    let name = component(value.Component);
    if name != "KmdfLibrary" {
        broken(
            format!("WdfVersionBind was asked for the component {name:?}; the kernel-mode framework is KmdfLibrary"),
            "set WDF_BIND_INFO.Component to L\"KmdfLibrary\"",
        );
        return NtStatus::NOT_FOUND;
    }
    if value.Major != 1 {
        broken(
            format!("the driver asks for KMDF {}.{}; the lab has 1.33", value.Major, value.Minor),
            "build the driver for KMDF 1.x",
        );
        return NtStatus::REVISION_MISMATCH;
    }
    if !RELEASED_COUNTS.contains(&value.FuncCount) {
        broken(
            format!("WDF_BIND_INFO.FuncCount is {}, which no released version of the framework has", value.FuncCount),
            "set it to WdfFunctionTableNumEntries of the version that the driver is built for",
        );
        return NtStatus::INVALID_PARAMETER;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    let functions = table::addresses();
    if value.FuncCount >= FIRST_COUNT_BY_POINTER {
        Ptr::<u64>::from_address(value.FuncTable).write(functions.as_ptr() as u64);
    } else {
        Ptr::<u64>::from_address(value.FuncTable).copy_from(&functions[..value.FuncCount as usize]);
    }
    let path = registry_path.read().text();
    let globals: Ptr<Globals> = wdm::allocate(size_of::<Globals>()).cast();
    let client = Arc::new(Client::new(globals, driver_object, path));
    let mut name = [0; 32];
    for (slot, byte) in name.iter_mut().zip(client.name.bytes().take(31)) {
        *slot = byte;
    }
    globals.write(Globals { Driver: 0, DriverFlags: 0, DriverTag: 0, DriverName: name, DisplaceDriverUnload: 0 });
    lock(&thread::current().kmdf.clients).insert(globals.address(), client);
    globals_out.write(globals);
    NtStatus::SUCCESS
}

extern "win64" fn WdfVersionUnbind(_registry_path: u64, _info: u64, globals: Ptr<Globals>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let client = client::of(globals);
    if let Some(driver) = client.driver() {
        driver::delete_at_unbind(&client, &driver);
    }
    note_leaks(&client);
    lock(&thread::current().kmdf.clients).remove(&globals.address());
    wdm::free(globals.cast());
    NtStatus::SUCCESS
}

/// Notes what of a driver's is still there when it unbinds, and takes it away.
fn note_leaks(client: &Arc<Client>) {
    let kernel = thread::current();
    let mut left = Vec::new();
    for object in kernel.kmdf.handles.of_client(client) {
        left.push(match object.references() {
            0 => format!("{} was not deleted", object.describe()),
            count => format!("{} still has {count} reference(s) that WdfObjectReference took", object.describe()),
        });
        object::abandon(&object);
    }
    lock(&kernel.kmdf.inits).retain(|address, init| {
        let owned = Arc::ptr_eq(&init.client, client);
        if owned {
            left.push(format!("WDFDEVICE_INIT {address:#x} was neither used by WdfDeviceCreate nor freed"));
        }
        !owned
    });
    lock(&kernel.kmdf.left).extend(left.into_iter().map(|line| (client.image, line)));
}

/// Takes away the drivers of an image that never unbound.
pub(super) fn take_unbound(image: u64) {
    let kernel = thread::current();
    let bound: Vec<Arc<Client>> =
        lock(&kernel.kmdf.clients).values().filter(|client| client.image == image).cloned().collect();
    for client in bound {
        note_leaks(&client);
        lock(&kernel.kmdf.left).push((image, "the driver did not unbind from the framework".into()));
        lock(&kernel.kmdf.clients).remove(&client.globals.address());
        wdm::free(client.globals.cast());
    }
}

/// Class extensions are framework libraries of their own; none is here.
extern "win64" fn WdfVersionBindClass(_info: u64, _globals: Ptr<Globals>, class: Ptr<BindInfo>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    // WDF_CLASS_BIND_INFO begins like WDF_BIND_INFO, with the class's name.
    let name = if class.is_null() { String::new() } else { component(field!(class, Component).read()) };
    broken(
        format!("the driver needs the framework's class extension {name:?}, which the lab does not have"),
        "run drivers that need no class extension",
    );
    NtStatus::NOT_FOUND
}

extern "win64" fn WdfVersionUnbindClass(_info: u64, _globals: Ptr<Globals>, _class: u64) {
    require_irql(PASSIVE_LEVEL);
}
