//! The scenario, check by check.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use postern_engine::SessionId;
use postern_engine::objects::{Action, Filter, FilterFlags};
use postern_protocol::callout::{COUNT, Callout, Layer, Role};
use postern_wine_protocol::{Call, Request};
use serde::de::IgnoredAny;
use uuid::Uuid;

use crate::driver::Driver;
use crate::engine::Engine;
use crate::service::Service;

/// What the checks work with.
struct Bench {
    engine: Engine,
    service: Service,
    rounds: u32,
    /// Stays of the driver that have ended: stops, and starts that failed.
    stays: u32,
}

type Check = fn(&mut Bench) -> Result<()>;

const WAITING: &str = "a request that waits can be cancelled";

/// Why a check cannot be made with an image.
fn left_out(check: &str, service: &str) -> Option<&'static str> {
    (check == WAITING && service == "postern_wdm").then_some("Wine's IoCsqInsertIrp and IoCsqRemoveNextIrp are stubs")
}

const CHECKS: [(&str, Check); 9] = [
    ("a C program reads what it has written", marshalling),
    ("a start registers all callouts, and a stop leaves nothing behind", starts_and_stops),
    ("a filter that names a callout of ours decides", filters_decide),
    ("two clients at once are answered", two_clients),
    (WAITING, cancelled_requests),
    ("start, and stop while traffic flows, again and again", rounds),
    ("a stop with an open handle", stop_with_open_handle),
    // From here on Wine keeps the image in memory.
    ("a start that fails leaves nothing behind, and the next succeeds", failed_starts),
    ("the service is deleted", deletes),
];

