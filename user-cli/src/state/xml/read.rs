//! From the elements of a file to the objects.
//!
//! What this program does not know is no error, as a newer Windows may have written it: it is noted in [`State::unknown`]. What it knows and
//! cannot be right is one.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use postern_engine::LayerFields;
use postern_engine::objects::{
    Action, Callout, ClassifyOption, Condition, ConditionValue, ContextContent, ContextType, DisplayData, Filter,
    FilterFlags, MatchType, Provider, ProviderContext, Session, Sublayer, Weight,
};
use uuid::Uuid;

use super::document::{ReadError, Result, Walk};
use super::names::{self, Flags};
use crate::output::from_hex;
use crate::sddl;
use crate::state::{State, Unknown};

/// What is in a file of `netsh wfp show state` or `netsh wfp show filters`.
pub fn state(text: &str) -> Result<State> {
    if text.trim().is_empty() {
        return Err(ReadError { line: 1, element: String::new(), problem: "the file is empty".to_owned() });
    }
    let mut state = State::default();
    let mut known = false;
    let mut other = None;
    let mut walk = Walk::new(text);
    walk.roots(|walk, root| match root {
        "wfpstate" | "wfpdiag" => {
            known = true;
            sections(walk, &mut state)
        }
        _ => {
            other.get_or_insert(root);
            Ok(())
        }
    })?;
    if !known {
        let problem = match other {
            Some(root) => format!("<{root}> is no element of `netsh wfp show state` or `netsh wfp show filters`"),
            None => "the file has no elements".to_owned(),
        };
        return Err(ReadError { line: 1, element: String::new(), problem });
    }
    state.sort();
    Ok(state)
}

fn sections(walk: &mut Walk<'_>, state: &mut State) -> Result<()> {
    walk.children(|walk, section| {
        let State { time, sessions, layers, providers, provider_contexts, sublayers, callouts, filters, unknown } =
            &mut *state;
        match section {
            "timeStamp" => {
                let text = walk.text()?;
                if !text.is_empty() {
                    *time = Some(text.parse().map_err(|_| walk.error(format!("'{text}' is no time")))?);
                }
                Ok(())
            }
            "sessions" => items(walk, |walk| session(walk).map(|of| sessions.push(of))),
            "layers" => items(walk, |walk| {
                walk.children(|walk, part| match part {
                    "layer" => layer(walk).map(|of| layers.push(of)),
                    "callouts" => items(walk, |walk| callout(walk, unknown).map(|of| callouts.push(of))),
                    "filters" => items(walk, |walk| filter(walk, unknown).map(|of| filters.push(of))),
                    _ => Ok(()),
                })
            }),
            "filters" => items(walk, |walk| filter(walk, unknown).map(|of| filters.push(of))),
            "providers" => items(walk, |walk| provider(walk, unknown).map(|of| providers.push(of))),
            "providerContexts" => items(walk, |walk| context(walk, unknown).map(|of| provider_contexts.push(of))),
            "subLayers" => items(walk, |walk| sublayer(walk, unknown).map(|of| sublayers.push(of))),
            _ => Ok(()),
        }
    })
}

fn items<'a>(walk: &mut Walk<'a>, mut item: impl FnMut(&mut Walk<'a>) -> Result<()>) -> Result<()> {
    walk.children(|walk, name| match name {
        "item" => item(walk),
        other => Err(walk.error(format!("<{other}> in a list of <item>"))),
    })
}

fn session(walk: &mut Walk<'_>) -> Result<Session> {
    let mut session = Session::new("", 0, "");
    walk.children(|walk, name| {
        match name {
            "sessionKey" => session.key = key(walk, &mut Vec::new())?.unwrap_or_default(),
            "displayData" => session.display = display(walk)?,
            "flags" => session.dynamic = flags(walk, names::SESSION_FLAGS, &mut Vec::new())? & 1 != 0,
            "txnWaitTimeoutInMSec" => session.transaction_wait_timeout_ms = walk.number()?,
            "processId" => session.process_id = walk.number()?,
            "username" => session.user = walk.text()?.into_owned(),
            "kernelMode" => session.kernel_mode = walk.text()? == "true",
            _ => {}
        }
        Ok(())
    })?;
    Ok(session)
}

