//! The lab's kernel and filter engine, as the server offers them to clients.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_engine::objects::{Filter, Session};
use postern_engine::{Call, Decision, Engine, FwpError, Objects, Restored, SessionId, layers};
use postern_lab::{
    Config, DriverInfo, EngineError, File, ImageError, Lab, LoadError, Outcome, Traffic, UnloadError, UnloadReport,
};
use serde_json::Value;
use uuid::Uuid;

use super::address::Address;
use super::handles::Handles;
use super::message::{Fault, Occurrences, Opened, Refusal};
use super::status::{Status, Stopped};
use super::store::Store;
use crate::driver::{Checked, Driver, Stopping, Unload, Unloaded, Violation};
use crate::failure::{Failure, Result};
use crate::filter::address::Addresses;
use crate::replay::{
    Attempt, Connection, Counts, Direction, FilterName, Flow, Judge, Judgement, LayerCount, Locality, Oriented,
    Progress, Replay, Stage, Summary, Verdict, run,
};
use crate::state::{Loaded, ObjectCounts};

/// How a lab is started.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Settings {
    /// Whether the base filtering engine runs; drivers that start before it must wait for it
    #[arg(long, value_name = "STATE", default_value = "running")]
    pub bfe: Bfe,
    /// File in which persistent and boot-time objects are kept, for the next lab that is started with it; without one they go with
    /// the lab
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,
    /// A service that does not start by itself: persistent objects of its providers are disabled; can be given again
    #[arg(long, value_name = "SERVICE")]
    pub manual_service: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Bfe {
    #[default]
    Running,
    Stopped,
}

impl Settings {
    /// The options that give these settings to another process.
    pub fn arguments(&self) -> Result<Vec<OsString>> {
        let mut arguments = vec!["--bfe".into(), if self.bfe == Bfe::Running { "running" } else { "stopped" }.into()];
        if let Some(store) = &self.store {
            let store = std::path::absolute(store)
                .map_err(|error| Failure::usage(format!("--store {}: {error}", store.display())))?;
            arguments.extend(["--store".into(), store.into()]);
        }
        for service in &self.manual_service {
            arguments.extend(["--manual-service".into(), service.into()]);
        }
        Ok(arguments)
    }
}

/// The lab of this process.
pub struct Host {
    lab: Lab,
    begun: Instant,
    handles: Handles,
    deferred: Mutex<Deferred>,
    store: Option<Arc<Store>>,
}

/// Unloads that wait for handles to be closed, and those that have ended since, by service.
#[derive(Default)]
struct Deferred {
    /// How many violations there had been when the unload was asked for.
    waiting: HashMap<String, u64>,
    ended: HashMap<String, Ended>,
}

struct Ended {
    unloaded: Unloaded,
    /// Whether a client has been told of it.
    told: bool,
}

impl Host {
    pub fn start(settings: &Settings) -> Result<Host> {
        let config = Config { bfe_running: settings.bfe == Bfe::Running, ..Config::default() };
        let lab = Lab::start(config);
        for service in &settings.manual_service {
            lab.set_service_starts(service, false);
        }
        let store = settings.store.as_deref().map(|path| Store::boot(path, &lab)).transpose()?;
        Ok(Host { lab, store, begun: Instant::now(), handles: Handles::default(), deferred: Mutex::default() })
    }

    pub fn session_open(&self, session: Session) -> Result<SessionId, Refusal> {
        Ok(self.lab.engine().session_open(session)?)
    }

    /// For a client that has gone.
    pub fn session_close(&self, session: SessionId) {
        if let Err(error) = self.lab.engine().session_close(session) {
            eprintln!("a session that its client left could not be closed: {error}");
        }
    }

    pub fn engine(&self, session: SessionId, call: Call) -> Result<Value, Refusal> {
        let answer = value(self.lab.engine().call(session, call)?)?;
        match self.store.as_ref().and_then(|store| store.failure()) {
            Some(failure) => Err(failure.into()),
            None => Ok(answer),
        }
    }

