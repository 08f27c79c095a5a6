//! What ends a command that waits: a signal, or the time that it was given.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::failure::{Exit, Failure, Result};

/// The signals that ask a program to end.
const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

pub fn signals() -> Result<Signals> {
    Signals::new(SIGNALS).map_err(deaf)
}

fn deaf(error: io::Error) -> Failure {
    Failure::new(format!("cannot listen for signals: {error}"))
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
