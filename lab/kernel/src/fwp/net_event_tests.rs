//! Which verdicts are told as net events, and to whom.

use core::net::IpAddr;
use core::time::Duration;
use std::net::SocketAddr;
use std::time::Instant;

use fwps::sys::*;
use postern_engine::layers::{self, id};
use postern_engine::net_events::{EngineOption, NetEvent, NetEventClassify, NetEventType, NetEvents, direction};
use postern_engine::objects::{Action, Session};
use postern_engine::{Answer, Call, FwpError, SessionId};
use uuid::Uuid;

use super::stand_in::{self, filter, on_classify, session};
use crate::traffic::{Connection, Decision};
use crate::{Config, EngineError, Lab};

const CURL: &str = r"\device\harddiskvolume3\Curl.exe";

fn lab() -> (Lab, SessionId) {
    let lab = Lab::start(Config::default());
    let session = session(&lab);
    (lab, session)
}

fn connection(protocol: u8, local: &str, remote: &str) -> Connection<'static> {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Connection { protocol, local: address(local), remote: address(remote), app: Some(CURL) }
}

fn set(lab: &Lab, session: SessionId, option: EngineOption, value: u32) {
    lab.engine().call(session, Call::EngineSetOption { option, value }).unwrap();
}

fn recent(lab: &Lab, session: SessionId) -> Vec<NetEvent> {
    match lab.engine().call(session, Call::NetEvents) {
        Ok(Answer::NetEvents(events)) => events,
        other => panic!("{other:?}"),
    }
}

/// Type and layer of each event.
fn told(lab: &Lab, session: SessionId) -> Vec<(NetEventType, u16)> {
    recent(lab, session).iter().map(|event| (event.kind, event.classify.unwrap().layer)).collect()
}

fn subscribe(lab: &Lab, session: SessionId) -> u64 {
    match lab.engine().call(session, Call::NetEventSubscribe) {
        Ok(Answer::Id(subscription)) => subscription,
        other => panic!("{other:?}"),
    }
}

