//! Operations that the hold callouts put off, and what becomes of them.

use std::sync::atomic::{AtomicBool, Ordering};

use postern_engine::objects::{Action, FilterFlags};
use postern_lab::{Connection, Decision, Direction, Lab, Outcome, Packet, Traffic};
use postern_protocol::FilterContext;
use postern_protocol::callout::{Callout, Layer, Role};
use postern_protocol::ioctl::{self, AnswerRequest, HeldEntry, ListHeader, ListRequest, Verdict};
use uuid::Uuid;
use zerocopy::{FromBytes, IntoBytes};

use crate::requests::statistics;
use crate::support::*;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Leads everything at `layer` to its hold callout. Returns the filter's id.
fn hold_at(lab: &Lab, layer: Layer, context: FilterContext) -> u64 {
    let session = session(lab);
    let callout = add_callout_object(lab, session, Callout { role: Role::Hold, layer });
    let mut hold = filter("hold", Action::CalloutTerminating(callout));
    hold.layer = Uuid::from_u128(layer.key());
    hold.raw_context = context.to_raw();
    lab.engine().filter_add(session, hold).unwrap()
}

fn connection(protocol: u8, layer: Layer) -> Connection<'static> {
    let (local, remote) = match layer as u8 % 2 {
        0 => ("192.168.0.2:50000", "192.0.2.7:443"),
        _ => ("[fd00::2]:50000", "[2001:db8::7]:443"),
    };
    Connection { protocol, local: address(local), remote: address(remote), app: None }
}

fn is_accept(layer: Layer) -> bool {
    matches!(layer, Layer::AleAuthRecvAcceptV4 | Layer::AleAuthRecvAcceptV6)
}

fn begin(traffic: &mut Traffic, connection: &Connection<'_>, layer: Layer) -> Outcome {
    if is_accept(layer) { traffic.accept(connection) } else { traffic.connect(connection) }
}

/// The next packet of the flow, without data.
fn next(traffic: &mut Traffic, connection: &Connection<'_>, layer: Layer) -> Outcome {
    traffic.packet(&Packet {
        direction: if is_accept(layer) { Direction::Inbound } else { Direction::Outbound },
        protocol: connection.protocol,
        local: connection.local,
        remote: connection.remote,
        tcp_flags: 0x10,
        icmp_id: 0,
        fragment: None,
        bytes: &[],
        payload: &[],
    })
}

fn held(lab: &Lab) -> Vec<HeldEntry> {
    let device = lab.open(postern_protocol::DEVICE_PATH).unwrap();
    let request = ListRequest { protocol: postern_protocol::VERSION, first: 0 };
    let answer = device.device_io_control(ioctl::LIST_HELD, request.as_bytes(), 65_536).unwrap();
    let (header, entries) = ListHeader::read_from_prefix(&answer).unwrap();
    let entries = entries.chunks_exact(header.entry_size as usize);
    let entries: Vec<_> = entries.map(|entry| HeldEntry::read_from_bytes(entry).unwrap()).collect();
    assert_eq!(entries.len(), header.count as usize);
    entries
}

fn answer(lab: &Lab, operation: u64, verdict: Verdict) -> Result<(), u32> {
    let device = lab.open(postern_protocol::DEVICE_PATH).unwrap();
    let request = AnswerRequest { protocol: postern_protocol::VERSION, verdict: verdict as u32, operation };
    device.device_io_control(ioctl::ANSWER, request.as_bytes(), 0).map(drop).map_err(|status| status.0 as u32)
}

