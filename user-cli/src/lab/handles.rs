//! Handles to drivers' devices that the lab's clients hold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_lab::{File, Lab, NtStatus};

use super::message::{Opened, Refusal};
use crate::driver::Holder;
use crate::failure::Failure;

/// The open handles, and whose they are.
#[derive(Default)]
pub struct Handles {
    open: Mutex<BTreeMap<u64, Arc<Handle>>>,
    last: AtomicU64,
    /// The lab ends: nothing is opened any more, and what waits is cancelled.
    ending: AtomicBool,
}

struct Handle {
    file: File,
    service: String,
    process_id: u32,
    command: String,
    since: String,
    parked: AtomicUsize,
}

/// How often a request that waits in a driver looks whether its client still wants it.
const LOOK: Duration = Duration::from_millis(20);

impl Handles {
    pub fn open(&self, lab: &Lab, device: &str, process_id: u32, command: String) -> Result<Opened, Refusal> {
        if self.ending.load(Ordering::Acquire) {
            return Err(Failure::new("the lab is ending").into());
        }
        let file = lab.open(device).map_err(status)?;
        let service = file.service().unwrap_or_default();
        let handle = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let since = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let opened = Opened { handle, service: service.clone() };
        let entry = Handle { file, service, process_id, command, since, parked: AtomicUsize::new(0) };
        self.lock().insert(handle, Arc::new(entry));
        Ok(opened)
    }

    /// Closing the last handle may unload the driver.
    pub fn close(&self, handle: u64) {
        let closed = self.lock().remove(&handle);
        drop(closed);
    }

    /// Closes every handle, and cancels what waits in drivers. It takes a moment until their threads have let go of them.
    pub fn close_all(&self) {
        self.ending.store(true, Ordering::Release);
        let closed = std::mem::take(&mut *self.lock());
        drop(closed);
    }

    /// Sends a request and waits for its end; cancels it as soon as `given_up` says so.
    pub fn control(
        &self,
        handle: u64,
        code: u32,
        input: &[u8],
        output_length: usize,
        mut given_up: impl FnMut() -> bool,
    ) -> Result<Vec<u8>, Refusal> {
        let handle = self.lock().get(&handle).cloned();
        let handle = handle.ok_or_else(|| Failure::new("the handle is not open"))?;
        handle.parked.fetch_add(1, Ordering::Relaxed);
        let ended = || {
            let mut pending = handle.file.begin_device_io_control(code, input, output_length)?;
            loop {
                pending = match pending.wait_for(LOOK) {
                    Ok(ended) => return ended,
                    Err(pending) => pending,
                };
                if given_up() || self.ending.load(Ordering::Acquire) {
                    pending.cancel();
                    return pending.wait();
                }
            }
        };
        let ended = { ended }();
        handle.parked.fetch_sub(1, Ordering::Relaxed);
        ended.map_err(status)
    }

    /// Who holds handles to a driver's devices.
    pub fn holders(&self, service: &str) -> Vec<Holder> {
        self.lock()
            .values()
            .filter(|handle| handle.service.eq_ignore_ascii_case(service))
            .map(|handle| Holder {
                process_id: handle.process_id,
                command: handle.command.clone(),
                since: Some(handle.since.clone()),
                parked: Some(handle.parked.load(Ordering::Relaxed)),
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Handle>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status(status: NtStatus) -> Refusal {
    Refusal::Status(status.0 as u32)
}
