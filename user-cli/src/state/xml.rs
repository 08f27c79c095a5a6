//! The XML that `netsh wfp show state` writes on current Windows: a byte order mark, lines that end in CR LF, tabs, and two
//! root elements.
//!
//! Element names, their order, the symbolic names and the number formats are those of real files. Lists with items carry
//! their number, empty ones do not. Flags are one item each, and what has no name is one item of eight hexadecimal digits.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use postern_engine::guids;
use postern_engine::layers::{self, DataType, FieldType, Layer, LayerFlags};
use postern_engine::objects::{
    Action, Callout, Condition, ConditionValue, DisplayData, Filter, FilterFlags, MatchType, Provider, Session,
    Sublayer, Weight,
};
use quick_xml::Writer;
use quick_xml::escape::partial_escape;
use quick_xml::events::{BytesDecl, BytesText, Event};
use uuid::Uuid;

use super::State;
use crate::filter::app_id;
use crate::output::hex;

/// Writes the file.
pub fn write(state: &State, out: impl Write) -> io::Result<()> {
    let mut out = CrLf(out);
    let mut writer = Writer::new_with_indent(&mut out, b'\t', 1);
    writer.write_bom()?;
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), Some("yes"))))?;
    let mut xml = Xml(&mut writer);
    xml.node("wfpstate", |xml| {
        xml.text("timeStamp", &state.time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())?;
        xml.list("sessions", &state.sessions, session)?;
        xml.list("layers", layers::all(), |xml, of| layer(xml, of, state))?;
        xml.list("providers", &state.providers, provider)?;
        xml.empty("providerContexts")?;
        xml.list("subLayers", &state.sublayers, sublayer)?;
        xml.node("subscriptions", |xml| {
            for of in ["callout", "filter", "netEvent", "provider", "providerContext", "subLayer"] {
                xml.empty(&format!("{of}Subscriptions"))?;
            }
            Ok(())
        })?;
        xml.empty("ipsecSaContexts")?;
        xml.empty("aleConnectedEndpoints")?;
        ipsec_statistics(xml)?;
        xml.empty("ikeextSas")
    })?;
    xml.node("firewallState", |xml| xml.empty("dynamicKeywordAddresses"))?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Ends lines as Windows does.
struct CrLf<W>(W);

impl<W: Write> Write for CrLf<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if index > 0 {
                self.0.write_all(b"\r\n")?;
            }
            self.0.write_all(line)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Elements as netsh writes them.
struct Xml<'a, W: Write>(&'a mut Writer<W>);

impl<W: Write> Xml<'_, W> {
    fn empty(&mut self, name: &str) -> io::Result<()> {
        self.0.create_element(name).write_empty()?;
        Ok(())
    }

    fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return self.empty(name);
        }
        self.0.create_element(name).write_text_content(BytesText::from_escaped(partial_escape(text)))?;
        Ok(())
    }

    fn number(&mut self, name: &str, number: impl Into<u64>) -> io::Result<()> {
        self.text(name, &number.into().to_string())
    }

    fn node(&mut self, name: &str, content: impl FnOnce(&mut Xml<'_, W>) -> io::Result<()>) -> io::Result<()> {
        self.0.create_element(name).write_inner_content(|writer| content(&mut Xml(writer)))?;
        Ok(())
    }

    /// A list of items that have elements in them.
    fn list<T>(
        &mut self,
        name: &str,
        items: &[T],
        content: impl Fn(&mut Xml<'_, W>, &T) -> io::Result<()>,
    ) -> io::Result<()> {
        if items.is_empty() {
            return self.empty(name);
        }
        let count = items.len().to_string();
        self.0.create_element(name).with_attribute(("numItems", count.as_str())).write_inner_content(|writer| {
            let mut xml = Xml(writer);
            items.iter().try_for_each(|item| xml.node("item", |xml| content(xml, item)))
        })?;
        Ok(())
    }

    /// `names` in ascending order of the bits.
    fn flags(&mut self, flags: u32, names: &[(u32, &str)]) -> io::Result<()> {
        let mut items: Vec<String> =
            names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| (*name).to_owned()).collect();
        let rest = names.iter().fold(flags, |rest, (bit, _)| rest & !bit);
        if rest != 0 {
            items.push(format!("{rest:08X}"));
        }
        if items.is_empty() {
            return self.empty("flags");
        }
        let count = items.len().to_string();
        self.0.create_element("flags").with_attribute(("numItems", count.as_str())).write_inner_content(|writer| {
            let mut xml = Xml(writer);
            items.iter().try_for_each(|item| xml.text("item", item))
        })?;
        Ok(())
    }

    fn display_data(&mut self, display: &DisplayData) -> io::Result<()> {
        self.node("displayData", |xml| {
            xml.text("name", &display.name)?;
            xml.text("description", &display.description)
        })
    }

    fn provider_key(&mut self, key: Option<Uuid>) -> io::Result<()> {
        match key {
            Some(key) => self.text("providerKey", &symbol(&guids::provider::NAMES, &key)),
            None => self.empty("providerKey"),
        }
    }

    /// A blob, and its bytes as far as they are printable.
    fn blob(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return self.empty(name);
        }
        let printable = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
        self.node(name, |xml| {
            xml.text("data", &hex(data))?;
            xml.text("asString", &data.iter().map(printable).collect::<String>())
        })
    }
}

