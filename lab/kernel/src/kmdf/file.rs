//! `WDFFILEOBJECT`.

#![allow(non_snake_case, reason = "functions have the names of wdffileobject.h")]

use std::sync::Arc;

use crate::export::{Export, exports};
use crate::irql::require_irql;
use crate::kernel::lock;
use crate::kmdf::client::Globals;
use crate::kmdf::device::Device;
use crate::kmdf::object::{self, Body, New, Object, Ref, Typed, find};
use crate::kmdf::wdm;
use crate::nt::{DISPATCH_LEVEL, FileObject, Irp, OwnedUnicode, PASSIVE_LEVEL, UnicodeString};
use crate::ptr::{Ptr, field};
use crate::thread;

pub(super) const FUNCTIONS: &[Export] = exports![
    WdfFileObjectGetFileName,
    WdfFileObjectGetFlags,
    WdfFileObjectGetDevice,
    WdfFileObjectWdmGetFileObject,
    WdfFileObjectGetInitiatorProcessId,
    WdfDeviceGetFileObject,
];

pub(super) struct File {
    pub wdm: Ptr<FileObject>,
    device: u64,
    name: OwnedUnicode,
}

impl Body for File {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }

    fn dispose(&self, _object: &Arc<Object>) {
        lock(&thread::current().kmdf.files).remove(&self.wdm.address());
    }
}

impl Typed for File {
    const TYPE: &'static str = "WDFFILEOBJECT";
}

/// Creates the framework's file object of a create request, if the device has any.
pub(super) fn open(device: &Ref<Device>, irp: Ptr<Irp>) -> Option<Ref<File>> {
    let attributes = &device.init.files.as_ref()?.attributes;
    let wdm = field!(wdm::location(irp), FileObject).read();
    let name = if wdm.is_null() { String::new() } else { field!(wdm, FileName).read().text() };
    let file = New {
        client: device.object.client.clone(),
        parent: Some(device.object.clone()),
        callback_lock: None,
        passive_callbacks: false,
        contexts: attributes.contexts(),
        body: File { wdm, device: device.handle(), name: OwnedUnicode::new(&name) },
    }
    .create();
    lock(&thread::current().kmdf.files).insert(wdm.address(), file.handle());
    Some(file)
}

/// The framework's file object of a WDM one.
pub(super) fn of(wdm: Ptr<FileObject>) -> Option<Ref<File>> {
    let handle = lock(&thread::current().kmdf.files).get(&wdm.address()).copied()?;
    object::find_quiet(handle)
}

/// The file is closed, or was never opened.
pub(super) fn forget(file: &Ref<File>) {
    lock(&thread::current().kmdf.files).remove(&file.wdm.address());
    object::delete(&file.object);
}

extern "win64" fn WdfFileObjectGetFileName(_globals: Ptr<Globals>, file: u64) -> Ptr<UnicodeString> {
    require_irql(PASSIVE_LEVEL);
    find::<File>(file).name.pointer()
}

extern "win64" fn WdfFileObjectGetFlags(_globals: Ptr<Globals>, file: u64) -> u32 {
    require_irql(DISPATCH_LEVEL);
    field!(find::<File>(file).wdm, Flags).read()
}

extern "win64" fn WdfFileObjectGetDevice(_globals: Ptr<Globals>, file: u64) -> u64 {
    require_irql(DISPATCH_LEVEL);
    find::<File>(file).device
}

extern "win64" fn WdfFileObjectWdmGetFileObject(_globals: Ptr<Globals>, file: u64) -> Ptr<FileObject> {
    require_irql(DISPATCH_LEVEL);
    find::<File>(file).wdm
}

extern "win64" fn WdfFileObjectGetInitiatorProcessId(_globals: Ptr<Globals>, file: u64) -> u32 {
    find::<File>(file);
    super::request::REQUESTOR
}

extern "win64" fn WdfDeviceGetFileObject(_globals: Ptr<Globals>, device: u64, wdm: Ptr<FileObject>) -> u64 {
    let device = find::<Device>(device);
    of(wdm).filter(|file| file.device == device.handle()).map_or(0, |file| file.handle())
}
