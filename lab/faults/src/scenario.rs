//! One run of a driver from load to unload, in a lab of its own.
//!
//! Traffic and requests come from one thread, and each step is followed by a wait until nothing more happens on its own. So a driver
//! makes the same calls in the same order each time.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use etherparse::PacketBuilder;
use postern_core::receipt;
use postern_engine::layers;
use postern_engine::objects::{Action, Callout, Condition, ConditionValue, Filter, FilterFlags, MatchType, Session};
use postern_lab::{
    Call, Config, Connection, Direction, Fault, File, Lab, LoadError, Occurrences, Packet, Parameter, PendingIo,
    RegisteredCallout, TracedCall, Traffic, Violation,
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
    /// Callouts that the driver registers and leaves it to programs to add, each with the layer to add it at: by key.
    pub callouts: Vec<(Uuid, Uuid)>,
    /// Values of its `Parameters` key.
    pub parameters: Vec<(String, Parameter)>,
    /// What programs ask its first device for, on a handle that stays open until the unload.
    pub requests: Vec<Request>,
}

/// An I/O control request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub code: u32,
    pub input: Vec<u8>,
    /// The output buffer, which the driver may read too.
    pub output: Vec<u8>,
}

/// What happens to the driver beyond the scenario.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    pub fault: Option<Fault>,
    /// Whether every call is recorded.
    pub traced: bool,
    /// Before which call of the unload traffic comes: flows end, others begin, and each has packets.
    pub traffic_at: Option<u64>,
    /// At which call of the unload a classifyFn goes on that has been held since before, about to associate a context with a new flow.
    pub associates_at: Option<u64>,
    /// How long work items that are queued during the unload wait before they begin.
    pub work_delay: Duration,
    /// Whether the base filtering engine runs on. What other drivers have added goes when it stops, and few add it again.
    pub bfe_stays: bool,
    /// Whether a driver is loaded whose imports the lab does not all supply.
    pub imports_anything: bool,
}

