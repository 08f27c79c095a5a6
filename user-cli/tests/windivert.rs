//! A driver that nobody here wrote, WinDivert 2.2 (see `common/windivert.rs`), in the lab.

#[path = "common/windivert.rs"]
mod windivert;

use std::path::Path;
use std::time::Duration;

use postern_cli::capture::Transport;
use postern_cli::replay::{self, Judge, Judgement, Locality, Oriented};
use postern_lab::{Config, Connection, Decision, File, Lab, NtStatus, Outcome, Traffic};

/// `CTL_CODE(FILE_DEVICE_NETWORK, …)`, as in WinDivert's `windivert_device.h`.
const fn control(function: u32, access: u32, method: u32) -> u32 {
    0x12 << 16 | access << 14 | function << 2 | method
}
const IN_DIRECT: u32 = 1;
const OUT_DIRECT: u32 = 2;
const INITIALIZE: u32 = control(0x921, 3, OUT_DIRECT);
const STARTUP: u32 = control(0x922, 3, IN_DIRECT);
const RECEIVE: u32 = control(0x923, 1, OUT_DIRECT);
const SEND: u32 = control(0x924, 3, IN_DIRECT);

const FLAG_DROP: u64 = 2;

fn lab() -> Lab {
    let image = std::fs::read(windivert::image()).expect("the image can be read");
    let lab = Lab::start(Config::default());
    lab.load("WinDivert", &image).expect("the driver loads");
    lab
}

fn request(parts: &[&[u8]]) -> Vec<u8> {
    let mut request = parts.concat();
    request.resize(16, 0);
    request
}

/// What `WinDivertOpen("true", WINDIVERT_LAYER_NETWORK, 0, flags)` does.
fn open(lab: &Lab, flags: u64) -> File {
    let file = lab.open(r"\\.\WinDivert").expect("the device opens");
    let mut version =
        [&0x4C4C_4476_6964_5724_u64.to_le_bytes()[..], &2u32.to_le_bytes(), &2u32.to_le_bytes(), &64u32.to_le_bytes()]
            .concat();
    version.resize(64, 0);
    const LAYER_NETWORK: u32 = 0;
    const PRIORITY_0: u32 = 30_000;
    let initialize = request(&[&LAYER_NETWORK.to_le_bytes(), &PRIORITY_0.to_le_bytes(), &flags.to_le_bytes()]);
    direct(&file, INITIALIZE, &initialize, version).expect("WinDivert takes the version");
    // One test, of field ZERO for equality with 0: accept if so, else reject.
    let mut filter = [&0x7FFE_0000_u32.to_le_bytes()[..], &0x7FFF_u32.to_le_bytes()].concat();
    filter.resize(24, 0);
    // Inbound, outbound, IPv4, IPv6.
    let startup = request(&[&0xF0_u64.to_le_bytes()]);
    direct(&file, STARTUP, &startup, filter).expect("WinDivert takes the filter");
    file
}

fn direct(file: &File, code: u32, input: &[u8], output: Vec<u8>) -> Result<Vec<u8>, NtStatus> {
    file.begin_device_io_control_on(code, input, output)?.wait()
}

fn connect(lab: &Lab) -> Outcome {
    let (local, remote) = ("10.0.0.1:5000".parse().unwrap(), "10.0.0.2:443".parse().unwrap());
    lab.traffic().connect(&Connection { protocol: 6, local, remote, app: None })
}

fn unload(lab: &Lab) {
    let report = lab.unload("WinDivert").expect("the driver unloads");
    assert!(report.leaks.is_empty(), "{:?}", report.leaks);
    // WinDivert leaves `dwOSVersionInfoSize` unset before RtlGetVersion, and nothing else is found.
    let violations = lab.violations();
    assert!(violations.iter().all(|violation| violation.what.contains("RtlGetVersion")), "{violations:?}");
}

/// For what must happen, and for what must not.
const PATIENCE: Duration = Duration::from_secs(20);
const A_WHILE: Duration = Duration::from_millis(100);

/// Waits for a packet, and returns it with its address.
fn receive(file: &File, at_most: Duration) -> Option<(Vec<u8>, [u8; 80])> {
    let mut address = [0u8; 80];
    let mut length = 80u32;
    let request = request(&[
        &(address.as_mut_ptr().addr() as u64).to_le_bytes(),
        &((&raw mut length).addr() as u64).to_le_bytes(),
    ]);
    let pending = file.begin_device_io_control_on(RECEIVE, &request, vec![0; 2000]).expect("the request is sent");
    match pending.wait_for(at_most) {
        Ok(packet) => Some((packet.expect("a packet is received"), address)),
        Err(again) => {
            again.cancel();
            drop(again);
            None
        }
    }
}

