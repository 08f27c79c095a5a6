//! What the filter engine tells of a verdict.

use postern_engine::net_events::{NetEvent, NetEventClassify, NetEventKeywords, NetEventType, direction};
use postern_engine::{Decision, Verdict};
use postern_traffic::{At, BROADCAST, Direction, MULTICAST, Packet, Passing, USER, address_type};

use super::walk::Classifier;

impl Classifier<'_> {
    /// Collects the net event of a verdict, if there is one: a drop, unless a callout has asked for silence, and, for those who
    /// want to know, a permit where flows are authorised.
    #[inline]
    pub(super) fn tell(&self, at: At, layer: u16, passing: &Passing<'_>, verdict: &Verdict) {
        let (kind, keywords) = match (verdict.action, at) {
            // What has ended cannot be dropped.
            (Decision::Block, At::EndpointClosure | At::ResourceRelease) => return,
            (Decision::Block, _) if verdict.absorb => return,
            (Decision::Block, _) => (NetEventType::CLASSIFY_DROP, NetEventKeywords::empty()),
            (Decision::Permit, At::AuthConnect | At::AuthRecvAccept) => {
                (NetEventType::CLASSIFY_ALLOW, NetEventKeywords::CLASSIFY_ALLOW)
            }
            (Decision::Permit, _) => return,
        };
        let fwp = &self.kernel.fwp;
        if fwp.net_events.wants(keywords) && fwp.net_events.wants(destination(passing.packet)) && fwp.bfe.is_running() {
            fwp.net_events.record(self.net_event(kind, at, layer, passing, verdict));
        }
    }

    #[cold]
    fn net_event(&self, kind: NetEventType, at: At, layer: u16, passing: &Passing<'_>, verdict: &Verdict) -> NetEvent {
        let (packet, facts) = (passing.packet, &passing.facts);
        // Known where the layer has a field for it.
        let transport = !matches!(at, At::InboundIpPacket | At::OutboundIpPacket);
        let app = self.app.filter(|_| at.is_ale());
        NetEvent {
            kind,
            time: self.kernel.clock.system_time(),
            protocol: transport.then_some(packet.protocol),
            local_address: Some(packet.local.ip()),
            remote_address: Some(packet.remote.ip()),
            local_port: transport.then_some(packet.local.port()),
            remote_port: transport.then_some(packet.remote.port()),
            scope_id: facts.v6.then_some(0),
            app_id: app.map(|app| app.id.to_vec()),
            user: app.map(|_| USER[0].to_vec()),
            package: None,
            reauthorized: facts.reauthorize_reason != 0,
            classify: Some(NetEventClassify {
                filter_id: verdict.filter_id.unwrap_or(0),
                layer,
                reauthorize_reason: facts.reauthorize_reason,
                original_profile: facts.profile,
                current_profile: facts.profile,
                direction: match packet.direction {
                    Direction::Inbound => direction::IN,
                    Direction::Outbound => direction::OUT,
                },
                loopback: facts.is_loopback(),
            }),
        }
    }
}

/// Inbound multicasts and broadcasts are collected for those who ask for them.
fn destination(packet: &Packet<'_>) -> NetEventKeywords {
    match address_type(packet.local.ip()) {
        _ if packet.direction == Direction::Outbound => NetEventKeywords::empty(),
        MULTICAST => NetEventKeywords::INBOUND_MCAST,
        BROADCAST => NetEventKeywords::INBOUND_BCAST,
        _ => NetEventKeywords::empty(),
    }
}
