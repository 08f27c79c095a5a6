//! `WDFKEY`: registry keys.

#![allow(non_snake_case, reason = "functions have the names of wdfregistry.h")]

use std::sync::{Arc, Mutex};

use crate::export::{Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::kernel::lock;
use crate::kmdf::attributes::{self, Attributes, Rules};
use crate::kmdf::client::{self, Client, Globals};
use crate::kmdf::driver::Driver;
use crate::kmdf::memory;
use crate::kmdf::object::{self, Body, Object, Typed, find};
use crate::kmdf::report::required;
use crate::kmdf::string;
use crate::nt::{NtStatus, PASSIVE_LEVEL, UnicodeString};
use crate::ntos::object::Object as SystemObject;
use crate::ntos::registry::{OpenKey, REG_DWORD, Value};
use crate::ptr::{Ptr, field};
use crate::thread;

pub(super) const FUNCTIONS: &[Export] = exports![
    WdfDriverOpenParametersRegistryKey,
    WdfRegistryOpenKey,
    WdfRegistryCreateKey,
    WdfRegistryClose,
    WdfRegistryWdmGetHandle,
    WdfRegistryRemoveValue,
    WdfRegistryQueryValue,
    WdfRegistryQueryMemory,
    WdfRegistryQueryUnicodeString,
    WdfRegistryQueryString,
    WdfRegistryQueryULong,
    WdfRegistryAssignValue,
    WdfRegistryAssignMemory,
    WdfRegistryAssignUnicodeString,
    WdfRegistryAssignString,
    WdfRegistryAssignULong,
];

const REG_SZ: u32 = 1;

struct Key {
    path: String,
    /// The system's handle, once it was asked for.
    handle: Mutex<u64>,
}

impl Body for Key {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }

    fn dispose(&self, _object: &Arc<Object>) {
        let handle = core::mem::take(&mut *lock(&self.handle));
        if handle != 0 {
            thread::current().objects.close(handle);
        }
    }

    fn is_passive(&self) -> bool {
        true
    }
}

impl Typed for Key {
    const TYPE: &'static str = "WDFKEY";
}

/// What every one of these functions begins with.
fn begin() -> Result<(), NtStatus> {
    if !require_irql(PASSIVE_LEVEL) {
        return Err(NtStatus::INVALID_DEVICE_REQUEST);
    }
    match inject::faulted() {
        Some(status) => Err(status),
        None => Ok(()),
    }
}

fn finish(result: Result<(), NtStatus>) -> NtStatus {
    result.err().unwrap_or(NtStatus::SUCCESS)
}

fn open(client: &Arc<Client>, path: String, attributes: Ptr<Attributes>, out: Ptr<u64>) -> Result<(), NtStatus> {
    required(out, "Key").write(0);
    let checked = attributes::check(attributes, Rules::default())?;
    begin()?;
    if !thread::current().registry.exists(&path) {
        return Err(NtStatus::OBJECT_NAME_NOT_FOUND);
    }
    let body = Key { path, handle: Mutex::new(0) };
    out.write(attributes::create(client, &checked, &client.default_parent(), body).handle());
    Ok(())
}

extern "win64" fn WdfDriverOpenParametersRegistryKey(
    _globals: Ptr<Globals>,
    driver: u64,
    _access: u32,
    attributes: Ptr<Attributes>,
    out: Ptr<u64>,
) -> NtStatus {
    let client = find::<Driver>(driver).object.client.clone();
    let path = format!(r"{}\Parameters", client.registry_path);
    finish(open(&client, path, attributes, out))
}

/// The path of a key below another, or of one named in full.
fn path_below(parent: u64, name: Ptr<UnicodeString>) -> Result<String, NtStatus> {
    let name = required(name, "KeyName").read().text();
    match (parent, name.starts_with('\\')) {
        (0, true) => Ok(name),
        (0, false) => Err(NtStatus::OBJECT_PATH_NOT_FOUND),
        (_, true) => Err(NtStatus::OBJECT_NAME_INVALID),
        (parent, false) => Ok(format!(r"{}\{name}", find::<Key>(parent).path)),
    }
}

