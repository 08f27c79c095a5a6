//! What happens around a program that is watched: traffic, and the base filtering engine.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use postern_wine_protocol::{Connection, Outcome, Request};
use serde::de::IgnoredAny;

use crate::engine::Engine;

pub enum Event {
    /// A connection after a while, open for a while.
    Connection {
        inbound: bool,
        protocol: u8,
        local: SocketAddr,
        remote: SocketAddr,
        after: Duration,
        open: Duration,
    },
    BaseFilteringEngine {
        running: bool,
    },
}

impl Event {
    /// None: the arguments are for something else.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Event> {
        match &*arguments.next()? {
            "bfe" => Some(Event::BaseFilteringEngine { running: arguments.next()? == "running" }),
            kind @ ("connect" | "accept") => {
                let protocol = match &*arguments.next()? {
                    "tcp" => 6,
                    "udp" => 17,
                    _ => return None,
                };
                let (local, remote) = (arguments.next()?.parse().ok()?, arguments.next()?.parse().ok()?);
                let mut time = || arguments.next()?.parse().ok().map(Duration::from_secs);
                let (after, open) = (time()?, time()?);
                Some(Event::Connection { inbound: kind == "accept", protocol, local, remote, after, open })
            }
            _ => None,
        }
    }

    pub fn happen(self) -> Result<()> {
        match self {
            Event::BaseFilteringEngine { running } => {
                Engine::open()?.ask::<IgnoredAny>(&Request::SetBfeRunning(running)).map(drop)
            }
            Event::Connection { inbound, protocol, local, remote, after, open } => {
                std::thread::sleep(after);
                // The flow ends with the handle.
                let engine = Engine::open()?;
                let connection = Connection { inbound, protocol, local, remote, app: None };
                engine.ask::<Outcome>(&Request::Connection(connection))?;
                std::thread::sleep(open);
                Ok(())
            }
        }
    }
}
