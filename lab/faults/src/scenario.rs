//! One run of a driver from load to unload, in a lab of its own.
//!
//! Traffic and requests come from one thread, and each step is followed by a wait until nothing more happens on its own. So a driver
//! makes the same calls in the same order each time.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use postern_core::receipt;
use postern_engine::layers;
use postern_engine::objects::{
    Action, Callout, Condition, ConditionValue, DisplayData, Filter, FilterFlags, MatchType, Session, Weight,
};
use postern_lab::{
    Call, Config, Connection, Direction, Fault, File, Lab, LoadError, Packet, PendingIo, Traffic, Violation,
};
use postern_protocol::FilterContext;
use postern_protocol::callout::{Callout as Callee, Layer, Role};
use postern_protocol::ioctl::{self, AnswerRequest, ApplicationRequest, HeldEntry, ListHeader, ListRequest};
use postern_protocol::ioctl::{WatchHeader, WatchRequest};
use uuid::Uuid;
use zerocopy::{FromBytes, IntoBytes};

/// A driver image and the name of its service.
#[derive(Clone)]
pub struct Subject {
    pub service: String,
    pub image: Arc<[u8]>,
}

/// A call of a function that can fail, and the step of the scenario in which it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub step: &'static str,
    pub call: Call,
}

/// What became of a run.
#[derive(Default)]
pub struct Outcome {
    /// Why the driver could not be loaded, the first time.
    pub refused: Option<LoadError>,
    pub calls: Vec<Recorded>,
    /// Stays of the driver: loads that came as far as its own code, whether or not they succeeded.
    pub stays: usize,
    /// Receipts with every account settled.
    pub receipts: usize,
    /// What could not be tried with this driver.
    pub skipped: Vec<String>,
    /// What went wrong, a line each.
    pub problems: Vec<String>,
    pub violations: Vec<Violation>,
    /// What the driver printed.
    pub log: Vec<String>,
}

/// How long a run may take, in which nothing fails to end.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the scenario, with a fault or without one. A run that has not ended after `patience` is given up.
pub fn run(subject: &Subject, fault: Option<Fault>, patience: Duration) -> Outcome {
    // How long the lab's threads may take to leave once it has stopped.
    const FAREWELL: Duration = Duration::from_secs(2);
    let lab = Lab::start(Config { processors: 8, ..Config::default() });
    let (sender, receiver) = mpsc::channel();
    let (subject, inside) = (subject.clone(), lab.clone());
    let thread = std::thread::spawn(move || {
        let mut run = Run { lab: inside, subject, outcome: Outcome::default() };
        run.play(fault);
        // The other end is gone only if this run was given up.
        let _ = sender.send(run.outcome);
    });
    let mut outcome = match receiver.recv_timeout(patience) {
        Ok(outcome) => outcome,
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Outcome { problems: vec!["the scenario panicked".into()], ..Outcome::default() }
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            lab.give_up();
            let problem = format!("it hangs: given up after {} s", patience.as_secs());
            let mut outcome = receiver.recv_timeout(FAREWELL).unwrap_or_default();
            outcome.problems.insert(0, problem);
            outcome
        }
    };
    if thread.is_finished() {
        // What it panicked with has been printed.
        let _ = thread.join();
    }
    outcome.violations = lab.violations();
    outcome.log = lab.debug_log();
    let complete = |line: &&String| !line.starts_with("ETW: ") && line.ends_with(receipt::COMPLETE);
    outcome.receipts = outcome.log.iter().filter(complete).count();
    outcome
}

struct Run {
    lab: Lab,
    subject: Subject,
    outcome: Outcome,
}

/// Name of every object that the scenario adds to the filter engine.
const NAME: &str = "scenario";

/// Ports of remote hosts, by what the scenario's filters do with them.
const BLOCKED: u16 = 1000;
const HELD: u16 = 7000;
const REJECTED: u16 = 2000;
const OTHER: u16 = 443;