pub fn run(image: &str, rounds: u32) -> ExitCode {
    let mut bench = match prepare(image, rounds) {
        Ok(bench) => bench,
        Err(error) => {
            println!("FAILED: preparing: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in CHECKS {
        if let Some(reason) = left_out(name, &bench.service.0) {
            println!("left out: {name}: {reason}");
            continue;
        }
        let begun = Instant::now();
        match check(&mut bench) {
            Ok(()) => {
                passed += 1;
                println!("ok: {name} ({:.1} s)", begun.elapsed().as_secs_f32());
            }
            Err(error) => {
                failed += 1;
                println!("FAILED: {name}: {error:#}");
                // The next check begins with a driver that is not there.
                if bench.service.stop().is_ok() {
                    bench.stays += 1;
                }
            }
        }
    }
    println!("stays: {}", bench.stays);
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn prepare(image: &str, rounds: u32) -> Result<Bench> {
    if Engine::open().is_err() {
        Service::create("fwpkclnt", r"C:\windows\system32\drivers\fwpkclnt.sys")?.start()?;
    }
    let name = Path::new(image).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let image = format!(r"C:\windows\system32\drivers\{image}");
    Ok(Bench { engine: Engine::open()?, service: Service::create(&name, &image)?, rounds, stays: 0 })
}

impl Bench {
    fn stop(&mut self) -> Result<()> {
        self.service.stop()?;
        self.stays += 1;
        self.gone()?;
        ensure!(!self.engine.driver(&self.service.0)?.loaded, "the image is still in memory");
        Ok(())
    }

    /// That nothing of the driver is left.
    fn gone(&self) -> Result<()> {
        let driver = self.engine.driver(&self.service.0)?;
        ensure!(driver.callouts == 0, "{} callouts are still registered", driver.callouts);
        ensure!(driver.holds.is_empty(), "it still holds {:#?}", driver.holds);
        ensure!(Driver::open().is_err(), "its device can still be opened");
        let session = self.engine.session()?;
        let filters: Vec<Filter> = self.engine.call(session, Call::Filters(None))?;
        let provider = Some(Uuid::from_u128(postern_protocol::DRIVER_PROVIDER));
        ensure!(filters.iter().all(|filter| filter.provider != provider), "its filters are still there");
        self.engine.call(session, Call::Close)
    }

    /// A filter without conditions that leads all of a layer to one of the driver's callouts.
    fn lead_to(&self, session: SessionId, callout: Callout) -> Result<()> {
        let (key, layer) = (Uuid::from_u128(callout.key()), Uuid::from_u128(callout.layer.key()));
        let object = postern_engine::objects::Callout::new(key, "scenario", layer);
        let _: u32 = self.engine.call(session, Call::CalloutAdd(object))?;
        let filter = Filter {
            flags: FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED,
            ..Filter::new("scenario", layer, Action::CalloutTerminating(key))
        };
        let _: u64 = self.engine.call(session, Call::FilterAdd(filter))?;
        Ok(())
    }
}

/// Runs the program that checks `fwpuclnt.dll` with structures of C's own.
fn marshalling(_bench: &mut Bench) -> Result<()> {
    let output = Command::new(r"C:\marshalling.exe").output().context("cannot run it")?;
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines() {
        println!("    {line}");
    }
    ensure!(output.status.success(), "it failed ({})", output.status);
    Ok(())
}

fn starts_and_stops(bench: &mut Bench) -> Result<()> {
    bench.service.start()?;
    let driver = bench.engine.driver(&bench.service.0)?;
    ensure!(driver.loaded, "the image is not in memory");
    ensure!(driver.callouts == COUNT, "{} callouts are registered, not {COUNT}", driver.callouts);
    let device = Driver::open()?;
    device.check_version()?;
    for remote in ["203.0.113.9:443", "[2001:db8::1]:443"] {
        let outcome = bench.engine.connect(remote)?;
        ensure!(!outcome.blocked, "{remote}: {outcome:?}");
    }
    let monitor = Callout { role: Role::Monitor, layer: Layer::AleAuthConnectV4 };
    ensure!(device.acted(monitor)? == 1, "the monitor has seen {} connections, not one", device.acted(monitor)?);
    // A flow of each connection is open, and the driver leaves all the same.
    ensure!(device.flows()? == 2, "{} flows are counted, not two", device.flows()?);
    drop(device);
    bench.stop()?;
    bench.engine.ask::<IgnoredAny>(&Request::EndFlows).map(drop)
}

fn filters_decide(bench: &mut Bench) -> Result<()> {
    bench.service.start()?;
    let session = bench.engine.session()?;
    let block = Callout { role: Role::Block, layer: Layer::AleAuthConnectV4 };
    bench.lead_to(session, block)?;
    let outcome = bench.engine.connect("203.0.113.9:443")?;
    ensure!(outcome.blocked && outcome.filter.is_some(), "it was not blocked: {outcome:?}");
    ensure!(Driver::open()?.acted(block)? == 1, "the callout has not acted once");
    // The filter outlives the driver, and permits without it.
    bench.stop()?;
    let outcome = bench.engine.connect("203.0.113.9:443")?;
    ensure!(!outcome.blocked, "a filter whose callout is gone blocks: {outcome:?}");
    bench.engine.call(session, Call::Close)
}

fn two_clients(bench: &mut Bench) -> Result<()> {
    bench.service.start()?;
    let (first, second) = (Driver::open()?, Driver::open()?);
    first.check_version()?;
    second.check_version()?;
    drop(first);
    second.check_version()?;
    drop(second);
    bench.stop()
}

fn cancelled_requests(bench: &mut Bench) -> Result<()> {
    const STATUS_CANCELLED: u32 = 0xC000_0120;
    bench.service.start()?;
    let device = Driver::open()?;
    let waiting = [device.watch()?, device.watch()?];
    device.check_version()?;
    for request in waiting {
        let status = request.cancel()?;
        ensure!(status == STATUS_CANCELLED, "it ended with {status:#x}");
    }
    drop(device);
    bench.stop()
}

/// Functions that DriverEntry calls, each in another step of the start.
const STEPS: [&str; 6] = [
    "FwpmBfeStateSubscribeChanges0",
    "FwpsInjectionHandleCreate0",
    "FwpsCalloutRegister3",
    "FwpmEngineOpen0",
    "FwpmFilterAdd0",
    "FwpmTransactionCommit0",
];

fn failed_starts(bench: &mut Bench) -> Result<()> {
    const STATUS_INSUFFICIENT_RESOURCES: u32 = 0xC000_009A;
    for function in STEPS {
        let fail = Request::Fail { function: function.into(), status: STATUS_INSUFFICIENT_RESOURCES, times: 1 };
        bench.engine.ask::<IgnoredAny>(&fail)?;
        ensure!(bench.service.start().is_err(), "the start succeeds although {function} fails");
        bench.service.expect("STOPPED")?;
        bench.stays += 1;
        bench.gone()?;
    }
    bench.service.start()?;
    bench.service.stop()?;
    bench.stays += 1;
    bench.gone()
}

fn deletes(bench: &mut Bench) -> Result<()> {
    bench.service.delete()?;
    ensure!(bench.service.state().is_err(), "the service manager still knows it");
    Ok(())
}

fn rounds(bench: &mut Bench) -> Result<()> {
    let session = bench.engine.session()?;
    for layer in Role::Permit.layers() {
        bench.lead_to(session, Callout { role: Role::Permit, layer: *layer })?;
    }
    bench.engine.ask::<IgnoredAny>(&Request::Flood { threads: 2 })?;
    for round in 1..=bench.rounds {
        bench.service.start()?;
        let device = Driver::open()?;
        wait_until("traffic to reach the driver", || Ok(device.classified()? > 1000))?;
        drop(device);
        bench.stop().map_err(|error| error.context(format!("round {round}")))?;
    }
    let begun: u64 = bench.engine.ask(&Request::EndFlood)?;
    println!("    {} rounds, {begun} connections meanwhile", bench.rounds);
    bench.engine.call(session, Call::Close)
}

fn stop_with_open_handle(bench: &mut Bench) -> Result<()> {
    bench.service.start()?;
    let device = Driver::open()?;
    bench.service.stop()?;
    bench.stays += 1;
    drop(device);
    bench.gone()?;
    ensure!(!bench.engine.driver(&bench.service.0)?.loaded, "the image is still in memory");
    Ok(())
}

fn wait_until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition()? {
        if Instant::now() > end {
            bail!("waited for {what} in vain");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
