//! The file of a live engine: a byte order mark, lines that end in CR LF, tabs, and two root elements, as current Windows writes it.
//!
//! Element names, their order, the symbolic names and the number formats are those of real files. Lists with items carry
//! their number, empty ones do not. Flags are one item each, and what has no name is one item of eight hexadecimal digits.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use postern_engine::guids;
use postern_engine::layers::{self, FieldType, Layer, LayerFlags};
use postern_engine::objects::{
    Action, Callout, Condition, ConditionValue, ContextContent, DisplayData, Filter, Provider, ProviderContext,
    Session, Sublayer, Weight,
};
use quick_xml::Writer;
use quick_xml::events::{BytesCData, BytesDecl, BytesText, Event};
use uuid::Uuid;

use super::names;
use crate::filter::app_id;
use crate::output::hex;
use crate::sddl;
use crate::state::State;

/// Writes the file.
pub fn write(state: &State, out: impl Write) -> io::Result<()> {
    let mut out = CrLf(out);
    let mut writer = Writer::new_with_indent(&mut out, b'\t', 1);
    writer.write_bom()?;
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), Some("yes"))))?;
    let mut xml = Xml(&mut writer);
    xml.node("wfpstate", |xml| {
        let time = state.time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
        xml.text("timeStamp", &time.unwrap_or_default())?;
        xml.list("sessions", &state.sessions, session)?;
        xml.list("layers", layers::all(), |xml, of| layer(xml, of, state))?;
        xml.list("providers", &state.providers, provider)?;
        xml.list("providerContexts", &state.provider_contexts, context)?;
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
        let element = self.0.create_element(name);
        if text.contains(['&', '<', '>']) {
            // As netsh does, where others would escape. The end of a section is the one thing that must not stand in it.
            element.write_inner_content(|writer| {
                let mut sections = BytesCData::escaped(text);
                sections.try_for_each(|section| writer.write_event(Event::CData(section)))
            })?;
        } else {
            element.write_text_content(BytesText::from_escaped(text))?;
        }
        Ok(())
    }

    /// An element that is written as it was read.
    fn raw(&mut self, element: &str) -> io::Result<()> {
        if !element.is_empty() {
            self.0.write_indent()?;
            self.0.get_mut().write_all(element.as_bytes())?;
        }
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
    fn flags(&mut self, flags: u32, names: &names::Flags) -> io::Result<()> {
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
            Some(key) => self.text("providerKey", &names::key(&guids::provider::NAMES, &key)),
            None => self.empty("providerKey"),
        }
    }

    /// A blob, and its bytes as far as they are printable. netsh does not escape what XML would have it escape: it leaves it out.
    fn blob(&mut self, name: &str, data: &[u8]) -> io::Result<()> {
        if data.is_empty() {
            return self.empty(name);
        }
        let printable = |byte: &u8| match byte {
            b'&' | b'<' | b'>' => '.',
            0x20..0x7f => char::from(*byte),
            _ => '.',
        };
        self.node(name, |xml| {
            xml.text("data", &hex(data))?;
            xml.text("asString", &data.iter().map(printable).collect::<String>())
        })
    }
}

fn session<W: Write>(xml: &mut Xml<'_, W>, session: &Session) -> io::Result<()> {
    xml.text("sessionKey", &session.key.braced().to_string())?;
    xml.display_data(&session.display)?;
    xml.flags(session.dynamic.into(), names::SESSION_FLAGS)?;
    xml.number("txnWaitTimeoutInMSec", session.transaction_wait_timeout_ms)?;
    xml.number("processId", session.process_id)?;
    // A process of the lab has no SID, apart from the kernel.
    xml.text("sid", if session.kernel_mode { "S-1-5-18" } else { "" })?;
    xml.text("username", &session.user)?;
    xml.text("kernelMode", if session.kernel_mode { "true" } else { "false" })
}

