//! The signals that ask a program to end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::failure::{Exit, Failure, Result};

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

pub struct Signals(signal_hook::iterator::Signals);

impl Signals {
    /// From now on they do not end the program any more.
    pub fn new() -> Result<Signals> {
        signal_hook::iterator::Signals::new(SIGNALS).map(Signals).map_err(deaf)
    }

    /// Waits for one.
    pub fn wait(&mut self) {
        self.0.forever().next();
    }
}

/// What the first such signal sets. With the second the process ends at once, so that one that hangs can be ended.
pub fn flag() -> Result<Arc<AtomicBool>> {
    let set = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        flag::register_conditional_shutdown(signal, Exit::Failed as i32, Arc::clone(&set)).map_err(deaf)?;
        flag::register(signal, Arc::clone(&set)).map_err(deaf)?;
    }
    Ok(set)
}

fn deaf(error: io::Error) -> Failure {
    Failure::new(format!("cannot listen for signals: {error}"))
}
