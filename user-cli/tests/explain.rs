//! `postern explain`: the lab's own verdicts, real machines' filters, captures, and what it writes.
#![cfg(not(windows))]

#[allow(dead_code)]
mod common;

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::lab::{Lab, Ran};
use postern_cli::explain::{self, Change, Decision, Explanation, Question, Subject};
use postern_cli::filter::protocol::Protocol;
use postern_engine::objects::{
    Action, Condition, ConditionValue, DisplayData, Filter, FilterFlags, MatchType, Session, Sublayer, Weight,
};
use postern_engine::{Engine, Objects, Restored, guids, layers};
use proptest::prelude::*;
use uuid::Uuid;

fn question(subject: Subject, protocol: u8, local: SocketAddr, remote: SocketAddr) -> Question {
    Question {
        subject,
        protocol: Protocol(protocol),
        local,
        remote,
        app: None,
        user: Vec::new(),
        package: None,
        interface: Default::default(),
        profile: 1,
        filters: Vec::new(),
        state: "a test".into(),
        time: None,
    }
}

fn objects(engine: &Engine) -> Objects {
    let view = engine.view(None);
    Objects {
        providers: view.providers().cloned().collect(),
        sublayers: view.sublayers().cloned().collect(),
        callouts: view.callouts().collect(),
        filters: view.filters().cloned().collect(),
        ..Objects::default()
    }
}

fn restored(engine: &Engine) -> Restored {
    Engine::restore(objects(engine)).unwrap()
}

const LAYERS: [Uuid; 6] = [
    layers::key::ALE_RESOURCE_ASSIGNMENT_V4,
    layers::key::ALE_AUTH_CONNECT_V4,
    layers::key::ALE_AUTH_LISTEN_V4,
    layers::key::ALE_AUTH_RECV_ACCEPT_V4,
    layers::key::OUTBOUND_TRANSPORT_V4,
    layers::key::INBOUND_IPPACKET_V4,
];
const SUBLAYERS: u16 = 3;

/// A filter without identity: layer, sublayer, weight, whether it permits, whether hard, and conditions on ports and address.
type Shape = (usize, u16, u8, bool, bool, Option<bool>, Option<bool>);

fn shape() -> impl Strategy<Value = Shape> {
    let condition = || prop_oneof![3 => Just(None), 2 => Just(Some(true)), 1 => Just(Some(false))];
    (0..LAYERS.len(), 0..=SUBLAYERS, 0u8..4, any::<bool>(), any::<bool>(), condition(), condition())
}

fn sublayer(number: u16) -> Sublayer {
    Sublayer {
        key: Uuid::from_u128(0x5b00 + u128::from(number)),
        display: DisplayData::named(format!("sublayer {number}")),
        persistent: false,
        provider: None,
        data: Vec::new(),
        weight: 1000 * (number + 1),
    }
}

/// The connection of every case here goes to or comes from there.
const REMOTE: [u8; 4] = [203, 0, 113, 9];

