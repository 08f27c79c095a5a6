//! `WDFMEMORY` and `WDFLOOKASIDE`.

#![allow(non_snake_case, reason = "functions have the names of wdfmemory.h")]

use std::sync::{Arc, Mutex};

use crate::export::{Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::kernel::lock;
use crate::kmdf::attributes::{self, Attributes, Checked, Rules};
use crate::kmdf::client::{self, Globals};
use crate::kmdf::object::{Body, New, Object, Typed, find};
use crate::kmdf::report::{broken, required};
use crate::kmdf::wdm;
use crate::nt::{APC_LEVEL, DISPATCH_LEVEL, NtStatus};
use crate::ptr::Ptr;

pub(super) const FUNCTIONS: &[Export] = exports![
    WdfMemoryCreate,
    WdfMemoryCreatePreallocated,
    WdfMemoryGetBuffer,
    WdfMemoryAssignBuffer,
    WdfMemoryCopyToBuffer,
    WdfMemoryCopyFromBuffer,
    WdfLookasideListCreate,
    WdfMemoryCreateFromLookaside,
];

#[derive(Clone, Copy)]
struct Buffer {
    address: Ptr<u8>,
    length: usize,
}

pub(super) struct Memory {
    buffer: Mutex<Buffer>,
    /// The buffer goes with the object.
    owned: bool,
}

impl Body for Memory {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }

    fn destroy(&self) {
        if self.owned {
            wdm::free(lock(&self.buffer).address);
        }
    }
}

impl Typed for Memory {
    const TYPE: &'static str = "WDFMEMORY";
}

impl Memory {
    pub fn allocate(length: usize) -> Self {
        Memory { buffer: Mutex::new(Buffer { address: wdm::allocate(length), length }), owned: true }
    }

    fn over(address: Ptr<u8>, length: usize) -> Self {
        Memory { buffer: Mutex::new(Buffer { address, length }), owned: false }
    }

    pub fn address(&self) -> Ptr<u8> {
        lock(&self.buffer).address
    }
}

/// The memory object of a request's buffer; it goes with the request.
pub(super) fn of_request(request: &Arc<Object>, address: Ptr<u8>, length: usize) -> u64 {
    New {
        client: request.client.clone(),
        parent: Some(request.clone()),
        callback_lock: None,
        passive_callbacks: false,
        contexts: Vec::new(),
        body: Memory::over(address, length),
    }
    .create()
    .handle()
}

/// Non-paged pool may be allocated at `DISPATCH_LEVEL`, paged pool below (`POOL_TYPE`, wdm.h).
fn require_level_for(pool_type: u32) {
    require_irql(if pool_type & 1 != 0 { APC_LEVEL } else { DISPATCH_LEVEL });
}

