//! What asks a console program to end: Ctrl-C, Ctrl-Break, a closed window, the end of the Windows session.

use std::sync::mpsc::{Receiver, sync_channel};

use crate::failure::{Failure, Result};

pub struct Signals(Receiver<()>);

impl Signals {
    /// From now on they do not end the program any more. To be called once.
    pub fn new() -> Result<Signals> {
        let (sender, receiver) = sync_channel(1);
        // One that is waiting to be received says it all.
        ctrlc::set_handler(move || {
            let _ = sender.try_send(());
        })
        .map_err(|error| Failure::new(format!("cannot listen for Ctrl-C: {error}")))?;
        Ok(Signals(receiver))
    }

    /// Waits for one.
    pub fn wait(&mut self) {
        // The handler, which has the sender, stays.
        let _ = self.0.recv();
    }
}
