//! Unregistering a callout until the filter engine says that it is gone.
//!
//! `FwpsCalloutUnregisterById0` can fail, and an image that goes while one of its callouts is registered will be called
//! where it no longer is. So the loop here has one way out: the engine's word that the callout is not registered any more.
//! It may take for ever. A hung unload can be debugged; a stale pointer cannot.

use crate::Status;

/// What the loop needs from its surroundings.
pub trait Unregister {
    /// `FwpsCalloutUnregisterById0`. IRQL: PASSIVE_LEVEL.
    fn unregister(&mut self, callout_id: u32) -> Status;

    /// The same call, made on a system thread that is certain to run at PASSIVE_LEVEL.
    fn unregister_on_system_thread(&mut self, callout_id: u32) -> Status;

    /// Removes every context that the callout has associated with a flow, and waits until each has been deleted.
    fn remove_flow_contexts(&mut self, callout_id: u32);

    /// Lets time pass.
    fn wait(&mut self, milliseconds: u32);

    /// Tells the log that an attempt failed.
    fn report(&mut self, callout_id: u32, attempt: u32, status: Status, next: Next);
}

/// What follows from a status of `FwpsCalloutUnregisterById0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The callout is unregistered.
    Done,
    /// It was not registered (any more): done, and worth a line in the log.
    DoneUnknown,
    /// A flow still carries a context of the callout, or a classify is in progress: remove the contexts, then again.
    RemoveFlowContexts,
    /// Another thread is registering or unregistering the callout: again.
    Wait,
    /// The call refuses this thread's IRQL, which is a bug of whoever called our unload: again on a system thread.
    SystemThread,
    /// Not documented. Again, for as long as it takes.
    Again,
}

impl Next {
    /// The documented statuses ("FwpsCalloutUnregisterById0 function", fwpsk.h), and an action for all others.
    pub const fn after(status: Status) -> Next {
        match status {
            Status::SUCCESS => Next::Done,
            Status::FWP_CALLOUT_NOT_FOUND => Next::DoneUnknown,
            Status::DEVICE_BUSY => Next::RemoveFlowContexts,
            Status::FWP_IN_USE => Next::Wait,
            Status::NOT_SUPPORTED => Next::SystemThread,
            _ => Next::Again,
        }
    }
}

/// How a callout went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unregistered {
    /// Calls that it took.
    pub attempts: u32,
    /// The engine did not know the callout.
    pub unknown: bool,
}

/// The longest pause between two attempts.
const LONGEST_WAIT_MS: u32 = 128;

/// Unregisters a callout, however often it takes. IRQL: PASSIVE_LEVEL.
pub fn until_gone(engine: &mut impl Unregister, callout_id: u32) -> Unregistered {
    let mut attempts = 0u32;
    let mut wait_ms = 1;
    let mut system_thread = false;
    loop {
        let status =
            if system_thread { engine.unregister_on_system_thread(callout_id) } else { engine.unregister(callout_id) };
        attempts = attempts.saturating_add(1);
        let next = Next::after(status);
        if next != Next::Done {
            engine.report(callout_id, attempts, status, next);
        }
        match next {
            Next::Done => return Unregistered { attempts, unknown: false },
            Next::DoneUnknown => return Unregistered { attempts, unknown: true },
            Next::RemoveFlowContexts => engine.remove_flow_contexts(callout_id),
            Next::SystemThread => system_thread = true,
            Next::Wait | Next::Again => {}
        }
        engine.wait(wait_ms);
        wait_ms = (wait_ms * 2).min(LONGEST_WAIT_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// An engine that answers as told, then with success.
    #[derive(Default)]
    struct Script {
        answers: Vec<Status>,
        calls: Vec<&'static str>,
        waits: Vec<u32>,
        reports: Vec<Status>,
    }

    impl Script {
        fn answering(answers: &[Status]) -> Self {
            Script { answers: answers.iter().rev().copied().collect(), ..Script::default() }
        }
        fn answer(&mut self) -> Status {
            self.answers.pop().unwrap_or(Status::SUCCESS)
        }
    }

    impl Unregister for Script {
        fn unregister(&mut self, _: u32) -> Status {
            self.calls.push("unregister");
            self.answer()
        }
        fn unregister_on_system_thread(&mut self, _: u32) -> Status {
            self.calls.push("unregister on system thread");
            self.answer()
        }
        fn remove_flow_contexts(&mut self, _: u32) {
            self.calls.push("remove flow contexts");
        }
        fn wait(&mut self, milliseconds: u32) {
            self.waits.push(milliseconds);
        }
        fn report(&mut self, _: u32, _: u32, status: Status, _: Next) {
            self.reports.push(status);
        }
    }

    #[test]
    fn every_documented_status_has_its_own_action() {
        for (status, next) in [
            (Status::SUCCESS, Next::Done),
            (Status::FWP_CALLOUT_NOT_FOUND, Next::DoneUnknown),
            (Status::DEVICE_BUSY, Next::RemoveFlowContexts),
            (Status::FWP_IN_USE, Next::Wait),
            (Status::NOT_SUPPORTED, Next::SystemThread),
            (Status::PENDING, Next::Again),
        ] {
            assert_eq!(Next::after(status), next, "{status}");
        }
    }

    #[test]
    fn success_ends_it_without_a_word() {
        let mut engine = Script::default();
        assert_eq!(until_gone(&mut engine, 258), Unregistered { attempts: 1, unknown: false });
        assert!(engine.reports.is_empty());
        assert!(engine.waits.is_empty());
    }

    #[test]
    fn an_unknown_callout_is_gone_and_reported() {
        let mut engine = Script::answering(&[Status::FWP_CALLOUT_NOT_FOUND]);
        assert_eq!(until_gone(&mut engine, 258), Unregistered { attempts: 1, unknown: true });
        assert_eq!(engine.reports, vec![Status::FWP_CALLOUT_NOT_FOUND]);
    }

    #[test]
    fn busy_removes_flow_contexts_before_every_further_attempt() {
        let mut engine = Script::answering(&[Status::DEVICE_BUSY, Status::DEVICE_BUSY]);
        assert_eq!(until_gone(&mut engine, 258).attempts, 3);
        let expected = ["unregister", "remove flow contexts", "unregister", "remove flow contexts", "unregister"];
        assert_eq!(engine.calls, expected);
    }

    #[test]
    fn a_wrong_irql_moves_all_further_attempts_to_a_system_thread() {
        let mut engine = Script::answering(&[Status::NOT_SUPPORTED, Status::FWP_IN_USE]);
        until_gone(&mut engine, 258);
        assert_eq!(engine.calls, ["unregister", "unregister on system thread", "unregister on system thread"]);
    }

    #[test]
    fn no_status_but_success_and_not_found_ends_it() {
        let stubborn = [
            Status::FWP_IN_USE,
            Status::PENDING,
            Status::UNSUCCESSFUL,
            Status::INSUFFICIENT_RESOURCES,
            Status::DELETE_PENDING,
            Status(0x4000_0000),
            Status(-1),
        ];
        for status in stubborn {
            let mut engine = Script::answering(&[status; 50]);
            assert_eq!(until_gone(&mut engine, 258), Unregistered { attempts: 51, unknown: false }, "{status}");
            assert_eq!(engine.reports, [status; 50]);
        }
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let mut engine = Script::answering(&[Status::FWP_IN_USE; 10]);
        until_gone(&mut engine, 258);
        assert_eq!(engine.waits, [1, 2, 4, 8, 16, 32, 64, 128, 128, 128]);
    }
}
