//! Pended operations: authorisations that a callout has put off.
//!
//! `FwpsPendOperation0` may be called while ALE_AUTH_CONNECT, ALE_AUTH_RECV_ACCEPT, ALE_AUTH_LISTEN or ALE_RESOURCE_ASSIGNMENT is
//! classified, but not when that is a reauthorisation. Completing a connect has it classified again at once, as a reauthorisation
//! whose reason is CLASSIFY_COMPLETION; completing an accept does not: the verdict is given by injecting the packet again.

use core::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};

use fwps::sys::*;
use postern_engine::{FwpError, Verdict};

use super::{Owner, failure, owner};
use crate::export::{Export, exports};
use crate::inject::faulted;
use crate::irql::require_irql;
use crate::kernel::{Kernel, lock, next_number};
use crate::nt::DISPATCH_LEVEL;
use crate::ptr::Ptr;
use crate::report::{self, Finding, Kind};
use crate::thread;
use crate::traffic::{At, Direction, injected};

pub(crate) const EXPORTS: &[Export] = exports![FwpsPendOperation0, FwpsCompleteOperation0];

/// What is needed to classify an operation again.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub at: At,
    pub protocol: u8,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub begun: Direction,
    /// `ALE_APP_ID`.
    pub app: Option<Arc<[u8]>>,
    pub endpoint: u64,
    pub reauthorize: bool,
}

/// An operation that was pended. Its flow waits for the verdict.
#[derive(Debug)]
pub(crate) struct Pended {
    pub operation: Operation,
    verdict: OnceLock<Verdict>,
}

impl Pended {
    pub fn new(operation: Operation) -> Pended {
        Pended { operation, verdict: OnceLock::new() }
    }

    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict.get().copied()
    }

    pub fn decide(&self, verdict: Verdict) {
        // The first verdict holds.
        let _ = self.verdict.set(verdict);
    }
}

/// Accepts that wait for their packet, at most: more than the flows of any test that has such packets under way.
const MOST_ACCEPTS: usize = 4096;

#[derive(Default)]
pub(crate) struct Pending {
    /// By the context that `FwpsPendOperation0` returned; completing takes it out.
    contexts: Mutex<BTreeMap<u64, (Arc<Pended>, Owner)>>,
    /// Accepts that were completed and wait for their packet.
    accepts: Mutex<Vec<Arc<Pended>>>,
}

/// An operation that is being classified.
struct Current {
    completion_handle: u64,
    operation: Operation,
    pended: Option<Arc<Pended>>,
}

thread_local! {
    /// The completion handle before.
    static NEXT: Cell<u64> = const { Cell::new(0xc0_0000) };
    /// What this thread is classifying.
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// Classifies an operation that may be pended: `classify` is given the completion handle.
pub(crate) fn pendable<T>(operation: Operation, classify: impl FnOnce(u64) -> T) -> (T, Option<Arc<Pended>>) {
    let handle = NEXT.get() + 0x10;
    NEXT.set(handle);
    CURRENT.set(Some(Current { completion_handle: handle, operation, pended: None }));
    let result = classify(handle);
    (result, CURRENT.take().and_then(|current| current.pended))
}

impl Pending {
    pub fn left_behind(&self, image: u64) -> Vec<String> {
        lock(&self.contexts)
            .values()
            .filter(|(_, owner)| owner.image == image)
            .map(|(pended, _)| {
                let operation = &pended.operation;
                format!(
                    "the pended operation {} -> {} was not completed with FwpsCompleteOperation0",
                    operation.local, operation.remote
                )
            })
            .collect()
    }

    /// The accept that a packet between these addresses has been waited for.
    pub fn accept_of(&self, local: &SocketAddr, remote: &SocketAddr) -> Option<Arc<Pended>> {
        let mut accepts = lock(&self.accepts);
        let position =
            accepts.iter().position(|pended| pended.operation.local == *local && pended.operation.remote == *remote)?;
        Some(accepts.remove(position))
    }
}

/// An operation to be classified again.
pub(crate) struct Resumed(pub Arc<Pended>);

impl Resumed {
    pub fn classify(self, kernel: &Kernel) {
        self.0.decide(injected::reauthorize(kernel, &self.0.operation));
    }
}

extern "win64" fn FwpsPendOperation0(completion_handle: u64, completion_context: Ptr<u64>) -> NTSTATUS {
    require_irql(DISPATCH_LEVEL);
    if let Some(status) = faulted() {
        return status.0;
    }
    if completion_handle == 0 || completion_context.is_null() {
        return failure(FwpError::NullPointer);
    }
    let pended = CURRENT.with_borrow_mut(|current| {
        let current = current.as_mut().filter(|current| current.completion_handle == completion_handle);
        let current = current.ok_or(STATUS_INVALID_PARAMETER)?;
        if current.pended.is_some() || current.operation.reauthorize {
            return Err(failure(FwpError::CannotPend));
        }
        let made = Arc::new(Pended::new(current.operation.clone()));
        current.pended = Some(made.clone());
        Ok(made)
    });
    match pended {
        Ok(pended) => {
            let context = next_number() << 4;
            lock(&thread::current().fwp.pending.contexts).insert(context, (pended, owner()));
            completion_context.write(context);
            STATUS_SUCCESS
        }
        Err(STATUS_INVALID_PARAMETER) => {
            report::violation(Finding {
                kind: Kind::Contract,
                what: format!(
                    "FwpsPendOperation0 was given {completion_handle:#x}, which this classify has not offered"
                ),
                remedy: "call it from classifyFn, with the completionHandle of that call's metadata".into(),
            });
            STATUS_INVALID_PARAMETER
        }
        Err(status) => status,
    }
}

extern "win64" fn FwpsCompleteOperation0(completion_context: u64, _list: Ptr<NET_BUFFER_LIST>) {
    require_irql(DISPATCH_LEVEL);
    let kernel = thread::current();
    let Some((pended, _)) = lock(&kernel.fwp.pending.contexts).remove(&completion_context) else {
        report::violation(Finding {
            kind: Kind::Contract,
            what: format!("FwpsCompleteOperation0 was given {completion_context:#x}, which is no pended operation"),
            remedy: "complete each pended operation once".into(),
        });
        return;
    };
    match pended.operation.begun {
        Direction::Outbound => kernel.fwp.injection.resume(Resumed(pended)),
        Direction::Inbound => {
            let mut accepts = lock(&kernel.fwp.pending.accepts);
            // A packet that a driver has dropped never comes.
            if accepts.len() == MOST_ACCEPTS {
                accepts.remove(0);
            }
            accepts.push(pended);
        }
    }
}
