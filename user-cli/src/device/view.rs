//! What the driver tells, as `--json` and people read it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use postern_protocol::CALLOUTS;
use postern_protocol::ioctl::{Endpoints, Event, EventKind, FlowEntry, HeldEntry, Traffic, Verdict};
use serde::Serialize;

use super::Device;
use crate::failure::Result;
use crate::filter::protocol::Protocol;
use crate::output;
use crate::replay::Direction;

/// The two ends of a flow or an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndsView {
    pub protocol: u8,
    /// For ICMP, the port is the message's type.
    pub local: SocketAddr,
    /// For ICMP, the port is the message's code.
    pub remote: SocketAddr,
    pub direction: Direction,
    /// NT path of the program.
    pub application: Option<String>,
    pub process_id: u64,
}

impl EndsView {
    pub fn new(ends: &Endpoints, device: &Device) -> Result<EndsView> {
        Ok(EndsView::with(ends, device.application(ends.application)?))
    }

    fn with(ends: &Endpoints, application: Option<String>) -> EndsView {
        let address = |bytes: [u8; 16]| match ends.ip_version {
            6 => IpAddr::from(bytes),
            _ => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
        };
        EndsView {
            protocol: ends.protocol,
            local: SocketAddr::new(address(ends.local_address), ends.local_port),
            remote: SocketAddr::new(address(ends.remote_address), ends.remote_port),
            direction: if ends.inbound == 0 { Direction::Outbound } else { Direction::Inbound },
            application,
            process_id: ends.process_id,
        }
    }

    /// `tcp 192.168.0.2:50000 -> 192.0.2.7:443`
    pub fn text(&self) -> String {
        let protocol = Protocol(self.protocol);
        let (local, remote) = (protocol.local(self.local), protocol.remote(self.remote));
        format!("{protocol} {local} {} {remote}", self.direction.arrow())
    }

    /// Whether the program's path contains `part`, in whatever case.
    pub fn is_of(&self, part: Option<&str>) -> bool {
        let Some(part) = part else { return true };
        self.application.as_deref().is_some_and(|path| path.to_lowercase().contains(&part.to_lowercase()))
    }
}

/// A program without the directories that it is in.
pub fn program(path: Option<&str>) -> &str {
    path.map_or("?", |path| path.rsplit('\\').next().unwrap_or(path))
}

/// System time: units of 100 nanoseconds since 1601.
pub fn file_time(ticks: u64) -> Option<Timestamp> {
    const UNIX_EPOCH: i128 = 116_444_736_000_000_000;
    Timestamp::from_nanosecond((i128::from(ticks) - UNIX_EPOCH) * 100).ok()
}

/// [`file_time`] as it is shown, in UTC.
pub fn file_time_text(ticks: u64) -> Option<String> {
    file_time(ticks).map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

fn verdict_name(verdict: u8) -> Option<&'static str> {
    match verdict {
        permit if permit == Verdict::Permit as u8 => Some("permit"),
        block if block == Verdict::Block as u8 => Some("block"),
        _ => None,
    }
}

/// What was counted of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrafficView {
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub payload_in: u64,
    pub payload_out: u64,
    /// UTC.
    pub first: Option<String>,
    pub last: Option<String>,
}

impl TrafficView {
    fn new(traffic: &Traffic) -> TrafficView {
        TrafficView {
            packets_in: traffic.packets[0],
            packets_out: traffic.packets[1],
            bytes_in: traffic.bytes[0],
            bytes_out: traffic.bytes[1],
            payload_in: traffic.payload[0],
            payload_out: traffic.payload[1],
            first: file_time_text(traffic.first),
            last: file_time_text(traffic.last),
        }
    }
}

/// A flow that is counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowView {
    /// The filter engine's number of it.
    pub flow: u64,
    #[serde(flatten)]
    pub ends: EndsView,
    #[serde(flatten)]
    pub traffic: TrafficView,
    /// Since it was established, and since its last packet.
    pub age_seconds: f64,
    pub idle_seconds: f64,
}

impl FlowView {
    pub fn new(entry: &FlowEntry, now: Timestamp, device: &Device) -> Result<FlowView> {
        Ok(FlowView::with(entry, now, EndsView::new(&entry.endpoints, device)?))
    }

