//! `cargo xtask bench`: what the driver and the lab cost, in one table.
//!
//! Times vary with the machine and with what else it does, so every figure is a median over rounds in which all candidates take
//! turns, and what counts is a difference or a ratio within one run.

mod filters;

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use fwps::sys::*;
use postern_core::flows::Slot;
use postern_image::{POSTERN_SYS, POSTERN_SYS_PATH};
use postern_lab::{Config, Direction, Lab, Packet};
use postern_protocol::callout::{Callout, Layer, Role};
use postern_protocol::ioctl::{FlowEntry, LIST_FLOWS, ListHeader, ListRequest};
use zerocopy::{FromBytes, IntoBytes};

const ROUNDS: usize = 21;
const CALLS: u32 = 300_000;

fn main() {
    println!("postern.sys: {POSTERN_SYS_PATH}");
    let lab = Lab::start(Config::default());
    lab.load(postern_protocol::SERVICE_NAME, POSTERN_SYS).expect("the driver loads");
    classify(&lab);
    two_threads(&lab);
    flow_accounting(&lab);
    packets(&lab);
    lab.unload(postern_protocol::SERVICE_NAME).expect("the driver unloads");
    load_and_unload(&lab);
    unload_with_flows();
    filters::filters();
    if let Some(cli) = std::env::var_os("POSTERN_CLI") {
        replay(Path::new(&cli));
        explain(Path::new(&cli));
        policies(Path::new(&cli));
    }
    row("image size", &format!("{} bytes", POSTERN_SYS.len()), "goal: below 98304");
}

fn row(what: &str, figure: &str, note: &str) {
    println!("{what:<44} {figure:>20}  {note}");
}

type Classify = unsafe extern "win64" fn(
    *const FWPS_INCOMING_VALUES0,
    *const FWPS_INCOMING_METADATA_VALUES0,
    *mut core::ffi::c_void,
    *const core::ffi::c_void,
    *const FWPS_FILTER3,
    u64,
    *mut FWPS_CLASSIFY_OUT0,
);

/// What every classify is measured against: the same call, and nothing in it.
unsafe extern "win64" fn empty(
    _: *const FWPS_INCOMING_VALUES0,
    _: *const FWPS_INCOMING_METADATA_VALUES0,
    _: *mut core::ffi::c_void,
    _: *const core::ffi::c_void,
    _: *const FWPS_FILTER3,
    _: u64,
    _: *mut FWPS_CLASSIFY_OUT0,
) {
}

/// The classifyFn of a callout of the loaded image.
fn function(lab: &Lab, callout: Callout) -> Classify {
    let key = uuid::Uuid::from_u128(callout.key());
    let address = lab.classify_function(key).expect("the driver has registered its callouts");
    // SAFETY: the driver registered this address as a FWPS_CALLOUT_CLASSIFY_FN3.
    unsafe { core::mem::transmute::<*const (), Classify>(address) }
}

/// Time of one call, in nanoseconds.
fn time(lab: &Lab, function: Classify) -> f64 {
    time_with(lab, function, core::ptr::null_mut(), 0)
}

