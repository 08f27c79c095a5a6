//! A model of the Windows filter engine: the objects that the base filtering engine (BFE) keeps, and the
//! run-time view that classifies connections and packets.
//!
//! Everything here is deterministic and free of I/O, threads and clocks; the lab's kernel (`lab/kernel`) puts an engine behind
//! the kernel and user functions of Windows.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod arbitration;
mod builtin;
mod call;
mod contexts;
mod engine;
mod error;
mod filters;
pub mod guids;
mod index;
pub mod layers;
mod matching;
pub mod net_events;
mod notify;
pub mod objects;
mod restore;
mod runtime;
mod security;
mod session;
mod store;
mod sublayer;
pub mod template;
mod trace;
mod values;
pub mod weight;

pub use arbitration::{
    CLASSIFY_OUT_FLAG_ABSORB, CalloutCall, Callouts, ClassifyOut, ContractViolation, Decision, RIGHT_ACTION_WRITE,
    Verdict,
};
pub use call::{Answer, Call};
pub use engine::{Engine, View};
pub use error::FwpError;
pub use matching::{RuntimeCondition, Value};
pub use notify::{CalloutNotify, NotifyRefused, NotifyType};
pub use restore::{Doubt, Objects, RestoreError, Restored};
pub use runtime::{RuntimeAction, RuntimeFilter, Snapshot, action, filter_flag};
pub use session::SessionId;
pub use trace::{
    ConditionResult, ConditionTrace, Effect, FilterTrace, Outcome, Said, Source, SublayerTrace, Trace, Word,
};