fn layer(walk: &mut Walk<'_>) -> Result<LayerFields> {
    let mut layer = LayerFields { layer: Uuid::nil(), fields: Vec::new() };
    walk.children(|walk, name| match name {
        "layerKey" => {
            layer.layer = key(walk, &mut Vec::new())?.unwrap_or_default();
            Ok(())
        }
        "field" => items(walk, |walk| {
            let (mut field, mut data_type) = (None, None);
            walk.children(|walk, name| {
                match name {
                    "fieldKey" => field = key(walk, &mut Vec::new())?,
                    "dataType" => data_type = names::data_type_of(&walk.text()?),
                    _ => {}
                }
                Ok(())
            })?;
            layer.fields.extend(field.zip(data_type));
            Ok(())
        }),
        _ => Ok(()),
    })?;
    Ok(layer)
}

fn provider(walk: &mut Walk<'_>, unknown: &mut Vec<Unknown>) -> Result<Provider> {
    let mut provider = Provider {
        key: Uuid::nil(),
        display: DisplayData::default(),
        persistent: false,
        disabled: false,
        data: Vec::new(),
        service_name: None,
    };
    let mut notes = Vec::new();
    walk.children(|walk, name| {
        match name {
            "providerKey" => provider.key = key(walk, &mut notes)?.unwrap_or_default(),
            "displayData" => provider.display = display(walk)?,
            "flags" => {
                let flags = flags(walk, names::PROVIDER_FLAGS, &mut notes)?;
                provider.persistent = flags & names::PROVIDER_PERSISTENT != 0;
                provider.disabled = flags & names::PROVIDER_DISABLED != 0;
            }
            "providerData" => provider.data = blob(walk)?,
            "serviceName" => provider.service_name = Some(walk.text()?.into_owned()).filter(|name| !name.is_empty()),
            _ => notes.push(element(walk)?),
        }
        Ok(())
    })?;
    has_key(walk, provider.key, "providerKey")?;
    note(unknown, notes, "provider", provider.key);
    Ok(provider)
}

fn context(walk: &mut Walk<'_>, unknown: &mut Vec<Unknown>) -> Result<ProviderContext> {
    let mut context = ProviderContext::new(Uuid::nil(), "", Vec::new());
    let mut notes = Vec::new();
    let mut context_type = None;
    let mut policy = None;
    walk.children(|walk, name| {
        match name {
            "providerContextKey" => context.key = key(walk, &mut notes)?.unwrap_or_default(),
            "displayData" => context.display = display(walk)?,
            "flags" => {
                context.persistent = flags(walk, names::CONTEXT_FLAGS, &mut notes)? & names::CONTEXT_PERSISTENT != 0;
            }
            "providerKey" => context.provider = key(walk, &mut notes)?,
            "providerData" => context.data = blob(walk)?,
            "type" => {
                let text = walk.text()?;
                context_type = ContextType::from_symbol(&text);
                if context_type.is_none() {
                    notes.push(Note { element: name.to_owned(), text: text.into_owned() });
                }
            }
            "dataBuffer" => context.content = ContextContent::General(blob(walk)?),
            "classifyOptions" => context.content = ContextContent::ClassifyOptions(options(walk, &mut notes)?),
            "providerContextId" => context.id = walk.number()?,
            _ => match policy {
                None => policy = Some(element(walk)?),
                Some(_) => notes.push(element(walk)?),
            },
        }
        Ok(())
    })?;
    has_key(walk, context.key, "providerContextKey")?;
    match (policy, context_type) {
        (Some(policy), Some(context_type)) => {
            // Lines end as those of this program until they are written.
            context.content = ContextContent::Policy { context_type, text: policy.text.replace("\r\n", "\n") };
        }
        (policy, _) => notes.extend(policy),
    }
    note(unknown, notes, "provider context", context.key);
    Ok(context)
}

