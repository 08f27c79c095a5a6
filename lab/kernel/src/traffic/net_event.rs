//! What the filter engine tells of a verdict.

use postern_engine::net_events::{NetEvent, NetEventClassify, NetEventKeywords, NetEventType, direction};
use postern_engine::{Decision, Verdict};

use super::Direction;
use super::values::{self, PROFILE};
use super::walk::{At, Walk};

impl Walk<'_> {
    /// Collects the net event of a verdict, if there is one: a drop, unless a callout has asked for silence, and, for those who
    /// want to know, a permit where flows are authorised.
    #[inline]
    pub(super) fn tell(&self, at: At, layer: u16, verdict: &Verdict) {
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
        if fwp.net_events.wants(keywords) && fwp.net_events.wants(self.destination()) && fwp.bfe.is_running() {
            fwp.net_events.record(self.net_event(kind, at, layer, verdict));
        }
    }

    /// Inbound multicasts and broadcasts are collected for those who ask for them.
    fn destination(&self) -> NetEventKeywords {
        match values::address_type(self.packet.local.ip()) {
            _ if self.packet.direction == Direction::Outbound => NetEventKeywords::empty(),
            values::MULTICAST => NetEventKeywords::INBOUND_MCAST,
            values::BROADCAST => NetEventKeywords::INBOUND_BCAST,
            _ => NetEventKeywords::empty(),
        }
    }

    #[cold]
    fn net_event(&self, kind: NetEventType, at: At, layer: u16, verdict: &Verdict) -> NetEvent {
        let (packet, facts) = (self.packet, &self.facts);
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
            user: app.map(|_| values::USER[0].to_vec()),
            package: None,
            reauthorized: facts.reauthorize_reason != 0,
            classify: Some(NetEventClassify {
                filter_id: verdict.filter_id.unwrap_or(0),
                layer,
                reauthorize_reason: facts.reauthorize_reason,
                original_profile: PROFILE,
                current_profile: PROFILE,
                direction: match packet.direction {
                    Direction::Inbound => direction::IN,
                    Direction::Outbound => direction::OUT,
                },
                loopback: facts.is_loopback(),
            }),
        }
    }
}
