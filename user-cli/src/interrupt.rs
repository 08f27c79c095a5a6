//! What ends a command that waits: a signal, or the time that it was given.

use std::time::Duration;

pub use crate::system::signals::Signals;

use crate::failure::Result;

/// Runs `end` in a thread at the first signal that asks this program to end.
pub fn on_signal(end: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut signals = Signals::new()?;
    std::thread::spawn(move || {
        signals.wait();
        end();
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