fn options(walk: &mut Walk<'_>, notes: &mut Vec<Note>) -> Result<Vec<ClassifyOption>> {
    let mut options = Vec::new();
    walk.children(|walk, name| {
        if name != "options" {
            notes.push(element(walk)?);
            return Ok(());
        }
        items(walk, |walk| {
            let begin = walk.begin();
            let (mut number, mut option) = (None, None);
            walk.children(|walk, name| {
                match name {
                    "type" => number = names::classify_option_of(&walk.text()?),
                    "value" => option = value(walk)?,
                    _ => {}
                }
                Ok(())
            })?;
            match number.zip(option) {
                Some((option, value)) => options.push(ClassifyOption { option, value }),
                None => notes.push(Note { element: "options".to_owned(), text: walk.since(begin).to_owned() }),
            }
            Ok(())
        })
    })?;
    Ok(options)
}

fn sublayer(walk: &mut Walk<'_>, unknown: &mut Vec<Unknown>) -> Result<Sublayer> {
    let mut sublayer = Sublayer {
        key: Uuid::nil(),
        display: DisplayData::default(),
        persistent: false,
        provider: None,
        data: Vec::new(),
        weight: 0,
    };
    let mut notes = Vec::new();
    walk.children(|walk, name| {
        match name {
            "subLayerKey" => sublayer.key = key(walk, &mut notes)?.unwrap_or_default(),
            "displayData" => sublayer.display = display(walk)?,
            "flags" => {
                let flags = flags(walk, names::SUBLAYER_FLAGS, &mut notes)?;
                sublayer.persistent = flags & names::SUBLAYER_PERSISTENT != 0;
            }
            "providerKey" => sublayer.provider = key(walk, &mut notes)?,
            "providerData" => sublayer.data = blob(walk)?,
            "weight" => sublayer.weight = walk.number()?,
            _ => notes.push(element(walk)?),
        }
        Ok(())
    })?;
    has_key(walk, sublayer.key, "subLayerKey")?;
    note(unknown, notes, "sublayer", sublayer.key);
    Ok(sublayer)
}

fn callout(walk: &mut Walk<'_>, unknown: &mut Vec<Unknown>) -> Result<Callout> {
    let mut callout = Callout::new(Uuid::nil(), "", Uuid::nil());
    let mut notes = Vec::new();
    walk.children(|walk, name| {
        match name {
            "calloutKey" => callout.key = key(walk, &mut notes)?.unwrap_or_default(),
            "displayData" => callout.display = display(walk)?,
            "flags" => {
                let flags = flags(walk, names::CALLOUT_FLAGS, &mut notes)?;
                let own = names::CALLOUT_PERSISTENT | names::CALLOUT_USES_PROVIDER_CONTEXT | names::CALLOUT_REGISTERED;
                callout.persistent = flags & names::CALLOUT_PERSISTENT != 0;
                callout.uses_provider_context = flags & names::CALLOUT_USES_PROVIDER_CONTEXT != 0;
                callout.registered = flags & names::CALLOUT_REGISTERED != 0;
                callout.registration_flags = flags & !own;
            }
            "providerKey" => callout.provider = key(walk, &mut notes)?,
            "providerData" => callout.data = blob(walk)?,
            "applicableLayer" => callout.layer = key(walk, &mut notes)?.unwrap_or_default(),
            "calloutId" => callout.id = walk.number()?,
            _ => notes.push(element(walk)?),
        }
        Ok(())
    })?;
    has_key(walk, callout.key, "calloutKey")?;
    note(unknown, notes, "callout", callout.key);
    Ok(callout)
}

