//! A lab with the driver in it, and traffic.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use postern_engine::objects::{Action, Callout, DisplayData, Filter, FilterFlags, Session, Sublayer};
use postern_engine::{SessionId, layers};
use postern_lab::{Config, Connection, Direction, Lab, Outcome, Packet, Traffic};
use postern_protocol::callout::{self, Role};
use uuid::Uuid;

pub use crate::IMAGE;

pub const SERVICE: &str = postern_protocol::SERVICE_NAME;

pub fn lab() -> Lab {
    Lab::start(Config::default())
}

/// A lab with the driver in it.
pub fn lab_with_driver() -> Lab {
    let lab = lab();
    load(&lab);
    lab
}

pub fn load(lab: &Lab) {
    lab.load(SERVICE, IMAGE).unwrap_or_else(|error| panic!("{error}\n{}", lab.debug_log().join("\n")));
}

/// Unloads the driver, and asserts that it left cleanly and gave a full receipt.
pub fn unload(lab: &Lab) {
    unload_with_late_callouts(lab, 0);
}

/// As [`unload`], where the driver's last look finds that many callouts that it took to be unregistered.
pub fn unload_with_late_callouts(lab: &Lab, late: usize) {
    let report = lab.unload(SERVICE).unwrap_or_else(|error| panic!("{error}\n{}", lab.debug_log().join("\n")));
    let log = report.log.join("\n");
    assert_eq!(receipts_in(&report.log), 1, "no full receipt:\n{log}");
    assert_eq!(late_callouts_in(&report.log), late, "callouts left to the last look:\n{log}");
    assert_clean(lab);
}

/// Callouts that the driver's last look had to unregister.
pub fn late_callouts(lab: &Lab) -> usize {
    late_callouts_in(&lab.debug_log())
}

fn late_callouts_in(log: &[String]) -> usize {
    let late = "was still there after all were unregistered: STATUS_SUCCESS";
    log.iter().filter(|line| line.ends_with(late)).count()
}

/// Full receipts in the log, of which the lab keeps the end.
pub fn receipts(lab: &Lab) -> usize {
    receipts_in(&lab.debug_log())
}

fn receipts_in(log: &[String]) -> usize {
    let complete = format!("postern: {}", postern_core::receipt::COMPLETE);
    log.iter().filter(|line| **line == complete).count()
}

/// The line of the receipt for `what`, its two numbers only.
pub fn receipt(lab: &Lab, what: &str) -> (u64, u64) {
    let log = lab.debug_log();
    let line = log.iter().rfind(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what} in {log:#?}"));
    let mut numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Asserts that nobody broke a contract, and that nothing of the driver is left in the engine.
pub fn assert_clean(lab: &Lab) {
    let violations = lab.violations();
    assert!(violations.is_empty(), "{violations:#?}\n{}", lab.debug_log().join("\n"));
    lab.engine()
        .read(|engine| {
            let view = engine.view(None);
            assert!(view.filters().all(|filter| filter.provider != Some(driver_provider())), "a filter is left");
            assert!(view.callouts().all(|callout| callout.provider != Some(driver_provider())), "a callout is left");
            assert!(view.providers().all(|provider| provider.key != driver_provider()), "the provider is left");
            assert!(engine.sessions().all(|(_, session)| !session.kernel_mode), "a session is left");
        })
        .unwrap_or_default();
}

pub fn driver_provider() -> Uuid {
    Uuid::from_u128(postern_protocol::DRIVER_PROVIDER)
}

pub fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn connect(traffic: &mut Traffic, remote: &str) -> Outcome {
    let local = if remote.starts_with('[') { "[fd00::2]:50000" } else { "192.168.0.2:50000" };
    traffic.connect(&Connection { protocol: 6, local: address(local), remote: address(remote), app: None })
}

/// `STATUS_FWP_CALLOUT_NOT_FOUND`
pub const CALLOUT_NOT_FOUND: u32 = 0xC022_0001;
/// `STATUS_NOT_SUPPORTED`
pub const NOT_SUPPORTED: u32 = 0xC000_00BB;

/// What `FwpsCalloutUnregisterById0` may answer: what is documented, what is reported, and what nobody expects. `STATUS_PENDING` and
/// `STATUS_OBJECT_NAME_EXISTS` are successes to `NT_SUCCESS`.
pub const STATUSES: [u32; 10] = [
    0x8000_0011, // STATUS_DEVICE_BUSY
    0xC022_000A, // STATUS_FWP_IN_USE
    CALLOUT_NOT_FOUND,
    NOT_SUPPORTED,
    0x0000_0103, // STATUS_PENDING
    0x4000_0000, // STATUS_OBJECT_NAME_EXISTS
    0xC000_0001, // STATUS_UNSUCCESSFUL
    0xC000_009A, // STATUS_INSUFFICIENT_RESOURCES
    0xC002_0017, // RPC_NT_SERVER_UNAVAILABLE
    0xC000_000D, // STATUS_INVALID_PARAMETER
];

/// Clears all faults when it is dropped.
pub struct ClearFaults<'a>(pub &'a Lab);

impl Drop for ClearFaults<'_> {
    fn drop(&mut self) {
        self.0.clear_faults();
    }
}

