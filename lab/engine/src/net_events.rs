//! Net events: what the filter engine tells of traffic that it drops, or permits (documentation pages "Logging", "FwpmEngineSetOption0").

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::error::FwpError;
use crate::session::SessionId;

/// `FWPM_NET_EVENT_TYPE` (fwpmtypes.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct NetEventType(pub u32);

impl NetEventType {
    pub const CLASSIFY_DROP: NetEventType = NetEventType(3);
    pub const CLASSIFY_ALLOW: NetEventType = NetEventType(6);

    /// The symbols, without `FWPM_NET_EVENT_TYPE_`, by number.
    pub const NAMES: [&str; 11] = [
        "IKEEXT_MM_FAILURE",
        "IKEEXT_QM_FAILURE",
        "IKEEXT_EM_FAILURE",
        "CLASSIFY_DROP",
        "IPSEC_KERNEL_DROP",
        "IPSEC_DOSP_DROP",
        "CLASSIFY_ALLOW",
        "CAPABILITY_DROP",
        "CAPABILITY_ALLOW",
        "CLASSIFY_DROP_MAC",
        "LPM_PACKET_ARRIVAL",
    ];

    /// The symbol without `FWPM_NET_EVENT_TYPE_`, unless the type is a newer one.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.get(self.0 as usize).copied()
    }

    /// Whether something was dropped.
    pub fn is_drop(self) -> bool {
        self.name().is_some_and(|name| name.contains("DROP"))
    }
}

/// `FWPM_NET_EVENT3`. What a `FWPM_NET_EVENT_FLAG_*` says to be there is there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NetEvent {
    pub kind: NetEventType,
    /// Units of 100 nanoseconds since 1601.
    pub time: u64,
    pub protocol: Option<u8>,
    pub local_address: Option<IpAddr>,
    pub remote_address: Option<IpAddr>,
    /// For ICMP, the message's type.
    pub local_port: Option<u16>,
    /// For ICMP, the message's code.
    pub remote_port: Option<u16>,
    pub scope_id: Option<u32>,
    pub app_id: Option<Vec<u8>>,
    /// SIDs of the user and of the app's package.
    pub user: Option<Vec<u8>>,
    pub package: Option<Vec<u8>>,
    /// `FWPM_NET_EVENT_FLAG_REAUTH_REASON_SET`: an existing connection was authorised again.
    pub reauthorized: bool,
    /// Of `CLASSIFY_DROP` and `CLASSIFY_ALLOW`.
    pub classify: Option<NetEventClassify>,
}

/// `FWPM_NET_EVENT_CLASSIFY_DROP2`, and `FWPM_NET_EVENT_CLASSIFY_ALLOW0`, which has the same members but for a virtual switch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NetEventClassify {
    /// 0: no filter decided.
    pub filter_id: u64,
    pub layer: u16,
    pub reauthorize_reason: u32,
    pub original_profile: u32,
    pub current_profile: u32,
    /// One of [`direction`].
    pub direction: u32,
    pub loopback: bool,
}

/// `msFwpDirection` (page "FWPM_NET_EVENT_CLASSIFY_DROP2").
pub mod direction {
    pub const IN: u32 = 0x3900;
    pub const OUT: u32 = 0x3901;
    pub const FORWARD: u32 = 0x3902;
}

/// `FWPM_ENGINE_OPTION`, as far as there is something behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u32)]
pub enum EngineOption {
    /// Whether net events are collected: 0 or 1.
    CollectNetEvents = 0,
    /// Which of those are collected that are not without: [`NetEventKeywords`].
    NetEventMatchAnyKeywords = 1,
}

bitflags::bitflags! {
    /// `FWPM_NET_EVENT_KEYWORD_*` (fwpmu.h).
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct NetEventKeywords: u32 {
        const INBOUND_MCAST = 0x1;
        const INBOUND_BCAST = 0x2;
        const CAPABILITY_DROP = 0x4;
        const CAPABILITY_ALLOW = 0x8;
        const CLASSIFY_ALLOW = 0x10;
        const PORT_SCANNING_DROP = 0x20;
    }
}

/// What may be set of an option.
pub fn check_option(option: EngineOption, value: u32) -> Result<(), FwpError> {
    let valid = match option {
        EngineOption::CollectNetEvents => value <= 1,
        EngineOption::NetEventMatchAnyKeywords => NetEventKeywords::from_bits(value).is_some(),
    };
    if valid { Ok(()) } else { Err(FwpError::OutOfBounds) }
}

/// Page "Logging": 128 KB, which hold 100 to 150 events; then the oldest goes.
const KEPT: usize = 128;
/// What a subscriber has not fetched. More are counted, not kept.
const WAITING: usize = 4096;
/// So many are fetched at once.
const PORTION: usize = 512;

/// What one fetch brings a subscriber.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NetEvents {
    /// The oldest first.
    pub events: Vec<NetEvent>,
    /// How many went lost meanwhile, because they were not fetched in time.
    pub lost: u64,
}

impl NetEvents {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.lost == 0
    }
}

/// The recent events, and those that subscribers have still to fetch.
#[derive(Debug, Default)]
pub struct NetEventLog {
    recent: VecDeque<NetEvent>,
    subscriptions: BTreeMap<u64, Subscription>,
    last: u64,
}

#[derive(Debug)]
struct Subscription {
    session: SessionId,
    waiting: VecDeque<NetEvent>,
    lost: u64,
}

impl NetEventLog {
    pub fn record(&mut self, event: NetEvent) {
        for subscription in self.subscriptions.values_mut() {
            if subscription.waiting.len() < WAITING {
                subscription.waiting.push_back(event.clone());
            } else {
                subscription.lost += 1;
            }
        }
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(event);
    }

