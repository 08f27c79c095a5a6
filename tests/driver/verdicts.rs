//! What the callouts answer, seen from the traffic and from the statistics.

use postern_engine::layers;
use postern_engine::objects::{Action, FilterFlags, Weight};
use postern_lab::{Decision, Direction, Packet};
use postern_protocol::FilterContext;
use postern_protocol::callout::{Callout, Layer, Role};

use crate::requests::statistics;
use crate::support::*;

#[test]
fn inspection_counts_and_changes_nothing() {
    let lab = lab_with_driver();
    let mut traffic = lab.traffic();
    let outcome = connect(&mut traffic, "192.0.2.7:443");
    assert_eq!((outcome.decision, outcome.filter_id), (Decision::Permit, None));
    assert_eq!(statistics(&lab, connect_callout(Role::Monitor)), (1, 0));
    unload(&lab);
}

#[test]
fn the_block_callout_blocks_what_its_filter_leads_to_it() {
    let lab = lab_with_driver();
    let session = session(&lab);
    let callout = add_callout_object(&lab, session, connect_callout(Role::Block));
    let id = lab.engine().filter_add(session, filter("block", Action::CalloutTerminating(callout))).unwrap();
    let mut traffic = lab.traffic();
    let blocked = connect(&mut traffic, "192.0.2.7:443");
    assert_eq!((blocked.decision, blocked.filter_id), (Decision::Block, Some(id)));
    assert_eq!(connect(&mut traffic, "[2001:db8::7]:443").decision, Decision::Permit);
    assert_eq!(statistics(&lab, connect_callout(Role::Block)), (1, 0));
    unload(&lab);
}

#[test]
fn the_permit_callout_permits_over_a_filter_of_lower_weight() {
    let lab = lab_with_driver();
    let session = session(&lab);
    let callout = add_callout_object(&lab, session, connect_callout(Role::Permit));
    let block = filter("block", Action::Block);
    lab.engine().filter_add(session, block).unwrap();
    let mut permit = filter("permit", Action::CalloutTerminating(callout));
    permit.weight = Weight::Range(15);
    let id = lab.engine().filter_add(session, permit).unwrap();
    let outcome = connect(&mut lab.traffic(), "192.0.2.7:443");
    assert_eq!((outcome.decision, outcome.filter_id), (Decision::Permit, Some(id)));
    unload(&lab);
}

#[test]
fn a_callout_without_the_right_to_decide_is_passed_over() {
    let lab = lab_with_driver();
    let session = session(&lab);
    // A hard permit in a sublayer of higher weight takes the right away.
    let mut hard_permit = filter("hard permit", Action::Permit);
    hard_permit.sublayer = add_sublayer_above(&lab, session);
    hard_permit.flags = FilterFlags::CLEAR_ACTION_RIGHT;
    let id = lab.engine().filter_add(session, hard_permit).unwrap();
    let callout = add_callout_object(&lab, session, connect_callout(Role::Block));
    lab.engine().filter_add(session, filter("block", Action::CalloutTerminating(callout))).unwrap();
    let outcome = connect(&mut lab.traffic(), "192.0.2.7:443");
    assert_eq!((outcome.decision, outcome.filter_id), (Decision::Permit, Some(id)));
    assert_eq!(statistics(&lab, connect_callout(Role::Block)), (0, 1));
    unload(&lab);
}

#[test]
fn a_permit_is_final_only_if_its_filter_says_so() {
    for (flags, decision) in
        [(FilterFlags::CLEAR_ACTION_RIGHT, Decision::Permit), (FilterFlags::empty(), Decision::Block)]
    {
        let lab = lab_with_driver();
        let session = session(&lab);
        let callout = add_callout_object(&lab, session, connect_callout(Role::Permit));
        let mut permit = filter("permit", Action::CalloutTerminating(callout));
        permit.sublayer = add_sublayer_above(&lab, session);
        permit.flags = flags;
        lab.engine().filter_add(session, permit).unwrap();
        lab.engine().filter_add(session, filter("block", Action::Block)).unwrap();
        assert_eq!(connect(&mut lab.traffic(), "192.0.2.7:443").decision, decision);
        unload(&lab);
    }
}