extern "win64" fn WdfRegistryOpenKey(
    globals: Ptr<Globals>,
    parent: u64,
    name: Ptr<UnicodeString>,
    _access: u32,
    attributes: Ptr<Attributes>,
    out: Ptr<u64>,
) -> NtStatus {
    let client = client::of(globals);
    finish(path_below(parent, name).and_then(|path| open(&client, path, attributes, out)))
}

extern "win64" fn WdfRegistryCreateKey(
    globals: Ptr<Globals>,
    parent: u64,
    name: Ptr<UnicodeString>,
    _access: u32,
    _options: u32,
    disposition: Ptr<u32>,
    attributes: Ptr<Attributes>,
    out: Ptr<u64>,
) -> NtStatus {
    const CREATED_NEW_KEY: u32 = 1;
    const OPENED_EXISTING_KEY: u32 = 2;
    let client = client::of(globals);
    finish(path_below(parent, name).and_then(|path| {
        let registry = &thread::current().registry;
        let existed = registry.exists(&path);
        registry.create(&path);
        open(&client, path, attributes, out)?;
        disposition.write_optional(if existed { OPENED_EXISTING_KEY } else { CREATED_NEW_KEY });
        Ok(())
    }))
}

extern "win64" fn WdfRegistryClose(_globals: Ptr<Globals>, key: u64) {
    require_irql(PASSIVE_LEVEL);
    object::delete(&find::<Key>(key).object);
}

extern "win64" fn WdfRegistryWdmGetHandle(_globals: Ptr<Globals>, key: u64) -> u64 {
    require_irql(PASSIVE_LEVEL);
    let key = find::<Key>(key);
    let mut handle = lock(&key.handle);
    if *handle == 0 {
        *handle = thread::current().objects.open(SystemObject::Key(OpenKey(key.path.to_lowercase())));
    }
    *handle
}

fn name_of(name: Ptr<UnicodeString>) -> String {
    required(name, "ValueName").read().text()
}

fn query(key: u64, name: Ptr<UnicodeString>) -> Result<Value, NtStatus> {
    let (key, name) = (find::<Key>(key), name_of(name));
    begin()?;
    thread::current().registry.get(&key.path, &name).ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)
}

/// A string value without the zeros that end it.
fn query_text(key: u64, name: Ptr<UnicodeString>) -> Result<Vec<u16>, NtStatus> {
    let value = query(key, name)?;
    if value.kind != REG_SZ {
        return Err(NtStatus::OBJECT_TYPE_MISMATCH);
    }
    let mut units: Vec<u16> = value.data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    while units.last() == Some(&0) {
        units.pop();
    }
    Ok(units)
}

fn assign(key: u64, name: Ptr<UnicodeString>, kind: u32, data: Vec<u8>) -> Result<(), NtStatus> {
    let (key, name) = (find::<Key>(key), name_of(name));
    begin()?;
    thread::current().registry.set(&key.path, &name, kind, data);
    Ok(())
}

extern "win64" fn WdfRegistryRemoveValue(_globals: Ptr<Globals>, key: u64, name: Ptr<UnicodeString>) -> NtStatus {
    let (key, name) = (find::<Key>(key), name_of(name));
    finish(begin().and_then(|()| {
        let removed = thread::current().registry.delete_value(&key.path, &name);
        if removed { Ok(()) } else { Err(NtStatus::OBJECT_NAME_NOT_FOUND) }
    }))
}

extern "win64" fn WdfRegistryQueryValue(
    _globals: Ptr<Globals>,
    key: u64,
    name: Ptr<UnicodeString>,
    length: u32,
    out: Ptr<u8>,
    length_out: Ptr<u32>,
    kind_out: Ptr<u32>,
) -> NtStatus {
    finish(query(key, name).and_then(|value| {
        length_out.write_optional(value.data.len() as u32);
        kind_out.write_optional(value.kind);
        if out.is_null() || value.data.len() > length as usize {
            return Err(NtStatus::BUFFER_OVERFLOW);
        }
        out.copy_from(&value.data);
        Ok(())
    }))
}