fn send(file: &File, (packet, address): (Vec<u8>, [u8; 80])) {
    let request = request(&[&(address.as_ptr().addr() as u64).to_le_bytes(), &80u64.to_le_bytes()]);
    direct(file, SEND, &request, packet).expect("the packet is injected");
}

#[test]
fn windivert_drops_what_its_filter_matches_until_its_handle_is_closed() {
    let lab = lab();
    assert_eq!(connect(&lab).decision, Decision::Permit);
    let file = open(&lab, FLAG_DROP);
    let outcome = connect(&lab);
    assert_eq!((outcome.decision, outcome.layer), (Decision::Block, 4), "at OUTBOUND_IPPACKET_V4");
    drop(file);
    assert_eq!(connect(&lab).decision, Decision::Permit);
    unload(&lab);
}

#[test]
fn windivert_hands_a_packet_to_its_user_and_injects_it_again() {
    let lab = lab();
    let file = open(&lab, 0);
    assert_eq!(connect(&lab).decision, Decision::Block, "the packet is diverted");

    let (packet, address) = receive(&file, PATIENCE).expect("a packet is waiting");
    assert_eq!(packet[12..20], [10, 0, 0, 1, 10, 0, 0, 2], "the addresses of the connection");
    assert_eq!(packet[20..24], [0x13, 0x88, 0x01, 0xBB], "and its ports");

    send(&file, (packet, address));
    // The injected packet is recognised as WinDivert's own: it is not diverted again.
    assert!(receive(&file, A_WHILE).is_none());
    drop(file);
    unload(&lab);
}

/// Puts the packets of a capture before the lab.
struct Player<'a> {
    traffic: Traffic,
    /// Packets seen, and those of them that were diverted.
    seen: &'a std::sync::Mutex<(usize, usize)>,
}

impl Judge for Player<'_> {
    fn judge(&mut self, oriented: &Oriented<'_>) -> Judgement {
        let packet = oriented.packet;
        let (tcp_flags, icmp_id) = match packet.transport {
            Transport::Tcp { flags, .. } => (flags, 0),
            Transport::Icmp { id, .. } => (0, id),
            Transport::Udp { .. } | Transport::None => (0, 0),
        };
        let outcome = self.traffic.packet(&postern_lab::Packet {
            direction: match oriented.direction {
                replay::Direction::Outbound => postern_lab::Direction::Outbound,
                replay::Direction::Inbound => postern_lab::Direction::Inbound,
            },
            protocol: packet.protocol,
            local: oriented.local,
            remote: oriented.remote,
            tcp_flags,
            icmp_id,
            fragment: None,
            bytes: packet.bytes,
            payload: packet.payload,
        });
        let mut seen = self.seen.lock().unwrap();
        seen.0 += 1;
        seen.1 += usize::from(outcome.decision == Decision::Block);
        Judgement {
            layer: outcome.layer,
            filter: outcome.filter_id,
            permitted: outcome.decision == Decision::Permit,
            new_flow: outcome.new_flow,
        }
    }
}

#[test]
fn windivert_diverts_a_replayed_capture_and_injects_it_again() {
    let lab = lab();
    let file = open(&lab, 0);
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/pcap/mixed.pcap");
    let seen = std::sync::Mutex::new((0, 0));
    let locality = Locality::find(&capture).expect("the capture can be read");
    let play = || Player { traffic: lab.traffic(), seen: &seen };
    replay::run(&capture, &locality, 1, 1, false, play, |_| std::ops::ControlFlow::Continue(()))
        .expect("it is replayed");
    let (packets, diverted) = *seen.lock().unwrap();
    assert!(packets > 20 && diverted > 20, "{packets} packets, {diverted} diverted");

    lab.take_sent();
    let receive_one = || receive(&file, PATIENCE).expect("each packet that was diverted reaches the program");
    let received: Vec<_> = (0..diverted).map(|_| receive_one()).collect();
    assert!(receive(&file, A_WHILE).is_none(), "and no other");
    let outbound: Vec<Vec<u8>> =
        received.iter().filter(|(_, address)| is_outbound(address)).map(|(packet, _)| packet.clone()).collect();
    for packet in received {
        send(&file, packet);
    }
    assert!(lab.settle(Duration::from_secs(5)));
    assert_eq!(lab.take_sent().len(), outbound.len(), "and what the host had sent is sent after all");
    drop(file);
    unload(&lab);
}

/// `WINDIVERT_ADDRESS.Outbound`: bit 17 of the word that follows the timestamp.
fn is_outbound(address: &[u8; 80]) -> bool {
    address[10] & 2 != 0
}