fn symbol(names: &guids::Names, key: &Uuid) -> String {
    names.name(key).map_or_else(|| key.braced().to_string(), str::to_owned)
}

fn layer_symbol(key: &Uuid) -> String {
    layers::by_key(key).and_then(Layer::symbol).unwrap_or_else(|| key.braced().to_string())
}

fn session<W: Write>(xml: &mut Xml<'_, W>, session: &Session) -> io::Result<()> {
    xml.text("sessionKey", &session.key.braced().to_string())?;
    xml.display_data(&session.display)?;
    xml.flags(session.dynamic.into(), &[(1, "FWPM_SESSION_FLAG_DYNAMIC")])?;
    xml.number("txnWaitTimeoutInMSec", session.transaction_wait_timeout_ms)?;
    xml.number("processId", session.process_id)?;
    // A process of the lab has no SID, apart from the kernel.
    xml.text("sid", if session.kernel_mode { "S-1-5-18" } else { "" })?;
    xml.text("username", &session.user)?;
    xml.text("kernelMode", if session.kernel_mode { "true" } else { "false" })
}

fn layer<W: Write>(xml: &mut Xml<'_, W>, layer: &Layer, state: &State) -> io::Result<()> {
    xml.node("layer", |xml| {
        xml.text("layerKey", &layer_symbol(&layer.key))?;
        xml.node("displayData", |xml| {
            xml.text("name", layer.display_name)?;
            xml.empty("description")
        })?;
        xml.flags(
            layer.flags.bits(),
            &[
                (LayerFlags::KERNEL.bits(), "FWPM_LAYER_FLAG_KERNEL"),
                (LayerFlags::BUILTIN.bits(), "FWPM_LAYER_FLAG_BUILTIN"),
                (LayerFlags::CLASSIFY_MOSTLY.bits(), "FWPM_LAYER_FLAG_CLASSIFY_MOSTLY"),
                (LayerFlags::BUFFERED.bits(), "FWPM_LAYER_FLAG_BUFFERED"),
            ],
        )?;
        xml.list("field", layer.fields, |xml, field| {
            xml.text("fieldKey", &symbol(&guids::condition::NAMES, &field.key))?;
            xml.text(
                "type",
                match field.field_type {
                    FieldType::RawData => "FWPM_FIELD_RAW_DATA",
                    FieldType::IpAddress => "FWPM_FIELD_IP_ADDRESS",
                    FieldType::Flags => "FWPM_FIELD_FLAGS",
                },
            )?;
            xml.text("dataType", data_type(field.data_type))
        })?;
        xml.text("defaultSubLayerKey", "FWPM_SUBLAYER_UNIVERSAL")?;
        xml.number("layerId", layer.id)
    })?;
    let callouts: Vec<&Callout> = state.callouts.iter().filter(|callout| callout.layer == layer.key).collect();
    xml.list("callouts", &callouts, |xml, of| callout(xml, of))?;
    let filters: Vec<&Filter> = state.filters.iter().filter(|filter| filter.layer == layer.key).collect();
    xml.list("filters", &filters, |xml, of| filter(xml, of, layer))
}