fn filter(number: usize, shape: &Shape) -> Filter {
    let (layer, in_sublayer, weight, permits, hard, address, protocol) = *shape;
    let mut conditions = Vec::new();
    let layer = LAYERS[layer];
    let fields = layers::by_key(&layer).unwrap();
    let mut condition = |field: Uuid, value: ConditionValue| {
        if fields.field_index(&field).is_some() {
            conditions.push(Condition { field, match_type: MatchType::Equal, value });
        }
    };
    if let Some(matches) = address {
        let last = if matches { REMOTE[3] } else { 1 };
        let address = u32::from_be_bytes([REMOTE[0], REMOTE[1], REMOTE[2], last]);
        condition(guids::condition::IP_REMOTE_ADDRESS, ConditionValue::Uint32(address));
    }
    if let Some(matches) = protocol {
        condition(guids::condition::IP_PROTOCOL, ConditionValue::Uint8(if matches { 6 } else { 132 }));
    }
    Filter {
        sublayer: if in_sublayer == SUBLAYERS { Uuid::nil() } else { sublayer(in_sublayer).key },
        weight: Weight::Range(weight),
        flags: if hard { FilterFlags::CLEAR_ACTION_RIGHT } else { FilterFlags::empty() },
        conditions,
        ..Filter::new(format!("filter {number}"), layer, if permits { Action::Permit } else { Action::Block })
    }
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_verdict_is_the_labs_own(
        shapes in prop::collection::vec(shape(), 0..24),
        inbound in any::<bool>(),
        protocol in prop_oneof![Just(6u8), Just(17), Just(1)],
    ) {
        let lab = postern_lab::Lab::start(postern_lab::Config::default());
        let session = lab.engine().session_open(Session::new("a test", 1, "me")).unwrap();
        for number in 0..SUBLAYERS {
            lab.engine().sublayer_add(session, sublayer(number)).unwrap();
        }
        for (number, shape) in shapes.iter().enumerate() {
            lab.engine().filter_add(session, filter(number, shape)).unwrap();
        }
        let restored = lab.engine().read(restored).unwrap();
        let (local_port, remote_port) = if protocol == 1 { (8, 0) } else { (50000, 443) };
        let local = SocketAddr::from(([192, 168, 0, 2], local_port));
        let remote = SocketAddr::from((REMOTE, remote_port));
        let connection = postern_lab::Connection { protocol, local, remote, app: None };
        let mut traffic = lab.traffic();
        let outcome = if inbound { traffic.accept(&connection) } else { traffic.connect(&connection) };
        let subject = if inbound { Subject::Accept } else { Subject::Connect };
        let explanation = explain::explain(&restored, &question(subject, protocol, local, remote));
        let verdict = &explanation.verdict;
        prop_assert_eq!(verdict.decision, Decision::from(outcome.decision));
        prop_assert_eq!(verdict.filter.as_ref().map(|filter| filter.id), outcome.filter_id);
        if outcome.filter_id.is_some() {
            let layer = layers::by_id(outcome.layer).unwrap().name;
            prop_assert_eq!(verdict.layer.as_deref(), Some(layer));
        }
    }

    /// What is said to change a layer's decision does, done to the engine.
    #[test]
    fn what_would_change_it_does(shapes in prop::collection::vec(shape(), 1..16)) {
        let mut engine = Engine::new();
        let session = engine.session_open(Session::new("a test", 1, "me")).unwrap();
        for number in 0..SUBLAYERS {
            engine.sublayer_add(session, sublayer(number)).unwrap();
        }
        for (number, shape) in shapes.iter().enumerate() {
            engine.filter_add(session, filter(number, shape), &mut ()).unwrap();
        }
        let before = objects(&engine);
        let ask = |objects: Objects| {
            let restored = Engine::restore(objects).unwrap();
            let local = SocketAddr::from(([192, 168, 0, 2], 50000));
            explain::explain(&restored, &question(Subject::Connect, 6, local, SocketAddr::from((REMOTE, 443))))
        };
        let explanation = ask(before.clone());
        for (name, decision, change) in changes(&explanation) {
            let mut after = before.clone();
            if !make(&mut after, &name, &change) {
                continue;
            }
            let now = ask(after);
            let stop = now.stages.iter().flat_map(|stage| &stage.stops).find(|stop| stop.layer == name).unwrap();
            prop_assert_ne!(stop.decision, decision, "{}: {}", name, change.text());
        }
    }
}

/// Each layer that is passed, its decision, and what is said to change that.
fn changes(explanation: &Explanation) -> Vec<(String, Decision, Change)> {
    let stops = explanation.stages.iter().flat_map(|stage| &stage.stops);
    let of = |stop: &explain::Stop| {
        let stop = stop.clone();
        stop.changes.into_iter().map(move |change| (stop.layer.clone(), stop.decision, change))
    };
    stops.flat_map(of).collect()
}