/// The same, with a packet, and with what the engine keeps of its flow.
fn time_with(lab: &Lab, function: Classify, packet: *mut NET_BUFFER_LIST, flow_context: u64) -> f64 {
    let values = FWPS_INCOMING_VALUES0 { layerId: 48, valueCount: 0, incomingValue: core::ptr::null_mut() };
    // SAFETY: plain data, for which zero is a value.
    let metadata: FWPS_INCOMING_METADATA_VALUES0 = unsafe { core::mem::zeroed() };
    // SAFETY: as above.
    let filter: FWPS_FILTER3 = unsafe { core::mem::zeroed() };
    // SAFETY: as above.
    let mut out: FWPS_CLASSIFY_OUT0 = unsafe { core::mem::zeroed() };
    lab.enter(|| {
        let function = black_box(function);
        let begun = Instant::now();
        for _ in 0..CALLS {
            out.rights = FWPS_RIGHT_ACTION_WRITE;
            let out = &raw mut out;
            // SAFETY: the pointers are valid for the call, as the function's contract has it.
            unsafe { function(&values, &metadata, packet.cast(), core::ptr::null(), &filter, flow_context, out) };
        }
        begun.elapsed().as_nanos() as f64 / f64::from(CALLS)
    })
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn classify(lab: &Lab) {
    let callouts: Vec<Callout> = [Role::Inspect, Role::Block, Role::Permit]
        .into_iter()
        .flat_map(|role| [Layer::AleAuthConnectV4, Layer::AleAuthConnectV6].map(|layer| Callout { role, layer }))
        .collect();
    let mut functions = vec![empty as Classify];
    functions.extend(callouts.iter().map(|callout| function(lab, *callout)));
    let mut times = vec![Vec::new(); functions.len()];
    for _ in 0..ROUNDS {
        for (function, times) in functions.iter().zip(&mut times) {
            times.push(time(lab, *function));
        }
    }
    let nothing = median(times[0].clone());
    row("empty extern \"win64\" function", &format!("{nothing:.1} ns"), "");
    for (callout, times) in callouts.iter().zip(&times[1..]) {
        let took = median(times.clone());
        row(
            &format!("classify, {} {}", callout.role.name(), callout.layer.name()),
            &format!("{took:.1} ns"),
            &format!("{:+.1} ns over the empty call; goal for inspect: at most +15", took - nothing),
        );
    }
}

/// Two threads on two processors, each beside itself alone.
fn two_threads(lab: &Lab) {
    let inspect = function(lab, Callout { role: Role::Inspect, layer: Layer::AleAuthConnectV4 });
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(time(lab, inspect));
        let barrier = Barrier::new(2);
        let pair = std::thread::scope(|scope| {
            let threads = [(); 2].map(|()| {
                scope.spawn(|| {
                    barrier.wait();
                    time(lab, inspect)
                })
            });
            threads.map(|thread| thread.join().expect("a thread"))
        });
        together.push(pair[0].max(pair[1]));
    }
    row(
        "classify on two threads, speed of each",
        &format!("{:.2} of one alone", median(alone) / median(together)),
        "goal: at least 0.90",
    );
}

/// The same classify, once with a packet of no flow that is counted, and once of one.
fn flow_accounting(lab: &Lab) {
    let mut traffic = lab.traffic();
    traffic.packet(&datagram("192.0.2.1:443".parse().expect("an address")));
    // The first flow since the driver was loaded: generation 0, at place 0 (`postern_core::flows`).
    const TICKET: u64 = 1;
    let monitor = function(lab, Callout { role: Role::Monitor, layer: Layer::OutboundTransportV4 });
    // SAFETY: plain data, for which zero is a value.
    let mut buffer: NET_BUFFER = unsafe { core::mem::zeroed() };
    buffer.DataLength = 1460;
    // SAFETY: as above.
    let mut list: NET_BUFFER_LIST = unsafe { core::mem::zeroed() };
    list.FirstNetBuffer = &raw mut buffer;
    let before = counted(lab);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(time_with(lab, monitor, &raw mut list, 0));
        with.push(time_with(lab, monitor, &raw mut list, TICKET));
    }
    assert_eq!(counted(lab) - before, ROUNDS as u64 * u64::from(CALLS), "the packets were counted in their flow");
    let (without, with) = (median(without), median(with));
    row("classify at OUTBOUND_TRANSPORT_V4, no flow", &format!("{without:.1} ns"), "");
    row(
        "the same, counted in its flow",
        &format!("{with:.1} ns"),
        &format!("{:+.1} ns for the accounting; goal: less than +20", with - without),
    );
}

/// Outbound packets of the first flow that the driver counts.
fn counted(lab: &Lab) -> u64 {
    let device = lab.open(postern_protocol::DEVICE_PATH).expect("the driver's device");
    let request = ListRequest { protocol: postern_protocol::VERSION, first: 0 };
    let room = size_of::<ListHeader>() + size_of::<FlowEntry>();
    let answer = device.device_io_control(LIST_FLOWS, request.as_bytes(), room).expect("an answer");
    let flow = FlowEntry::read_from_bytes(&answer[size_of::<ListHeader>()..]).expect("a flow");
    flow.traffic.packets[1]
}

