//! What the worker thread does: it answers requests that wait for events, and takes the verdicts of operations whose time is up, and sends
//! resets.

use fwps::sys::NTSTATUS;

use postern_core::gate;

use crate::shared;
use crate::spin_lock::SpinLock;
use crate::stay::AnswerParked;
use crate::worker::{StartedWorker, Worker};
use crate::{control, hold, reject};

/// Goes once through a shell's parked requests: see [`crate::Shell::serve_parked`].
type Serve = fn(&mut AnswerParked<'_>);

static WORKER: Worker = Worker::new(work);
static SERVE: SpinLock<Option<Serve>> = SpinLock::new(None);

/// Starts the thread, which serves the parked requests of one shell. IRQL: PASSIVE_LEVEL.
///
/// # Safety
///
/// There is no thread yet, or not any more.
pub unsafe fn start(serve: Serve) -> Result<StartedWorker, NTSTATUS> {
    *SERVE.lock() = Some(serve);
    // SAFETY: the caller's promise.
    unsafe { WORKER.start() }
}

/// Has the thread look whether there is something to do. IRQL: at most DISPATCH_LEVEL.
pub fn wake() {
    WORKER.wake();
}

/// IRQL: PASSIVE_LEVEL.
fn work() {
    // Behind the closed gate the walk out ends what waits.
    if let Some(pass) = shared::gate().enter(shared::processor()) {
        hold::expire();
        reject::send();
        pass.leave(gate::DROPPED);
    }
    let serve = *SERVE.lock();
    if let Some(serve) = serve {
        serve(&mut control::answer_parked);
    }
}
