//! The programs that own flows and operations, by number.

use alloc::vec::Vec;

use fwps::sys::NTSTATUS;
use postern_core::applications::{Application, Applications};
use wdk_sys::STATUS_INSUFFICIENT_RESOURCES;

use crate::shared::ALLOCATIONS;
use crate::spin_lock::SpinLock;

/// Programs that can be told apart: 140 KiB of memory.
const PLACES: usize = 256;

static APPLICATIONS: SpinLock<Applications<Vec<Application>>> = SpinLock::new(Applications::new(Vec::new()));

/// The table's memory. Dropping it frees it; then every program is unknown.
pub struct Memory(());

impl Memory {
    /// IRQL: PASSIVE_LEVEL.
    pub fn allocate() -> Result<Self, NTSTATUS> {
        let mut places = Vec::new();
        places.try_reserve_exact(PLACES).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        ALLOCATIONS.begin();
        places.resize(PLACES, Application::FREE);
        *APPLICATIONS.lock() = Applications::new(places);
        Ok(Memory(()))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        *APPLICATIONS.lock() = Applications::new(Vec::new());
        ALLOCATIONS.end();
    }
}

/// The number of the program at `path` (`ALE_APP_ID`); zero if there is no room for it. IRQL: at most DISPATCH_LEVEL.
pub fn id(path: &[u8]) -> u32 {
    APPLICATIONS.lock().id(path)
}

/// Copies the path of program `id` to the beginning of `output`, and returns its length; `None` if there is no such program, and the
/// length that is needed if the room is too small. IRQL: at most DISPATCH_LEVEL.
pub fn path(id: u32, output: &mut [u8]) -> Option<Result<usize, usize>> {
    let applications = APPLICATIONS.lock();
    let path = applications.path(id)?;
    Some(match output.get_mut(..path.len()) {
        Some(place) => {
            place.copy_from_slice(path);
            Ok(path.len())
        }
        None => Err(path.len()),
    })
}
