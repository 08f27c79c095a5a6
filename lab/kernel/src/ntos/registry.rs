//! The registry as drivers see it: a small tree in memory with each driver's service key.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::export::{Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::kernel::lock;
use crate::nt::{NtStatus, PASSIVE_LEVEL, UnicodeString};
use crate::ntos::object::Object;
use crate::ptr::Ptr;
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    ZwOpenKey,
    ZwOpenKeyEx,
    ZwCreateKey,
    ZwQueryValueKey,
    ZwSetValueKey,
    ZwDeleteValueKey,
    ZwDeleteKey,
    ZwQueryKey,
    ZwEnumerateKey,
    ZwEnumerateValueKey,
    ZwFlushKey,
    RtlQueryRegistryValues,
    RtlWriteRegistryValue,
    RtlDeleteRegistryValue,
    RtlCheckRegistryKey,
    RtlCreateRegistryKey,
    IoOpenDriverRegistryKey,
];

pub(crate) const SERVICES: &str = r"\registry\machine\system\currentcontrolset\services";

/// A key's path, in lower case, as an open handle keeps it.
#[derive(Clone, Debug)]
pub(crate) struct OpenKey(pub String);

#[derive(Clone)]
pub(crate) struct Value {
    pub name: String,
    pub kind: u32,
    pub data: Vec<u8>,
}

#[derive(Default)]
struct Key {
    /// As it was given when the key was made.
    name: String,
    /// When a driver made it, in the system's time; 0 for what was there before.
    written: u64,
    /// By lower-case name.
    values: BTreeMap<String, Value>,
}

/// A value that somebody sets for a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// `REG_DWORD`.
    Number(u32),
    /// `REG_SZ`.
    Text(String),
}

#[derive(Default)]
pub(crate) struct Registry(Mutex<BTreeMap<String, Key>>);

const REG_SZ: u32 = 1;
const REG_EXPAND_SZ: u32 = 2;
pub(crate) const REG_DWORD: u32 = 4;