fn fetch(lab: &Lab, session: SessionId, subscription: u64, patience_ms: u32) -> Result<NetEvents, EngineError> {
    match lab.engine().call(session, Call::NetEventFetch { subscription, patience_ms })? {
        Answer::NetEventPortion(portion) => Ok(portion),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_drop_is_told_with_all_that_its_layer_knows() {
    let (lab, session) = lab();
    let id = filter(&lab, session, layers::key::ALE_AUTH_CONNECT_V4, Action::Block);
    let begun = lab.kernel.clock.system_time();
    lab.traffic().connect(&connection(6, "192.168.0.2:50000", "192.0.2.7:443"));
    let [event] = &recent(&lab, session)[..] else { panic!() };
    assert!((begun..=lab.kernel.clock.system_time()).contains(&event.time), "{} {begun}", event.time);
    let app: Vec<u8> = CURL.to_lowercase().encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    assert_eq!(
        *event,
        NetEvent {
            kind: NetEventType::CLASSIFY_DROP,
            time: event.time,
            protocol: Some(6),
            local_address: address("192.168.0.2"),
            remote_address: address("192.0.2.7"),
            local_port: Some(50000),
            remote_port: Some(443),
            scope_id: None,
            app_id: Some(app),
            user: Some(vec![1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0xe9, 3, 0, 0]),
            package: None,
            reauthorized: false,
            classify: Some(NetEventClassify {
                filter_id: id,
                layer: id::ALE_AUTH_CONNECT_V4,
                reauthorize_reason: 0,
                original_profile: 1,
                current_profile: 1,
                direction: direction::OUT,
                loopback: false,
            }),
        }
    );
}

#[test]
fn at_a_layer_without_ports_and_programs_none_are_told() {
    let (lab, session) = lab();
    filter(&lab, session, layers::key::INBOUND_IPPACKET_V6, Action::Block);
    lab.traffic().accept(&connection(17, "[::1]:53", "[::1]:40000"));
    let [event] = &recent(&lab, session)[..] else { panic!() };
    assert_eq!((event.protocol, event.local_port, event.remote_port), (None, None, None));
    assert_eq!((&event.app_id, &event.user, event.scope_id), (&None, &None, Some(0)));
    let classify = event.classify.unwrap();
    assert_eq!((classify.direction, classify.loopback), (direction::IN, true));
}

#[test]
fn a_connection_that_is_authorised_again_is_told_as_such() {
    let (lab, session) = lab();
    let mut traffic = lab.traffic();
    let flow = connection(17, "192.168.0.2:50000", "192.0.2.7:53");
    traffic.connect(&flow);
    filter(&lab, session, layers::key::ALE_AUTH_CONNECT_V4, Action::Block);
    traffic.send_first_packets(&flow, crate::traffic::Direction::Outbound);
    let [event] = &recent(&lab, session)[..] else { panic!() };
    assert!(event.reauthorized);
    assert_eq!(event.classify.unwrap().reauthorize_reason, FWP_CONDITION_REAUTHORIZE_REASON_POLICY_CHANGE);
}

#[test]
fn permits_are_told_to_those_who_ask_and_only_where_flows_are_authorised() {
    let (lab, session) = lab();
    for layer in [layers::key::ALE_AUTH_CONNECT_V4, layers::key::OUTBOUND_TRANSPORT_V4] {
        filter(&lab, session, layer, Action::Permit);
    }
    let flow = connection(6, "192.168.0.2:50000", "192.0.2.7:443");
    lab.traffic().connect(&flow);
    assert_eq!(told(&lab, session), []);
    set(&lab, session, EngineOption::NetEventMatchAnyKeywords, 0x10);
    lab.traffic().connect(&flow);
    assert_eq!(told(&lab, session), [(NetEventType::CLASSIFY_ALLOW, id::ALE_AUTH_CONNECT_V4)]);
}

#[test]
fn inbound_multicasts_and_broadcasts_are_told_to_those_who_ask() {
    let (lab, session) = lab();
    filter(&lab, session, layers::key::INBOUND_TRANSPORT_V4, Action::Block);
    filter(&lab, session, layers::key::OUTBOUND_TRANSPORT_V4, Action::Block);
    let run = |keywords| {
        set(&lab, session, EngineOption::NetEventMatchAnyKeywords, keywords);
        let subscription = subscribe(&lab, session);
        for remote in ["224.0.0.251:5353", "255.255.255.255:67"] {
            lab.traffic().connect(&connection(17, "192.168.0.2:50000", remote));
            lab.traffic().accept(&connection(17, remote, "192.168.0.9:40000"));
        }
        let events = fetch(&lab, session, subscription, 0).unwrap().events;
        let local = |event: &NetEvent| event.local_address.unwrap().to_string();
        events.iter().map(local).collect::<Vec<_>>()
    };
    let out = "192.168.0.2";
    assert_eq!(run(0), [out, out]);
    assert_eq!(run(1), [out, "224.0.0.251", out]);
    assert_eq!(run(2), [out, out, "255.255.255.255"]);
    assert_eq!(run(3), [out, "224.0.0.251", out, "255.255.255.255"]);
}

#[test]
fn what_a_callout_drops_in_silence_is_not_told() {
    let (lab, session) = lab();
    let key = 0xca11_0000_0000_0000_0000_0000_0000_0001;
    stand_in::register(&lab, &stand_in::registration(key));
    let callout: Uuid = stand_in::callout(&lab, session, key, layers::key::OUTBOUND_TRANSPORT_V4);
    filter(&lab, session, layers::key::OUTBOUND_TRANSPORT_V4, Action::CalloutTerminating(callout));
    let flow = connection(17, "192.168.0.2:50000", "192.0.2.7:53");
    let drop = |flags| {
        on_classify(move |seen| {
            seen.out.actionType = FWP_ACTION_BLOCK;
            seen.out.rights &= !FWPS_RIGHT_ACTION_WRITE;
            seen.out.flags |= flags;
        });
        assert_eq!(lab.traffic().connect(&flow).decision, Decision::Block);
    };
    drop(FWPS_CLASSIFY_OUT_FLAG_ABSORB);
    assert_eq!(told(&lab, session), []);
    drop(0);
    assert_eq!(told(&lab, session), [(NetEventType::CLASSIFY_DROP, id::OUTBOUND_TRANSPORT_V4)]);
}

#[test]
fn a_subscriber_waits_until_something_comes_or_its_patience_ends() {
    let (lab, session) = lab();
    let subscription = subscribe(&lab, session);
    filter(&lab, session, layers::key::ALE_AUTH_CONNECT_V4, Action::Block);
    assert_eq!(fetch(&lab, session, subscription, 1).unwrap(), NetEvents::default());
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| fetch(&lab, session, subscription, 60_000).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        lab.traffic().connect(&connection(6, "192.168.0.2:50000", "192.0.2.7:443"));
        assert_eq!(waits.join().unwrap().events.len(), 1);
    });
}

