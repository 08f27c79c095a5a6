//! Net events as people and programs read them.

use std::net::{IpAddr, SocketAddr};

use postern_engine::layers;
use postern_engine::net_events::{NetEvent, NetEventClassify, NetEventType, direction};
use serde::Serialize;

use crate::device::{file_time_text, program};
use crate::filter::app_id;
use crate::filter::protocol::Protocol;
use crate::output::hex;
use crate::replay::Direction;

/// A net event as `--json` shows it. What the filter engine has not told is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetEventView {
    /// UTC.
    pub time: Option<String>,
    /// `FWPM_NET_EVENT_TYPE` in lower case with hyphens: `classify-drop`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// None: no filter decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loopback: Option<bool>,
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub reauthorized: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_address: Option<IpAddr>,
    /// For ICMP, the message's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_address: Option<IpAddr>,
    /// For ICMP, the message's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope_id: Option<u32>,
    /// NT path of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
}

/// The type as it is written here.
pub fn type_name(kind: NetEventType) -> String {
    match kind.name() {
        Some(name) => name.to_lowercase().replace('_', "-"),
        None => format!("type-{}", kind.0),
    }
}

/// A type by [`type_name`], or the header's symbol.
pub fn parse_type(text: &str) -> Result<NetEventType, String> {
    let name = text.to_uppercase().replace('-', "_");
    let name = name.strip_prefix("FWPM_NET_EVENT_TYPE_").unwrap_or(&name);
    let known = NetEventType::NAMES.iter().position(|known| *known == name);
    known.map(|number| NetEventType(number as u32)).ok_or_else(|| {
        let all: Vec<String> = (0..NetEventType::NAMES.len() as u32).map(|of| type_name(NetEventType(of))).collect();
        format!("there is no type '{text}': write one of {}", all.join(", "))
    })
}

impl NetEventView {
    pub fn new(event: &NetEvent) -> NetEventView {
        let classify = event.classify.as_ref();
        NetEventView {
            time: file_time_text(event.time),
            kind: type_name(event.kind),
            layer: classify.map(layer),
            filter_id: classify.map(|classify| classify.filter_id).filter(|id| *id != 0),
            direction: classify.and_then(|classify| match classify.direction {
                direction::IN => Some(Direction::Inbound),
                direction::OUT => Some(Direction::Outbound),
                // A packet that is forwarded has none.
                _ => None,
            }),
            loopback: classify.map(|classify| classify.loopback),
            reauthorized: event.reauthorized,
            protocol: event.protocol,
            local_address: event.local_address,
            local_port: event.local_port,
            remote_address: event.remote_address,
            remote_port: event.remote_port,
            scope_id: event.scope_id,
            application: event.app_id.as_deref().map(|id| app_id::text(id).unwrap_or_else(|| hex(id))),
            user: event.user.as_deref().map(sid_text),
            package: event.package.as_deref().map(sid_text),
        }
    }

    /// One line: time, type, layer, ends, program, filter, and what else there is to tell.
    pub fn text(&self, filter_name: Option<&str>) -> String {
        let time = self.time.as_deref().and_then(|time| time.split_once('T')).map_or("", |(_, time)| time);
        let mut text = format!("{time}  {:<14}  {:<23}", self.kind, self.layer.as_deref().unwrap_or(""));
        for part in [self.ends(), self.application.as_deref().map(|path| program(Some(path)).to_owned())] {
            text += &part.map_or(String::new(), |part| format!("  {part}"));
        }
        if self.layer.is_some() {
            text += &match (self.filter_id, filter_name) {
                (Some(id), Some(name)) => format!("  filter {id} {name}"),
                (Some(id), None) => format!("  filter {id}"),
                (None, _) => "  no filter".to_owned(),
            };
        }
        for (is_so, word) in [(self.loopback == Some(true), "loopback"), (self.reauthorized, "reauthorized")] {
            if is_so {
                text += &format!("  {word}");
            }
        }
        text.trim_end().to_owned()
    }

    /// `tcp 192.168.0.2:50000 -> 192.0.2.7:443`, as far as known.
    fn ends(&self) -> Option<String> {
        let protocol = self.protocol.map(Protocol);
        let end = |address: Option<IpAddr>, port: Option<u16>, local: bool| match (address?, port, protocol) {
            (address, Some(port), Some(protocol)) if local => Some(protocol.local(SocketAddr::new(address, port))),
            (address, Some(port), Some(protocol)) => Some(protocol.remote(SocketAddr::new(address, port))),
            (address, Some(port), None) => Some(SocketAddr::new(address, port).to_string()),
            (address, None, _) => Some(address.to_string()),
        };
        let local = end(self.local_address, self.local_port, true)?;
        let remote = end(self.remote_address, self.remote_port, false)?;
        let arrow = self.direction.map_or("-", Direction::arrow);
        let protocol = protocol.map_or(String::new(), |protocol| format!("{protocol} "));
        Some(format!("{protocol}{local} {arrow} {remote}"))
    }
}