fn normal(path: &str) -> String {
    path.to_lowercase().replace(r"\controlset001\", r"\currentcontrolset\").trim_end_matches('\\').to_string()
}

impl Registry {
    /// Makes the key that `RegistryPath` names, with what an installed driver's has.
    pub fn create_service(&self, service: &str) {
        let path = format!(r"{SERVICES}\{}", service.to_lowercase());
        self.create(&path);
        self.create(&format!(r"{path}\parameters"));
        let image: Vec<u8> =
            format!("system32\\drivers\\{service}.sys\0").encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.set(&path, "ImagePath", REG_EXPAND_SZ, image);
        self.set(&path, "Type", REG_DWORD, 1u32.to_le_bytes().to_vec());
        self.set(&path, "Start", REG_DWORD, 3u32.to_le_bytes().to_vec());
    }

    /// Sets a value of a service's `Parameters` key.
    pub fn set_parameter(&self, service: &str, name: &str, value: &Parameter) {
        const REG_SZ: u32 = 1;
        const REG_DWORD: u32 = 4;
        let (kind, data) = match value {
            Parameter::Number(number) => (REG_DWORD, number.to_le_bytes().to_vec()),
            Parameter::Text(text) => (REG_SZ, text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()),
        };
        self.create_service(service);
        self.set(&format!(r"{SERVICES}\{service}\parameters"), name, kind, data);
    }

    pub fn create(&self, path: &str) {
        self.create_at(path, 0);
    }

    fn create_at(&self, path: &str, written: u64) {
        let name = path.trim_end_matches('\\').rsplit('\\').next().unwrap_or_default().to_owned();
        lock(&self.0).entry(normal(path)).or_insert_with(|| Key { name, written, ..Key::default() });
    }

    pub fn exists(&self, path: &str) -> bool {
        lock(&self.0).contains_key(&normal(path))
    }

    /// Whether a key is there, if only because there is one below it.
    fn is_there(&self, path: &str) -> bool {
        let below = format!("{path}\\");
        lock(&self.0).keys().any(|key| key == path || key.starts_with(&below))
    }

    pub fn set(&self, path: &str, name: &str, kind: u32, data: Vec<u8>) {
        let value = Value { name: name.to_string(), kind, data };
        lock(&self.0).entry(normal(path)).or_default().values.insert(name.to_lowercase(), value);
    }

    pub fn get(&self, path: &str, name: &str) -> Option<Value> {
        lock(&self.0).get(&normal(path))?.values.get(&name.to_lowercase()).cloned()
    }

    fn values(&self, path: &str) -> Vec<Value> {
        lock(&self.0).get(&normal(path)).map(|key| key.values.values().cloned().collect()).unwrap_or_default()
    }

    pub fn delete_value(&self, path: &str, name: &str) -> bool {
        lock(&self.0).get_mut(&normal(path)).is_some_and(|key| key.values.remove(&name.to_lowercase()).is_some())
    }

    fn subkeys(&self, path: &str) -> Vec<String> {
        let prefix = format!(r"{}\", normal(path));
        lock(&self.0)
            .iter()
            .filter(|(key, _)| key.strip_prefix(&prefix).is_some_and(|rest| !rest.contains('\\')))
            .map(|(_, key)| key.name.clone())
            .collect()
    }

    /// A key's name, and when it was made.
    fn identity(&self, path: &str) -> (String, u64) {
        lock(&self.0).get(&normal(path)).map(|key| (key.name.clone(), key.written)).unwrap_or_default()
    }
}

/// `OBJECT_ATTRIBUTES`.
#[repr(C)]
#[derive(Clone, Copy)]
struct ObjectAttributes {
    Length: u32,
    RootDirectory: u64,
    ObjectName: Ptr<UnicodeString>,
    Attributes: u32,
    SecurityDescriptor: u64,
    SecurityQualityOfService: u64,
}

fn path_of(attributes: Ptr<ObjectAttributes>) -> Result<String, NtStatus> {
    let attributes = attributes.read();
    let name = if attributes.ObjectName.is_null() { String::new() } else { attributes.ObjectName.read().text() };
    if attributes.RootDirectory == 0 {
        return if name.starts_with('\\') { Ok(name) } else { Err(NtStatus::OBJECT_PATH_SYNTAX_BAD) };
    }
    let root = key_of(attributes.RootDirectory)?;
    Ok(if name.is_empty() { root } else { format!(r"{root}\{name}") })
}

pub(crate) fn key_of(handle: u64) -> Result<String, NtStatus> {
    match thread::current().objects.get(handle) {
        Some(Object::Key(key)) if thread::current().registry.exists(&key.0) => Ok(key.0),
        Some(Object::Key(_)) => Err(NtStatus::KEY_DELETED),
        Some(_) => Err(NtStatus::OBJECT_TYPE_MISMATCH),
        None => Err(NtStatus::INVALID_HANDLE),
    }
}

pub(crate) fn open(path: String, handle: Ptr<u64>) -> NtStatus {
    let kernel = thread::current();
    if !kernel.registry.exists(&path) {
        return NtStatus::OBJECT_NAME_NOT_FOUND;
    }
    handle.write(kernel.objects.open(Object::Key(OpenKey(normal(&path)))));
    NtStatus::SUCCESS
}

extern "win64" fn ZwOpenKey(handle: Ptr<u64>, _access: u32, attributes: Ptr<ObjectAttributes>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    match path_of(attributes) {
        Ok(path) => open(path, handle),
        Err(status) => status,
    }
}

extern "win64" fn ZwOpenKeyEx(
    handle: Ptr<u64>,
    access: u32,
    attributes: Ptr<ObjectAttributes>,
    _options: u32,
) -> NtStatus {
    ZwOpenKey(handle, access, attributes)
}

extern "win64" fn ZwCreateKey(
    handle: Ptr<u64>,
    _access: u32,
    attributes: Ptr<ObjectAttributes>,
    _index: u32,
    _class: u64,
    _options: u32,
    disposition: Ptr<u32>,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    match path_of(attributes) {
        Err(status) => status,
        Ok(path) => {
            let registry = &thread::current().registry;
            let existed = registry.exists(&path);
            if !existed && !path.rsplit_once('\\').is_some_and(|(parent, _)| registry.is_there(&normal(parent))) {
                return NtStatus::OBJECT_NAME_NOT_FOUND;
            }
            registry.create_at(&path, thread::current().clock.system_time());
            disposition.write_optional(if existed { 2 } else { 1 });
            open(path, handle)
        }
    }
}

/// Writes a structure of a fixed part and data, as the query functions do: too small for the fixed part,
/// too small for the data, or all of it.
fn answer(out: Ptr<u8>, length: u32, needed: Ptr<u32>, fixed: usize, whole: &[u8]) -> NtStatus {
    needed.write_optional(whole.len() as u32);
    if (length as usize) < fixed {
        return NtStatus::BUFFER_TOO_SMALL;
    }
    let fits = whole.len().min(length as usize);
    out.copy_from(&whole[..fits]);
    if fits < whole.len() { NtStatus::BUFFER_OVERFLOW } else { NtStatus::SUCCESS }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// One value in the shape of a `KEY_VALUE_INFORMATION_CLASS`, and the length of its fixed part.
fn value_information(value: &Value, class: u32) -> Option<(usize, Vec<u8>)> {
    let name = utf16(&value.name);
    let mut out = Vec::new();
    let word = |value: usize, out: &mut Vec<u8>| out.extend((value as u32).to_le_bytes());
    word(0, &mut out);
    word(value.kind as usize, &mut out);
    match class {
        0 => {
            word(name.len(), &mut out);
            out.extend(&name);
            Some((12, out))
        }
        1 | 3 => {
            let offset = (20 + name.len()).next_multiple_of(8);
            word(offset, &mut out);
            word(value.data.len(), &mut out);
            word(name.len(), &mut out);
            out.extend(&name);
            out.resize(offset, 0);
            out.extend(&value.data);
            Some((20, out))
        }
        2 | 4 => {
            word(value.data.len(), &mut out);
            if class == 4 {
                out.drain(..4);
            }
            let fixed = out.len();
            out.extend(&value.data);
            Some((fixed, out))
        }
        _ => None,
    }
}

extern "win64" fn ZwQueryValueKey(
    handle: u64,
    name: Ptr<UnicodeString>,
    class: u32,
    out: Ptr<u8>,
    length: u32,
    needed: Ptr<u32>,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    let path = match key_of(handle) {
        Ok(path) => path,
        Err(status) => return status,
    };
    let Some(value) = thread::current().registry.get(&path, &name.read().text()) else {
        return NtStatus::OBJECT_NAME_NOT_FOUND;
    };
    match value_information(&value, class) {
        None => NtStatus::INVALID_PARAMETER,
        Some((fixed, whole)) => answer(out, length, needed, fixed, &whole),
    }
}

extern "win64" fn ZwEnumerateValueKey(
    handle: u64,
    index: u32,
    class: u32,
    out: Ptr<u8>,
    length: u32,
    needed: Ptr<u32>,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let path = match key_of(handle) {
        Ok(path) => path,
        Err(status) => return status,
    };
    let values = thread::current().registry.values(&path);
    let Some(value) = values.get(index as usize) else { return NtStatus::NO_MORE_ENTRIES };
    match value_information(value, class) {
        None => NtStatus::INVALID_PARAMETER,
        Some((fixed, whole)) => answer(out, length, needed, fixed, &whole),
    }
}

extern "win64" fn ZwSetValueKey(
    handle: u64,
    name: Ptr<UnicodeString>,
    _index: u32,
    kind: u32,
    data: Ptr<u8>,
    length: u32,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    let name = name.read().text();
    let data = data.to_vec(length as usize);
    match key_of(handle) {
        Err(status) => status,
        Ok(path) => {
            thread::current().registry.set(&path, &name, kind, data);
            NtStatus::SUCCESS
        }
    }
}

extern "win64" fn ZwDeleteValueKey(handle: u64, name: Ptr<UnicodeString>) -> NtStatus {
    let name = name.read().text();
    match key_of(handle) {
        Err(status) => status,
        Ok(path) if thread::current().registry.delete_value(&path, &name) => NtStatus::SUCCESS,
        Ok(_) => NtStatus::OBJECT_NAME_NOT_FOUND,
    }
}

extern "win64" fn ZwDeleteKey(handle: u64) -> NtStatus {
    match key_of(handle) {
        Err(status) => status,
        Ok(path) if !thread::current().registry.subkeys(&path).is_empty() => NtStatus::CANNOT_DELETE,
        Ok(path) => {
            lock(&thread::current().registry.0).remove(&path);
            NtStatus::SUCCESS
        }
    }
}

/// One key in the shape of `KeyBasicInformation` (0), `KeyNodeInformation` (1) or `KeyFullInformation` (2).
fn key_information(path: &str, class: u32) -> Option<(usize, Vec<u8>)> {
    let registry = &thread::current().registry;
    let (name, written) = registry.identity(path);
    let name = utf16(&name);
    let mut out = written.to_le_bytes().to_vec();
    let word = |value: usize, out: &mut Vec<u8>| out.extend((value as u32).to_le_bytes());
    word(0, &mut out);
    match class {
        0 => {
            word(name.len(), &mut out);
            out.extend(&name);
            Some((16, out))
        }
        1 => {
            word(u32::MAX as usize, &mut out);
            word(0, &mut out);
            word(name.len(), &mut out);
            out.extend(&name);
            Some((24, out))
        }
        2 => {
            let (subkeys, values) = (registry.subkeys(path), registry.values(path));
            word(u32::MAX as usize, &mut out);
            word(0, &mut out);
            word(subkeys.len(), &mut out);
            word(subkeys.iter().map(|name| name.len() * 2).max().unwrap_or(0), &mut out);
            word(0, &mut out);
            word(values.len(), &mut out);
            word(values.iter().map(|value| value.name.len() * 2).max().unwrap_or(0), &mut out);
            word(values.iter().map(|value| value.data.len()).max().unwrap_or(0), &mut out);
            let fixed = out.len();
            Some((fixed, out))
        }
        _ => None,
    }
}

extern "win64" fn ZwQueryKey(handle: u64, class: u32, out: Ptr<u8>, length: u32, needed: Ptr<u32>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    match key_of(handle) {
        Err(status) => status,
        Ok(path) => match key_information(&path, class) {
            None => NtStatus::INVALID_PARAMETER,
            Some((fixed, whole)) => answer(out, length, needed, fixed, &whole),
        },
    }
}

extern "win64" fn ZwEnumerateKey(
    handle: u64,
    index: u32,
    class: u32,
    out: Ptr<u8>,
    length: u32,
    needed: Ptr<u32>,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let path = match key_of(handle) {
        Ok(path) => path,
        Err(status) => return status,
    };
    let subkeys = thread::current().registry.subkeys(&path);
    let Some(name) = subkeys.get(index as usize) else { return NtStatus::NO_MORE_ENTRIES };
    match key_information(&format!(r"{path}\{name}"), class) {
        None => NtStatus::INVALID_PARAMETER,
        Some((fixed, whole)) => answer(out, length, needed, fixed, &whole),
    }
}

extern "win64" fn ZwFlushKey(_handle: u64) -> NtStatus {
    NtStatus::SUCCESS
}

/// `RTL_REGISTRY_QUERY_TABLE`.
#[repr(C)]
#[derive(Clone, Copy)]
struct QueryTable {
    QueryRoutine: u64,
    Flags: u32,
    Name: Ptr<u16>,
    EntryContext: u64,
    DefaultType: u32,
    DefaultData: Ptr<u8>,
    DefaultLength: u32,
}

fn relative(relative_to: u32, path: Ptr<u16>) -> String {
    let text = String::from_utf16_lossy(&crate::ntos::debug::c_string(path, 1024));
    match relative_to & 0xff {
        0 => normal(&text),
        1 => normal(&format!(r"{SERVICES}\{text}")),
        2 => normal(&format!(r"\registry\machine\system\currentcontrolset\control\{text}")),
        3 => normal(&format!(r"\registry\machine\software\microsoft\windows nt\currentversion\{text}")),
        _ => normal(&text),
    }
}

extern "win64" fn RtlQueryRegistryValues(
    relative_to: u32,
    path: Ptr<u16>,
    table: Ptr<QueryTable>,
    context: u64,
    _environment: u64,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    if let Some(status) = inject::faulted() {
        return status;
    }
    const SUBKEY: u32 = 0x1;
    const REQUIRED: u32 = 0x4;
    const DIRECT: u32 = 0x20;
    let mut key = relative(relative_to, path);
    if !thread::current().registry.exists(&key) {
        return NtStatus::OBJECT_NAME_NOT_FOUND;
    }
    let top = key.clone();
    for index in 0.. {
        let entry = table.at(index).read();
        if entry.QueryRoutine == 0 && entry.Name.is_null() {
            break;
        }
        let name = if entry.Name.is_null() {
            String::new()
        } else {
            String::from_utf16_lossy(&crate::ntos::debug::c_string(entry.Name, 512))
        };
        if entry.Flags & SUBKEY != 0 {
            key = format!(r"{top}\{}", normal(&name));
            continue;
        }
        let found = thread::current().registry.get(&key, &name);
        let (kind, data) = match found {
            Some(value) => (value.kind, value.data),
            None if entry.Flags & REQUIRED != 0 => return NtStatus::OBJECT_NAME_NOT_FOUND,
            None if entry.DefaultType != 0 => {
                (entry.DefaultType & 0xff, entry.DefaultData.to_vec(entry.DefaultLength as usize))
            }
            None => continue,
        };
        if entry.Flags & DIRECT != 0 {
            direct(entry.EntryContext, kind, &data);
        } else if entry.QueryRoutine != 0 {
            let object = "a registry query";
            let call = crate::call::CallContext { what: "QueryRoutine", object, at: "" };
            let length = data.len() as u32;
            let arguments = (entry.Name, kind, data.as_ptr(), length, context, entry.EntryContext);
            let routine = entry.QueryRoutine as *const ();
            // SAFETY: the driver passed this routine for exactly this call.
            let result = unsafe { crate::call::call_image(&call, PASSIVE_LEVEL, routine, arguments) };
            match result {
                Ok(status) if !NtStatus(status as u32 as i32).is_success() => return NtStatus(status as u32 as i32),
                Ok(_) => {}
                Err(_) => crate::report::leave_if_stopped(),
            }
        }
    }
    NtStatus::SUCCESS
}

/// Stores a value where a direct query asks for it.
fn direct(at: u64, kind: u32, data: &[u8]) {
    if matches!(kind, REG_SZ | REG_EXPAND_SZ) {
        let target = Ptr::<UnicodeString>::from_address(at);
        let mut string = target.read();
        if string.Buffer.is_null() {
            string.Buffer =
                thread::current().pool.allocate(data.len().max(2), u32::from_le_bytes(*b"RqrV"), true, true).cast();
            string.MaximumLength = data.len() as u16;
        }
        let fits = data.len().min(usize::from(string.MaximumLength));
        string.Buffer.cast::<u8>().copy_from(&data[..fits]);
        string.Length = fits.saturating_sub(2) as u16;
        target.write(string);
    } else {
        Ptr::<u8>::from_address(at).copy_from(data);
    }
}

extern "win64" fn RtlWriteRegistryValue(
    relative_to: u32,
    path: Ptr<u16>,
    name: Ptr<u16>,
    kind: u32,
    data: Ptr<u8>,
    length: u32,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let key = relative(relative_to, path);
    let name = String::from_utf16_lossy(&crate::ntos::debug::c_string(name, 512));
    thread::current().registry.set(&key, &name, kind, data.to_vec(length as usize));
    NtStatus::SUCCESS
}

extern "win64" fn RtlDeleteRegistryValue(relative_to: u32, path: Ptr<u16>, name: Ptr<u16>) -> NtStatus {
    let key = relative(relative_to, path);
    let name = String::from_utf16_lossy(&crate::ntos::debug::c_string(name, 512));
    if thread::current().registry.delete_value(&key, &name) {
        NtStatus::SUCCESS
    } else {
        NtStatus::OBJECT_NAME_NOT_FOUND
    }
}

extern "win64" fn RtlCheckRegistryKey(relative_to: u32, path: Ptr<u16>) -> NtStatus {
    if thread::current().registry.exists(&relative(relative_to, path)) {
        NtStatus::SUCCESS
    } else {
        NtStatus::OBJECT_NAME_NOT_FOUND
    }
}

extern "win64" fn RtlCreateRegistryKey(relative_to: u32, path: Ptr<u16>) -> NtStatus {
    let kernel = thread::current();
    kernel.registry.create_at(&relative(relative_to, path), kernel.clock.system_time());
    NtStatus::SUCCESS
}

extern "win64" fn IoOpenDriverRegistryKey(
    driver: u64,
    _kind: u32,
    _access: u32,
    _flags: u32,
    handle: Ptr<u64>,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let kernel = thread::current();
    let Some(driver) = kernel.drivers.by_object(driver) else { return NtStatus::INVALID_PARAMETER };
    open(normal(&format!(r"{SERVICES}\{}\parameters", driver.name())), handle)
}

const _: () = assert!(core::mem::offset_of!(ObjectAttributes, ObjectName) == 0x10);
