//! What the callouts answer, seen from the traffic and from the statistics.

use postern_engine::objects::{Action, FilterFlags, Weight};
use postern_lab::Decision;
use postern_protocol::FilterContext;
use postern_protocol::callout::Role;

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
    let sublayer = postern_engine::objects::Sublayer {
        key: uuid::Uuid::from_u128(77),
        display: postern_engine::objects::DisplayData { name: "above".into(), description: String::new() },
        persistent: false,
        provider: None,
        data: Vec::new(),
        weight: 0xF800,
    };
    lab.engine().sublayer_add(session, sublayer).unwrap();
    let mut hard_permit = filter("hard permit", Action::Permit);
    hard_permit.sublayer = uuid::Uuid::from_u128(77);
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