fn filter(walk: &mut Walk<'_>, unknown: &mut Vec<Unknown>) -> Result<Filter> {
    let mut filter = Filter::new("", Uuid::nil(), Action::Permit);
    let mut notes = Vec::new();
    let mut decides = false;
    walk.children(|walk, name| {
        match name {
            "filterKey" => filter.key = key(walk, &mut notes)?.unwrap_or_default(),
            "displayData" => filter.display = display(walk)?,
            "flags" => {
                filter.flags = FilterFlags::from_bits_retain(flags(walk, names::FILTER_FLAGS, &mut notes)?);
            }
            "providerKey" => filter.provider = key(walk, &mut notes)?,
            "providerData" => filter.data = blob(walk)?,
            "layerKey" => filter.layer = key(walk, &mut notes)?.unwrap_or_default(),
            "subLayerKey" => filter.sublayer = key(walk, &mut notes)?.unwrap_or_default(),
            "weight" => filter.weight = weight(walk)?,
            "filterCondition" => {
                items(walk, |walk| condition(walk, &mut notes).map(|of| filter.conditions.push(of)))?;
            }
            "action" => {
                filter.action = action(walk, &mut notes)?;
                decides = true;
            }
            "providerContextKey" => filter.provider_context = key(walk, &mut notes)?,
            "rawContext" => filter.raw_context = walk.number()?,
            "reserved" if walk.is_empty() => {}
            "filterId" => filter.id = walk.number()?,
            "effectiveWeight" => {
                filter.effective_weight = match weight(walk)? {
                    Weight::Exact(weight) => weight,
                    Weight::Range(_) => return Err(walk.error("an effective weight of 8 bits")),
                    Weight::Auto => 0,
                };
            }
            _ => notes.push(element(walk)?),
        }
        Ok(())
    })?;
    has_key(walk, filter.key, "filterKey")?;
    has_key(walk, filter.layer, "layerKey")?;
    if !decides {
        return Err(walk.error("there is no <action>"));
    }
    note(unknown, notes, "filter", filter.key);
    Ok(filter)
}

fn weight(walk: &mut Walk<'_>) -> Result<Weight> {
    let mut weight = Weight::Auto;
    walk.children(|walk, name| {
        match name {
            "type" => {}
            "uint8" => weight = Weight::Range(walk.number()?),
            "uint64" => weight = Weight::Exact(walk.number()?),
            other => return Err(walk.error(format!("<{other}> is no weight"))),
        }
        Ok(())
    })?;
    Ok(weight)
}

fn action(walk: &mut Walk<'_>, notes: &mut Vec<Note>) -> Result<Action> {
    let mut kind = Cow::Borrowed("");
    let mut callout = None;
    walk.children(|walk, name| {
        match name {
            "type" => kind = walk.text()?,
            "filterType" => callout = key(walk, notes)?,
            _ => notes.push(element(walk)?),
        }
        Ok(())
    })?;
    let named = |action: fn(Uuid) -> Action| match callout {
        Some(callout) => Ok(action(callout)),
        None => Err(walk.error(format!("{kind} without the key of a callout in <filterType>"))),
    };
    let plain = |action, notes: &mut Vec<Note>| {
        if let Some(filter_type) = callout {
            notes.push(Note { element: "filterType".to_owned(), text: filter_type.braced().to_string() });
        }
        Ok(action)
    };
    match &*kind {
        names::ACTION_BLOCK => plain(Action::Block, notes),
        names::ACTION_PERMIT => plain(Action::Permit, notes),
        names::ACTION_CALLOUT_TERMINATING => named(Action::CalloutTerminating),
        names::ACTION_CALLOUT_INSPECTION => named(Action::CalloutInspection),
        names::ACTION_CALLOUT_UNKNOWN => named(Action::CalloutUnknown),
        "" => Err(walk.error("there is no <type>")),
        other => {
            // Like a callout of which nobody knows what it does.
            notes.push(Note { element: "action".to_owned(), text: other.to_owned() });
            Ok(Action::CalloutUnknown(made_up_key(other)))
        }
    }
}