#[test]
fn an_answer_decides_an_operation_at_every_layer_that_holds() {
    for layer in Role::Hold.layers() {
        for protocol in [TCP, UDP] {
            for (verdict, decision) in [(Verdict::Permit, Decision::Permit), (Verdict::Block, Decision::Block)] {
                // The filter's own verdict is the other one.
                let context = match verdict {
                    Verdict::Permit => FilterContext::empty(),
                    Verdict::Block => FilterContext::OTHERWISE_PERMIT,
                };
                let lab = lab_with_driver();
                let filter = hold_at(&lab, *layer, context);
                let mut traffic = lab.traffic();
                let connection = connection(protocol, *layer);
                let outcome = begin(&mut traffic, &connection, *layer);
                assert_eq!((outcome.decision, outcome.pended), (Decision::Block, true), "{layer:?} {protocol}");
                let [entry] = held(&lab)[..] else { panic!("one operation waits") };
                assert_eq!((entry.filter_id, entry.endpoints.protocol), (filter, protocol));
                assert_eq!(entry.endpoints.remote_port, 443);
                assert!(entry.remaining_ms > 25_000 && entry.remaining_ms <= 30_000, "{}", entry.remaining_ms);

                assert_eq!(answer(&lab, entry.operation, verdict), Ok(()));
                assert_eq!(answer(&lab, entry.operation, verdict), Err(0xC000_0225), "it waits no more");
                assert!(held(&lab).is_empty());
                // A blocked accept is one whose packet never comes: its flow waits for ever.
                if decision == Decision::Permit || !is_accept(*layer) {
                    wait_until(|| !next(&mut traffic, &connection, *layer).pended);
                }
                assert_eq!(next(&mut traffic, &connection, *layer).decision, decision, "{layer:?} {protocol}");
                drop(traffic);
                unload(&lab);
                assert_eq!(receipt(&lab, "operations"), (1, 1));
                let injected = verdict == Verdict::Permit && (is_accept(*layer) || protocol == UDP);
                let injected = u64::from(injected);
                assert_eq!(receipt(&lab, "packets"), (injected, injected), "{layer:?} {protocol}");
            }
        }
    }
}

#[test]
fn an_operation_that_nobody_answers_gets_its_filters_verdict_when_its_time_is_up() {
    for (context, decision) in
        [(FilterContext::empty(), Decision::Block), (FilterContext::OTHERWISE_PERMIT, Decision::Permit)]
    {
        let lab = lab_with_driver();
        let layer = Layer::AleAuthConnectV4;
        hold_at(&lab, layer, context.with_hold_seconds(1));
        let mut traffic = lab.traffic();
        let connection = connection(TCP, layer);
        assert!(begin(&mut traffic, &connection, layer).pended);
        let begun = std::time::Instant::now();
        wait_until(|| !next(&mut traffic, &connection, layer).pended);
        assert!(begun.elapsed().as_millis() > 900, "after {:?}", begun.elapsed());
        assert_eq!(next(&mut traffic, &connection, layer).decision, decision);
        assert!(held(&lab).is_empty());
        drop(traffic);
        unload(&lab);
    }
}

#[test]
fn an_unload_completes_what_waits() {
    for layer in Role::Hold.layers() {
        let lab = lab_with_driver();
        hold_at(&lab, *layer, FilterContext::OTHERWISE_PERMIT.with_hold_seconds(u16::MAX));
        let mut traffic = lab.traffic();
        let operations = 10;
        for port in 0..operations {
            let mut connection = connection(UDP, *layer);
            connection.local.set_port(40_000 + port);
            assert!(begin(&mut traffic, &connection, *layer).pended);
        }
        assert_eq!(held(&lab).len(), operations.into());
        unload(&lab);
        assert_eq!(receipt(&lab, "operations"), (operations.into(), operations.into()));
        assert_eq!(receipt(&lab, "packets"), (0, 0), "a driver that leaves injects nothing");
    }
}

#[test]
fn an_operation_for_which_there_is_no_room_gets_its_filters_verdict() {
    let lab = lab_with_driver();
    let layer = Layer::AleAuthRecvAcceptV4;
    hold_at(&lab, layer, FilterContext::OTHERWISE_PERMIT);
    let mut traffic = lab.traffic();
    let mut pended = 0;
    for port in 0..300 {
        let mut connection = connection(TCP, layer);
        connection.remote.set_port(1024 + port);
        let outcome = begin(&mut traffic, &connection, layer);
        pended += u32::from(outcome.pended);
        assert!(outcome.pended || outcome.decision == Decision::Permit);
    }
    assert_eq!(pended, 256);
    for entry in held(&lab) {
        assert_eq!(answer(&lab, entry.operation, Verdict::Permit), Ok(()));
    }
    let mut connection = connection(TCP, layer);
    connection.remote.set_port(9);
    assert!(begin(&mut traffic, &connection, layer).pended, "there is room again");
    drop(traffic);
    unload(&lab);
}

