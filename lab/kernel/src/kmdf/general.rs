//! What can be done with every framework object.

#![allow(non_snake_case, reason = "functions have the names of wdfobject.h")]

use std::sync::Arc;

use crate::export::{self, Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::kernel::lock;
use crate::kmdf::attributes::{self, Attributes, ContextTypeInfo, Rules, unique_type};
use crate::kmdf::client::{self, Globals};
use crate::kmdf::device::{self, Device};
use crate::kmdf::object::{self, Body, Object, Typed, find_quiet};
use crate::kmdf::report::{WDF_INVALID_HANDLE, broken, fatal, required};
use crate::nt::{DISPATCH_LEVEL, NtStatus};
use crate::ptr::Ptr;
use crate::thread;

pub(super) const FUNCTIONS: &[Export] = exports![
    WdfObjectGetTypedContextWorker,
    WdfObjectAllocateContext,
    WdfObjectContextGetObject,
    WdfObjectReferenceActual,
    WdfObjectDereferenceActual,
    WdfObjectCreate,
    WdfObjectDelete,
    WdfObjectQuery,
];

/// An object that is nothing but an object.
struct General;

impl Body for General {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }
}

impl Typed for General {
    const TYPE: &'static str = "WDFOBJECT";
}

extern "win64" fn WdfObjectCreate(globals: Ptr<Globals>, attributes: Ptr<Attributes>, out: Ptr<u64>) -> NtStatus {
    let client = client::of(globals);
    required(out, "Object").write(0);
    require_irql(DISPATCH_LEVEL);
    let checked = match attributes::check(attributes, Rules::default()) {
        Ok(checked) => checked,
        Err(status) => return status,
    };
    if let Some(status) = inject::faulted() {
        return status;
    }
    let object = attributes::create(&client, &checked, &client.default_parent(), General);
    out.write(object.handle());
    NtStatus::SUCCESS
}

extern "win64" fn WdfObjectDelete(_globals: Ptr<Globals>, handle: u64) {
    require_irql(DISPATCH_LEVEL);
    let object = object::any(handle);
    if object.is_deleting() {
        broken(
            format!("WdfObjectDelete was called for {}, which is being deleted already", object.describe()),
            "delete each object once; a parent deletes its children",
        );
        return;
    }
    // The framework itself deletes these when their time has come.
    const UNDELETABLE: [&str; 3] = ["WDFDRIVER", "WDFFILEOBJECT", "WDFREQUEST"];
    if UNDELETABLE.contains(&object.type_name()) {
        fatal(
            WDF_INVALID_HANDLE,
            handle,
            &format!("WdfObjectDelete was called for a {}, which only the framework deletes", object.type_name()),
        );
    }
    match find_quiet::<Device>(handle) {
        Some(device) => device::delete(&device),
        None => object::delete(&object),
    }
}

fn context_of(object: &Object, type_info: u64) -> Ptr<u8> {
    lock(&object.contexts)
        .iter()
        .find(|context| context.type_info == type_info && !context.memory.is_null())
        .map_or(Ptr::NULL, |context| context.memory)
}

extern "win64" fn WdfObjectGetTypedContextWorker(
    _globals: Ptr<Globals>,
    handle: u64,
    type_info: Ptr<ContextTypeInfo>,
) -> Ptr<u8> {
    let object = object::any(handle);
    context_of(&object, unique_type(required(type_info, "TypeInfo")))
}

extern "win64" fn WdfObjectAllocateContext(
    _globals: Ptr<Globals>,
    handle: u64,
    attributes: Ptr<Attributes>,
    out: Ptr<Ptr<u8>>,
) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let object = object::any(handle);
    required(attributes, "ContextAttributes");
    out.write_optional(Ptr::NULL);
    let checked = match attributes::check(attributes, Rules { parent_forbidden: true, ..Rules::default() }) {
        Ok(checked) => checked,
        Err(status) => return status,
    };
    if object.is_deleting() {
        return NtStatus::DELETE_PENDING;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    let mut added = checked.contexts();
    let Some(context) = added.pop() else { return NtStatus::OBJECT_NAME_INVALID };
    let existing = if context.memory.is_null() { Ptr::NULL } else { context_of(&object, context.type_info) };
    if !existing.is_null() {
        context.free();
        out.write_optional(existing);
        return NtStatus::OBJECT_NAME_EXISTS;
    }
    lock(&thread::current().kmdf.contexts).insert(context.memory.address(), handle);
    lock(&object.contexts).push(context);
    out.write_optional(context.memory);
    NtStatus::SUCCESS
}

extern "win64" fn WdfObjectContextGetObject(_globals: Ptr<Globals>, context: u64) -> u64 {
    let found = lock(&thread::current().kmdf.contexts).get(&context).copied();
    found.unwrap_or_else(|| {
        fatal(
            WDF_INVALID_HANDLE,
            context,
            &format!("{} was given {context:#x}, which is no object's context", export::current_name()),
        )
    })
}

extern "win64" fn WdfObjectReferenceActual(_globals: Ptr<Globals>, handle: u64, _tag: u64, _line: i32, _file: u64) {
    let object: Arc<Object> = object::any(handle);
    object::reference(&object);
}

extern "win64" fn WdfObjectDereferenceActual(_globals: Ptr<Globals>, handle: u64, _tag: u64, _line: i32, _file: u64) {
    let object: Arc<Object> = object::any(handle);
    object::dereference(&object);
}

/// The framework answers no query by any GUID.
extern "win64" fn WdfObjectQuery(
    _globals: Ptr<Globals>,
    handle: u64,
    _guid: u64,
    _length: u32,
    _buffer: u64,
) -> NtStatus {
    object::any(handle);
    NtStatus::NOT_FOUND
}