/// How long the driver takes to leave while flows carry its contexts: three for each.
fn unload_with_flows() {
    let mut first = None;
    for thousands in [250, 500, 1000] {
        let lab = Lab::start(Config::default());
        lab.load(postern_protocol::SERVICE_NAME, POSTERN_SYS).expect("the driver loads");
        let mut traffic = lab.traffic();
        for number in 0..thousands * 1000u32 {
            let host = Ipv4Addr::from_bits(0x0B00_0000 + number / 60_000);
            traffic.packet(&datagram(SocketAddr::from((host, 1024 + (number % 60_000) as u16))));
        }
        let begun = Instant::now();
        lab.unload(postern_protocol::SERVICE_NAME).expect("the driver unloads");
        let took = begun.elapsed();
        let contexts = u64::from(thousands) * 3000;
        let line = format!("postern: receipt: flow contexts: {contexts} associated = {contexts} deleted");
        assert!(lab.debug_log().contains(&line), "every flow had its three contexts, and lost them");
        let each = took.as_secs_f64() * 1e9 / f64::from(thousands * 1000);
        let first = *first.get_or_insert(each);
        row(
            &format!("unload with {thousands} thousand live flows"),
            &format!("{:.0} ms", milliseconds(took)),
            &format!("{each:.0} ns a flow, {:.2} of the first; goal: at most 1000", each / first),
        );
    }
    row("memory of a flow in the driver", &format!("{} bytes", size_of::<Slot>()), "");
}

/// A datagram to `remote`.
fn datagram(remote: SocketAddr) -> Packet<'static> {
    static BYTES: [u8; 128] = [0x45; 128];
    Packet {
        direction: Direction::Outbound,
        protocol: 17,
        local: "192.168.0.2:50000".parse().expect("an address"),
        remote,
        tcp_flags: 0,
        icmp_id: 0,
        fragment: None,
        bytes: &BYTES,
        payload: &BYTES[20..],
    }
}

/// The whole walk of a packet through the layers, with the driver's filters.
fn packets(lab: &Lab) {
    const PACKETS: u32 = 200_000;
    let mut traffic = lab.traffic();
    let packet = datagram("192.0.2.1:443".parse().expect("an address"));
    let figures = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        for _ in 0..PACKETS {
            black_box(traffic.packet(&packet));
        }
        begun.elapsed().as_nanos() as f64 / f64::from(PACKETS)
    });
    let took = median(figures.collect());
    row(
        "one packet through the lab's layers",
        &format!("{took:.0} ns"),
        &format!("{:.2} million a second", 1000.0 / took),
    );
}

fn load_and_unload(lab: &Lab) {
    let (mut loads, mut unloads) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        let begun = Instant::now();
        lab.load(postern_protocol::SERVICE_NAME, POSTERN_SYS).expect("the driver loads");
        loads.push(milliseconds(begun.elapsed()));
        let begun = Instant::now();
        lab.unload(postern_protocol::SERVICE_NAME).expect("the driver unloads");
        unloads.push(milliseconds(begun.elapsed()));
    }
    row("load", &format!("{:.2} ms", median(loads)), "");
    row("unload", &format!("{:.2} ms", median(unloads)), "");
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Runs commands of the CLI in a lab of their own, as a user does.
struct Cli<'a> {
    path: &'a Path,
    folder: std::path::PathBuf,
}

impl Cli<'_> {
    fn start(path: &Path) -> Cli<'_> {
        let folder = std::env::temp_dir().join(format!("postern-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the lab");
        let cli = Cli { path, folder };
        cli.run(&["lab", "start"]);
        cli
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(self.path)
            .args(arguments)
            .arg("--json")
            .env("POSTERN_LAB", self.folder.join("lab.sock"))
            .output()
            .expect("the CLI runs");
        assert!(
            output.status.success(),
            "postern {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    fn stop(self) {
        self.run(&["lab", "stop"]);
        std::fs::remove_dir_all(&self.folder).expect("the lab's folder goes");
    }
}

/// `postern replay`, as a user runs it: from the file to the verdicts.
fn replay(cli: &Path) {
    let cli = Cli::start(cli);
    cli.run(&["driver", "load"]);
    for threads in ["1", "2"] {
        let summary =
            cli.run(&["replay", "tests/data/pcap/afs-udp-frag.pcap", "--repeat", "3000", "--threads", threads]);
        let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
        let rate = summary["packets_per_second"].as_f64().expect("a rate");
        row(
            &format!("replay, {threads} thread(s)"),
            &format!("{:.2} million/s", rate / 1e6),
            "goal: more than 1 million packets a second",
        );
    }
    cli.run(&["driver", "unload"]);
    cli.stop();
}

