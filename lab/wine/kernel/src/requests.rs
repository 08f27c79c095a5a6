//! What programs ask for.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;

use postern_engine::{SessionId, layers};
use postern_wine_protocol::{Answer, Call, Connection, Driver, Outcome, Refusal, Report, Request};
use serde::Serialize;
use serde_json::Value;

use crate::fwp::EngineError;
use crate::image;
use crate::inject;
use crate::kernel::kernel;
use crate::lab::Lab;
use crate::nt::NtStatus;
use crate::report;
use crate::traffic::{self, Decision, Traffic};

/// What one open handle has begun.
#[derive(Default)]
pub struct Client {
    sessions: BTreeSet<SessionId>,
    traffic: Option<Source>,
    flood: Option<Flood>,
}

/// A source of traffic in a client, behind its lock.
struct Source(Traffic);

// SAFETY: what a source points to is its own, and it is used by one thread at a time.
unsafe impl Send for Source {}

struct Flood {
    over: Arc<AtomicBool>,
    begun: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Client {
    /// The answer to a request, as JSON of an [`Answer`].
    pub fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let answer = match serde_json::from_slice(request) {
            Ok(request) => self.do_it(request),
            Err(error) => Err(Refusal::Malformed(error.to_string())),
        };
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    fn do_it(&mut self, request: Request) -> Answer<Value> {
        match request {
            Request::Open(session) => {
                let id = Lab::here().engine().session_open(session).map_err(refusal)?;
                self.sessions.insert(id);
                value(id)
            }
            Request::Call(session, call) => self.call(session, call),
            Request::Connection(connection) => value(self.connection(&connection)),
            Request::EndFlows => {
                self.source().end_flows();
                value(())
            }
            Request::Flood { threads } => {
                self.end_flood();
                self.flood = Some(Flood::begin(threads));
                value(())
            }
            Request::EndFlood => value(self.end_flood()),
            Request::SetBfeRunning(running) => {
                Lab::here().set_bfe_running(running);
                value(())
            }
            Request::Fail { function, status, times } => {
                inject::fail(function, NtStatus(status as i32), times.max(1));
                value(())
            }
            Request::Report => value(report()),
        }
    }

    fn call(&mut self, session: SessionId, call: Call) -> Answer<Value> {
        if !self.sessions.contains(&session) {
            return Err(Refusal::UnknownSession);
        }
        let closes = matches!(call, Call::Close);
        let answer = Lab::here().engine().call(session, call).map_err(refusal)?;
        if closes {
            self.sessions.remove(&session);
        }
        value(answer)
    }

    fn source(&mut self) -> &mut Traffic {
        &mut self.traffic.get_or_insert_with(|| Source(Lab::here().traffic())).0
    }

    fn connection(&mut self, connection: &Connection) -> Outcome {
        let source = self.source();
        let asked = traffic::Connection {
            protocol: connection.protocol,
            local: connection.local,
            remote: connection.remote,
            app: connection.app.as_deref(),
        };
        let outcome = if connection.inbound { source.accept(&asked) } else { source.connect(&asked) };
        Outcome {
            blocked: outcome.decision == Decision::Block,
            layer: layers::by_id(outcome.layer).map_or("", |layer| layer.name).into(),
            filter: outcome.filter_id,
            pended: outcome.pended,
        }
    }

    fn end_flood(&mut self) -> u64 {
        self.flood.take().map_or(0, Flood::end)
    }
}

/// Ends everything that the handle has begun.
impl Drop for Client {
    fn drop(&mut self) {
        self.end_flood();
        self.traffic = None;
        for session in std::mem::take(&mut self.sessions) {
            // A session that cannot be closed has ended with the base filtering engine.
            let _ = Lab::here().engine().session_close(session);
        }
    }
}

impl Flood {
    fn begin(threads: u32) -> Flood {
        let (over, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..threads.clamp(1, 64) as u8)
            .map(|number| {
                let (over, begun) = (over.clone(), begun.clone());
                std::thread::spawn(move || flood(number, &over, &begun))
            })
            .collect();
        Flood { over, begun, threads }
    }

    fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
        self.begun.load(Ordering::Relaxed)
    }
}

/// TCP connections of a host of the thread's own, every second one to it; a hundred live at a time.
fn flood(number: u8, over: &AtomicBool, begun: &AtomicU64) {
    let mut source = Lab::here().traffic();
    let local = IpAddr::V4(Ipv4Addr::new(192, 0, 2, number));
    let remote = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
    for port in (1024..=u16::MAX).cycle() {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let connection = |local, remote| traffic::Connection { protocol: 6, local, remote, app: None };
        if port % 2 == 0 {
            source.connect(&connection(SocketAddr::new(local, port), SocketAddr::new(remote, 443)));
        } else {
            source.accept(&connection(SocketAddr::new(local, 80), SocketAddr::new(remote, port)));
        }
        begun.fetch_add(1, Ordering::Relaxed);
        if source.flows() >= 100 {
            source.end_flows();
        }
    }
}

fn report() -> Report {
    let kernel = kernel();
    let drivers = image::known()
        .into_iter()
        .map(|(number, name)| {
            let loaded = image::is_loaded(number);
            let mut holds = kernel.fwp.left_behind(number);
            if !loaded {
                holds.extend(kernel.kmdf.left_behind(number));
            }
            Driver { name, loaded, callouts: kernel.fwp.registrations(number).len(), holds }
        })
        .collect();
    Report { violations: report::violations(), drivers }
}

fn refusal(error: EngineError) -> Refusal {
    match error {
        EngineError::Fwp(error) => Refusal::Engine(error),
        EngineError::BfeNotRunning => Refusal::BfeNotRunning,
    }
}

fn value(value: impl Serialize) -> Answer<Value> {
    serde_json::to_value(value).map_err(|error| Refusal::Malformed(error.to_string()))
}