    pub fn status(&self, address: &Address) -> Status {
        let counts = self.lab.engine().read(|engine| (engine.view(None).filters().count(), engine.sessions().count()));
        Status {
            process_id: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.begun.elapsed().as_secs(),
            log: address.log().exists().then(|| address.log()),
            bfe_running: counts.is_ok(),
            drivers: self.lab.drivers().into_iter().map(|info| self.driver(info)).collect(),
            filters: counts.map_or(0, |(filters, _)| filters),
            sessions: counts.map_or(0, |(_, sessions)| sessions),
            violations: self.lab.violations().len(),
            stopped: self.lab.stopped(),
        }
    }

    pub fn set_bfe_running(&self, running: bool) {
        self.lab.set_bfe_running(running);
    }

    /// Puts a machine's objects in the place of those of the filter engine.
    pub fn load_state(&self, objects: Objects, replace: bool) -> Result<Loaded, Refusal> {
        let drivers: Vec<String> = self.lab.drivers().into_iter().map(|driver| driver.service).collect();
        if !drivers.is_empty() {
            let failure = Failure::new(format!("the objects of {} would be lost", drivers.join(", ")));
            return Err(failure
                .help("unload it first, with `postern driver unload`, and load it again after this")
                .into());
        }
        let Restored { engine, doubts } = Engine::restore(objects).map_err(Failure::new)?;
        let elsewhere = engine.registered_elsewhere().count();
        let held = Cell::new(ObjectCounts::default());
        let may = |engine: &Engine| {
            held.set(ObjectCounts::of_others(engine));
            replace || held.get() == ObjectCounts::default()
        };
        match self.lab.engine().replace(engine, may) {
            Ok(()) => Ok(Loaded { replaced: held.get(), elsewhere, doubts }),
            Err(EngineError::Fwp(FwpError::InUse)) => {
                let failure = Failure::new(format!("the lab holds {}, which would be lost", held.get()));
                Err(failure.help("add --replace, or start another lab: `postern lab start --lab NAME`").into())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub fn load(&self, service: &str, image: &[u8]) -> Result<Driver> {
        let begun = Instant::now();
        let info = self.lab.load(service, image).map_err(|error| {
            let message = format!("cannot load {service}: {error}");
            match error {
                LoadError::DriverEntry { report, .. } if !report.is_clean() => {
                    Failure::left_behind(message).help(printed(&report.log))
                }
                LoadError::DriverEntry { report, .. } => {
                    Failure::new(message).help(printed(&report.log) + &self.stale_objects(&report.log))
                }
                LoadError::Stopped(_) => Failure::left_behind(message).help(AFTER_BUG_CHECK),
                LoadError::AlreadyLoaded(_) => Failure::new(message),
                LoadError::Name(_) => Failure::new(message).help("give it a name with --name"),
                LoadError::Image(ImageError::UnknownImports(_)) => {
                    Failure::new(message).help("the lab runs drivers that need no more than it knows")
                }
                LoadError::Image(_) => Failure::new(message).help("give a whole x64 kernel driver image"),
            }
        })?;
        let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        self.deferred().ended.remove(&service.to_lowercase());
        Ok(Driver { load_milliseconds: Some(milliseconds), ..self.driver(info) })
    }

    /// What to do about objects that our driver could not delete when it started: it prints a line for each.
    fn stale_objects(&self, log: &[String]) -> String {
        let stale: Vec<&String> = log.iter().filter(|line| line.contains("cannot be deleted")).collect();
        if stale.is_empty() {
            return String::new();
        }
        let is_stale = |key: Uuid| stale.iter().any(|line| line.contains(&key.hyphenated().to_string()));
        let users = self.lab.engine().read(|engine| {
            let in_the_way = |filter: &Filter| {
                [Some(filter.key), Some(filter.sublayer), filter.action.callout()].into_iter().flatten().any(is_stale)
            };
            engine
                .view(None)
                .filters()
                .filter(|filter| in_the_way(filter))
                .map(|filter| filter.id.to_string())
                .collect::<Vec<_>>()
        });
        match users.unwrap_or_default()[..] {
            [] => "\n  they go with the program whose session has added them: `postern state` shows the sessions"
                .to_owned(),
            ref users => format!(
                "\n  remove the filters that are in the way, then load it again: `postern filter remove {}`",
                users.join(" ")
            ),
        }
    }

    fn driver(&self, info: DriverInfo) -> Driver {
        Driver {
            holders: self.handles.holders(&info.service),
            service: info.service,
            base: Some(info.base),
            size: Some(info.size.into()),
            image: None,
            registrations: Some(info.registrations),
            open_handles: info.open_handles,
            unload_pending: info.unload_pending,
            load_milliseconds: None,
        }
    }

    /// Unloads a driver and looks what it left. Traffic goes on meanwhile.
    pub fn unload(&self, service: &str) -> Result<Unloaded> {
        self.lab.unload(service).map(Unloaded::from).map_err(|error| not_unloaded(service, error))
    }

    /// Unloads a driver, and waits a moment for calls that come late. With handles open to its devices, it is unloaded when the
    /// last is closed: [`Host::deferred_unload`] tells of that.
    pub fn unload_and_watch(&self, service: &str) -> Result<Unload> {
        let before = self.lab.violations_occurred();
        match self.lab.unload(service) {
            Ok(report) => Ok(Unload::Done(self.watch(report, before))),
            Err(UnloadError::Pending { .. }) => {
                self.deferred().waiting.entry(service.to_lowercase()).or_insert(before);
                Ok(Unload::Waits(self.stopping(service)))
            }
            Err(error @ UnloadError::NotLoaded(_)) => {
                let mut deferred = self.deferred();
                // Its last handle is being closed, and its report is on its way.
                if deferred.waiting.contains_key(&service.to_lowercase()) {
                    return Ok(Unload::Waits(self.stopping(service)));
                }
                let untold = deferred.ended.get_mut(&service.to_lowercase()).filter(|ended| !ended.told);
                let ended = untold.ok_or_else(|| not_unloaded(service, error))?;
                ended.told = true;
                Ok(Unload::Done(ended.unloaded.clone()))
            }
            Err(error) => Err(not_unloaded(service, error)),
        }
    }

    /// Waits until an unload that was put off has ended; `tell` can end the waiting.
    pub fn wait_for_unload(&self, service: &str, mut tell: impl FnMut(&Stopping) -> ControlFlow<()>) -> Result<Unload> {
        let mut gone: Option<Instant> = None;
        loop {
            let stopping = self.stopping(service);
            // First, so that the report is kept if the one who waits for it has gone.
            if tell(&stopping).is_break() {
                return Ok(Unload::Waits(stopping));
            }
            if let Some(unloaded) = self.deferred_unload(service) {
                return Ok(Unload::Done(unloaded));
            }
            self.running()?;
            let pending = |driver: &DriverInfo| driver.service.eq_ignore_ascii_case(service) && driver.unload_pending;
            match self.lab.drivers().iter().any(pending) {
                true => gone = None,
                // Its report follows at once, unless somebody has loaded it again meanwhile.
                false if gone.get_or_insert_with(Instant::now).elapsed() > CLOSING => {
                    return Err(not_unloaded(service, UnloadError::NotLoaded(service.to_owned())));
                }
                false => {}
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Who keeps a driver from being unloaded.
    fn stopping(&self, service: &str) -> Stopping {
        let driver = self.lab.drivers().into_iter().find(|driver| driver.service.eq_ignore_ascii_case(service));
        Stopping {
            service: service.to_owned(),
            open_handles: driver.map_or_else(Vec::new, |driver| driver.open_handles),
            holders: self.handles.holders(service),
        }
    }

    /// What came of an unload that had to wait, once it has ended.
    fn deferred_unload(&self, service: &str) -> Option<Unloaded> {
        let mut deferred = self.deferred();
        let ended = deferred.ended.get_mut(&service.to_lowercase())?;
        ended.told = true;
        Some(ended.unloaded.clone())
    }

    /// Takes note of an unload that has ended because its last handle was closed.
    fn take_deferred_unload(&self) -> Option<Unloaded> {
        // Under the lock, so that nobody takes a driver for gone whose report is still on its way.
        let mut deferred = self.deferred();
        let report = self.lab.take_deferred_unload()?;
        let service = report.service.to_lowercase();
        let before = deferred.waiting.remove(&service).unwrap_or_else(|| self.lab.violations_occurred());
        let unloaded = self.watch(report, before);
        deferred.ended.insert(service, Ended { unloaded: unloaded.clone(), told: false });
        Some(unloaded)
    }

    fn watch(&self, report: UnloadReport, before: u64) -> Unloaded {
        std::thread::sleep(WATCH);
        let violations = self.lab.violations_since(before).iter().map(Violation::from).collect();
        Unloaded { violations, ..Unloaded::from(report) }
    }

    fn deferred(&self) -> MutexGuard<'_, Deferred> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the clients' handles and unloads every driver, the last loaded first.
    pub fn unload_all(&self) -> Stopped {
        let mut stopped = Stopped { unloaded: Vec::new(), refused: Vec::new(), filters: 0 };
        self.handles.close_all();
        let begun = Instant::now();
        while self.lab.drivers().iter().any(|driver| !driver.open_handles.is_empty()) && begun.elapsed() < CLOSING {
            std::thread::sleep(Duration::from_millis(5));
        }
        stopped.unloaded.extend(self.take_deferred_unload());
        for driver in self.lab.drivers().into_iter().rev() {
            match self.unload_and_watch(&driver.service) {
                Ok(Unload::Done(unloaded)) => stopped.unloaded.push(unloaded),
                Ok(Unload::Waits(stopping)) => {
                    let handles = stopping.open_handles.join(", ");
                    stopped.refused.push(format!("{} waits for its handles: {handles}", driver.service));
                }
                Err(failure) => stopped.refused.push(failure.message),
            }
        }
        let filters = self.lab.engine().read(|engine| engine.view(None).filters().count());
        stopped.filters = filters.unwrap_or(0);
        stopped
    }

    pub fn device_open(&self, device: &str, process_id: u32, command: String) -> Result<Opened, Refusal> {
        self.handles.open(&self.lab, device, process_id, command)
    }

    /// Closes a handle. If the driver's unload has waited for it, that is done here.
    pub fn device_close(&self, handle: u64) -> Option<Unloaded> {
        self.handles.close(handle);
        self.take_deferred_unload()
    }

    pub fn device_control(
        &self,
        handle: u64,
        code: u32,
        input: &[u8],
        output_length: usize,
        given_up: impl FnMut() -> bool,
    ) -> Result<Vec<u8>, Refusal> {
        self.handles.control(handle, code, input, output_length, given_up)
    }

    /// Opens the device of the Postern driver in this process.
    pub fn open_device(&self) -> Option<File> {
        self.lab.open(postern_protocol::DEVICE_PATH).ok()
    }

    /// A source of made-up connections, for one thread.
    pub fn traffic(&self) -> Source {
        Source(self.lab.traffic())
    }

    pub fn inject(&self, fault: Fault) -> Result<()> {
        if !self.lab.has_function(&fault.function) {
            return Err(Failure::new(format!("the lab supplies no function {}", fault.function)).help(
                "write its name as drivers import it (FwpsCalloutUnregisterById0, WdfDeviceCreate), in the right case",
            ));
        }
        self.lab.inject_fault(postern_lab::Fault {
            function: fault.function,
            status: postern_lab::NtStatus(fault.status as i32),
            occurrences: match fault.occurrences {
                Occurrences::Next(times) => postern_lab::Occurrences::Next(times.into()),
                Occurrences::Nth(at) => postern_lab::Occurrences::Nth(at.into()),
            },
        });
        Ok(())
    }

    pub fn log(&self) -> Vec<String> {
        self.lab.debug_log()
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.lab.violations().iter().map(Violation::from).collect()
    }

    /// Makes a connection, and waits for a callout that puts off its decision; `tell` can end it.
    pub fn connect(
        &self,
        attempt: &Attempt,
        mut tell: impl FnMut(Option<Stage>) -> ControlFlow<()>,
    ) -> Result<Verdict> {
        let connection = made_up(&attempt.connection);
        let mut traffic = self.lab.traffic();
        let mut outcome = match attempt.begun {
            Direction::Outbound => traffic.connect(&connection),
            Direction::Inbound => traffic.accept(&connection),
        };
        self.running()?;
        if outcome.pended {
            let begun = Instant::now();
            let mut told = tell(Some(Stage::Held));
            while told.is_continue() && outcome.pended && begun.elapsed() < attempt.patience {
                std::thread::sleep(AGAIN);
                outcome = traffic.send_first_packets(&connection, attempt.begun.into());
                self.running()?;
                told = tell(None);
            }
        }
        let verdict = self.verdict(outcome);
        if verdict.permitted && !attempt.keep_open.is_zero() {
            let begun = Instant::now();
            let mut told = tell(Some(Stage::Open(verdict.clone())));
            while told.is_continue() && begun.elapsed() < attempt.keep_open {
                std::thread::sleep(AGAIN);
                told = tell(None);
            }
        }
        Ok(verdict)
    }

    /// Nothing that a lab says after a bug check means anything.
    fn running(&self) -> Result<()> {
        match self.lab.stopped() {
            false => Ok(()),
            true => Err(Failure::left_behind("the lab has stopped at a bug check").help(AFTER_BUG_CHECK)),
        }
    }

    fn verdict(&self, outcome: Outcome) -> Verdict {
        Verdict {
            permitted: outcome.decision == Decision::Permit,
            held: outcome.pended,
            layer: layer_name(outcome.layer),
            filter: self.filter_names().name(outcome.filter_id),
        }
    }

    fn filter_names(&self) -> FilterNames {
        let names = self.lab.engine().read(|engine| {
            engine.view(None).filters().map(|filter| (filter.id, filter.display.name.clone())).collect()
        });
        FilterNames(names.unwrap_or_default())
    }

    pub fn replay(&self, replay: &Replay, tell: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Summary> {
        let locality = match &replay.local[..] {
            [] => Locality::find(&replay.path)?,
            given => Locality::Given(
                given.iter().map(|text| text.parse::<Addresses>()).collect::<Result<_, _>>().map_err(Failure::usage)?,
            ),
        };
        let judge = || {
            let mut traffic = self.lab.traffic();
            traffic.set_app(replay.app.as_deref());
            Player { traffic }
        };
        // A filter may be removed meanwhile, and should keep its name in the summary.
        let names = self.filter_names();
        let (counts, elapsed) = run(&replay.path, &locality, replay.threads, replay.repeat, replay.flows, judge, tell)?;
        self.running()?;
        Ok(summarise(counts, elapsed.as_secs_f64(), replay.threads, &locality, &names))
    }
}

/// Made-up connections of one thread, one after the other.
pub struct Source(Traffic);

impl Source {
    pub fn begin(&mut self, connection: &Connection, inbound: bool) {
        let connection = made_up(connection);
        if inbound {
            self.0.accept(&connection);
        } else {
            self.0.connect(&connection);
        }
    }

    pub fn end_flows(&mut self) {
        self.0.end_flows();
    }
}

/// Traffic that would call into an image that has gone does so at once.
const WATCH: Duration = Duration::from_millis(50);

/// How long the clients' requests may take to end when the lab does.
const CLOSING: Duration = Duration::from_secs(5);

/// How often a connection that waits is tried again.
const AGAIN: Duration = Duration::from_millis(20);

const AFTER_BUG_CHECK: &str = "`postern lab violations` tells what happened; stop the lab and start it again";

/// What a driver printed, a line each. Drivers often tell the debugger and ETW the same; the log has both.
fn printed(log: &[String]) -> String {
    let lines: Vec<&str> = log.iter().map(String::as_str).filter(|line| !line.starts_with("ETW: ")).collect();
    match &lines[..] {
        [] => "the driver printed nothing".to_owned(),
        lines => format!("the driver printed:\n    {}", lines.join("\n    ")),
    }
}

/// Why a driver was not unloaded.
fn not_unloaded(service: &str, error: UnloadError) -> Failure {
    let message = format!("cannot unload {service}: {error}");
    match error {
        UnloadError::NotLoaded(_) => {
            Failure::new(message).help("`postern lab status` shows the drivers that are loaded")
        }
        UnloadError::Stopped(_) => Failure::left_behind(message).help(AFTER_BUG_CHECK),
        UnloadError::NoUnloadRoutine(_) => Failure::new(message),
        UnloadError::Pending { .. } => Failure::new(message).help("`postern driver status` shows who holds them"),
    }
}

impl From<UnloadReport> for Unloaded {
    fn from(report: UnloadReport) -> Unloaded {
        Unloaded {
            service: report.service,
            milliseconds: report.duration.as_secs_f64() * 1e3,
            registrations: Some(report.registrations.len()),
            checked: Checked::Lab,
            // Drivers often tell the debugger and ETW the same; the log has both.
            receipt: report.log.into_iter().filter(|line| !line.starts_with("ETW: ")).collect(),
            violations: report.violations.iter().map(Violation::from).collect(),
        }
    }
}

fn value(of: impl serde::Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(of).map_err(|error| Failure::new(error).into())
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Refusal {
        match error {
            EngineError::Fwp(error) => Refusal::Engine(error),
            EngineError::BfeNotRunning => {
                Failure::new("the base filtering engine is not running (EPT_S_NOT_REGISTERED, 1753)")
                    .help("start it with `postern lab bfe running`")
                    .into()
            }
        }
    }
}

impl From<&postern_lab::Violation> for Violation {
    fn from(violation: &postern_lab::Violation) -> Violation {
        Violation {
            kind: violation.kind.to_string(),
            driver: violation.driver.clone(),
            what: violation.what.clone(),
            place: violation.place.as_ref().map(ToString::to_string),
            doing: violation.doing.clone(),
            remedy: violation.remedy.clone(),
            times: violation.times,
        }
    }
}

fn made_up(connection: &Connection) -> postern_lab::Connection<'_> {
    postern_lab::Connection {
        protocol: connection.protocol,
        local: connection.local,
        remote: connection.remote,
        app: connection.app.as_deref(),
    }
}

/// One thread's traffic of a replay.
struct Player {
    traffic: Traffic,
}

impl Judge for Player {
    #[inline]
    fn judge(&mut self, oriented: &Oriented<'_>) -> Judgement {
        let outcome = self.traffic.packet(&oriented.traffic());
        Judgement {
            layer: outcome.layer,
            filter: outcome.filter_id,
            permitted: outcome.decision == Decision::Permit,
            new_flow: outcome.new_flow,
        }
    }
}

struct FilterNames(HashMap<u64, String>);

impl FilterNames {
    fn name(&self, id: Option<u64>) -> Option<FilterName> {
        id.map(|id| FilterName { id, name: self.0.get(&id).cloned().unwrap_or_default() })
    }
}

fn layer_name(id: u16) -> String {
    layers::by_id(id).map_or_else(|| id.to_string(), |layer| layer.name.to_owned())
}

fn summarise(counts: Counts, seconds: f64, threads: usize, locality: &Locality, names: &FilterNames) -> Summary {
    let total = |permitted| {
        counts.judgements.iter().filter(|(judgement, _)| judgement.permitted == permitted).map(|(_, count)| count).sum()
    };
    Summary {
        packets: counts.frames,
        flows: counts.flows,
        permitted: total(true),
        blocked: total(false),
        decisions: counts
            .judgements
            .iter()
            .map(|(judgement, packets)| LayerCount {
                layer: layer_name(judgement.layer),
                filter: names.name(judgement.filter),
                permitted: judgement.permitted,
                packets: *packets,
            })
            .collect(),
        skipped: counts.skipped,
        seconds,
        packets_per_second: counts.frames as f64 / seconds.max(f64::MIN_POSITIVE),
        threads,
        local: locality.describe(),
        flow_list: counts
            .new_flows
            .into_iter()
            .map(|flow| Flow {
                protocol: flow.protocol,
                local: flow.local,
                remote: flow.remote,
                direction: flow.direction,
                permitted: flow.judgement.permitted,
                layer: layer_name(flow.judgement.layer),
                filter: names.name(flow.judgement.filter),
            })
            .collect(),
        damage: counts.damage.map(|damage| damage.to_string()),
    }
}