#[test]
fn a_block_is_final() {
    let lab = lab_with_driver();
    let session = session(&lab);
    let callout = add_callout_object(&lab, session, connect_callout(Role::Block));
    let mut block = filter("block", Action::CalloutTerminating(callout));
    block.sublayer = add_sublayer_above(&lab, session);
    let id = lab.engine().filter_add(session, block).unwrap();
    let mut permit = filter("hard permit", Action::Permit);
    permit.flags = FilterFlags::CLEAR_ACTION_RIGHT;
    lab.engine().filter_add(session, permit).unwrap();
    let below = add_callout_object(&lab, session, connect_callout(Role::Permit));
    lab.engine().filter_add(session, filter("asked after", Action::CalloutTerminating(below))).unwrap();
    let outcome = connect(&mut lab.traffic(), "192.0.2.7:443");
    assert_eq!((outcome.decision, outcome.filter_id), (Decision::Block, Some(id)));
    unload(&lab);
}

#[test]
fn a_block_that_absorbs_is_not_shown_to_the_discard_layer() {
    for (context, shown) in [(FilterContext::empty(), 1), (FilterContext::ABSORB, 0)] {
        let lab = lab_with_driver();
        let session = session(&lab);
        let layer = Layer::OutboundTransportV4;
        let callout = add_callout_object(&lab, session, Callout { role: Role::Block, layer });
        let mut block = filter("block", Action::CalloutTerminating(callout));
        block.layer = layers::key::OUTBOUND_TRANSPORT_V4;
        block.raw_context = context.to_raw();
        lab.engine().filter_add(session, block).unwrap();
        // A callout that nothing else leads to counts what the discard layer is shown.
        let counter = Callout { role: Role::Inspect, layer: Layer::AleAuthConnectV6 };
        let discard = layers::by_name("OUTBOUND_TRANSPORT_V4_DISCARD").unwrap().key;
        let callout = add_callout_object_at(&lab, session, counter, discard);
        let mut count = filter("count", Action::CalloutInspection(callout));
        count.layer = discard;
        lab.engine().filter_add(session, count).unwrap();
        let sent = lab.traffic().packet(&Packet {
            direction: Direction::Outbound,
            protocol: 17,
            local: address("192.168.0.2:50000"),
            remote: address("192.0.2.7:53"),
            tcp_flags: 0,
            icmp_id: 0,
            fragment: None,
            bytes: &[0; 48],
            payload: &[0; 20],
        });
        assert_eq!(sent.decision, Decision::Block);
        assert_eq!(statistics(&lab, counter).0, shown);
        unload(&lab);
    }
}

#[test]
fn a_filter_with_a_foreign_context_is_refused() {
    let lab = lab_with_driver();
    let session = session(&lab);
    let callout = add_callout_object(&lab, session, connect_callout(Role::Block));
    let mut stale = filter("stale pointer", Action::CalloutTerminating(callout));
    stale.raw_context = 0xffff_8000_1234_5678;
    let error = lab.engine().filter_add(session, stale.clone()).unwrap_err();
    assert!(error.to_string().contains("CALLOUT_NOTIFICATION_FAILED"), "{error}");
    stale.raw_context = FilterContext::ABSORB.to_raw();
    lab.engine().filter_add(session, stale).unwrap();
    unload(&lab);
}

#[test]
fn without_the_driver_a_filter_fails_open_or_closed_as_it_says() {
    for (flags, decision) in
        [(FilterFlags::empty(), Decision::Block), (FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED, Decision::Permit)]
    {
        let lab = lab_with_driver();
        let session = session(&lab);
        let callout = add_callout_object(&lab, session, connect_callout(Role::Block));
        let mut outlives = filter("outlives the driver", Action::CalloutTerminating(callout));
        outlives.flags = flags;
        lab.engine().filter_add(session, outlives).unwrap();
        unload(&lab);
        assert_eq!(connect(&mut lab.traffic(), "192.0.2.7:443").decision, decision);
    }
}