extern "win64" fn WdfRegistryQueryMemory(
    globals: Ptr<Globals>,
    key: u64,
    name: Ptr<UnicodeString>,
    _pool_type: u32,
    attributes: Ptr<Attributes>,
    out: Ptr<u64>,
    kind_out: Ptr<u32>,
) -> NtStatus {
    let client = client::of(globals);
    required(out, "Memory").write(0);
    finish(attributes::check(attributes, Rules::default()).and_then(|checked| {
        let value = query(key, name)?;
        kind_out.write_optional(value.kind);
        out.write(memory::of_bytes(&client, &checked, &value.data));
        Ok(())
    }))
}

extern "win64" fn WdfRegistryQueryUnicodeString(
    _globals: Ptr<Globals>,
    key: u64,
    name: Ptr<UnicodeString>,
    length_out: Ptr<u16>,
    out: Ptr<UnicodeString>,
) -> NtStatus {
    finish(query_text(key, name).and_then(|units| {
        // The length that is asked for includes the zero at the end.
        length_out.write_optional((units.len() as u16 + 1) * 2);
        let Some(out) = out.non_null() else { return Ok(()) };
        let value = out.read();
        if usize::from(value.MaximumLength) < units.len() * 2 {
            return Err(NtStatus::BUFFER_OVERFLOW);
        }
        value.Buffer.copy_from(&units);
        field!(out, Length).write(units.len() as u16 * 2);
        Ok(())
    }))
}

extern "win64" fn WdfRegistryQueryString(
    _globals: Ptr<Globals>,
    key: u64,
    name: Ptr<UnicodeString>,
    string: u64,
) -> NtStatus {
    finish(query_text(key, name).map(|units| string::set(string, &String::from_utf16_lossy(&units))))
}

extern "win64" fn WdfRegistryQueryULong(
    _globals: Ptr<Globals>,
    key: u64,
    name: Ptr<UnicodeString>,
    out: Ptr<u32>,
) -> NtStatus {
    required(out, "Value");
    finish(query(key, name).and_then(|value| {
        let bytes: [u8; 4] = value.data.as_slice().try_into().map_err(|_| NtStatus::OBJECT_TYPE_MISMATCH)?;
        if value.kind != REG_DWORD {
            return Err(NtStatus::OBJECT_TYPE_MISMATCH);
        }
        out.write(u32::from_le_bytes(bytes));
        Ok(())
    }))
}

extern "win64" fn WdfRegistryAssignValue(
    _globals: Ptr<Globals>,
    key: u64,
    name: Ptr<UnicodeString>,
    kind: u32,
    length: u32,
    data: Ptr<u8>,
) -> NtStatus {
    let data = required(data, "Value").to_vec(length as usize);
    finish(assign(key, name, kind, data))
}

extern "win64" fn WdfRegistryAssignMemory(
    _globals: Ptr<Globals>,
    key: u64,
    name: Ptr<UnicodeString>,
    kind: u32,
    memory: u64,
    part: Ptr<[u64; 2]>,
) -> NtStatus {
    // WDFMEMORY_OFFSET: offset and length.
    let part = part.non_null().map(Ptr::read);
    finish(memory::bytes(memory, part).and_then(|data| assign(key, name, kind, data)))
}

fn terminated(units: &[u16]) -> Vec<u8> {
    units.iter().chain(&[0]).flat_map(|unit| unit.to_le_bytes()).collect()
}

extern "win64" fn WdfRegistryAssignUnicodeString(
    _globals: Ptr<Globals>,
    key: u64,
    name: Ptr<UnicodeString>,
    value: Ptr<UnicodeString>,
) -> NtStatus {
    let units = required(value, "Value").read().units();
    finish(assign(key, name, REG_SZ, terminated(&units)))
}

extern "win64" fn WdfRegistryAssignString(
    _globals: Ptr<Globals>,
    key: u64,
    name: Ptr<UnicodeString>,
    string: u64,
) -> NtStatus {
    finish(assign(key, name, REG_SZ, terminated(&string::units(string))))
}

extern "win64" fn WdfRegistryAssignULong(
    _globals: Ptr<Globals>,
    key: u64,
    name: Ptr<UnicodeString>,
    value: u32,
) -> NtStatus {
    finish(assign(key, name, REG_DWORD, value.to_le_bytes().to_vec()))
}