fn callout<W: Write>(xml: &mut Xml<'_, W>, callout: &Callout) -> io::Result<()> {
    xml.text("calloutKey", &symbol(&guids::callout::NAMES, &callout.key))?;
    xml.display_data(&callout.display)?;
    let flags = callout.registration_flags
        | u32::from(callout.persistent) << 16
        | u32::from(callout.uses_provider_context) << 17
        | u32::from(callout.registered) << 18;
    xml.flags(
        flags,
        &[
            (0x1, "FWP_CALLOUT_FLAG_CONDITIONAL_ON_FLOW"),
            (0x2, "FWP_CALLOUT_FLAG_ALLOW_OFFLOAD"),
            (0x1_0000, "FWPM_CALLOUT_FLAG_PERSISTENT"),
            (0x2_0000, "FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT"),
            (0x4_0000, "FWPM_CALLOUT_FLAG_REGISTERED"),
        ],
    )?;
    xml.provider_key(callout.provider)?;
    xml.blob("providerData", &callout.data)?;
    xml.text("applicableLayer", &layer_symbol(&callout.layer))?;
    xml.number("calloutId", callout.id)
}

fn filter<W: Write>(xml: &mut Xml<'_, W>, filter: &Filter, layer: &Layer) -> io::Result<()> {
    xml.text("filterKey", &filter.key.braced().to_string())?;
    xml.display_data(&filter.display)?;
    xml.flags(
        filter.flags.bits(),
        &[
            (FilterFlags::PERSISTENT.bits(), "FWPM_FILTER_FLAG_PERSISTENT"),
            (FilterFlags::BOOTTIME.bits(), "FWPM_FILTER_FLAG_BOOTTIME"),
            (FilterFlags::HAS_PROVIDER_CONTEXT.bits(), "FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT"),
            (FilterFlags::CLEAR_ACTION_RIGHT.bits(), "FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT"),
            (FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED.bits(), "FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED"),
            (FilterFlags::DISABLED.bits(), "FWPM_FILTER_FLAG_DISABLED"),
            (FilterFlags::INDEXED.bits(), "FWPM_FILTER_FLAG_INDEXED"),
        ],
    )?;
    xml.provider_key(filter.provider)?;
    xml.blob("providerData", &filter.data)?;
    xml.text("layerKey", &layer_symbol(&filter.layer))?;
    xml.text("subLayerKey", &symbol(&guids::sublayer::NAMES, &filter.sublayer))?;
    xml.node("weight", |xml| match filter.weight {
        Weight::Auto => xml.text("type", "FWP_EMPTY"),
        Weight::Range(range) => {
            xml.text("type", "FWP_UINT8")?;
            xml.number("uint8", range)
        }
        Weight::Exact(weight) => {
            xml.text("type", "FWP_UINT64")?;
            xml.number("uint64", weight)
        }
    })?;
    xml.list("filterCondition", &filter.conditions, |xml, of| condition(xml, of, layer))?;
    xml.node("action", |xml| {
        let name = match filter.action {
            Action::Block => "FWP_ACTION_BLOCK",
            Action::Permit => "FWP_ACTION_PERMIT",
            Action::CalloutTerminating(_) => "FWP_ACTION_CALLOUT_TERMINATING",
            Action::CalloutInspection(_) => "FWP_ACTION_CALLOUT_INSPECTION",
            Action::CalloutUnknown(_) => "FWP_ACTION_CALLOUT_UNKNOWN",
        };
        xml.text("type", name)?;
        // The filter type and the callout key share their place.
        match filter.action.callout() {
            Some(key) => xml.text("filterType", &symbol(&guids::callout::NAMES, &key)),
            None => xml.empty("filterType"),
        }
    })?;
    xml.number("rawContext", filter.raw_context)?;
    xml.empty("reserved")?;
    xml.number("filterId", filter.id)?;
    xml.node("effectiveWeight", |xml| {
        xml.text("type", "FWP_UINT64")?;
        xml.number("uint64", filter.effective_weight)
    })
}

fn condition<W: Write>(xml: &mut Xml<'_, W>, condition: &Condition, layer: &Layer) -> io::Result<()> {
    let is_address =
        layer.field_index(&condition.field).is_some_and(|index| layer.fields[index].field_type == FieldType::IpAddress);
    xml.text("fieldKey", &symbol(&guids::condition::NAMES, &condition.field))?;
    xml.text(
        "matchType",
        match condition.match_type {
            MatchType::Equal => "FWP_MATCH_EQUAL",
            MatchType::Greater => "FWP_MATCH_GREATER",
            MatchType::Less => "FWP_MATCH_LESS",
            MatchType::GreaterOrEqual => "FWP_MATCH_GREATER_OR_EQUAL",
            MatchType::LessOrEqual => "FWP_MATCH_LESS_OR_EQUAL",
            MatchType::Range => "FWP_MATCH_RANGE",
            MatchType::FlagsAllSet => "FWP_MATCH_FLAGS_ALL_SET",
            MatchType::FlagsAnySet => "FWP_MATCH_FLAGS_ANY_SET",
            MatchType::FlagsNoneSet => "FWP_MATCH_FLAGS_NONE_SET",
            MatchType::EqualCaseInsensitive => "FWP_MATCH_EQUAL_CASE_INSENSITIVE",
            MatchType::NotEqual => "FWP_MATCH_NOT_EQUAL",
            MatchType::Prefix => "FWP_MATCH_PREFIX",
            MatchType::NotPrefix => "FWP_MATCH_NOT_PREFIX",
        },
    )?;
    xml.node("conditionValue", |xml| value(xml, &condition.value, is_address))
}