    #[cfg(test)]
    pub fn of(entry: &FlowEntry, path: Option<&str>) -> FlowView {
        FlowView::with(entry, Timestamp::now(), EndsView::with(&entry.endpoints, path.map(str::to_owned)))
    }

    fn with(entry: &FlowEntry, now: Timestamp, ends: EndsView) -> FlowView {
        let since = |ticks| {
            let passed = file_time(ticks).map_or(SignedDuration::ZERO, |time| now.duration_since(time));
            passed.as_secs_f64().max(0.0)
        };
        FlowView {
            flow: entry.flow,
            ends,
            traffic: TrafficView::new(&entry.traffic),
            age_seconds: since(entry.traffic.first),
            idle_seconds: since(entry.traffic.last),
        }
    }
}

/// An operation that waits for an answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldView {
    pub operation: u64,
    #[serde(flatten)]
    pub ends: EndsView,
    /// The filter that holds it.
    pub filter_id: u64,
    pub remaining_seconds: f64,
    /// What happens then.
    pub otherwise: &'static str,
    /// When this was true.
    #[serde(skip)]
    pub listed: Instant,
}

impl HeldView {
    pub fn new(entry: &HeldEntry, device: &Device) -> Result<HeldView> {
        Ok(HeldView {
            operation: entry.operation,
            ends: EndsView::new(&entry.endpoints, device)?,
            filter_id: entry.filter_id,
            remaining_seconds: f64::from(entry.remaining_ms) / 1e3,
            otherwise: verdict_name(entry.otherwise).unwrap_or("block"),
            listed: Instant::now(),
        })
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventView {
    pub sequence: u64,
    /// UTC.
    pub time: Option<String>,
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Of a verdict or an answer; none if others decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<u64>,
    #[serde(flatten)]
    pub ends: EndsView,
    /// Of a flow that has ended.
    #[serde(flatten)]
    pub traffic: Option<TrafficView>,
}

/// The kind of an event, unless the driver is newer than this program.
pub fn event_kind(event: &Event) -> Option<EventKind> {
    EventKind::ALL.into_iter().find(|kind| *kind as u8 == event.kind)
}

impl EventView {
    pub fn new(event: &Event, device: &Device) -> Result<EventView> {
        Ok(EventView::with(event, EndsView::new(&event.endpoints, device)?))
    }

    fn with(event: &Event, ends: EndsView) -> EventView {
        let kind = event_kind(event);
        let callout = CALLOUTS.get(usize::from(event.callout));
        let some = |number: u64| (number != 0).then_some(number);
        let about = |kinds: &[EventKind]| kind.filter(|kind| kinds.contains(kind)).and(some(event.subject));
        EventView {
            sequence: event.sequence,
            time: file_time_text(event.time),
            kind: match kind {
                Some(EventKind::Verdict) => "verdict".to_owned(),
                Some(EventKind::FlowBegun) => "flow-begun".to_owned(),
                Some(EventKind::FlowEnded) => "flow-ended".to_owned(),
                Some(EventKind::Held) => "held".to_owned(),
                Some(EventKind::Answered) => "answered".to_owned(),
                None => format!("kind-{}", event.kind),
            },
            layer: callout.map(|callout| callout.layer.name()),
            role: callout.map(|callout| callout.role.name()),
            verdict: verdict_name(event.verdict),
            filter_id: some(event.filter_id),
            operation: about(&[EventKind::Held, EventKind::Answered]),
            flow: about(&[EventKind::FlowBegun, EventKind::FlowEnded]),
            ends,
            traffic: (kind == Some(EventKind::FlowEnded)).then(|| TrafficView::new(&event.traffic)),
        }
    }

    /// One line: time, kind, layer, verdict, ends, program, and what else there is to tell.
    pub fn text(&self) -> String {
        let time = self.time.as_deref().and_then(|time| time.split_once('T')).map_or("", |(_, time)| time);
        // A callout that only looks on leaves the decision to others.
        let decision = match (self.verdict, &*self.kind) {
            (Some(verdict), _) => verdict,
            (None, "verdict") => "continue",
            (None, _) => "",
        };
        let mut text = format!(
            "{time}  {:<10}  {:<23}  {decision:<8}  {}  {}",
            self.kind,
            self.layer.unwrap_or(""),
            self.ends.text(),
            program(self.ends.application.as_deref()),
        );
        if self.ends.process_id != 0 {
            text += &format!(" ({})", self.ends.process_id);
        }
        if let Some(operation) = self.operation {
            text += &format!("  operation {operation}");
        }
        if let Some(traffic) = &self.traffic {
            text += &format!(
                "  {} in {}, {} out {}",
                output::bytes(traffic.bytes_in),
                output::counted(traffic.packets_in, "packet"),
                output::bytes(traffic.bytes_out),
                output::counted(traffic.packets_out, "packet"),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::ioctl::NO_CALLOUT;
    use postern_protocol::{Callout, Layer, Role};
    use zerocopy::FromZeros;

    use super::*;

    /// 2026-01-02 03:04:05 UTC.
    const TIME: u64 = 134_117_966_450_000_000;
    const CURL: &str = r"\device\harddiskvolume3\windows\system32\curl.exe";

    fn ends() -> Endpoints {
        let address = |bytes: [u8; 4]| std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0));
        Endpoints {
            local_address: address([192, 168, 0, 2]),
            remote_address: address([192, 0, 2, 7]),
            local_port: 50000,
            remote_port: 443,
            protocol: 6,
            ip_version: 4,
            process_id: 812,
            ..Endpoints::default()
        }
    }

    fn text(event: &Event) -> String {
        EventView::with(event, EndsView::with(&event.endpoints, Some(CURL.to_owned()))).text()
    }

    #[test]
    fn system_time_is_counted_from_1601() {
        assert_eq!(file_time_text(TIME).as_deref(), Some("2026-01-02T03:04:05.000Z"));
        assert_eq!(file_time(116_444_736_000_000_000), Some(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn a_verdict_is_one_line_with_everything_that_is_known() {
        let callout = Callout::new(Role::Block, Layer::AleAuthConnectV4).unwrap();
        let event = Event {
            time: TIME,
            kind: EventKind::Verdict as u8,
            verdict: Verdict::Block as u8,
            callout: callout.index() as u16,
            endpoints: ends(),
            ..Event::new_zeroed()
        };
        assert_eq!(
            text(&event),
            "03:04:05.000Z  verdict     ALE_AUTH_CONNECT_V4      block     tcp 192.168.0.2:50000 -> 192.0.2.7:443  curl.exe (812)"
        );
        assert!(text(&Event { verdict: 0, ..event }).contains("  continue  "));
    }

    #[test]
    fn the_end_of_a_flow_tells_what_it_carried() {
        let event = Event {
            time: TIME,
            kind: EventKind::FlowEnded as u8,
            callout: NO_CALLOUT,
            subject: 3,
            endpoints: Endpoints { inbound: 1, ip_version: 6, ..ends() },
            traffic: Traffic { packets: [1, 1200], bytes: [0, 1536], ..Traffic::default() },
            ..Event::new_zeroed()
        };
        let line = text(&event);
        assert!(line.contains("[c000:207::]:443"), "{line}");
        assert!(line.contains(" <- "), "{line}");
        assert!(line.ends_with("0 B in 1 packet, 1.5 KiB out 1,200 packets"), "{line}");
        let view = EventView::with(&event, EndsView::with(&event.endpoints, None));
        let json = serde_json::to_value(view).unwrap();
        assert_eq!(json["flow"], 3);
        assert_eq!(json["bytes_out"], 1536);
        assert!(json.get("operation").is_none() && json.get("layer").is_none(), "{json}");
    }

    #[test]
    fn an_event_of_a_kind_that_only_a_newer_driver_knows_is_shown_by_its_number() {
        let event = Event { kind: 99, callout: NO_CALLOUT, endpoints: ends(), ..Event::new_zeroed() };
        assert!(text(&event).contains("kind-99"));
    }

    #[test]
    fn a_flow_tells_how_old_it_is_and_never_less_than_nothing() {
        let entry = FlowEntry {
            flow: 5,
            endpoints: ends(),
            traffic: Traffic { first: TIME, last: TIME + 30_000_000, ..Traffic::default() },
            ..FlowEntry::default()
        };
        let now = file_time(TIME + 20_000_000).unwrap();
        let view = FlowView::with(&entry, now, EndsView::with(&entry.endpoints, Some(CURL.to_owned())));
        assert_eq!((view.age_seconds, view.idle_seconds), (2.0, 0.0));
        assert!(view.ends.is_of(Some("CURL")) && !view.ends.is_of(Some("wget")));
        assert_eq!(program(view.ends.application.as_deref()), "curl.exe");
    }
}
