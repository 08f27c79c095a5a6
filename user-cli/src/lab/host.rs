//! The lab's kernel and filter engine, as the server offers them to clients.

use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_engine::objects::Session;
use postern_engine::{Engine, FwpError, SessionId};
use serde_json::Value;

use super::address::Address;
use super::message::{EngineCall, Fault, Refusal};
use super::status::{Driver, Status, Stopped, Unloaded, Violation};
use crate::failure::{Failure, Result};
use crate::replay::{Connection, Progress, Replay, Summary, Verdict};

/// How a lab is started.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// Whether the base filtering engine runs; drivers that start before it must wait for it
    #[arg(long, value_name = "STATE", default_value = "running")]
    pub bfe: Bfe,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Bfe {
    Running,
    Stopped,
}

impl Settings {
    /// The options that give these settings to another process.
    pub fn arguments(&self) -> [&'static str; 2] {
        ["--bfe", if self.bfe == Bfe::Running { "running" } else { "stopped" }]
    }
}

/// How long a client waits for another's transaction, as `FWPM_SESSION0.txnWaitTimeoutInMSec` is documented by default.
const TRANSACTION_WAIT: Duration = Duration::from_secs(15);

pub struct Host {
    engine: Mutex<Engine>,
    begun: Instant,
}

impl Host {
    pub fn start(_settings: &Settings) -> Result<Host> {
        Ok(Host { engine: Mutex::new(Engine::new()), begun: Instant::now() })
    }

    fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what needs the transaction lock, as soon as no other session has it.
    fn wait<T>(&self, mut attempt: impl FnMut(&mut Engine) -> Result<T, FwpError>) -> Result<T, FwpError> {
        let begun = Instant::now();
        loop {
            match attempt(&mut self.lock()) {
                Err(FwpError::Timeout) if begun.elapsed() < TRANSACTION_WAIT => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                result => return result,
            }
        }
    }

    pub fn session_open(&self, session: Session) -> Result<SessionId, FwpError> {
        self.lock().session_open(session)
    }

    pub fn session_close(&self, session: SessionId) {
        let _ = self.wait(|engine| engine.session_close(session, &mut ()));
    }

    pub fn engine(&self, session: SessionId, call: EngineCall) -> Result<Value, Refusal> {
        fn value(of: impl serde::Serialize) -> Result<Value, Refusal> {
            serde_json::to_value(of).map_err(|error| Failure::new(error).into())
        }
        match call {
            EngineCall::Close => value(self.wait(|engine| engine.session_close(session, &mut ()))?),
            EngineCall::TransactionBegin { read_only } => {
                value(self.wait(|engine| engine.transaction_begin(session, read_only))?)
            }
            EngineCall::TransactionCommit => value(self.lock().transaction_commit(session, &mut ())?),
            EngineCall::TransactionAbort => value(self.lock().transaction_abort(session, &mut ())?),
            EngineCall::Sessions => value(self.lock().sessions().map(|(_, session)| session).collect::<Vec<_>>()),
            EngineCall::ProviderAdd(provider) => {
                value(self.wait(|engine| engine.provider_add(session, provider.clone()))?)?;
                value(())
            }
            EngineCall::ProviderDelete(key) => value(self.wait(|engine| engine.provider_delete(session, key))?),
            EngineCall::Providers => value(self.lock().view(Some(session)).providers().collect::<Vec<_>>()),
            EngineCall::SublayerAdd(sublayer) => {
                value(self.wait(|engine| engine.sublayer_add(session, sublayer.clone()))?)?;
                value(())
            }
            EngineCall::SublayerDelete(key) => value(self.wait(|engine| engine.sublayer_delete(session, key))?),
            EngineCall::Sublayers => value(self.lock().view(Some(session)).sublayers().collect::<Vec<_>>()),
            EngineCall::CalloutAdd(callout) => value(self.wait(|engine| engine.callout_add(session, callout.clone()))?),
            EngineCall::CalloutDelete(key) => value(self.wait(|engine| engine.callout_delete(session, key))?),
            EngineCall::Callouts => value(self.lock().view(Some(session)).callouts().collect::<Vec<_>>()),
            EngineCall::FilterAdd(filter) => {
                value(self.wait(|engine| engine.filter_add(session, filter.clone(), &mut ()))?)
            }
            EngineCall::FilterDelete(key) => {
                value(self.wait(|engine| engine.filter_delete_by_key(session, key, &mut ()))?)
            }
            EngineCall::Filters => value(self.lock().view(Some(session)).filters().collect::<Vec<_>>()),
        }
    }

    pub fn status(&self, address: &Address) -> Status {
        let engine = self.lock();
        Status {
            process_id: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.begun.elapsed().as_secs(),
            log: address.log().exists().then(|| address.log()),
            bfe_running: true,
            drivers: Vec::new(),
            filters: engine.view(None).filters().count(),
            sessions: engine.sessions().count(),
            violations: 0,
            stopped: false,
        }
    }

    pub fn load(&self, _service: &str, _image: &[u8]) -> Result<Driver> {
        Err(Failure::new("this lab has no kernel"))
    }

    pub fn unload(&self, _service: &str) -> Result<Unloaded> {
        Err(Failure::new("this lab has no kernel"))
    }

    /// Unloads every driver, the last loaded first.
    pub fn unload_all(&self) -> Stopped {
        Stopped { unloaded: Vec::new(), refused: Vec::new(), filters: self.lock().view(None).filters().count() }
    }

    pub fn device_control(&self, _: &str, _: u32, _: &[u8], _: usize) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::Status(0xC000_0034))
    }

    pub fn replay(&self, _: &Replay, _: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Summary> {
        Err(Failure::new("this lab has no kernel"))
    }

    pub fn connect(&self, _: &Connection) -> Result<Verdict> {
        Err(Failure::new("this lab has no kernel"))
    }

    pub fn accept(&self, _: &Connection) -> Result<Verdict> {
        Err(Failure::new("this lab has no kernel"))
    }

    pub fn inject(&self, _: Fault) {}

    pub fn log(&self) -> Vec<String> {
        Vec::new()
    }

    pub fn violations(&self) -> Vec<Violation> {
        Vec::new()
    }
}