fn value<W: Write>(xml: &mut Xml<'_, W>, of: &ConditionValue, is_address: bool) -> io::Result<()> {
    xml.text("type", data_type(type_of(of)))?;
    match of {
        ConditionValue::Empty => Ok(()),
        ConditionValue::Uint8(number) => xml.number("uint8", *number),
        ConditionValue::Uint16(number) => xml.number("uint16", *number),
        ConditionValue::Uint32(address) if is_address => xml.text("uint32", &Ipv4Addr::from(*address).to_string()),
        ConditionValue::Uint32(number) => xml.number("uint32", *number),
        ConditionValue::Uint64(number) => xml.number("uint64", *number),
        ConditionValue::ByteArray16(bytes) => xml.text("byteArray16", &Ipv6Addr::from(*bytes).to_string()),
        ConditionValue::ByteBlob(blob) => match app_id::text(blob) {
            Some(text) => xml.node("byteBlob", |xml| {
                xml.text("data", &hex(blob))?;
                xml.text("asString", &text)
            }),
            None => xml.blob("byteBlob", blob),
        },
        ConditionValue::Sid(bytes) => xml.text("sid", &sid(bytes).unwrap_or_else(|| hex(bytes))),
        ConditionValue::SecurityDescriptor(bytes) => xml.text("sd", &hex(bytes)),
        ConditionValue::UnicodeString(text) => xml.text("unicodeString", text),
        ConditionValue::ByteArray6(bytes) => xml.text("byteArray6", &hex(bytes)),
        ConditionValue::V4AddrMask { addr, mask } => xml.node("v4AddrMask", |xml| {
            xml.text("addr", &Ipv4Addr::from(*addr).to_string())?;
            xml.text("mask", &Ipv4Addr::from(*mask).to_string())
        }),
        ConditionValue::V6AddrMask { addr, prefix } => xml.node("v6AddrMask", |xml| {
            xml.text("addr", &Ipv6Addr::from(*addr).to_string())?;
            xml.number("prefixLength", *prefix)
        }),
        ConditionValue::Range(ends) => xml.node("rangeValue", |xml| {
            xml.node("valueLow", |xml| value(xml, &ends.0, is_address))?;
            xml.node("valueHigh", |xml| value(xml, &ends.1, is_address))
        }),
    }
}

fn type_of(value: &ConditionValue) -> DataType {
    match value {
        ConditionValue::Empty => DataType::Empty,
        ConditionValue::Uint8(_) => DataType::Uint8,
        ConditionValue::Uint16(_) => DataType::Uint16,
        ConditionValue::Uint32(_) => DataType::Uint32,
        ConditionValue::Uint64(_) => DataType::Uint64,
        ConditionValue::ByteArray16(_) => DataType::ByteArray16,
        ConditionValue::ByteBlob(_) => DataType::ByteBlob,
        ConditionValue::Sid(_) => DataType::Sid,
        ConditionValue::SecurityDescriptor(_) => DataType::SecurityDescriptor,
        ConditionValue::UnicodeString(_) => DataType::UnicodeString,
        ConditionValue::ByteArray6(_) => DataType::ByteArray6,
        ConditionValue::V4AddrMask { .. } => DataType::V4AddrMask,
        ConditionValue::V6AddrMask { .. } => DataType::V6AddrMask,
        ConditionValue::Range(_) => DataType::Range,
    }
}