fn layer<W: Write>(xml: &mut Xml<'_, W>, layer: &Layer, state: &State) -> io::Result<()> {
    xml.node("layer", |xml| {
        xml.text("layerKey", &names::layer(&layer.key))?;
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
            xml.text("fieldKey", &names::key(&guids::condition::NAMES, &field.key))?;
            xml.text(
                "type",
                match field.field_type {
                    FieldType::RawData => "FWPM_FIELD_RAW_DATA",
                    FieldType::IpAddress => "FWPM_FIELD_IP_ADDRESS",
                    FieldType::Flags => "FWPM_FIELD_FLAGS",
                },
            )?;
            xml.text("dataType", names::data_type(field.data_type))
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
    xml.text("calloutKey", &names::key(&guids::callout::NAMES, &callout.key))?;
    xml.display_data(&callout.display)?;
    let mut flags = callout.registration_flags;
    for (set, flag) in [
        (callout.persistent, names::CALLOUT_PERSISTENT),
        (callout.uses_provider_context, names::CALLOUT_USES_PROVIDER_CONTEXT),
        (callout.registered, names::CALLOUT_REGISTERED),
    ] {
        if set {
            flags |= flag;
        }
    }
    xml.flags(flags, names::CALLOUT_FLAGS)?;
    xml.provider_key(callout.provider)?;
    xml.blob("providerData", &callout.data)?;
    xml.text("applicableLayer", &names::layer(&callout.layer))?;
    xml.number("calloutId", callout.id)
}

fn filter<W: Write>(xml: &mut Xml<'_, W>, filter: &Filter, layer: &Layer) -> io::Result<()> {
    xml.text("filterKey", &filter.key.braced().to_string())?;
    xml.display_data(&filter.display)?;
    xml.flags(filter.flags.bits(), names::FILTER_FLAGS)?;
    xml.provider_key(filter.provider)?;
    xml.blob("providerData", &filter.data)?;
    xml.text("layerKey", &names::layer(&filter.layer))?;
    xml.text("subLayerKey", &names::key(&guids::sublayer::NAMES, &filter.sublayer))?;
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
            Action::Block => names::ACTION_BLOCK,
            Action::Permit => names::ACTION_PERMIT,
            Action::CalloutTerminating(_) => names::ACTION_CALLOUT_TERMINATING,
            Action::CalloutInspection(_) => names::ACTION_CALLOUT_INSPECTION,
            Action::CalloutUnknown(_) => names::ACTION_CALLOUT_UNKNOWN,
        };
        xml.text("type", name)?;
        // The filter type and the callout key share their place.
        match filter.action.callout() {
            Some(key) => xml.text("filterType", &names::key(&guids::callout::NAMES, &key)),
            None => xml.empty("filterType"),
        }
    })?;
    match filter.provider_context {
        Some(key) => xml.text("providerContextKey", &names::key(&guids::provider_context::NAMES, &key))?,
        None => xml.number("rawContext", filter.raw_context)?,
    }
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
    xml.text("fieldKey", &names::key(&guids::condition::NAMES, &condition.field))?;
    xml.text("matchType", names::match_type(condition.match_type))?;
    xml.node("conditionValue", |xml| value(xml, &condition.value, is_address))
}

fn value<W: Write>(xml: &mut Xml<'_, W>, of: &ConditionValue, is_address: bool) -> io::Result<()> {
    xml.text("type", names::data_type(of.data_type()))?;
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
        ConditionValue::Sid(bytes) => xml.text("sid", &sddl::sid_text(bytes).unwrap_or_else(|| hex(bytes))),
        ConditionValue::SecurityDescriptor(bytes) => xml.text("sd", &sddl::text(bytes).unwrap_or_else(|_| hex(bytes))),
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

fn provider<W: Write>(xml: &mut Xml<'_, W>, provider: &Provider) -> io::Result<()> {
    xml.provider_key(Some(provider.key))?;
    xml.display_data(&provider.display)?;
    let flags = [(provider.persistent, names::PROVIDER_PERSISTENT), (provider.disabled, names::PROVIDER_DISABLED)];
    xml.flags(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum(), names::PROVIDER_FLAGS)?;
    xml.blob("providerData", &provider.data)?;
    xml.text("serviceName", provider.service_name.as_deref().unwrap_or(""))
}

fn context<W: Write>(xml: &mut Xml<'_, W>, context: &ProviderContext) -> io::Result<()> {
    xml.text("providerContextKey", &names::key(&guids::provider_context::NAMES, &context.key))?;
    xml.display_data(&context.display)?;
    xml.flags(context.persistent.into(), names::CONTEXT_FLAGS)?;
    xml.provider_key(context.provider)?;
    xml.blob("providerData", &context.data)?;
    xml.text("type", context.content.context_type().symbol())?;
    match &context.content {
        ContextContent::General(buffer) => xml.blob("dataBuffer", buffer)?,
        ContextContent::ClassifyOptions(options) => xml.node("classifyOptions", |xml| {
            xml.list("options", options, |xml, option| {
                xml.text("type", &names::classify_option(option.option))?;
                xml.node("value", |xml| value(xml, &option.value, false))
            })
        })?,
        ContextContent::Policy { text, .. } => xml.raw(text)?,
    }
    xml.number("providerContextId", context.id)
}

fn sublayer<W: Write>(xml: &mut Xml<'_, W>, sublayer: &Sublayer) -> io::Result<()> {
    xml.text("subLayerKey", &names::key(&guids::sublayer::NAMES, &sublayer.key))?;
    xml.display_data(&sublayer.display)?;
    xml.flags(sublayer.persistent.into(), names::SUBLAYER_FLAGS)?;
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