#[test]
fn what_cannot_be_held_gets_its_filters_verdict() {
    use postern_lab::{Fault, NtStatus, Occurrences};
    for (function, layer) in [
        ("FwpsPendOperation0", Layer::AleAuthConnectV4),
        ("FwpsPendOperation0", Layer::AleAuthRecvAcceptV4),
        ("ExAllocatePool2", Layer::AleAuthRecvAcceptV4),
        ("IoAllocateMdl", Layer::AleAuthRecvAcceptV4),
        ("FwpsAllocateNetBufferAndNetBufferList0", Layer::AleAuthRecvAcceptV4),
        ("NdisRetreatNetBufferDataStart", Layer::AleAuthRecvAcceptV4),
    ] {
        let lab = lab_with_driver();
        hold_at(&lab, layer, FilterContext::OTHERWISE_PERMIT);
        let status = NtStatus(0xC000_009A_u32 as i32);
        lab.inject_fault(Fault { function: function.into(), status, occurrences: Occurrences::Nth(1) });
        let mut traffic = lab.traffic();
        let outcome = begin(&mut traffic, &connection(TCP, layer), layer);
        assert_eq!((outcome.decision, outcome.pended), (Decision::Permit, false), "{function} at {layer:?}");
        assert!(held(&lab).is_empty());
        drop(traffic);
        unload(&lab);
    }
}

#[test]
fn a_datagram_that_cannot_be_copied_is_lost_but_its_operation_is_held() {
    use postern_lab::{Fault, NtStatus, Occurrences};
    let lab = lab_with_driver();
    let layer = Layer::AleAuthConnectV4;
    hold_at(&lab, layer, FilterContext::empty());
    let status = NtStatus(0xC000_009A_u32 as i32);
    lab.inject_fault(Fault { function: "IoAllocateMdl".into(), status, occurrences: Occurrences::Nth(1) });
    let mut traffic = lab.traffic();
    let connection = connection(UDP, layer);
    assert!(begin(&mut traffic, &connection, layer).pended);
    let [entry] = held(&lab)[..] else { panic!("one operation waits") };
    answer(&lab, entry.operation, Verdict::Permit).unwrap();
    wait_until(|| !next(&mut traffic, &connection, layer).pended);
    assert_eq!(next(&mut traffic, &connection, layer).decision, Decision::Permit);
    drop(traffic);
    unload(&lab);
    assert_eq!(receipt(&lab, "packets"), (0, 0));
}

#[test]
fn a_packet_that_cannot_be_injected_is_freed() {
    use postern_lab::{Fault, NtStatus, Occurrences};
    for (function, layer) in [
        ("FwpsInjectTransportReceiveAsync0", Layer::AleAuthRecvAcceptV6),
        ("FwpsInjectTransportSendAsync1", Layer::AleAuthConnectV6),
    ] {
        let lab = lab_with_driver();
        hold_at(&lab, layer, FilterContext::empty());
        let mut traffic = lab.traffic();
        assert!(begin(&mut traffic, &connection(UDP, layer), layer).pended);
        // STATUS_FWP_TCPIP_NOT_READY
        let status = NtStatus(0xC022_0100_u32 as i32);
        lab.inject_fault(Fault { function: function.into(), status, occurrences: Occurrences::Nth(1) });
        let [entry] = held(&lab)[..] else { panic!("one operation waits") };
        answer(&lab, entry.operation, Verdict::Permit).unwrap();
        drop(traffic);
        unload(&lab);
        assert_eq!(receipt(&lab, "packets"), (0, 0));
    }
}