fn layer(classify: &NetEventClassify) -> String {
    layers::by_id(classify.layer).map_or_else(|| classify.layer.to_string(), |layer| layer.name.to_owned())
}

/// `S-1-5-21-...`; what is no SID, in hexadecimal digits.
pub fn sid_text(sid: &[u8]) -> String {
    let text = || {
        let (head, numbers) = sid.split_first_chunk::<8>()?;
        let (numbers, rest) = numbers.as_chunks::<4>();
        let [revision, count, authority @ ..] = head;
        if usize::from(*count) != numbers.len() || !rest.is_empty() {
            return None;
        }
        let authority = authority.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let numbers = numbers.iter().map(|bytes| format!("-{}", u32::from_le_bytes(*bytes)));
        Some(format!("S-{revision}-{authority}") + &numbers.collect::<String>())
    };
    text().unwrap_or_else(|| hex(sid))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn drop() -> NetEvent {
        NetEvent {
            kind: NetEventType::CLASSIFY_DROP,
            time: 134_117_966_450_000_000,
            protocol: Some(6),
            local_address: Some("192.168.0.2".parse().unwrap()),
            remote_address: Some("192.0.2.7".parse().unwrap()),
            local_port: Some(50000),
            remote_port: Some(443),
            scope_id: None,
            app_id: Some(app_id::blob(r"\device\harddiskvolume3\curl.exe")),
            user: Some(vec![1, 1, 0, 0, 0, 0, 0, 5, 19, 0, 0, 0]),
            package: None,
            reauthorized: false,
            classify: Some(NetEventClassify {
                filter_id: 65545,
                layer: 48,
                reauthorize_reason: 0,
                original_profile: 1,
                current_profile: 1,
                direction: direction::OUT,
                loopback: false,
            }),
        }
    }

    #[test]
    fn a_drop_is_one_line() {
        let line = "03:04:05.000Z  classify-drop   ALE_AUTH_CONNECT_V4      \
                    tcp 192.168.0.2:50000 -> 192.0.2.7:443  curl.exe  filter 65545";
        assert_eq!(NetEventView::new(&drop()).text(None), line);
        assert_eq!(NetEventView::new(&drop()).text(Some("no curl")), line.to_owned() + " no curl");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let classify = NetEventClassify {
            filter_id: 0,
            direction: direction::FORWARD,
            layer: 9999,
            loopback: true,
            ..drop().classify.unwrap()
        };
        let bare = NetEvent {
            protocol: None,
            local_port: None,
            remote_port: None,
            app_id: None,
            user: None,
            reauthorized: true,
            classify: Some(classify),
            ..drop()
        };
        let view = NetEventView::new(&bare);
        let text = view.text(None);
        assert!(text.contains("9999"), "{text}");
        assert!(text.ends_with("  192.168.0.2 - 192.0.2.7  no filter  loopback  reauthorized"), "{text}");
        let json = serde_json::to_value(&view).unwrap();
        for absent in ["filter_id", "protocol", "local_port", "application", "user", "direction"] {
            assert!(json.get(absent).is_none(), "{absent}: {json}");
        }
        // Of IKE, say.
        let other = NetEvent { kind: NetEventType(77), local_address: None, classify: None, ..bare };
        assert_eq!(
            NetEventView::new(&other).text(None),
            "03:04:05.000Z  type-77                                  reauthorized"
        );
    }

    #[test]
    fn types_are_written_as_here_or_as_in_the_header() {
        for text in ["classify-drop", "CLASSIFY_DROP", "FWPM_NET_EVENT_TYPE_CLASSIFY_DROP"] {
            assert_eq!(parse_type(text), Ok(NetEventType::CLASSIFY_DROP));
        }
        assert!(parse_type("drop").unwrap_err().contains("classify-drop, "));
        for number in 0..NetEventType::NAMES.len() as u32 {
            assert_eq!(parse_type(&type_name(NetEventType(number))), Ok(NetEventType(number)));
        }
    }

    #[test]
    fn sids_are_written_as_windows_writes_them() {
        let sid = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x21, 2, 0, 0];
        assert_eq!(sid_text(&sid), "S-1-5-32-545");
        assert_eq!(sid_text(&sid[..12]), "01020000000000052000".to_owned() + "0000");
        assert_eq!(sid_text(&[1]), "01");
    }
}