/// `postern apply` and `plan`, as a user runs them: from the file to the answer.
fn policies(cli: &Path) {
    for rules in [10_000u32, 100_000] {
        let cli = Cli::start(cli);
        let file = cli.folder.join("policy.toml");
        let mut text = String::from("[policy]\nname = \"bench\"\n");
        for number in 0..rules {
            let address = Ipv4Addr::from(0x0a00_0000 + number);
            let port = 1 + number % 60_000;
            text += &format!(
                "[[rule]]\nname = \"rule {number}\"\nlayer = \"connect\"\naction = \"block\"\nprotocol = \"tcp\"\n\
                 remote = \"{address}\"\nremote-port = {port}\n"
            );
        }
        std::fs::write(&file, text).expect("the policy is written");
        let file = file.to_str().expect("text");
        for (what, arguments) in
            [("apply", &["apply", "--yes", file][..]), ("plan again, nothing to do", &["plan", file])]
        {
            let begun = Instant::now();
            cli.run(arguments);
            let each = begun.elapsed().as_secs_f64() * 1e6 / f64::from(rules);
            row(
                &format!("{what}, {rules} rules"),
                &format!("{:.0} ms", milliseconds(begun.elapsed())),
                &format!("{each:.1} us a rule"),
            );
        }
        cli.stop();
    }
}

/// One question to a machine with 100,000 filters: the file is read, an engine is made of it, and the answer is printed.
fn explain(cli: &Path) {
    const FILTERS: u32 = 100_000;
    let file = std::env::temp_dir().join(format!("postern-bench-{}.xml", std::process::id()));
    std::fs::write(&file, dump(FILTERS)).expect("room for a file of filters");
    let mut times: Vec<Duration> = (0..5).map(|_| ask(cli, &file)).collect();
    std::fs::remove_file(&file).expect("the file goes");
    times.sort_unstable();
    let time = times[times.len() / 2];
    row(
        "explain a connection, 100,000 filters",
        &format!("{:.0} ms", time.as_secs_f64() * 1e3),
        "from a file, all that the process does",
    );
}

fn ask(cli: &Path, state: &Path) -> Duration {
    let begun = Instant::now();
    let output = Command::new(cli)
        .args(["explain", "connect", "--protocol", "tcp", "--remote", "10.0.0.7:443", "--json", "--state"])
        .arg(state)
        .output()
        .expect("the CLI runs");
    let time = begun.elapsed();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["verdict"]["decision"], "block", "one filter of the 100,000 is for this address");
    time
}

/// Filters at ALE_AUTH_CONNECT_V4, each for an address and a port, as `netsh wfp show filters` writes them.
fn dump(filters: u32) -> String {
    let mut text =
        String::from("\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<wfpdiag>\n\t<filters>\n");
    for number in 0..filters {
        let address = Ipv4Addr::from_bits(0x0a00_0000 | number);
        let key = uuid::Uuid::from_u128(u128::from(number) + 1);
        let id = 0x1_0001 + number;
        text += &format!(
            "<item><filterKey>{{{key}}}</filterKey><displayData><name>rule {number}</name><description/></displayData><flags/>\
             <providerKey/><providerData/><layerKey>FWPM_LAYER_ALE_AUTH_CONNECT_V4</layerKey>\
             <subLayerKey>FWPM_SUBLAYER_UNIVERSAL</subLayerKey><weight><type>FWP_UINT64</type><uint64>{id}</uint64></weight>\
             <filterCondition numItems=\"2\"><item><fieldKey>FWPM_CONDITION_IP_REMOTE_ADDRESS</fieldKey>\
             <matchType>FWP_MATCH_EQUAL</matchType><conditionValue><type>FWP_UINT32</type><uint32>{address}</uint32></conditionValue>\
             </item><item><fieldKey>FWPM_CONDITION_IP_REMOTE_PORT</fieldKey><matchType>FWP_MATCH_EQUAL</matchType><conditionValue>\
             <type>FWP_UINT16</type><uint16>443</uint16></conditionValue></item></filterCondition><action><type>FWP_ACTION_BLOCK</type>\
             <filterType/></action><rawContext>0</rawContext><reserved/><filterId>{id}</filterId><effectiveWeight>\
             <type>FWP_UINT64</type><uint64>{id}</uint64></effectiveWeight></item>\n"
        );
    }
    text + "\t</filters>\n\t<providers/>\n</wfpdiag>\n"
}