/// Does what is said; false if it says that nothing can be done.
fn make(objects: &mut Objects, layer: &str, change: &Change) -> bool {
    let layer = layers::by_name(layer).unwrap().key;
    let action = |decision| if decision == Decision::Permit { Action::Permit } else { Action::Block };
    let flags = |hard| if hard { FilterFlags::CLEAR_ACTION_RIGHT } else { FilterFlags::empty() };
    let added = |action, flags, sublayer, effective_weight| Filter {
        key: Uuid::from_u128(0xadded),
        id: 0xadded,
        flags,
        sublayer,
        effective_weight,
        weight: Weight::Exact(effective_weight),
        ..Filter::new("added", layer, action)
    };
    match change {
        Change::Remove { filters, .. } => {
            objects.filters.retain(|filter| !filters.iter().any(|gone| gone.id == filter.id));
            true
        }
        Change::AddInSublayer { above_weight: None, .. } => false,
        Change::AddInSublayer { action: decision, hard, sublayer, above_weight: Some(weight), .. } => {
            let weight = u64::from_str_radix(weight.trim_start_matches("0x"), 16).unwrap() + 1;
            objects.filters.push(added(action(*decision), flags(*hard), *sublayer, weight));
            true
        }
        Change::AddInOtherSublayer { above_weight: Some(u16::MAX), .. } => false,
        Change::AddInOtherSublayer { action: decision, hard, above_weight, .. } => {
            let taken: Vec<u16> = objects.sublayers.iter().map(|sublayer| sublayer.weight).collect();
            let weight =
                (above_weight.map_or(0, |weight| weight + 1)..).find(|weight| !taken.contains(weight)).unwrap();
            let sublayer = Sublayer { key: Uuid::from_u128(0xadd5), weight, ..sublayer(0) };
            objects.filters.push(added(action(*decision), flags(*hard), sublayer.key, 0));
            objects.sublayers.push(sublayer);
            true
        }
    }
}

/// A real dump of the tests' data, unpacked.
fn dump(name: &str) -> (tempfile::TempDir, PathBuf) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/wfp-state").join(name);
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.xml");
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

/// Asks without a lab.
fn ask(file: &Path, arguments: &[&str]) -> serde_json::Value {
    let state = file.to_str().unwrap();
    let lab = Lab::absent();
    let out = lab.ok(&[&["--json", "explain"], arguments, &["--state", state]].concat());
    serde_json::from_str(&out).unwrap()
}

fn stop<'a>(explanation: &'a serde_json::Value, layer: &str) -> &'a serde_json::Value {
    let stages = explanation["stages"].as_array().unwrap().iter();
    stages
        .flat_map(|stage| stage["stops"].as_array().unwrap())
        .find(|stop| stop["layer"] == layer)
        .unwrap_or_else(|| panic!("{layer} is not passed"))
}

/// Windows Firewall's outbound default is to permit; what answers these questions was read in the file by hand.
#[test]
fn a_real_machine_answers_questions_whose_answers_are_known() {
    let (_folder, file) = dump("keploy.wfpstate.xml.gz");
    let web = ["connect", "--protocol", "tcp", "--remote", "1.2.3.4:443"];

    let plain = ask(&file, &web);
    assert_eq!(plain["verdict"]["decision"], "permit");
    assert_eq!(plain["verdict"]["filter"]["id"], 116_027);
    assert_eq!(plain["question"]["time"], "2024-10-22T20:48:53Z");
    let stop_of = stop(&plain, "ALE_AUTH_CONNECT_V4");
    assert_eq!(stop_of["sublayers"][3]["name"], "MPSSVC_WF");
    assert_eq!(stop_of["sublayers"][3]["effect"], "decides");

    // A profile for which there is no default of its own: the filter without conditions is left.
    let other = ask(&file, &[&web[..], &["--profile", "9"]].concat());
    assert_eq!(other["verdict"]["filter"]["id"], 116_031);

    // "UWP Default Outbound Block Rule": a package without a capability may not connect.
    let packaged = ask(&file, &[&web[..], &["--package", "S-1-15-2-1", "--filter", "116042"]].concat());
    assert_eq!(packaged["verdict"]["decision"], "block");
    assert_eq!(packaged["verdict"]["filter"]["id"], 116_042);
    assert!(packaged["asked"][0]["text"].as_str().unwrap().starts_with("matches: blocks, hard: decides"));

    // "Block outbound traffic from deviceenroller.exe", a service hardening rule, and its TCP exception above it.
    let app = r"\device\harddiskvolume3\windows\system32\deviceenroller.exe";
    let tcp = ask(&file, &[&web[..], &["--app", app]].concat());
    assert_eq!(tcp["verdict"]["decision"], "permit");
    let udp = ask(&file, &["connect", "--protocol", "udp", "--remote", "1.2.3.4:443", "--app", app]);
    assert_eq!(udp["verdict"]["decision"], "block");
    assert_eq!(stop(&udp, "ALE_AUTH_CONNECT_V4")["sublayers"][2]["name"], "MPSSVC_WSH");

    // "Query User": the firewall's inbound default is to block, but not what comes from the machine itself.
    let inbound = ["accept", "--protocol", "tcp", "--remote", "203.0.113.9:50000", "--local", "192.168.1.2:80"];
    assert_eq!(ask(&file, &inbound)["verdict"]["filter"]["id"], 116_013);
    let loopback = ["accept", "--protocol", "tcp", "--remote", "127.0.0.1:50000", "--local", "127.0.0.1:80"];
    assert_eq!(ask(&file, &loopback)["verdict"]["decision"], "permit");

    // "Wireless Display Infrastructure Back Channel": a rule lets it in, and the interface is out of quarantine.
    let castsrv = r"\device\harddiskvolume3\windows\system32\castsrv.exe";
    let display =
        ["accept", "--protocol", "tcp", "--remote", "192.168.1.9:50000", "--local", "192.168.1.2:7250", "--app"];
    let let_in = ask(&file, &[&display[..], &[castsrv]].concat());
    let at = stop(&let_in, "ALE_AUTH_RECV_ACCEPT_V4");
    assert!(at["outcomes"].to_string().contains("116093") || at["filter"]["id"] == 116_093, "{at}");
    // The same on an interface that is still in quarantine.
    let new = ask(&file, &[&display[..], &[castsrv, "--interface", "epoch=1"]].concat());
    assert_eq!(new["verdict"]["filter"]["id"], 113_581);
}