    /// The oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &NetEvent> {
        self.recent.iter()
    }

    /// `FwpmNetEventSubscribe`.
    pub fn subscribe(&mut self, session: SessionId) -> u64 {
        self.last += 1;
        self.subscriptions.insert(self.last, Subscription { session, waiting: VecDeque::new(), lost: 0 });
        self.last
    }

    /// `FwpmNetEventUnsubscribe0`.
    pub fn unsubscribe(&mut self, session: SessionId, subscription: u64) -> Result<(), FwpError> {
        self.of(session, subscription)?;
        self.subscriptions.remove(&subscription);
        Ok(())
    }

    /// What has come since it was asked last.
    pub fn fetch(&mut self, session: SessionId, subscription: u64) -> Result<NetEvents, FwpError> {
        let subscription = self.of(session, subscription)?;
        let portion = subscription.waiting.len().min(PORTION);
        let events = subscription.waiting.drain(..portion).collect();
        // Those that went lost came after all that waited then.
        let lost = if subscription.waiting.is_empty() { core::mem::take(&mut subscription.lost) } else { 0 };
        Ok(NetEvents { events, lost })
    }

    fn of(&mut self, session: SessionId, subscription: u64) -> Result<&mut Subscription, FwpError> {
        self.subscriptions.get_mut(&subscription).filter(|found| found.session == session).ok_or(FwpError::NotFound)
    }

    /// Subscriptions end with their session.
    pub fn session_closed(&mut self, session: SessionId) {
        self.subscriptions.retain(|_, subscription| subscription.session != session);
    }

    /// Events are collected again, from now on.
    pub fn forget(&mut self) {
        self.recent.clear();
    }

    /// The base filtering engine, which keeps all this, has stopped.
    pub fn clear(&mut self) {
        self.recent.clear();
        self.subscriptions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(1);

    fn event(time: u64) -> NetEvent {
        NetEvent {
            kind: NetEventType::CLASSIFY_DROP,
            time,
            protocol: None,
            local_address: None,
            remote_address: None,
            local_port: None,
            remote_port: None,
            scope_id: None,
            app_id: None,
            user: None,
            package: None,
            reauthorized: false,
            classify: None,
        }
    }

    fn times<'a>(events: impl IntoIterator<Item = &'a NetEvent>) -> Vec<u64> {
        events.into_iter().map(|event| event.time).collect()
    }

    #[test]
    fn a_subscriber_gets_what_comes_after_it_and_once() {
        let mut log = NetEventLog::default();
        log.record(event(1));
        let subscription = log.subscribe(SESSION);
        log.record(event(2));
        log.record(event(3));
        assert_eq!(times(&log.fetch(SESSION, subscription).unwrap().events), [2, 3]);
        assert_eq!(log.fetch(SESSION, subscription), Ok(NetEvents::default()));
        assert_eq!(times(log.recent()), [1, 2, 3]);
    }

    #[test]
    fn the_oldest_events_go() {
        let mut log = NetEventLog::default();
        (0..200).for_each(|time| log.record(event(time)));
        assert_eq!(times(log.recent()), (72..200).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_slow_subscriber_misses_is_counted_where_it_is_missing() {
        let mut log = NetEventLog::default();
        let subscription = log.subscribe(SESSION);
        (0..WAITING as u64 + 3).for_each(|time| log.record(event(time)));
        let portions: Vec<_> = (0..WAITING / PORTION).map(|_| log.fetch(SESSION, subscription).unwrap()).collect();
        let got: Vec<_> = portions.iter().flat_map(|portion| times(&portion.events)).collect();
        assert_eq!(got, (0..WAITING as u64).collect::<Vec<_>>());
        let lost: Vec<_> = portions.iter().map(|portion| portion.lost).collect();
        assert_eq!(lost, [0, 0, 0, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn subscriptions_belong_to_a_session_and_end_with_it() {
        let mut log = NetEventLog::default();
        let (one, two) = (log.subscribe(SESSION), log.subscribe(SessionId(2)));
        assert_eq!(log.fetch(SESSION, two), Err(FwpError::NotFound));
        assert_eq!(log.unsubscribe(SESSION, two), Err(FwpError::NotFound));
        log.session_closed(SESSION);
        assert_eq!(log.fetch(SESSION, one), Err(FwpError::NotFound));
        assert_eq!(log.unsubscribe(SessionId(2), two), Ok(()));
        assert_eq!(log.fetch(SessionId(2), two), Err(FwpError::NotFound));
    }

    #[test]
    fn options_take_what_the_page_names() {
        for (option, value, expected) in [
            (EngineOption::CollectNetEvents, 1, Ok(())),
            (EngineOption::CollectNetEvents, 2, Err(FwpError::OutOfBounds)),
            (EngineOption::NetEventMatchAnyKeywords, 0x3f, Ok(())),
            (EngineOption::NetEventMatchAnyKeywords, 0x40, Err(FwpError::OutOfBounds)),
        ] {
            assert_eq!(check_option(option, value), expected, "{option:?} {value}");
        }
    }

    #[test]
    fn types_have_the_headers_names() {
        assert_eq!(NetEventType::CLASSIFY_DROP.name(), Some("CLASSIFY_DROP"));
        assert_eq!(NetEventType::CLASSIFY_ALLOW.name(), Some("CLASSIFY_ALLOW"));
        assert_eq!(NetEventType(11).name(), None);
        let drops: Vec<_> = (0..12).filter(|number| NetEventType(*number).is_drop()).collect();
        assert_eq!(drops, [3, 4, 5, 7, 9]);
    }
}
