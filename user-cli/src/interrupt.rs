//! What ends a command that waits: a signal, or the time that it was given.

use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{Failure, Result};

/// The signals that ask a program to end.
pub fn signals() -> Result<Signals> {
    Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))
}

/// Runs `end` in a thread at the first such signal.
pub fn on_signal(end: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut signals = signals()?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            end();
        }
    });
    Ok(())
}

/// Runs `end` in a thread when `time` has passed.
pub fn after(time: Duration, end: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        end();
    });
}
