//! `WDF_OBJECT_ATTRIBUTES`: parents, contexts, callbacks and levels that a driver gives its objects.

#![allow(non_snake_case, reason = "fields have the names of wdfobject.h")]

use std::sync::Arc;

use crate::kmdf::client::Client;
use crate::kmdf::lock::CallbackLock;
use crate::kmdf::object::{self, Object};
use crate::kmdf::status;
use crate::kmdf::wdm;
use crate::nt::NtStatus;
use crate::ptr::{Ptr, field};

/// `WDF_OBJECT_ATTRIBUTES`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Attributes {
    pub Size: u32,
    pub EvtCleanupCallback: u64,
    pub EvtDestroyCallback: u64,
    pub ExecutionLevel: u32,
    pub SynchronizationScope: u32,
    pub ParentObject: u64,
    pub ContextSizeOverride: u64,
    pub ContextTypeInfo: Ptr<ContextTypeInfo>,
}

/// `WDF_OBJECT_CONTEXT_TYPE_INFO`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct ContextTypeInfo {
    pub Size: u32,
    pub ContextName: u64,
    pub ContextSize: u64,
    pub UniqueType: Ptr<ContextTypeInfo>,
    pub EvtDriverGetUniqueContextType: u64,
}

const _: () = assert!(size_of::<Attributes>() == 0x38 && size_of::<ContextTypeInfo>() == 0x28);

/// `WDF_OBJECT_CONTEXT_TYPE_INFO` of KMDF 1.0.
const FIRST_TYPE_INFO_SIZE: u32 = 0x20;

const EXECUTION_LEVEL_INHERIT: u32 = 1;
const EXECUTION_LEVEL_PASSIVE: u32 = 2;
const EXECUTION_LEVEL_DISPATCH: u32 = 3;
const SCOPE_INHERIT: u32 = 1;
const SCOPE_DEVICE: u32 = 2;
const SCOPE_QUEUE: u32 = 3;
const SCOPE_NONE: u32 = 4;

/// What the attributes of a type of object may say.
#[derive(Clone, Copy, Default)]
pub(super) struct Rules {
    pub parent_forbidden: bool,
    pub levels_allowed: bool,
}

/// One context of an object: memory of the driver's own type. The first also carries the object's callbacks.
#[derive(Clone, Copy)]
pub(super) struct Context {
    /// Tells the type; 0 for attributes without a context.
    pub type_info: u64,
    pub memory: Ptr<u8>,
    pub cleanup: u64,
    pub destroy: u64,
}

impl Context {
    pub fn free(self) {
        if !self.memory.is_null() {
            wdm::free(self.memory);
        }
    }
}

/// A type is the same in all sources of a driver if its unique type is.
pub(super) fn unique_type(info: Ptr<ContextTypeInfo>) -> u64 {
    if info.is_null() {
        return 0;
    }
    let unique = field!(info, UniqueType).read();
    if unique.is_null() { info.address() } else { unique.address() }
}

/// Attributes after their checks.
#[derive(Clone)]
pub(super) struct Checked {
    value: Option<Attributes>,
    pub parent: Option<Arc<Object>>,
}

