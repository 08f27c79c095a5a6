//! Engine objects to `FWPM_*` structures: what the management functions hand to an image, until it calls `FwpmFreeMemory0`.

use core::ffi::c_void;
use std::collections::HashMap;
use std::sync::Mutex;

use fwps::sys::*;
use postern_engine::layers::{self, Layer};
use postern_engine::objects::{
    Action, Callout, Condition, ConditionValue, ContextContent, DisplayData, Filter, Provider, ProviderContext,
    Session, Sublayer, Weight,
};
use uuid::Uuid;

use super::marshal::guid;
use super::raw::{FWPM_CLASSIFY_OPTION0, FWPM_CLASSIFY_OPTIONS0, FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT};
use crate::export;
use crate::kernel::lock;

/// Memory that one structure and all that it points to live in.
#[derive(Default)]
pub(crate) struct Arena {
    blocks: Vec<Box<[u128]>>,
}

// An arena's blocks are reached by address only; the boxes keep them in place.
impl Arena {
    /// Moves `values` into the arena. The address is aligned for every type of this API.
    pub fn put_all<T: Copy>(&mut self, values: &[T]) -> *mut T {
        const { assert!(align_of::<T>() <= align_of::<u128>()) };
        let mut block = vec![0u128; size_of_val(values).div_ceil(size_of::<u128>()).max(1)].into_boxed_slice();
        let address = block.as_mut_ptr().cast::<T>();
        // SAFETY: the block is large and aligned enough, and new, so it does not overlap.
        unsafe { address.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        self.blocks.push(block);
        address
    }

    pub fn put<T: Copy>(&mut self, value: T) -> *mut T {
        self.put_all(&[value])
    }

    fn string(&mut self, text: &str) -> PWSTR {
        let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
        self.put_all(&units)
    }

    fn display(&mut self, display: &DisplayData) -> FWPM_DISPLAY_DATA0 {
        FWPM_DISPLAY_DATA0 {
            name: self.string(&display.name),
            description: if display.description.is_empty() {
                core::ptr::null_mut()
            } else {
                self.string(&display.description)
            },
        }
    }

    fn blob(&mut self, data: &[u8]) -> FWP_BYTE_BLOB {
        FWP_BYTE_BLOB {
            size: data.len() as u32,
            data: if data.is_empty() { core::ptr::null_mut() } else { self.put_all(data) },
        }
    }

    fn optional_key(&mut self, key: Option<Uuid>) -> *mut GUID {
        key.map_or(core::ptr::null_mut(), |key| self.put(guid(key)))
    }

    pub fn session(&mut self, session: &Session) -> FWPM_SESSION0 {
        FWPM_SESSION0 {
            sessionKey: guid(session.key),
            displayData: self.display(&session.display),
            flags: if session.dynamic { FWPM_SESSION_FLAG_DYNAMIC } else { 0 },
            txnWaitTimeoutInMSec: session.transaction_wait_timeout_ms,
            processId: session.process_id,
            // S-1-5-18, the local system, which every kernel client is.
            sid: self.put_all(&[1u8, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0]).cast::<c_void>(),
            username: self.string(&session.user),
            kernelMode: session.kernel_mode.into(),
        }
    }

    pub fn provider(&mut self, provider: &Provider) -> FWPM_PROVIDER0 {
        FWPM_PROVIDER0 {
            providerKey: guid(provider.key),
            displayData: self.display(&provider.display),
            flags: if provider.persistent { FWPM_PROVIDER_FLAG_PERSISTENT } else { 0 }
                | if provider.disabled { FWPM_PROVIDER_FLAG_DISABLED } else { 0 },
            providerData: self.blob(&provider.data),
            serviceName: provider.service_name.as_ref().map_or(core::ptr::null_mut(), |name| self.string(name)),
        }
    }

    /// The union is NULL for a policy: the lab knows its type only.
    pub fn provider_context(&mut self, context: &ProviderContext) -> FWPM_PROVIDER_CONTEXT3 {
        FWPM_PROVIDER_CONTEXT3 {
            providerContextKey: guid(context.key),
            displayData: self.display(&context.display),
            flags: if context.persistent { FWPM_PROVIDER_CONTEXT_FLAG_PERSISTENT } else { 0 },
            providerKey: self.optional_key(context.provider),
            providerData: self.blob(&context.data),
            r#type: context.content.context_type() as u32,
            dataBuffer: match &context.content {
                ContextContent::General(buffer) => {
                    let buffer = self.blob(buffer);
                    self.put(buffer)
                }
                ContextContent::ClassifyOptions(options) => {
                    let options: Vec<_> = options
                        .iter()
                        .map(|of| FWPM_CLASSIFY_OPTION0 { r#type: of.option, value: self.single_value(&of.value) })
                        .collect();
                    let options =
                        FWPM_CLASSIFY_OPTIONS0 { numOptions: options.len() as u32, options: self.put_all(&options) };
                    self.put(options).cast()
                }
                ContextContent::Policy { .. } => core::ptr::null_mut(),
            },
            providerContextId: context.id,
        }
    }

    pub fn sublayer(&mut self, sublayer: &Sublayer) -> FWPM_SUBLAYER0 {
        FWPM_SUBLAYER0 {
            subLayerKey: guid(sublayer.key),
            displayData: self.display(&sublayer.display),
            flags: if sublayer.persistent { FWPM_SUBLAYER_FLAG_PERSISTENT } else { 0 },
            providerKey: self.optional_key(sublayer.provider),
            providerData: self.blob(&sublayer.data),
            weight: sublayer.weight,
        }
    }

    pub fn callout(&mut self, callout: &Callout) -> FWPM_CALLOUT0 {
        let mut flags = callout.registration_flags;
        for (set, flag) in [
            (callout.persistent, FWPM_CALLOUT_FLAG_PERSISTENT),
            (callout.uses_provider_context, FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT),
            (callout.registered, FWPM_CALLOUT_FLAG_REGISTERED),
        ] {
            if set {
                flags |= flag;
            }
        }
        FWPM_CALLOUT0 {
            calloutKey: guid(callout.key),
            displayData: self.display(&callout.display),
            flags,
            providerKey: self.optional_key(callout.provider),
            providerData: self.blob(&callout.data),
            applicableLayer: guid(callout.layer),
            calloutId: callout.id,
        }
    }

    pub fn filter(&mut self, filter: &Filter) -> FWPM_FILTER0 {
        let conditions: Vec<_> = filter.conditions.iter().map(|condition| self.condition(condition)).collect();
        FWPM_FILTER0 {
            filterKey: guid(filter.key),
            displayData: self.display(&filter.display),
            flags: filter.flags.bits(),
            providerKey: self.optional_key(filter.provider),
            providerData: self.blob(&filter.data),
            layerKey: guid(filter.layer),
            subLayerKey: guid(filter.sublayer),
            weight: match filter.weight {
                Weight::Auto => EMPTY,
                Weight::Range(range) => FWP_VALUE0 { r#type: FWP_UINT8, Anonymous: FWP_VALUE0_0 { uint8: range } },
                Weight::Exact(exact) => self.uint64(exact),
            },
            numFilterConditions: conditions.len() as u32,
            filterCondition: if conditions.is_empty() { core::ptr::null_mut() } else { self.put_all(&conditions) },
            action: action(filter.action),
            Anonymous: match filter.provider_context {
                Some(key) => FWPM_FILTER0_0 { providerContextKey: guid(key) },
                None => FWPM_FILTER0_0 { rawContext: filter.raw_context },
            },
            reserved: core::ptr::null_mut(),
            filterId: filter.id,
            effectiveWeight: self.uint64(filter.effective_weight),
        }
    }

    pub fn layer(&mut self, layer: &Layer) -> FWPM_LAYER0 {
        let fields: Vec<_> = layer
            .fields
            .iter()
            .map(|field| FWPM_FIELD0 {
                fieldKey: self.put(guid(field.key)),
                r#type: match field.field_type {
                    layers::FieldType::RawData => FWPM_FIELD_RAW_DATA,
                    layers::FieldType::IpAddress => FWPM_FIELD_IP_ADDRESS,
                    layers::FieldType::Flags => FWPM_FIELD_FLAGS,
                },
                dataType: field.data_type as u32,
            })
            .collect();
        FWPM_LAYER0 {
            layerKey: guid(layer.key),
            displayData: FWPM_DISPLAY_DATA0 {
                name: self.string(layer.display_name),
                description: core::ptr::null_mut(),
            },
            flags: layer.flags.bits(),
            numFields: fields.len() as u32,
            field: self.put_all(&fields),
            defaultSubLayerKey: FWPM_SUBLAYER_UNIVERSAL,
            layerId: layer.id,
        }
    }

    pub fn uint64(&mut self, value: u64) -> FWP_VALUE0 {
        FWP_VALUE0 { r#type: FWP_UINT64, Anonymous: FWP_VALUE0_0 { uint64: self.put(value) } }
    }

    fn condition(&mut self, condition: &Condition) -> FWPM_FILTER_CONDITION0 {
        FWPM_FILTER_CONDITION0 {
            fieldKey: guid(condition.field),
            matchType: condition.match_type as u32,
            conditionValue: self.condition_value(&condition.value),
        }
    }

    /// Also the form of a run-time filter's conditions.
    pub fn condition_value(&mut self, value: &ConditionValue) -> FWP_CONDITION_VALUE0 {
        let (r#type, Anonymous) = match value {
            ConditionValue::V4AddrMask { addr, mask } => {
                let v4AddrMask = self.put(FWP_V4_ADDR_AND_MASK { addr: *addr, mask: *mask });
                (FWP_V4_ADDR_MASK, FWP_CONDITION_VALUE0_0 { v4AddrMask })
            }
            ConditionValue::V6AddrMask { addr, prefix } => {
                let v6AddrMask = self.put(FWP_V6_ADDR_AND_MASK { addr: *addr, prefixLength: *prefix });
                (FWP_V6_ADDR_MASK, FWP_CONDITION_VALUE0_0 { v6AddrMask })
            }
            ConditionValue::Range(range) => {
                let range =
                    FWP_RANGE0 { valueLow: self.single_value(&range.0), valueHigh: self.single_value(&range.1) };
                (FWP_RANGE_TYPE, FWP_CONDITION_VALUE0_0 { rangeValue: self.put(range) })
            }
            single => {
                let value = self.single_value(single);
                // SAFETY: the widest member covers every other, and the unions share their first members.
                (value.r#type, FWP_CONDITION_VALUE0_0 { uint64: unsafe { value.Anonymous.uint64 } })
            }
        };
        FWP_CONDITION_VALUE0 { r#type, Anonymous }
    }

    fn single_value(&mut self, value: &ConditionValue) -> FWP_VALUE0 {
        // All bytes of the union are initialised before a narrow member is written into it.
        let mut member = FWP_VALUE0_0 { uint64: core::ptr::null_mut() };
        let r#type = match value {
            ConditionValue::Uint8(value) => {
                member.uint8 = *value;
                FWP_UINT8
            }
            ConditionValue::Uint16(value) => {
                member.uint16 = *value;
                FWP_UINT16
            }
            ConditionValue::Uint32(value) => {
                member.uint32 = *value;
                FWP_UINT32
            }
            ConditionValue::Uint64(value) => {
                member.uint64 = self.put(*value);
                FWP_UINT64
            }
            ConditionValue::ByteArray16(bytes) => {
                member.byteArray16 = self.put(FWP_BYTE_ARRAY16 { byteArray16: *bytes });
                FWP_BYTE_ARRAY16_TYPE
            }
            ConditionValue::ByteArray6(bytes) => {
                member.byteArray6 = self.put(FWP_BYTE_ARRAY6 { byteArray6: *bytes });
                FWP_BYTE_ARRAY6_TYPE
            }
            ConditionValue::ByteBlob(bytes) => {
                let blob = self.blob(bytes);
                member.byteBlob = self.put(blob);
                FWP_BYTE_BLOB_TYPE
            }
            ConditionValue::SecurityDescriptor(bytes) => {
                let blob = self.blob(bytes);
                member.sd = self.put(blob);
                FWP_SECURITY_DESCRIPTOR_TYPE
            }
            ConditionValue::Sid(bytes) => {
                member.sid = self.put_all(bytes).cast();
                FWP_SID
            }
            ConditionValue::UnicodeString(text) => {
                member.unicodeString = self.string(text);
                FWP_UNICODE_STRING_TYPE
            }
            // Neither masks nor ranges can be ends of a range; the engine keeps none that are.
            ConditionValue::Empty
            | ConditionValue::V4AddrMask { .. }
            | ConditionValue::V6AddrMask { .. }
            | ConditionValue::Range(_) => FWP_EMPTY,
        };
        FWP_VALUE0 { r#type, Anonymous: member }
    }
}

pub(crate) const EMPTY: FWP_VALUE0 =
    FWP_VALUE0 { r#type: FWP_EMPTY, Anonymous: FWP_VALUE0_0 { uint64: core::ptr::null_mut() } };

fn action(action: Action) -> FWPM_ACTION0 {
    let callout = action.callout().unwrap_or_default();
    FWPM_ACTION0 { r#type: action.action_type(), Anonymous: FWPM_ACTION0_0 { calloutKey: guid(callout) } }
}

/// What images hold and have not freed, by address.
#[derive(Default)]
pub(crate) struct Given {
    arenas: Mutex<HashMap<u64, Gift>>,
}

struct Gift {
    _memory: Arena,
    /// The function that returned it.
    by: &'static str,
    image: u64,
}

impl Given {
    /// Keeps what `make` builds and returns its address.
    pub fn give<T: Copy>(&self, make: impl FnOnce(&mut Arena) -> T) -> *mut T {
        let mut arena = Arena::default();
        let value = make(&mut arena);
        let address = arena.put(value);
        lock(&self.arenas)
            .insert(address as u64, Gift { _memory: arena, by: export::current_name(), image: super::owner().image });
        address
    }

    /// An array of pointers, each to one structure, as the enumeration functions return.
    pub fn give_all<T: Copy, U>(&self, items: &[U], make: impl Fn(&mut Arena, &U) -> T) -> *mut *mut T {
        let mut arena = Arena::default();
        let pointers: Vec<*mut T> = items
            .iter()
            .map(|item| {
                let value = make(&mut arena, item);
                arena.put(value)
            })
            .collect();
        let address = arena.put_all(&pointers);
        lock(&self.arenas)
            .insert(address as u64, Gift { _memory: arena, by: export::current_name(), image: super::owner().image });
        address
    }

    /// Whether the address was one that had been given and not freed.
    pub fn free(&self, address: u64) -> bool {
        lock(&self.arenas).remove(&address).is_some()
    }

    pub fn left_behind(&self, image: u64) -> Vec<String> {
        lock(&self.arenas)
            .values()
            .filter(|gift| gift.image == image)
            .map(|gift| format!("what {} returned was not freed with FwpmFreeMemory0", gift.by))
            .collect()
    }
}