#[test]
fn a_datagram_that_was_held_goes_on_with_its_control_data() {
    for layer in [Layer::AleAuthConnectV4, Layer::AleAuthConnectV6] {
        // A WSACMSGHDR with 4 bytes of data: its length, level and type.
        let control: Vec<u8> = [20u64.to_le_bytes(), [0, 0, 0, 0, 19, 0, 0, 0], [1, 2, 3, 4, 0, 0, 0, 0]].concat();
        for control in [&control[..], &[]] {
            let lab = lab_with_driver();
            hold_at(&lab, layer, FilterContext::empty());
            let mut traffic = lab.traffic();
            traffic.set_control_data(control);
            assert!(begin(&mut traffic, &connection(UDP, layer), layer).pended);
            let [entry] = held(&lab)[..] else { panic!("one operation waits") };
            answer(&lab, entry.operation, Verdict::Permit).unwrap();
            assert!(lab.settle(std::time::Duration::from_secs(10)), "it never settles");
            let [sent] = &lab.take_sent()[..] else { panic!("one packet is sent") };
            assert_eq!((sent.bytes.len(), &sent.control[..]), (8, control), "{layer:?}");
            drop(traffic);
            unload(&lab);
        }
    }
}

#[test]
fn a_second_packet_of_an_operation_that_waits_takes_no_place() {
    let lab = lab_with_driver();
    let layer = Layer::AleAuthConnectV4;
    hold_at(&lab, layer, FilterContext::OTHERWISE_PERMIT);
    // Two sources of traffic do not know of each other's flows.
    let (mut first, mut second) = (lab.traffic(), lab.traffic());
    let connection = connection(UDP, layer);
    assert!(begin(&mut first, &connection, layer).pended);
    let outcome = begin(&mut second, &connection, layer);
    assert_eq!((outcome.decision, outcome.pended), (Decision::Block, false));
    assert_eq!(held(&lab).len(), 1);
    drop((first, second));
    unload(&lab);
}

/// Ends the other threads of a test when it ends, however it does.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_unload_may_come_while_operations_begin_and_expire() {
    let lab = lab_with_driver();
    for layer in Role::Hold.layers() {
        hold_at(&lab, *layer, FilterContext::OTHERWISE_PERMIT.with_hold_seconds(1));
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (lab, stop) = (&lab, &stop);
            scope.spawn(move || {
                let mut traffic = lab.traffic();
                for port in (1024..=u16::MAX).cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    for layer in Role::Hold.layers() {
                        let mut connection = connection(UDP, *layer);
                        connection.local.set_port(port);
                        connection.remote.set_port(thread);
                        begin(&mut traffic, &connection, *layer);
                    }
                }
            });
        }
        let _stopping = Stop(&stop);
        for milliseconds in [200, 1000, 1010] {
            // However slow the machine is, until every place is taken.
            wait_until(|| held(&lab).len() == 256);
            std::thread::sleep(std::time::Duration::from_millis(milliseconds));
            unload(&lab);
            let (pended, completed) = receipt(&lab, "operations");
            assert_eq!(pended, completed);
            assert!(pended >= 256, "{pended}");
            load(&lab);
        }
    });
    unload(&lab);
}

#[test]
fn a_hold_without_the_right_to_decide_holds_nothing() {
    let lab = lab_with_driver();
    let session = session(&lab);
    let mut hard_permit = filter("hard permit", Action::Permit);
    hard_permit.sublayer = add_sublayer_above(&lab, session);
    hard_permit.flags = FilterFlags::CLEAR_ACTION_RIGHT;
    lab.engine().filter_add(session, hard_permit).unwrap();
    hold_at(&lab, Layer::AleAuthConnectV4, FilterContext::empty());
    let outcome = connect(&mut lab.traffic(), "192.0.2.7:443");
    assert_eq!((outcome.decision, outcome.pended), (Decision::Permit, false));
    assert_eq!(statistics(&lab, connect_callout(Role::Hold)), (0, 1));
    unload(&lab);
}