/// Waits for something to become true.
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed().as_secs() < 20, "waited in vain");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// How many filters of the driver's own there are.
pub fn own_filters(lab: &Lab) -> usize {
    lab.engine()
        .read(|engine| engine.view(None).filters().filter(|filter| filter.provider == Some(driver_provider())).count())
        .unwrap_or_default()
}

/// Makes connections and packets, of both IP versions and in both directions, until told to stop.
fn make_traffic(lab: &Lab, flows: &Barrier, stop: &AtomicBool) {
    let mut traffic = lab.traffic();
    let mut begun = false;
    let mut port = 1024u16;
    while !stop.load(Ordering::Relaxed) {
        port = port.checked_add(1).unwrap_or(1024);
        for (local, remote) in [("192.168.0.2", "192.0.2.1"), ("fd00::2", "2001:db8::1")] {
            let local = SocketAddr::new(local.parse().unwrap(), port);
            let remote = SocketAddr::new(remote.parse().unwrap(), 443);
            for direction in [Direction::Outbound, Direction::Inbound, Direction::Outbound] {
                traffic.packet(&Packet {
                    direction,
                    protocol: 17,
                    local,
                    remote,
                    tcp_flags: 0,
                    icmp_id: 0,
                    fragment: None,
                    bytes: &[0; 48],
                    payload: &[0; 20],
                });
            }
        }
        if !std::mem::replace(&mut begun, true) {
            flows.wait();
        }
    }
}

/// Adds filters that lead all traffic to callouts of the driver, whether it is there or not: they outlive it.
fn add_filters_for_all_traffic(lab: &Lab) {
    let session = session(lab);
    for layer in Role::Permit.layers() {
        let callout = add_callout_object(lab, session, callout::Callout { role: Role::Permit, layer: *layer });
        let mut leads = filter("leads to the driver", Action::CalloutTerminating(callout));
        leads.layer = Uuid::from_u128(layer.key());
        leads.flags = FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED;
        lab.engine().filter_add(session, leads).unwrap();
    }
}

/// Sets a flag when it is dropped: threads end, however a test does.
pub struct Set<'a>(pub &'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `body` while four threads make traffic, all of which is led to the driver.
pub fn under_traffic<T>(lab: &Lab, body: impl FnOnce() -> T) -> T {
    const THREADS: usize = 4;
    add_filters_for_all_traffic(lab);
    let stop = AtomicBool::new(false);
    let flows = Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| make_traffic(lab, &flows, &stop));
        }
        let _stopping = Set(&stop);
        flows.wait();
        body()
    })
}

/// A session of a program, as the CLI opens one.
pub fn session(lab: &Lab) -> SessionId {
    lab.engine().session_open(Session::new("test", 4711, "test")).unwrap()
}

/// Adds the callout object of one of the driver's callouts, as the CLI does for the first filter that names it.
pub fn add_callout_object(lab: &Lab, session: SessionId, callout: callout::Callout) -> Uuid {
    add_callout_object_at(lab, session, callout, Uuid::from_u128(callout.layer.key()))
}

/// As [`add_callout_object`], for filters at any layer.
pub fn add_callout_object_at(lab: &Lab, session: SessionId, callout: callout::Callout, layer: Uuid) -> Uuid {
    let key = Uuid::from_u128(callout.key());
    lab.engine().callout_add(session, Callout::new(key, "test callout", layer)).unwrap();
    key
}

/// Adds a sublayer whose filters are asked before those of the default sublayer.
pub fn add_sublayer_above(lab: &Lab, session: SessionId) -> Uuid {
    let sublayer = Sublayer {
        key: Uuid::from_u128(77),
        display: DisplayData::named("above"),
        persistent: false,
        provider: None,
        data: Vec::new(),
        weight: 0xF800,
    };
    let key = sublayer.key;
    lab.engine().sublayer_add(session, sublayer).unwrap();
    key
}

/// A filter without conditions at ALE_AUTH_CONNECT_V4.
pub fn filter(name: &str, action: Action) -> Filter {
    Filter::new(name, layers::by_name("ALE_AUTH_CONNECT_V4").unwrap().key, action)
}

/// The callout of `role` at ALE_AUTH_CONNECT_V4.
pub fn connect_callout(role: Role) -> callout::Callout {
    callout::Callout { role, layer: callout::Layer::AleAuthConnectV4 }
}