#[test]
fn a_subscription_ends_with_its_session_or_the_base_filtering_engine() {
    let end = |how: &dyn Fn(&Lab, SessionId)| {
        let (lab, session) = lab();
        let subscription = subscribe(&lab, session);
        let begun = Instant::now();
        let ended = std::thread::scope(|scope| {
            let waits = scope.spawn(|| fetch(&lab, session, subscription, 60_000));
            std::thread::sleep(Duration::from_millis(20));
            how(&lab, session);
            waits.join().unwrap()
        });
        assert!(begun.elapsed() < Duration::from_secs(30));
        ended
    };
    assert_eq!(end(&|lab, session| lab.engine().session_close(session).unwrap()), Err(FwpError::NotFound.into()));
    assert_eq!(end(&|lab, _| lab.set_bfe_running(false)), Err(EngineError::BfeNotRunning));
}

#[test]
fn while_events_are_not_collected_nothing_can_be_asked_and_afterwards_the_log_is_empty() {
    let (lab, session) = lab();
    filter(&lab, session, layers::key::ALE_AUTH_CONNECT_V4, Action::Block);
    let drop = || lab.traffic().connect(&connection(6, "192.168.0.2:50000", "192.0.2.7:443"));
    drop();
    set(&lab, session, EngineOption::CollectNetEvents, 0);
    drop();
    for call in [Call::NetEvents, Call::NetEventSubscribe] {
        assert_eq!(lab.engine().call(session, call), Err(FwpError::NetEventsDisabled.into()));
    }
    set(&lab, session, EngineOption::CollectNetEvents, 1);
    assert_eq!(told(&lab, session), []);
    drop();
    assert_eq!(told(&lab, session).len(), 1);
}

#[test]
fn options_are_set_outside_of_transactions_and_dynamic_sessions_and_outlive_the_base_filtering_engine() {
    let (lab, session) = lab();
    let on = |session| {
        let option = EngineOption::NetEventMatchAnyKeywords;
        lab.engine().call(session, Call::EngineSetOption { option, value: 0x10 })
    };
    lab.engine().transaction_begin(session, false).unwrap();
    for call in [Call::NetEvents, Call::NetEventSubscribe, Call::NetEventUnsubscribe(1)] {
        assert_eq!(lab.engine().call(session, call), Err(FwpError::TxnInProgress.into()));
    }
    assert_eq!(on(session), Err(FwpError::TxnInProgress.into()));
    lab.engine().transaction_abort(session).unwrap();
    let dynamic = Session { dynamic: true, ..Session::new("a test", 1, "a test") };
    let dynamic = lab.engine().session_open(dynamic).unwrap();
    assert_eq!(on(dynamic), Err(FwpError::DynamicSessionInProgress.into()));
    assert_eq!(on(session), Ok(Answer::Done));
    lab.set_bfe_running(false);
    lab.set_bfe_running(true);
    let session = stand_in::session(&lab);
    let option = Call::EngineOption(EngineOption::NetEventMatchAnyKeywords);
    assert_eq!(lab.engine().call(session, option), Ok(Answer::Value(0x10)));
    assert_eq!(told(&lab, session), []);
}