fn condition(walk: &mut Walk<'_>, notes: &mut Vec<Note>) -> Result<Condition> {
    let mut condition = Condition { field: Uuid::nil(), match_type: MatchType::Equal, value: ConditionValue::Empty };
    let mut unknown_match = None;
    walk.children(|walk, name| {
        match name {
            "fieldKey" => condition.field = key(walk, notes)?.unwrap_or_default(),
            "matchType" => {
                let text = walk.text()?;
                match names::match_type_of(&text) {
                    Some(match_type) => condition.match_type = match_type,
                    None => unknown_match = Some(text.into_owned()),
                }
            }
            "conditionValue" => {
                let begin = walk.begin();
                condition.value = match value(walk)? {
                    Some(value) => value,
                    None => not_evaluated(notes, "conditionValue", walk.since(begin)),
                };
            }
            _ => notes.push(element(walk)?),
        }
        Ok(())
    })?;
    has_key(walk, condition.field, "fieldKey")?;
    if let Some(text) = unknown_match {
        condition.value = not_evaluated(notes, "matchType", &text);
    }
    Ok(condition)
}

/// The value that stands for one that this program does not know. No layer has a field of its type, so no engine evaluates it.
fn not_evaluated(notes: &mut Vec<Note>, element: &str, text: &str) -> ConditionValue {
    notes.push(Note { element: element.to_owned(), text: text.to_owned() });
    ConditionValue::UnicodeString(text.to_owned())
}

/// `FWP_VALUE0` or `FWP_CONDITION_VALUE0`. `None` if its type is not known here.
fn value(walk: &mut Walk<'_>) -> Result<Option<ConditionValue>> {
    let mut value = None;
    let mut empty = false;
    walk.children(|walk, name| {
        let read = match name {
            "type" => {
                empty = walk.text()? == "FWP_EMPTY";
                return Ok(());
            }
            "uint8" => Some(ConditionValue::Uint8(walk.number()?)),
            "uint16" => Some(ConditionValue::Uint16(walk.number()?)),
            "uint32" => Some(ConditionValue::Uint32(number_or_address(walk)?)),
            "uint64" => Some(ConditionValue::Uint64(walk.number()?)),
            "byteArray16" => Some(ConditionValue::ByteArray16(v6_address(walk)?)),
            "byteArray6" => Some(ConditionValue::ByteArray6(bytes6(walk)?)),
            "byteBlob" => Some(ConditionValue::ByteBlob(blob(walk)?)),
            "sid" => sddl::parse_sid(&walk.text()?).map(ConditionValue::Sid),
            "sd" => sddl::parse(&walk.text()?).ok().map(ConditionValue::SecurityDescriptor),
            "unicodeString" => Some(ConditionValue::UnicodeString(walk.text()?.into_owned())),
            "v4AddrMask" => {
                let (mut addr, mut mask) = (0, 0);
                walk.children(|walk, name| {
                    match name {
                        "addr" => addr = number_or_address(walk)?,
                        "mask" => mask = number_or_address(walk)?,
                        _ => {}
                    }
                    Ok(())
                })?;
                Some(ConditionValue::V4AddrMask { addr, mask })
            }
            "v6AddrMask" => {
                let (mut addr, mut prefix) = ([0; 16], 0);
                walk.children(|walk, name| {
                    match name {
                        "addr" => addr = v6_address(walk)?,
                        "prefixLength" => prefix = walk.number()?,
                        _ => {}
                    }
                    Ok(())
                })?;
                Some(ConditionValue::V6AddrMask { addr, prefix })
            }
            "rangeValue" => {
                let (mut low, mut high) = (None, None);
                walk.children(|walk, name| {
                    match name {
                        "valueLow" => low = self::value(walk)?,
                        "valueHigh" => high = self::value(walk)?,
                        _ => {}
                    }
                    Ok(())
                })?;
                low.zip(high).map(|ends| ConditionValue::Range(Box::new(ends)))
            }
            _ => None,
        };
        value = read;
        Ok(())
    })?;
    Ok(value.or(empty.then_some(ConditionValue::Empty)))
}