extern "win64" fn WdfMemoryCreate(
    globals: Ptr<Globals>,
    attributes: Ptr<Attributes>,
    pool_type: u32,
    _tag: u32,
    size: u64,
    out: Ptr<u64>,
    buffer: Ptr<Ptr<u8>>,
) -> NtStatus {
    let client = client::of(globals);
    required(out, "Memory").write(0);
    require_level_for(pool_type);
    let checked = match attributes::check(attributes, Rules::default()) {
        Ok(checked) => checked,
        Err(status) => return status,
    };
    if size == 0 {
        broken("WdfMemoryCreate was asked for 0 bytes".into(), "ask for at least one byte");
        return NtStatus::INVALID_PARAMETER;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    let memory = attributes::create(&client, &checked, &client.default_parent(), Memory::allocate(size as usize));
    buffer.write_optional(memory.address());
    out.write(memory.handle());
    NtStatus::SUCCESS
}

extern "win64" fn WdfMemoryCreatePreallocated(
    globals: Ptr<Globals>,
    attributes: Ptr<Attributes>,
    buffer: Ptr<u8>,
    size: u64,
    out: Ptr<u64>,
) -> NtStatus {
    let client = client::of(globals);
    required(buffer, "Buffer");
    required(out, "Memory").write(0);
    require_irql(DISPATCH_LEVEL);
    let checked = match attributes::check(attributes, Rules::default()) {
        Ok(checked) => checked,
        Err(status) => return status,
    };
    if size == 0 {
        return NtStatus::INVALID_PARAMETER;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    let memory = attributes::create(&client, &checked, &client.default_parent(), Memory::over(buffer, size as usize));
    out.write(memory.handle());
    NtStatus::SUCCESS
}

extern "win64" fn WdfMemoryGetBuffer(_globals: Ptr<Globals>, memory: u64, size: Ptr<u64>) -> Ptr<u8> {
    let memory = find::<Memory>(memory);
    let buffer = *lock(&memory.buffer);
    size.write_optional(buffer.length as u64);
    buffer.address
}

extern "win64" fn WdfMemoryAssignBuffer(_globals: Ptr<Globals>, memory: u64, buffer: Ptr<u8>, size: u64) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let memory = find::<Memory>(memory);
    required(buffer, "Buffer");
    if size == 0 || memory.owned {
        return NtStatus::INVALID_PARAMETER;
    }
    if let Some(status) = inject::faulted() {
        return status;
    }
    *lock(&memory.buffer) = Buffer { address: buffer, length: size as usize };
    NtStatus::SUCCESS
}

/// The part of a memory object that a copy touches.
fn part(memory: u64, offset: u64, length: u64) -> Result<Ptr<u8>, NtStatus> {
    let buffer = *lock(&find::<Memory>(memory).buffer);
    if length == 0 {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    match offset.checked_add(length) {
        Some(end) if end <= buffer.length as u64 => Ok(buffer.address.at(offset as usize)),
        _ => Err(NtStatus::BUFFER_TOO_SMALL),
    }
}

extern "win64" fn WdfMemoryCopyToBuffer(
    _globals: Ptr<Globals>,
    memory: u64,
    offset: u64,
    buffer: Ptr<u8>,
    length: u64,
) -> NtStatus {
    required(buffer, "Buffer");
    match part(memory, offset, length) {
        Ok(from) => {
            buffer.copy_from(&from.to_vec(length as usize));
            NtStatus::SUCCESS
        }
        Err(status) => status,
    }
}

extern "win64" fn WdfMemoryCopyFromBuffer(
    _globals: Ptr<Globals>,
    memory: u64,
    offset: u64,
    buffer: Ptr<u8>,
    length: u64,
) -> NtStatus {
    required(buffer, "Buffer");
    match part(memory, offset, length) {
        Ok(to) => {
            to.copy_from(&buffer.to_vec(length as usize));
            NtStatus::SUCCESS
        }
        Err(status) => status,
    }
}

/// Makes memory objects of one size and one set of attributes.
struct Lookaside {
    size: usize,
    attributes: Checked,
}

impl Body for Lookaside {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }
}

impl Typed for Lookaside {
    const TYPE: &'static str = "WDFLOOKASIDE";
}

extern "win64" fn WdfLookasideListCreate(
    globals: Ptr<Globals>,
    attributes: Ptr<Attributes>,
    size: u64,
    pool_type: u32,
    memory_attributes: Ptr<Attributes>,
    _tag: u32,
    out: Ptr<u64>,
) -> NtStatus {
    let client = client::of(globals);
    required(out, "Lookaside").write(0);
    require_level_for(pool_type);
    if size == 0 {
        return NtStatus::INVALID_PARAMETER;
    }
    let rules = Rules { parent_forbidden: true, ..Rules::default() };
    let both = attributes::check(attributes, rules)
        .and_then(|list| attributes::check(memory_attributes, Rules::default()).map(|memory| (list, memory)));
    let (checked, memory) = match both {
        Ok(both) => both,
        Err(status) => return status,
    };
    if let Some(status) = inject::faulted() {
        return status;
    }
    let body = Lookaside { size: size as usize, attributes: memory };
    let list = attributes::create(&client, &checked, &client.default_parent(), body);
    out.write(list.handle());
    NtStatus::SUCCESS
}

extern "win64" fn WdfMemoryCreateFromLookaside(_globals: Ptr<Globals>, lookaside: u64, out: Ptr<u64>) -> NtStatus {
    require_irql(DISPATCH_LEVEL);
    let list = find::<Lookaside>(lookaside);
    required(out, "Memory").write(0);
    if let Some(status) = inject::faulted() {
        return status;
    }
    let client = &list.object.client;
    let memory = attributes::create(client, &list.attributes, &client.default_parent(), Memory::allocate(list.size));
    out.write(memory.handle());
    NtStatus::SUCCESS
}

/// A new memory object with these bytes.
pub(super) fn of_bytes(client: &Arc<client::Client>, checked: &Checked, bytes: &[u8]) -> u64 {
    let memory = attributes::create(client, checked, &client.default_parent(), Memory::allocate(bytes.len()));
    memory.address().copy_from(bytes);
    memory.handle()
}

/// The bytes of a memory object, or of the part of it at this offset and of this length.
pub(super) fn bytes(handle: u64, part_of_it: Option<[u64; 2]>) -> Result<Vec<u8>, NtStatus> {
    let length = lock(&find::<Memory>(handle).buffer).length as u64;
    let [offset, length] = part_of_it.unwrap_or([0, length]);
    Ok(part(handle, offset, length)?.to_vec(length as usize))
}