fn data_type(of: DataType) -> &'static str {
    match of {
        DataType::Empty => "FWP_EMPTY",
        DataType::Uint8 => "FWP_UINT8",
        DataType::Uint16 => "FWP_UINT16",
        DataType::Uint32 => "FWP_UINT32",
        DataType::Uint64 => "FWP_UINT64",
        DataType::ByteArray16 => "FWP_BYTE_ARRAY16_TYPE",
        DataType::ByteBlob => "FWP_BYTE_BLOB_TYPE",
        DataType::Sid => "FWP_SID",
        DataType::SecurityDescriptor => "FWP_SECURITY_DESCRIPTOR_TYPE",
        DataType::TokenInformation => "FWP_TOKEN_INFORMATION_TYPE",
        DataType::TokenAccessInformation => "FWP_TOKEN_ACCESS_INFORMATION_TYPE",
        DataType::UnicodeString => "FWP_UNICODE_STRING_TYPE",
        DataType::ByteArray6 => "FWP_BYTE_ARRAY6_TYPE",
        DataType::V4AddrMask => "FWP_V4_ADDR_MASK",
        DataType::V6AddrMask => "FWP_V6_ADDR_MASK",
        DataType::Range => "FWP_RANGE_TYPE",
    }
}

/// The text form of a security identifier (winnt.h `SID`).
fn sid(bytes: &[u8]) -> Option<String> {
    let [1, count, authority @ ..] = bytes else { return None };
    let (authority, rest) = authority.split_first_chunk::<6>()?;
    let (parts, []) = rest.as_chunks::<4>() else { return None };
    let authority = authority.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    (parts.len() == usize::from(*count)).then(|| {
        parts.iter().fold(format!("S-1-{authority}"), |text, part| format!("{text}-{}", u32::from_le_bytes(*part)))
    })
}

fn provider<W: Write>(xml: &mut Xml<'_, W>, provider: &Provider) -> io::Result<()> {
    xml.provider_key(Some(provider.key))?;
    xml.display_data(&provider.display)?;
    xml.flags(provider.persistent.into(), &[(1, "FWPM_PROVIDER_FLAG_PERSISTENT")])?;
    xml.blob("providerData", &provider.data)?;
    xml.text("serviceName", provider.service_name.as_deref().unwrap_or(""))
}

fn sublayer<W: Write>(xml: &mut Xml<'_, W>, sublayer: &Sublayer) -> io::Result<()> {
    xml.text("subLayerKey", &symbol(&guids::sublayer::NAMES, &sublayer.key))?;
    xml.display_data(&sublayer.display)?;
    xml.flags(sublayer.persistent.into(), &[(1, "FWPM_SUBLAYER_FLAG_PERSISTENT")])?;
    xml.provider_key(sublayer.provider)?;
    xml.blob("providerData", &sublayer.data)?;
    xml.number("weight", sublayer.weight)
}

/// The lab has no IPsec.
fn ipsec_statistics<W: Write>(xml: &mut Xml<'_, W>) -> io::Result<()> {
    const TRAFFIC: &[&str] = &[
        "encryptedByteCount",
        "authenticatedAHByteCount",
        "authenticatedESPByteCount",
        "transportByteCount",
        "tunnelByteCount",
        "offloadByteCount",
        "totalSuccessfulPackets",
    ];
    const STATISTICS: [(&str, &[&str]); 6] = [
        (
            "aggregateSaStatistics",
            &[
                "activeSas",
                "pendingSaNegotiations",
                "totalSasAdded",
                "totalSasDeleted",
                "successfulRekeys",
                "activeTunnels",
                "offloadedSas",
            ],
        ),
        (
            "espDropPacketStatistics",
            &[
                "invalidSpisOnInbound",
                "decryptionFailuresOnInbound",
                "authenticationFailuresOnInbound",
                "replayCheckFailuresOnInbound",
                "saNotInitializedOnInbound",
            ],
        ),
        (
            "ahDropPacketStatistics",
            &[
                "invalidSpisOnInbound",
                "authenticationFailuresOnInbound",
                "replayCheckFailuresOnInbound",
                "saNotInitializedOnInbound",
            ],
        ),
        (
            "aggregateDropPacketStatistics",
            &[
                "invalidSpisOnInbound",
                "decryptionFailuresOnInbound",
                "authenticationFailuresOnInbound",
                "udpEspValidationFailuresOnInbound",
                "replayCheckFailuresOnInbound",
                "invalidClearTextInbound",
                "saNotInitializedOnInbound",
                "receiveOverIncorrectSaInbound",
                "secureReceivesNotMatchingFilters",
                "totalDropPacketsInbound",
            ],
        ),
        ("inboundTrafficStatistics", TRAFFIC),
        ("outboundTrafficStatistics", TRAFFIC),
    ];
    xml.node("ipsecStatistics", |xml| {
        STATISTICS
            .iter()
            .try_for_each(|(name, counters)| xml.node(name, |xml| counters.iter().try_for_each(|of| xml.text(of, "0"))))
    })
}