/// A list of filters tells neither sublayers nor callouts: both are said to be taken for granted.
#[test]
fn what_a_file_leaves_open_is_said() {
    let (_folder, file) = dump("le_voile-a.filters.xml.gz");
    let web = ask(&file, &["connect", "--protocol", "tcp", "--remote", "1.2.3.4:443"]);
    assert_eq!(web["verdict"]["decision"], "depends");
    let connect = stop(&web, "ALE_AUTH_CONNECT_V4");
    let decisions: Vec<_> = connect["outcomes"].as_array().unwrap().iter().map(|of| &of["decision"]).collect();
    assert!(decisions.contains(&&"permit".into()) && decisions.contains(&&"block".into()), "{decisions:?}");
    assert_eq!(connect["depends"], true, "a callout is asked before");
    let notes = web["notes"].to_string();
    assert!(notes.contains("taken to have the weight") && notes.contains("taken for registered"), "{notes}");
}

#[test]
fn a_damaged_file_and_wrong_questions_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.xml");
    std::fs::write(&file, "<wfpstate><sessions>").unwrap();
    let lab = Lab::absent();
    let refused = |arguments: &[&str]| -> Ran {
        let ran = lab.run(&[&["explain"], arguments].concat());
        assert_ne!(ran.code, 0, "{ran:?}");
        ran
    };
    let web = ["connect", "--protocol", "tcp", "--remote", "1.2.3.4:443"];
    let cut = refused(&[&web[..], &["--state", file.to_str().unwrap()]].concat());
    assert!(cut.err.contains("cut.xml") && cut.err.contains("line 1"), "{cut:?}");
    assert_eq!(refused(&web).code, 3, "no lab runs");
    for (arguments, expected) in [
        (&["connect", "--protocol", "tcp", "--remote", "1.2.3.4"][..], "needs a remote port"),
        (&["listen", "--protocol", "udp", "--local", "0.0.0.0:53"], "tcp only"),
        (&["bind", "--protocol", "icmp", "--local", "0.0.0.0"], "tcp and udp"),
        (&["connect", "--protocol", "tcp", "--remote", "1.2.3.4:1", "--local", "::1"], "different IP versions"),
        (&["connect", "--protocol", "tcp", "--remote", "1.2.3.4:1", "--user", "me"], "is no SID"),
        (&["connect", "--protocol", "tcp", "--remote", "1.2.3.4:1", "--interface", "eth0"], "is no interface"),
    ] {
        let ran = refused(arguments);
        assert!(ran.code == 2 && ran.err.contains(expected), "{arguments:?}: {ran:?}");
    }
}