/// Reads attributes and checks them as `FxValidateObjectAttributes` does.
pub(super) fn check(attributes: Ptr<Attributes>, rules: Rules) -> Result<Checked, NtStatus> {
    let Some(attributes) = attributes.non_null() else {
        return Ok(Checked { value: None, parent: None });
    };
    if field!(attributes, Size).read() as usize != size_of::<Attributes>() {
        return Err(NtStatus::INFO_LENGTH_MISMATCH);
    }
    let value = attributes.read();
    if let Some(info) = value.ContextTypeInfo.non_null() {
        let info_size = field!(info, Size).read();
        if info_size as usize != size_of::<ContextTypeInfo>() && info_size != FIRST_TYPE_INFO_SIZE {
            return Err(NtStatus::INFO_LENGTH_MISMATCH);
        }
        let size = field!(info, ContextSize).read();
        if size > 0 && field!(info, ContextName).read() == 0 {
            return Err(status::WDF_OBJECT_ATTRIBUTES_INVALID);
        }
        if value.ContextSizeOverride > 0 && value.ContextSizeOverride < size {
            return Err(status::WDF_OBJECT_ATTRIBUTES_INVALID);
        }
    } else if value.ContextSizeOverride > 0 {
        return Err(status::WDF_OBJECT_ATTRIBUTES_INVALID);
    }
    if rules.parent_forbidden && value.ParentObject != 0 {
        return Err(status::WDF_PARENT_ASSIGNMENT_NOT_ALLOWED);
    }
    if !(EXECUTION_LEVEL_INHERIT..=EXECUTION_LEVEL_DISPATCH).contains(&value.ExecutionLevel)
        || !(SCOPE_INHERIT..=SCOPE_NONE).contains(&value.SynchronizationScope)
    {
        return Err(status::WDF_OBJECT_ATTRIBUTES_INVALID);
    }
    if !rules.levels_allowed {
        if !matches!(value.SynchronizationScope, SCOPE_INHERIT | SCOPE_NONE) {
            return Err(status::WDF_SYNCHRONIZATION_SCOPE_INVALID);
        }
        if value.ExecutionLevel != EXECUTION_LEVEL_INHERIT {
            return Err(status::WDF_EXECUTION_LEVEL_INVALID);
        }
    }
    let parent = (value.ParentObject != 0).then(|| object::any(value.ParentObject));
    if let Some(parent) = &parent
        && parent.is_deleting()
    {
        return Err(NtStatus::DELETE_PENDING);
    }
    Ok(Checked { value: Some(value), parent })
}

impl Checked {
    /// The context and callbacks that the object gets.
    pub fn contexts(&self) -> Vec<Context> {
        let Some(value) = self.value else { return Vec::new() };
        let memory = match value.ContextTypeInfo.non_null() {
            None => Ptr::NULL,
            Some(info) => {
                let size = field!(info, ContextSize).read().max(value.ContextSizeOverride);
                wdm::allocate(size as usize)
            }
        };
        let type_info = unique_type(value.ContextTypeInfo);
        if memory.is_null() && value.EvtCleanupCallback == 0 && value.EvtDestroyCallback == 0 {
            return Vec::new();
        }
        vec![Context { type_info, memory, cleanup: value.EvtCleanupCallback, destroy: value.EvtDestroyCallback }]
    }

    /// Whether callbacks run at `PASSIVE_LEVEL`, given what the parent does.
    pub fn passive_callbacks(&self, inherited: bool) -> bool {
        match self.value.map_or(EXECUTION_LEVEL_INHERIT, |value| value.ExecutionLevel) {
            EXECUTION_LEVEL_PASSIVE => true,
            EXECUTION_LEVEL_DISPATCH => false,
            _ => inherited,
        }
    }

    /// The scope that the attributes ask for; `None` to inherit.
    pub fn scope(&self) -> Option<Scope> {
        match self.value.map_or(SCOPE_INHERIT, |value| value.SynchronizationScope) {
            SCOPE_DEVICE => Some(Scope::Device),
            SCOPE_QUEUE => Some(Scope::Queue),
            SCOPE_NONE => Some(Scope::None),
            _ => None,
        }
    }

    /// The parent that was asked for, or `fallback`.
    pub fn parent_or(&self, fallback: &Arc<Object>) -> Arc<Object> {
        self.parent.clone().unwrap_or_else(|| fallback.clone())
    }
}

/// `WDF_SYNCHRONIZATION_SCOPE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    Device,
    Queue,
    None,
}

/// Creates an object that inherits its parent's level, the driver being the parent if none is named.
pub(super) fn create<B: object::Typed>(
    client: &Arc<Client>,
    attributes: &Checked,
    fallback: &Arc<Object>,
    body: B,
) -> object::Ref<B> {
    let parent = attributes.parent_or(fallback);
    object::New {
        client: client.clone(),
        callback_lock: None::<Arc<CallbackLock>>,
        passive_callbacks: false,
        contexts: attributes.contexts(),
        parent: Some(parent),
        body,
    }
    .create()
}
