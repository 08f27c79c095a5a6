//! What a callout answers to a classify.
//!
//! The rules are those of "FWPS_CALLOUT_CLASSIFY_FN3" and "Filter Arbitration": a callout writes an action only while it has
//! the right to (`FWPS_RIGHT_ACTION_WRITE`); who blocks takes the right away; who permits takes it away only if the filter says so.

use postern_protocol::{FilterContext, Role};

/// What a classify brings along.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// The callout may write an action (`FWPS_RIGHT_ACTION_WRITE`).
    pub may_write: bool,
    /// A permit of this filter is final (`FWPS_FILTER_FLAG_CLEAR_ACTION_RIGHT`).
    pub clear_right: bool,
    /// Without its callout the filter permits (`FWPS_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED`).
    pub permit_if_unregistered: bool,
    /// `FWPS_FILTER3.context`.
    pub context: u64,
}

/// An action to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Continue,
    Permit,
    Block,
}

/// What to write into `FWPS_CLASSIFY_OUT0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// `None`: leave the action alone.
    pub action: Option<Action>,
    /// Take the right to write away from filters of lower weight.
    pub clear_right: bool,
    /// Drop the packet silently.
    pub absorb: bool,
    /// Answer the packet with a reset, where connections are accepted.
    pub reject: bool,
    /// The callout did what its role says.
    pub acted: bool,
}

impl Answer {
    const LEAVE_ALONE: Answer = Answer { action: None, clear_right: false, absorb: false, reject: false, acted: false };
}

/// The answer of a callout that is in service.
#[inline(always)]
pub fn in_service(role: Role, question: Question) -> Answer {
    match role {
        Role::Monitor | Role::Inspect => Answer {
            action: if question.may_write { Some(Action::Continue) } else { None },
            acted: true,
            ..Answer::LEAVE_ALONE
        },
        Role::Block | Role::Permit | Role::Hold if !question.may_write => Answer::LEAVE_ALONE,
        Role::Block => match FilterContext::from_raw(question.context) {
            Some(context) => Answer {
                action: Some(Action::Block),
                clear_right: true,
                absorb: context.contains(FilterContext::ABSORB),
                reject: context.contains(FilterContext::REJECT),
                acted: true,
            },
            None => out_of_service(role, question),
        },
        Role::Permit => match FilterContext::from_raw(question.context) {
            Some(_) => Answer {
                action: Some(Action::Permit),
                clear_right: question.clear_right,
                acted: true,
                ..Answer::LEAVE_ALONE
            },
            None => out_of_service(role, question),
        },
        Role::Hold => match FilterContext::from_raw(question.context) {
            Some(context) => match context.contains(FilterContext::OTHERWISE_PERMIT) {
                true => in_service(Role::Permit, question),
                false => in_service(Role::Block, question),
            },
            None => out_of_service(role, question),
        },
    }
}

/// The answer of a callout that is leaving, or that cannot read its filter: what the engine would do with the filter if the
/// callout were not registered.
///
/// "FWPM_FILTER0": without its callout a filter blocks, or permits if `FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED` is
/// set; a filter for inspection is ignored.
#[inline]
pub fn out_of_service(role: Role, question: Question) -> Answer {
    let action = match role {
        Role::Monitor | Role::Inspect => Action::Continue,
        Role::Block | Role::Permit | Role::Hold if question.permit_if_unregistered => Action::Permit,
        Role::Block | Role::Permit | Role::Hold => Action::Block,
    };
    match question.may_write {
        true => Answer { action: Some(action), clear_right: action == Action::Block, ..Answer::LEAVE_ALONE },
        false => Answer::LEAVE_ALONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDINARY: Question =
        Question { may_write: true, clear_right: false, permit_if_unregistered: false, context: 0 };

    #[test]
    fn inspection_lets_others_decide() {
        for role in [Role::Monitor, Role::Inspect] {
            let answer = in_service(role, ORDINARY);
            assert_eq!(answer.action, Some(Action::Continue));
            assert!(!answer.clear_right && answer.acted);
        }
    }

    #[test]
    fn nobody_writes_without_the_right() {
        for role in Role::ALL {
            for question in
                [Question { may_write: false, ..ORDINARY }, Question { may_write: false, context: 7, ..ORDINARY }]
            {
                assert_eq!(in_service(role, question).action, None);
                assert_eq!(out_of_service(role, question), Answer::LEAVE_ALONE);
            }
        }
    }

    #[test]
    fn inspection_counts_even_without_the_right() {
        assert!(in_service(Role::Inspect, Question { may_write: false, ..ORDINARY }).acted);
        assert!(!in_service(Role::Block, Question { may_write: false, ..ORDINARY }).acted);
    }

    #[test]
    fn a_block_is_final_and_a_permit_only_if_the_filter_says_so() {
        assert!(in_service(Role::Block, ORDINARY).clear_right);
        assert!(!in_service(Role::Permit, ORDINARY).clear_right);
        assert!(in_service(Role::Permit, Question { clear_right: true, ..ORDINARY }).clear_right);
    }

    #[test]
    fn a_block_is_silent_if_the_context_says_so() {
        assert!(!in_service(Role::Block, ORDINARY).absorb);
        let context = FilterContext::ABSORB.to_raw();
        assert!(in_service(Role::Block, Question { context, ..ORDINARY }).absorb);
    }

    #[test]
    fn a_block_rejects_if_the_context_says_so() {
        let question = Question { context: FilterContext::REJECT.to_raw(), ..ORDINARY };
        assert!(in_service(Role::Block, question).reject);
        assert!(!in_service(Role::Block, ORDINARY).reject);
        assert!(!in_service(Role::Block, Question { may_write: false, ..question }).reject);
        assert!(!in_service(Role::Permit, question).reject);
        assert!(!out_of_service(Role::Block, question).reject);
    }

    #[test]
    fn a_foreign_context_is_answered_as_if_the_callout_were_unregistered() {
        let foreign = Question { context: 0xffff_8000_1234_5678, ..ORDINARY };
        for role in [Role::Block, Role::Permit] {
            assert_eq!(in_service(role, foreign).action, Some(Action::Block));
            let open = Question { permit_if_unregistered: true, ..foreign };
            assert_eq!(in_service(role, open).action, Some(Action::Permit));
            assert!(!in_service(role, open).acted);
        }
    }

    #[test]
    fn a_leaving_callout_fails_open_or_closed_as_its_filter_says() {
        for role in [Role::Block, Role::Permit] {
            let closed = out_of_service(role, ORDINARY);
            assert_eq!((closed.action, closed.clear_right), (Some(Action::Block), true));
            let open = out_of_service(role, Question { permit_if_unregistered: true, ..ORDINARY });
            assert_eq!((open.action, open.clear_right), (Some(Action::Permit), false));
        }
        let inspection = out_of_service(Role::Inspect, ORDINARY);
        assert_eq!((inspection.action, inspection.clear_right), (Some(Action::Continue), false));
    }
}
