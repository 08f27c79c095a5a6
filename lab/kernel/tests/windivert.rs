//! A driver that nobody here wrote: WinDivert 2.2 (reqrypt.org, LGPL or GPL), as its authors built it.
//!
//! It is in the Python package `pydivert`: `pip download --no-deps --platform win_amd64 --only-binary=:all: pydivert`, unzip the wheel,
//! and run with `WINDIVERT=path/to/WinDivert64.sys cargo test -p postern-lab --test windivert -- --ignored`.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::time::Duration;

use postern_lab::{Config, Connection, Decision, File, Lab, NtStatus, Outcome};

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
    let path = std::env::var("WINDIVERT").expect("WINDIVERT names WinDivert64.sys; see the head of this file");
    let image = std::fs::read(path).expect("the image can be read");
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

#[test]
#[ignore = "needs WinDivert64.sys; see the head of this file"]
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
#[ignore = "needs WinDivert64.sys; see the head of this file"]
fn windivert_hands_a_packet_to_its_user_and_injects_it_again() {
    let lab = lab();
    let file = open(&lab, 0);
    assert_eq!(connect(&lab).decision, Decision::Block, "the packet is diverted");

    let mut address = [0u8; 80];
    let mut length = 80u32;
    let receive = request(&[
        &(address.as_mut_ptr().addr() as u64).to_le_bytes(),
        &((&raw mut length).addr() as u64).to_le_bytes(),
    ]);
    let packet = direct(&file, RECEIVE, &receive, vec![0; 2000]).expect("a packet is waiting");
    assert_eq!(packet[12..20], [10, 0, 0, 1, 10, 0, 0, 2], "the addresses of the connection");
    assert_eq!(packet[20..24], [0x13, 0x88, 0x01, 0xBB], "and its ports");

    let send = request(&[&(address.as_ptr().addr() as u64).to_le_bytes(), &u64::from(length).to_le_bytes()]);
    direct(&file, SEND, &send, packet).expect("the packet is injected");
    // The injected packet is recognised as WinDivert's own: it is not diverted again.
    let again = file.begin_device_io_control_on(RECEIVE, &receive, vec![0; 2000]).expect("the request is sent");
    let again = again.wait_for(Duration::from_millis(100)).expect_err("no packet is waiting");
    again.cancel();
    drop(again);
    drop(file);
    unload(&lab);
}
