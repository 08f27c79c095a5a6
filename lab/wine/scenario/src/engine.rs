//! The filter engine, beside its `Fwpm*` functions: traffic, faults, and what drivers have left.

use anyhow::{Result, anyhow, bail};
use postern_engine::SessionId;
use postern_engine::objects::Session;
use postern_wine_protocol::{ASK, Answer, Call, Connection, Driver, LONGEST_ANSWER, Outcome, PATH, Report, Request};
use serde::de::DeserializeOwned;

use crate::device::Device;

pub struct Engine(Device);

impl Engine {
    pub fn open() -> Result<Engine> {
        Ok(Engine(Device::open(PATH)?))
    }

    pub fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        let answer = self.0.control(ASK, &serde_json::to_vec(request)?, LONGEST_ANSWER)?;
        serde_json::from_slice::<Answer<T>>(&answer)?.map_err(|refusal| anyhow!("{request:?} was refused: {refusal:?}"))
    }

    pub fn call<T: DeserializeOwned>(&self, session: SessionId, call: Call) -> Result<T> {
        self.ask(&Request::Call(session, call))
    }

    /// A session of a program.
    pub fn session(&self) -> Result<SessionId> {
        let session = Session::new("scenario", std::process::id(), "scenario");
        self.ask(&Request::Open(Session { dynamic: true, ..session }))
    }

    pub fn connect(&self, remote: &str) -> Result<Outcome> {
        let local = if remote.starts_with('[') { "[fd00::2]:50000" } else { "192.168.0.2:50000" };
        self.ask(&Request::Connection(Connection {
            inbound: false,
            protocol: 6,
            local: local.parse()?,
            remote: remote.parse()?,
            app: None,
        }))
    }

    /// What the engine knows of the driver whose image has this name.
    pub fn driver(&self, name: &str) -> Result<Driver> {
        let report: Report = self.ask(&Request::Report)?;
        if !report.violations.is_empty() {
            bail!("contracts were broken: {:#?}", report.violations);
        }
        let driver = report.drivers.into_iter().find(|driver| driver.name.eq_ignore_ascii_case(name));
        driver.ok_or_else(|| anyhow!("{name} has never called the filter engine"))
    }
}