fn number_or_address(walk: &mut Walk<'_>) -> Result<u32> {
    let text = walk.text()?;
    match text.parse::<u32>() {
        Ok(number) => Ok(number),
        Err(_) => text
            .parse()
            .map(Ipv4Addr::to_bits)
            .map_err(|_| walk.error(format!("'{text}' is no number from 0 to {} and no IPv4 address", u32::MAX))),
    }
}

fn v6_address(walk: &mut Walk<'_>) -> Result<[u8; 16]> {
    let text = walk.text()?;
    let address = text.parse().map(|address: Ipv6Addr| address.octets()).ok();
    address
        .or_else(|| from_hex(&text)?.try_into().ok())
        .ok_or_else(|| walk.error(format!("'{text}' is no IPv6 address and no 16 bytes")))
}

fn bytes6(walk: &mut Walk<'_>) -> Result<[u8; 6]> {
    let text = walk.text()?;
    let digits = text.replace([':', '-'], "");
    from_hex(&digits)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| walk.error(format!("'{text}' is no 6 bytes")))
}

/// `FWP_BYTE_BLOB`. The text beside the bytes is made of them.
fn blob(walk: &mut Walk<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    walk.children(|walk, name| {
        if name == "data" {
            let text = walk.text()?;
            bytes = from_hex(&text).ok_or_else(|| walk.error(format!("'{text}' is no hexadecimal number of bytes")))?;
        }
        Ok(())
    })?;
    Ok(bytes)
}

fn display(walk: &mut Walk<'_>) -> Result<DisplayData> {
    let mut display = DisplayData::default();
    walk.children(|walk, name| {
        match name {
            "name" => display.name = walk.text()?.into_owned(),
            "description" => display.description = walk.text()?.into_owned(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(display)
}

fn flags(walk: &mut Walk<'_>, known: &Flags, notes: &mut Vec<Note>) -> Result<u32> {
    let mut flags = 0;
    items(walk, |walk| {
        let text = walk.text()?;
        let bits = match known.iter().find(|(_, name)| *name == text) {
            Some((bit, _)) => Some(*bit),
            None => u32::from_str_radix(&text, 16).ok().filter(|_| text.len() == 8),
        };
        match bits {
            Some(bits) => flags |= bits,
            None => notes.push(Note { element: "flags".to_owned(), text: text.into_owned() }),
        }
        Ok(())
    })?;
    Ok(flags)
}

/// A GUID, or the symbol of one; none if the element is empty.
fn key(walk: &mut Walk<'_>, notes: &mut Vec<Note>) -> Result<Option<Uuid>> {
    let text = walk.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('{') {
        return match Uuid::try_parse(&text) {
            Ok(key) => Ok(Some(key)),
            Err(_) => Err(walk.error(format!("'{text}' is no GUID"))),
        };
    }
    if !text.starts_with("FWP") {
        return Err(walk.error(format!("'{text}' is no GUID and no symbol of one")));
    }
    Ok(Some(names::key_of(&text).unwrap_or_else(|| {
        notes.push(Note { element: walk.name().to_owned(), text: text.clone().into_owned() });
        made_up_key(&text)
    })))
}

/// The key that stands for a symbol which this program does not know: the same one for each symbol.
fn made_up_key(symbol: &str) -> Uuid {
    // FNV-1a, in 128 bits.
    let hash = symbol.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    uuid::Builder::from_custom_bytes(hash.to_be_bytes()).into_uuid()
}

fn has_key(walk: &Walk<'_>, key: Uuid, element: &str) -> Result<()> {
    if key.is_nil() { Err(walk.error(format!("there is no <{element}>"))) } else { Ok(()) }
}

/// Something of an object that this program does not know.
struct Note {
    element: String,
    text: String,
}

/// An element as it stands.
fn element(walk: &mut Walk<'_>) -> Result<Note> {
    Ok(Note { element: walk.name().to_owned(), text: walk.raw()?.to_owned() })
}

fn note(unknown: &mut Vec<Unknown>, notes: Vec<Note>, object: &'static str, key: Uuid) {
    unknown.extend(notes.into_iter().map(|Note { element, text }| Unknown { object, key, element, text }));
}