/// Longer than an operation is held if its filter does not say for how long.
const TOO_LONG: Duration = Duration::from_secs(60);

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Objects of the filter engine: their kind and key.
type Objects = HashSet<(&'static str, Uuid)>;

impl Run {
    fn play(&mut self, fault: Option<Fault>) {
        let before = self.objects();
        self.lab.pause_threads(true);
        self.lab.record_calls();
        self.add_filters();
        let faulty = fault.is_some();
        if let Some(fault) = fault {
            self.lab.inject_fault(fault);
        }
        let loaded = self.load();
        self.settle("load");
        match loaded {
            Ok(()) => self.stay(),
            Err(error) if !faulty || self.lab.faults_left() != 0 => {
                self.outcome.refused = Some(error);
                return;
            }
            // What made it fail is over, and must have left no trace.
            Err(_) => match self.load() {
                Ok(()) => self.unload(),
                Err(error) => self.problem(format!("it does not load after a load that failed: {error}")),
            },
        }
        self.look_behind(&before);
        if self.lab.faults_left() != 0 {
            self.problem("the call was not made this time, so nothing was tried".into());
        }
    }

    fn problem(&mut self, problem: String) {
        self.outcome.problems.push(problem);
    }

    /// Waits until all is quiet, and notes which calls were made.
    fn settle(&mut self, step: &'static str) {
        const AT_MOST: Duration = Duration::from_secs(5);
        // First what the system does for the driver, then what the driver's threads do.
        let mut settled = self.lab.settle(AT_MOST);
        self.lab.pause_threads(false);
        settled &= self.lab.settle(AT_MOST);
        self.lab.pause_threads(true);
        if !settled && !self.lab.stopped() {
            self.problem(format!("it is still busy after {} s: {step}", AT_MOST.as_secs()));
        }
        let calls = self.lab.take_calls();
        self.outcome.calls.extend(calls.into_iter().map(|call| Recorded { step, call }));
    }

    fn load(&mut self) -> Result<(), LoadError> {
        let loaded = self.lab.load(&self.subject.service, &self.subject.image);
        // One that prints nothing was not entered: the framework was not bound to it.
        let entered = match &loaded {
            Ok(_) => true,
            Err(LoadError::DriverEntry { report, .. }) => !report.log.is_empty(),
            Err(_) => false,
        };
        self.outcome.stays += usize::from(entered);
        loaded.map(drop)
    }

    fn unload(&mut self) {
        if let Err(error) = self.lab.unload(&self.subject.service) {
            self.problem(format!("it does not unload: {error}"));
        }
        self.settle("unload");
    }

    /// From the load on, to the unload and beyond.
    fn stay(&mut self) {
        let mut ending = self.lab.traffic();
        self.make_flows(&mut ending, 20_000);
        self.settle("flows begin");
        self.requests();
        self.watch();
        drop(ending);
        self.settle("flows end");

        let mut traffic = self.lab.traffic();
        self.hold(&mut traffic, 30_000);
        self.settle("operations are held");
        self.answer();
        for (connection, direction) in held_connections(30_000) {
            send(&mut traffic, &connection, direction, ACK);
        }
        self.settle("held flows go on");
        self.hold(&mut traffic, 30_100);
        self.settle("operations are held for too long");
        self.lab.pass_time(TOO_LONG);
        self.settle("operations run out of time");
        for port in 30_200..30_203 {
            for ipv6 in [false, true] {
                begin(&mut traffic, &connection(TCP, ipv6, port, REJECTED), Direction::Inbound);
            }
        }
        self.settle("connections are rejected");

        self.set_bfe_running(false);
        self.settle("BFE stops");
        self.make_flows(&mut traffic, 31_000);
        self.settle("flows without filters");
        self.set_bfe_running(true);
        self.settle("BFE starts");
        self.add_filters();
        self.settle("filters are added again");
        self.make_flows(&mut traffic, 40_000);
        self.settle("more flows begin");
        self.hold(&mut traffic, 45_000);
        self.settle("more operations are held");

        // Flows are alive and operations wait.
        self.unload();
        // Whoever is called now is called too late.
        self.make_flows(&mut traffic, 40_000);
        drop(traffic);
        self.settle("traffic without the driver");
    }

    fn set_bfe_running(&mut self, running: bool) {
        let lab = self.lab.clone();
        lab.set_bfe_running_slowly(running, || self.settle("BFE is about to start or stop"));
    }

    /// Flows of either protocol, IP version and direction, each with a packet of data either way; some are reset; and connections that
    /// are blocked.
    fn make_flows(&self, traffic: &mut Traffic, first_port: u16) {
        let mut port = first_port;
        for protocol in [TCP, UDP] {
            for ipv6 in [false, true] {
                for direction in [Direction::Outbound, Direction::Inbound] {
                    port += 1;
                    let connection = connection(protocol, ipv6, port, OTHER);
                    begin(traffic, &connection, direction);
                    for direction in [Direction::Outbound, Direction::Inbound] {
                        send(traffic, &connection, direction, ACK);
                    }
                }
                begin(traffic, &connection(protocol, ipv6, port, BLOCKED), Direction::Outbound);
            }
        }
        send(traffic, &connection(TCP, false, first_port + 1, OTHER), Direction::Inbound, RESET);
    }

    /// Connections that the hold callouts put off.
    fn hold(&self, traffic: &mut Traffic, first_port: u16) {
        for (connection, direction) in held_connections(first_port) {
            begin(traffic, &connection, direction);
        }
    }

    /// Permits half of the operations, blocks the others, and answers for one that does not exist.
    fn answer(&mut self) {
        let Some(device) = self.open() else { return };
        let held = control(&device, ioctl::LIST_HELD, list_request().as_bytes()).unwrap_or_default();
        let entries = ListHeader::read_from_prefix(&held).map_or(&[][..], |(_, entries)| entries);
        let operations = entries
            .chunks_exact(size_of::<HeldEntry>())
            .filter_map(|entry| HeldEntry::read_from_bytes(entry).ok())
            .map(|entry| entry.operation);
        for (number, operation) in operations.chain([u64::MAX]).enumerate() {
            // They come in pairs, one in each direction.
            let verdict = if (number / 2).is_multiple_of(2) { ioctl::Verdict::Permit } else { ioctl::Verdict::Block };
            let request = AnswerRequest { protocol: postern_protocol::VERSION, verdict: verdict as u32, operation };
            control(&device, ioctl::ANSWER, request.as_bytes());
            self.settle("an operation is answered");
        }
    }

    /// The requests that are answered at once, one of each, and one that no driver knows.
    fn requests(&mut self) {
        let Some(device) = self.open() else { return };
        control(&device, ioctl::GET_VERSION, &[]);
        for list in [ioctl::LIST_CALLOUTS, ioctl::GET_STATISTICS, ioctl::LIST_FLOWS, ioctl::LIST_HELD] {
            control(&device, list, list_request().as_bytes());
        }
        let application = ApplicationRequest { protocol: postern_protocol::VERSION, application: 1 };
        control(&device, ioctl::GET_APPLICATION, application.as_bytes());
        control(&device, ioctl::GET_VERSION + (100 << 2), &[]);
        drop(device);
        self.settle("requests");
    }

    /// Requests that wait for events: one is answered, one cancelled, and of one the handle is closed.
    fn watch(&mut self) {
        let Some(device) = self.open() else { return };
        let park =
            |next: u64| device.begin_device_io_control(ioctl::WATCH, watch_request(next).as_bytes(), OUTPUT).ok();
        let next = next_of(control(&device, ioctl::WATCH, watch_request(ioctl::WATCH_FROM_NOW).as_bytes()));
        let parked = park(next);
        self.settle("a request waits");
        let mut traffic = self.lab.traffic();
        begin(&mut traffic, &connection(TCP, false, 19_000, OTHER), Direction::Outbound);
        drop(traffic);
        self.settle("events");
        // The thread that answers has run once, after all of it: nothing is left to tell.
        let next = next_of(parked.and_then(end));
        let (cancelled, closed) = (park(next), park(next));
        self.settle("more requests wait");
        drop(cancelled);
        self.settle("a request is cancelled");
        drop(device);
        self.settle("the handle is closed");
        drop(closed);
        self.settle("watching has ended");
    }

    /// Opens the device of the Postern driver; other drivers have none of that name.
    fn open(&mut self) -> Option<File> {
        let device = self.lab.open(postern_protocol::DEVICE_PATH);
        if device.is_err() {
            let note = format!("requests: there is no {}", postern_protocol::DEVICE_PATH);
            if !self.outcome.skipped.contains(&note) {
                self.outcome.skipped.push(note);
            }
        }
        device.ok()
    }

    /// Looks for what the driver has left: the lab reports what the image still holds, and here is what the filter engine does.
    fn look_behind(&mut self, before: &Objects) {
        for driver in self.lab.drivers() {
            self.problem(format!("{} is still loaded", driver.service));
        }
        for (kind, key) in self.objects().difference(before) {
            self.problem(format!("a {kind} is left in the filter engine: {key}"));
        }
        let sessions = self.lab.engine().read(|engine| engine.sessions().filter(|(_, one)| one.kernel_mode).count());
        if sessions != Ok(0) {
            self.problem("a session of the filter engine is left".into());
        }
    }

    /// What is in the filter engine, the scenario's own objects excepted.
    fn objects(&self) -> Objects {
        let objects = self.lab.engine().read(|engine| {
            let view = engine.view(None);
            let mut objects: Objects = HashSet::new();
            objects.extend(view.providers().map(|provider| ("provider", provider.key)));
            objects.extend(view.sublayers().map(|sublayer| ("sublayer", sublayer.key)));
            objects.extend(view.callouts().filter(|one| one.display.name != NAME).map(|one| ("callout", one.key)));
            objects.extend(view.filters().filter(|one| one.display.name != NAME).map(|one| ("filter", one.key)));
            objects
        });
        objects.unwrap_or_default()
    }

    /// Filters that lead to the callouts that are there for users.
    fn add_filters(&mut self) {
        if let Err(error) = self.try_to_add_filters() {
            self.outcome.skipped.push(format!("filters: {error}"));
        }
    }

    fn try_to_add_filters(&self) -> Result<(), postern_lab::EngineError> {
        let engine = self.lab.engine();
        let session = engine.session_open(Session {
            key: Uuid::nil(),
            display: display(),
            dynamic: false,
            transaction_wait_timeout_ms: 0,
            process_id: std::process::id(),
            user: String::new(),
            kernel_mode: false,
        })?;
        for (role, port) in
            [(Role::Inspect, None), (Role::Block, Some(BLOCKED)), (Role::Permit, Some(OTHER)), (Role::Hold, Some(HELD))]
        {
            // What is blocked or held later than at its authorisation is another flow's packet.
            for layer in role.layers().iter().take(if port.is_some() { 4 } else { usize::MAX }) {
                // What nobody answers goes on, so that a packet is injected then too.
                let context = if role == Role::Hold { FilterContext::OTHERWISE_PERMIT } else { FilterContext::empty() };
                engine.callout_add(session, callout_object(Callee { role, layer: *layer }))?;
                engine.filter_add(session, filter(Callee { role, layer: *layer }, port, context))?;
            }
        }
        for layer in [Layer::AleAuthRecvAcceptV4, Layer::AleAuthRecvAcceptV6] {
            let callee = Callee { role: Role::Block, layer };
            engine.filter_add(session, filter(callee, Some(REJECTED), FilterContext::REJECT))?;
        }
        engine.session_close(session)
    }
}

fn display() -> DisplayData {
    DisplayData { name: NAME.into(), description: String::new() }
}

fn callout_object(Callee { role, layer }: Callee) -> Callout {
    Callout {
        key: Uuid::from_u128(Callee { role, layer }.key()),
        display: display(),
        persistent: false,
        uses_provider_context: false,
        provider: None,
        data: Vec::new(),
        layer: Uuid::from_u128(layer.key()),
        id: 0,
        registered: false,
        registration_flags: 0,
    }
}

fn filter(callee: Callee, remote_port: Option<u16>, context: FilterContext) -> Filter {
    let Callee { role, layer } = callee;
    let callout = Uuid::from_u128(callee.key());
    let fields = layers::by_id(layer.id()).map_or(&[][..], |layer| layer.fields);
    let conditions =
        fields.iter().find(|field| field.name == "IP_REMOTE_PORT").zip(remote_port).map(|(field, port)| Condition {
            field: field.key,
            match_type: MatchType::Equal,
            value: ConditionValue::Uint16(port),
        });
    Filter {
        key: Uuid::nil(),
        display: display(),
        // "FWPM_FILTER0 structure": for terminating callouts.
        flags: match role {
            Role::Monitor | Role::Inspect => FilterFlags::empty(),
            Role::Block | Role::Permit | Role::Hold => FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED,
        },
        provider: None,
        data: Vec::new(),
        layer: Uuid::from_u128(layer.key()),
        sublayer: Uuid::nil(),
        weight: Weight::Auto,
        conditions: conditions.into_iter().collect(),
        action: match role {
            Role::Monitor | Role::Inspect => Action::CalloutInspection(callout),
            Role::Block | Role::Permit | Role::Hold => Action::CalloutTerminating(callout),
        },
        raw_context: context.to_raw(),
        id: 0,
        effective_weight: 0,
    }
}

const ACK: u8 = 0x10;
const RESET: u8 = 0x04;

fn connection(protocol: u8, ipv6: bool, local_port: u16, remote_port: u16) -> Connection<'static> {
    let (local, remote): (IpAddr, IpAddr) = if ipv6 {
        (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
    } else {
        (Ipv4Addr::new(192, 168, 0, 2).into(), Ipv4Addr::new(192, 0, 2, 1).into())
    };
    Connection {
        protocol,
        local: SocketAddr::new(local, local_port),
        remote: SocketAddr::new(remote, remote_port),
        app: Some(r"\device\harddiskvolume3\windows\system32\curl.exe"),
    }
}

/// One of either protocol, IP version and direction.
fn held_connections(first_port: u16) -> impl Iterator<Item = (Connection<'static>, Direction)> {
    (0..8).map(move |number: u16| {
        let protocol = if number & 4 == 0 { TCP } else { UDP };
        let direction = if number & 1 == 0 { Direction::Outbound } else { Direction::Inbound };
        (connection(protocol, number & 2 != 0, first_port + number, HELD), direction)
    })
}

fn begin(traffic: &mut Traffic, connection: &Connection<'_>, direction: Direction) {
    match direction {
        Direction::Outbound => traffic.connect(connection),
        Direction::Inbound => traffic.accept(connection),
    };
}

fn send(traffic: &mut Traffic, connection: &Connection<'_>, direction: Direction, tcp_flags: u8) {
    traffic.packet(&Packet {
        direction,
        protocol: connection.protocol,
        local: connection.local,
        remote: connection.remote,
        tcp_flags,
        icmp_id: 0,
        fragment: None,
        bytes: &[0; 80],
        payload: &[0; 40],
    });
}

/// Room for an answer to any request.
const OUTPUT: usize = 4096;

fn control(device: &File, code: u32, input: &[u8]) -> Option<Vec<u8>> {
    end(device.begin_device_io_control(code, input, OUTPUT).ok()?)
}

/// Waits for the end of a request that is due; one that does not come is cancelled.
fn end(request: PendingIo) -> Option<Vec<u8>> {
    const AT_MOST: Duration = Duration::from_millis(500);
    request.wait_for(AT_MOST).ok()?.ok()
}

/// Where a watch goes on after an answer.
fn next_of(answer: Option<Vec<u8>>) -> u64 {
    let answer = answer.unwrap_or_default();
    WatchHeader::read_from_prefix(&answer).map_or(ioctl::WATCH_FROM_NOW, |(header, _)| header.next)
}

fn list_request() -> ListRequest {
    ListRequest { protocol: postern_protocol::VERSION, first: 0 }
}

fn watch_request(from: u64) -> WatchRequest {
    WatchRequest { protocol: postern_protocol::VERSION, reserved: 0, from }
}