impl Trial {
    /// The scenario and a fault.
    pub fn of(fault: Fault) -> Trial {
        Trial { fault: Some(fault), ..Trial::default() }
    }
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
    /// Every call, if they were traced.
    pub trace: Vec<TracedCall>,
    /// What the driver has registered with the filter engine before its unload.
    pub registered: Vec<RegisteredCallout>,
    /// Paths of its devices.
    pub devices: Vec<String>,
    /// What is left in the filter engine: kind, key and name of each object.
    pub remains: Vec<(&'static str, Uuid, String)>,
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

/// With which contexts get to flows.
pub const ASSOCIATE: &str = "FwpsFlowAssociateContext0";

/// How long a run may take, in which nothing fails to end.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the scenario. A run that has not ended after `patience` is given up.
pub fn run(subject: &Subject, trial: &Trial, patience: Duration) -> Outcome {
    // How long the lab's threads may take to leave once it has stopped.
    const FAREWELL: Duration = Duration::from_secs(2);
    let lab = Lab::start(Config { processors: 8, imports_anything: trial.imports_anything, ..Config::default() });
    let (sender, receiver) = mpsc::channel();
    let (subject, trial, inside) = (subject.clone(), trial.clone(), lab.clone());
    let thread = std::thread::spawn(move || {
        let mut run = Run { lab: inside, subject, trial, outcome: Outcome::default() };
        run.play();
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
    outcome.trace = lab.take_trace();
    outcome.violations = lab.violations();
    outcome.log = lab.debug_log();
    let complete = |line: &&String| !line.starts_with("ETW: ") && line.ends_with(receipt::COMPLETE);
    outcome.receipts = outcome.log.iter().filter(complete).count();
    outcome
}

struct Run {
    lab: Lab,
    subject: Subject,
    trial: Trial,
    outcome: Outcome,
}

/// Name of every object that the scenario adds to the filter engine.
pub const NAME: &str = "scenario";

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
    fn play(&mut self) {
        let before = self.objects();
        self.lab.pause_threads(true);
        self.lab.record_calls();
        if self.trial.traced {
            self.lab.trace_calls();
        }
        for (name, value) in &self.subject.parameters {
            self.lab.set_parameter(&self.subject.service, name, value);
        }
        self.add_filters();
        let faulty = self.trial.fault.is_some();
        if let Some(fault) = self.trial.fault.clone() {
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
        // Of calls that fail again and again, those that were not made are no loss.
        let once = self.trial.fault.as_ref().is_some_and(|fault| matches!(fault.occurrences, Occurrences::Nth(_)));
        if once && self.lab.faults_left() != 0 {
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
        self.outcome.registered = self.lab.registered_callouts(&self.subject.service);
        self.outcome.devices = self.lab.device_paths(&self.subject.service);
        if let Err(error) = self.lab.unload(&self.subject.service) {
            self.problem(format!("it does not unload: {error}"));
        }
        self.settle("unload");
    }

    /// From the load on, to the unload and beyond.
    fn stay(&mut self) {
        self.add_what_programs_add();
        let using = self.use_device();
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

        if !self.trial.bfe_stays {
            self.restart_bfe(&mut traffic);
        }
        self.make_flows(&mut traffic, 40_000);
        self.settle("more flows begin");
        self.hold(&mut traffic, 45_000);
        self.settle("more operations are held");

        // Flows are alive and operations wait.
        let ending = self.trial.traffic_at.map(|call| self.bring_traffic_at(call));
        drop(using);
        self.settle("programs close their handles");
        self.remove_what_programs_added();
        self.lab.delay_work(self.trial.work_delay);
        let held = self.trial.associates_at.map(|call| self.associate_at(call));
        self.unload();
        drop(ending);
        drop(held);
        // Whoever is called now is called too late.
        self.make_flows(&mut traffic, 40_000);
        drop(traffic);
        self.settle("traffic without the driver");
    }

    fn restart_bfe(&mut self, traffic: &mut Traffic) {
        self.set_bfe_running(false);
        self.settle("BFE stops");
        self.make_flows(traffic, 31_000);
        self.settle("flows without filters");
        self.set_bfe_running(true);
        self.settle("BFE starts");
        self.add_filters();
        self.settle("filters are added again");
        self.add_what_programs_add();
    }

    fn set_bfe_running(&mut self, running: bool) {
        let lab = self.lab.clone();
        lab.set_bfe_running_slowly(running, || self.settle("BFE is about to start or stop"));
    }

    /// Flows as of [`Run::begin_flows`], one of which is reset.
    fn make_flows(&self, traffic: &mut Traffic, first_port: u16) {
        self.begin_flows(traffic, first_port);
        send(traffic, &connection(TCP, false, first_port + 1, OTHER), Direction::Inbound, RESET);
    }

    /// Flows of either protocol, IP version and direction, each with a packet of data either way; and connections that are blocked.
    fn begin_flows(&self, traffic: &mut Traffic, first_port: u16) {
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
        let Some(device) = self.open() else { return self.requests_to_others() };
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

    /// Other drivers' requests are unknown: each device is opened, asked for what no driver knows, and closed.
    fn requests_to_others(&mut self) {
        for path in self.lab.device_paths(&self.subject.service) {
            if let Ok(device) = self.lab.open(&path) {
                const UNKNOWN: u32 = 0x22 << 16 | 3 << 14 | 0xFFE << 2;
                control(&device, UNKNOWN, &[0; 64]);
            }
            self.settle("a device is opened and closed");
        }
    }

    /// Sends what the subject says that programs ask for. Returns the handle, and the requests that wait.
    fn use_device(&mut self) -> Option<(Vec<PendingIo>, File)> {
        let requests = self.subject.requests.clone();
        let path = self.lab.device_paths(&self.subject.service).into_iter().next().filter(|_| !requests.is_empty())?;
        let device = match self.lab.open(&path) {
            Ok(device) => device,
            Err(status) => {
                self.outcome.skipped.push(format!("requests: {path} cannot be opened: {status}"));
                return None;
            }
        };
        let mut waiting = Vec::new();
        for Request { code, input, output } in requests {
            const AT_MOST: Duration = Duration::from_millis(20);
            let sent = device.begin_device_io_control_on(code, &input, output);
            let answer = match sent.map(|pending| pending.wait_for(AT_MOST)) {
                Ok(Ok(answer)) => answer.map(drop),
                Ok(Err(pending)) => {
                    waiting.push(pending);
                    Ok(())
                }
                Err(status) => Err(status),
            };
            if let Err(status) = answer {
                self.outcome.skipped.push(format!("request {code:#x} is answered with {status}"));
            }
            self.settle("a program sends a request");
        }
        Some((waiting, device))
    }

    /// Has flows end and others begin, on another thread, in the midst of the unload. Returns what that thread ends with.
    fn bring_traffic_at(&self, call: u64) -> impl Drop + use<> {
        /// A driver that has a lock of its own held may keep the traffic waiting; then the unload goes on first.
        const AT_MOST: Duration = Duration::from_millis(200);
        let (begin, begun) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let run = Run {
            lab: self.lab.clone(),
            subject: self.subject.clone(),
            trial: Trial::default(),
            outcome: Outcome::default(),
        };
        let thread = std::thread::spawn(move || {
            let mut ending = run.lab.traffic();
            run.make_flows(&mut ending, 50_000);
            let _ = ready.send(());
            let mut traffic = run.lab.traffic();
            if begun.recv().is_ok() {
                drop(ending);
                run.make_flows(&mut traffic, 55_000);
                run.hold(&mut traffic, 60_000);
                let _ = done.send(());
                // They stay open until the unload is over.
                let _ = begun.recv();
            }
        });
        let _ = is_ready.recv();
        let tell = begin.clone();
        self.lab.at_unload_call(call, move || {
            let _ = tell.send(());
            let _ = is_done.recv_timeout(AT_MOST);
        });
        Ending { begin: Some(begin), thread: Some(thread) }
    }

    /// Holds a classifyFn that is about to associate a context with a flow, on another thread, until the unload has come to a call.
    /// Returns what that thread ends with.
    fn associate_at(&self, call: u64) -> impl Drop + use<> {
        /// A driver that waits for its classifyFn comes to no other call of its unload; then this goes on first.
        const AT_MOST: Duration = Duration::from_millis(200);
        let (begin, begun) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        let (waits, is_waiting) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel();
        self.lab.at_classify_call(ASSOCIATE, move || {
            let _ = waits.send(());
            let _ = goes_on.recv_timeout(AT_MOST);
        });
        let run = Run {
            lab: self.lab.clone(),
            subject: self.subject.clone(),
            trial: Trial::default(),
            outcome: Outcome::default(),
        };
        let thread = std::thread::spawn(move || {
            let mut traffic = run.lab.traffic();
            run.begin_flows(&mut traffic, 55_000);
            let _ = done.send(());
            // They stay open until the unload is over.
            let _ = begun.recv();
        });
        // A driver that associates no context with these flows makes no such call.
        let _ = is_waiting.recv_timeout(AT_MOST);
        self.lab.at_unload_call(call, move || {
            let _ = go_on.send(());
            let _ = is_done.recv_timeout(AT_MOST);
        });
        Ending { begin: Some(begin), thread: Some(thread) }
    }

    /// Adds what drivers leave to programs: callout objects that the subject names, and filters to callouts that have none.
    fn add_what_programs_add(&mut self) {
        if let Err(error) = self.try_to_add_what_programs_add() {
            self.outcome.skipped.push(format!("callouts that programs add: {error}"));
        }
        self.settle("programs add filters");
    }

    fn try_to_add_what_programs_add(&self) -> Result<(), postern_lab::EngineError> {
        let engine = self.lab.engine();
        let session = engine.session_open(session())?;
        for (key, layer) in &self.subject.callouts {
            engine.callout_add(session, Callout::new(*key, "added for the driver", *layer))?;
        }
        let without: Vec<(Uuid, Uuid)> = engine.read(|engine| {
            let view = engine.view(None);
            view.callouts()
                .filter(|one| one.registered && one.display.name != NAME)
                .filter(|one| !view.filters().any(|filter| filter.action.callout() == Some(one.key)))
                .map(|one| (one.key, one.layer))
                .collect()
        })?;
        for (key, layer) in without {
            // A dynamic object of the driver's own session takes no filter of another one.
            let _ = engine.filter_add(session, Filter { action: Action::CalloutUnknown(key), ..plain_filter(layer) });
        }
        engine.session_close(session)
    }

    /// As programs do that stop the driver they use.
    fn remove_what_programs_added(&self) {
        let engine = self.lab.engine();
        let Ok(session) = engine.session_open(session()) else { return };
        let added = engine.read(|engine| {
            let unknown = |filter: &&Filter| matches!(filter.action, Action::CalloutUnknown(_));
            let filters = engine.view(None).filters().filter(|filter| filter.display.name == NAME);
            filters.filter(unknown).map(|filter| filter.id).collect::<Vec<u64>>()
        });
        for id in added.unwrap_or_default() {
            let _ = engine.filter_delete(session, id);
        }
        let _ = engine.session_close(session);
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
            self.outcome.remains.push((*kind, *key, self.name_of(kind, key)));
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
            let added = |key: &Uuid| self.subject.callouts.iter().any(|(added, _)| added == key);
            let callouts = view.callouts().filter(|one| one.display.name != NAME && !added(&one.key));
            objects.extend(callouts.map(|one| ("callout", one.key)));
            objects.extend(view.filters().filter(|one| one.display.name != NAME).map(|one| ("filter", one.key)));
            objects
        });
        objects.unwrap_or_default()
    }

    fn name_of(&self, kind: &str, key: &Uuid) -> String {
        let name = self.lab.engine().read(|engine| {
            let view = engine.view(None);
            let display = match kind {
                "provider" => view.provider(key).map(|one| one.display.clone()),
                "sublayer" => view.sublayer(key).map(|one| one.display.clone()),
                "callout" => view.callout(key).map(|one| one.display),
                _ => view.filter_by_key(key).map(|one| one.display.clone()),
            };
            display.map(|display| display.name)
        });
        name.ok().flatten().unwrap_or_default()
    }

    /// Filters that lead to the callouts that are there for users.
    fn add_filters(&mut self) {
        if let Err(error) = self.try_to_add_filters() {
            self.outcome.skipped.push(format!("filters: {error}"));
        }
    }

    fn try_to_add_filters(&self) -> Result<(), postern_lab::EngineError> {
        let engine = self.lab.engine();
        let session = engine.session_open(session())?;
        for (role, port) in
            [(Role::Inspect, None), (Role::Block, Some(BLOCKED)), (Role::Permit, Some(OTHER)), (Role::Hold, Some(HELD))]
        {
            // What is blocked or held later than at its authorisation is another flow's packet.
            for layer in role.layers().iter().take(if port.is_some() { 4 } else { usize::MAX }) {
                // What nobody answers goes on, so that a packet is injected then too.
                let context = if role == Role::Hold { FilterContext::OTHERWISE_PERMIT } else { FilterContext::empty() };
                let callee = Callee { role, layer: *layer };
                let key = Uuid::from_u128(callee.key());
                engine.callout_add(session, Callout::new(key, NAME, Uuid::from_u128(layer.key())))?;
                engine.filter_add(session, filter(callee, port, context))?;
            }
        }
        for layer in [Layer::AleAuthRecvAcceptV4, Layer::AleAuthRecvAcceptV6] {
            let callee = Callee { role: Role::Block, layer };
            engine.filter_add(session, filter(callee, Some(REJECTED), FilterContext::REJECT))?;
        }
        engine.session_close(session)
    }
}

fn session() -> Session {
    Session::new(NAME, std::process::id(), "")
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
        // "FWPM_FILTER0 structure": for terminating callouts.
        flags: match role {
            Role::Monitor | Role::Inspect => FilterFlags::empty(),
            Role::Block | Role::Permit | Role::Hold => FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED,
        },
        conditions: conditions.into_iter().collect(),
        action: match role {
            Role::Monitor | Role::Inspect => Action::CalloutInspection(callout),
            Role::Block | Role::Permit | Role::Hold => Action::CalloutTerminating(callout),
        },
        raw_context: context.to_raw(),
        ..plain_filter(Uuid::from_u128(layer.key()))
    }
}

/// A filter for all that passes a layer.
fn plain_filter(layer: Uuid) -> Filter {
    Filter { flags: FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED, ..Filter::new(NAME, layer, Action::Permit) }
}

/// Ends a thread of traffic with the unload that it came to.
struct Ending {
    begin: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(begin) = self.begin.take() {
            let _ = begin.send(());
            // Whether or not the call was made.
            drop(begin);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
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
    let bytes = packet_bytes(connection, direction, tcp_flags);
    let payload = &bytes[if connection.local.is_ipv6() { 40 } else { 20 }..];
    traffic.packet(&Packet {
        direction,
        protocol: connection.protocol,
        local: connection.local,
        remote: connection.remote,
        tcp_flags,
        icmp_id: 0,
        fragment: None,
        bytes: &bytes,
        payload,
    });
}

/// A packet of a connection, with some data.
fn packet_bytes(connection: &Connection<'_>, direction: Direction, tcp_flags: u8) -> Vec<u8> {
    const HOPS: u8 = 64;
    const DATA: &[u8] = b"some data";
    let (source, destination) = match direction {
        Direction::Outbound => (connection.local, connection.remote),
        Direction::Inbound => (connection.remote, connection.local),
    };
    let ip = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), HOPS)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), HOPS)
        }
        _ => unreachable!("a connection's addresses are of one version"),
    };
    let mut bytes = Vec::new();
    let written = if connection.protocol == UDP {
        ip.udp(source.port(), destination.port()).write(&mut bytes, DATA)
    } else {
        let tcp = ip.tcp(source.port(), destination.port(), 1, 1024);
        let tcp = if tcp_flags & RESET != 0 { tcp.rst() } else { tcp.ack(1) };
        tcp.write(&mut bytes, DATA)
    };
    written.expect("a vector takes what is written, and the packet is short");
    bytes
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