/// A lab with filters, asked by its commands.
#[test]
fn a_lab_is_asked_as_it_is() {
    let lab = Lab::started();
    let add = |arguments: &[&str]| {
        let out = lab.ok(&[&["--json", "filter", "add"], arguments].concat());
        serde_json::from_str::<serde_json::Value>(&out).unwrap()["filters"][0]["id"].as_u64().unwrap()
    };
    let block = add(&["--layer", "connect", "--action", "block", "--remote", "192.0.2.7", "--name", "<b>no</b>"]);
    let permit = add(&["--layer", "connect", "--action", "permit", "--remote", "192.0.2.0/24"]);
    let web = ["--protocol", "tcp", "--remote", "192.0.2.7:443"];
    let text = lab.ok(&[&["explain", "connect"], &web[..]].concat());
    assert!(text.contains(&format!("\nblocked at ALE_AUTH_CONNECT_V4 by filter {block} (<b>no</b>)\n")), "{text}");
    assert!(text.contains(&format!("is not reached: filter {block} has spoken")), "{text}");
    assert!(text.contains(&format!("then it is permitted by filter {permit}")), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours where there is no terminal: {text}");
    let tried = lab.run(&[&["connect"], &web[..]].concat());
    assert!(tried.code == 4 && tried.out.contains(&format!("by filter {block}")), "{tried:?}");
}

#[test]
fn a_packet_of_a_capture_is_told_with_what_its_flow_began_with() {
    let lab = Lab::started();
    lab.ok(&["filter", "add", "--layer", "connect", "--action", "block", "--protocol", "tcp", "--remote-port", "23"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("capture.pcap");
    let frames = common::capture::frames();
    std::fs::write(&file, common::capture::pcap(&frames)).unwrap();
    let capture = file.to_str().unwrap();
    let ask = |number: usize| {
        let number = number.to_string();
        let out = lab.ok(&["--json", "explain", "packet", "--capture", capture, "--number", &number]);
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    // The first frame is ARP; then a client's SYN, SYN-ACK, ACK and request.
    let request = ask(5);
    let titles: Vec<&str> =
        request["stages"].as_array().unwrap().iter().map(|stage| stage["title"].as_str().unwrap()).collect();
    assert_eq!(
        titles,
        ["packet 2: SYN, outbound; what is authorised here holds for the flow", "packet 5: data, outbound"]
    );
    let layers = |stage: usize| -> Vec<String> {
        let stops = request["stages"][stage]["stops"].as_array().unwrap();
        stops.iter().map(|stop| stop["layer"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(layers(1), ["STREAM_V4", "OUTBOUND_TRANSPORT_V4", "OUTBOUND_IPPACKET_V4"]);
    assert_eq!(request["verdict"]["decision"], "permit");
    // A SYN that nobody answers is sent twice: the second one was blocked with the first.
    let lost = frames.len() - 3;
    let second = ask(lost);
    assert_eq!(second["verdict"]["decision"], "block", "{second}");
    assert_eq!(second["question"]["packet"], lost);
    let ran = lab.run(&["explain", "packet", "--capture", capture, "--number", "1"]);
    assert!(ran.code == 1 && ran.err.contains("packet 1 of") && ran.err.contains("not IP"), "{ran:?}");
    let ran = lab.run(&["explain", "packet", "--capture", capture, "--number", "999"]);
    assert!(ran.err.contains(&format!("it has {}", frames.len())), "{ran:?}");
}

/// Names come from machines: whatever they are, the page shows them as text.
#[test]
fn a_page_shows_names_as_they_are_and_runs_nothing() {
    let mut engine = Engine::new();
    let session = engine.session_open(Session::new("a test", 1, "me")).unwrap();
    let evil = "</title><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}";
    let blocks = Filter::new(evil, layers::key::ALE_AUTH_CONNECT_V4, Action::Block);
    engine.filter_add(session, blocks, &mut ()).unwrap();
    let (local, remote) = (SocketAddr::from(([192, 168, 0, 2], 50000)), SocketAddr::from((REMOTE, 443)));
    let question =
        Question { app: Some(evil.into()), state: evil.into(), ..question(Subject::Connect, 6, local, remote) };
    let page = explain::page::page(&explain::explain(&restored(&engine), &question)).unwrap();
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "{page}");
    for outside in ["http:", "https:", "src=", "url(", "@import", "<link"] {
        assert!(!page.replace("&#60;img src=x", "").contains(outside), "the page asks for something: {outside}");
    }
}
