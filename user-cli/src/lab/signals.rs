//! The signals that ask a program to end.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::failure::{Failure, Result};

pub struct Signals(signal_hook::iterator::Signals);

impl Signals {
    /// From now on they do not end the program any more.
    pub fn new() -> Result<Signals> {
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
            .map(Signals)
            .map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))
    }

    /// Waits for one.
    pub fn wait(&mut self) {
        self.0.forever().next();
    }
}
