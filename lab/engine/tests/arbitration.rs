//! Who decides when several filters match.

mod lab;

use lab::*;
use postern_engine::objects::*;
use postern_engine::*;

/// What one sublayer is to contain, highest sublayer first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Nothing,
    Permit,
    HardPermit,
    Block,
    CalloutPermit,
    CalloutHardPermit,
    CalloutBlock,
    CalloutHardBlock,
    CalloutContinue,
    Unregistered,
    UnregisteredPermitting,
    UnregisteredInspection,
}
use Says::*;

fn permit(out: &mut ClassifyOut) {
    out.action = action::PERMIT;
}

fn hard_permit(out: &mut ClassifyOut) {
    out.action = action::PERMIT;
    out.rights &= !RIGHT_ACTION_WRITE;
}

fn block(out: &mut ClassifyOut) {
    out.action = action::BLOCK;
}

fn hard_block(out: &mut ClassifyOut) {
    out.action = action::BLOCK;
    out.rights &= !RIGHT_ACTION_WRITE;
}

fn go_on(out: &mut ClassifyOut) {
    out.action = action::CONTINUE;
}

/// Classifies through sublayers that say this; returns the verdict, the position of the deciding one, and the violations.
fn arbitrate(says: &[Says]) -> (Verdict, Option<usize>, Vec<ContractViolation>) {
    let (mut engine, session) = engine();
    let mut script = Script::default();
    let mut filters = Vec::new();
    for (position, says) in says.iter().enumerate() {
        let number = position as u128 + 1;
        let weight = 60_000 - position as u16;
        engine.sublayer_add(session, sublayer(number, weight)).unwrap();
        let callout_key = key(100 + number);
        let answer: Option<fn(&mut ClassifyOut)> = match says {
            CalloutPermit => Some(permit),
            CalloutHardPermit => Some(hard_permit),
            CalloutBlock => Some(block),
            CalloutHardBlock => Some(hard_block),
            CalloutContinue => Some(go_on),
            _ => None,
        };
        let id = engine.callout_add(session, callout(100 + number)).unwrap();
        if let Some(answer) = answer {
            script.answers.insert(id, answer);
        }
        let (action, flags) = match says {
            Nothing => continue,
            Permit => (Action::Permit, FilterFlags::empty()),
            HardPermit => (Action::Permit, FilterFlags::CLEAR_ACTION_RIGHT),
            Block => (Action::Block, FilterFlags::empty()),
            UnregisteredInspection => (Action::CalloutInspection(callout_key), FilterFlags::empty()),
            UnregisteredPermitting => {
                (Action::CalloutTerminating(callout_key), FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED)
            }
            _ => (Action::CalloutUnknown(callout_key), FilterFlags::empty()),
        };
        let filter = Filter { sublayer: key(number), flags, ..filter(action) };
        filters.push((engine.filter_add(session, filter, &mut ()).unwrap(), position));
    }
    let verdict = engine.snapshot().classify(layers::id::ALE_AUTH_CONNECT_V4, &[], &mut script);
    let by = verdict.filter_id.map(|id| filters.iter().find(|(filter, _)| *filter == id).unwrap().1);
    (verdict, by, script.violations)
}

#[test]
fn the_documented_table_holds() {
    use Decision::{Block as Blocked, Permit as Permitted};
    // Sublayers from the highest; the decision; which of them decided; whether it is hard.
    let table: &[(&[Says], Decision, Option<usize>, bool)] = &[
        // Nobody says anything: permitted by default.
        (&[], Permitted, None, false),
        (&[Nothing, CalloutContinue, UnregisteredInspection], Permitted, None, false),
        // One voice.
        (&[Permit], Permitted, Some(0), false),
        (&[HardPermit], Permitted, Some(0), true),
        (&[Block], Blocked, Some(0), true),
        (&[CalloutPermit], Permitted, Some(0), false),
        (&[CalloutHardPermit], Permitted, Some(0), true),
        (&[CalloutBlock], Blocked, Some(0), false),
        (&[CalloutHardBlock], Blocked, Some(0), true),
        // Soft permit: a lower block wins.
        (&[Permit, Block], Blocked, Some(1), true),
        (&[CalloutPermit, Block], Blocked, Some(1), true),
        (&[Permit, CalloutBlock], Blocked, Some(1), false),
        (&[Permit, Permit], Permitted, Some(1), false),
        (&[Permit, HardPermit], Permitted, Some(1), true),
        // Hard permit: a lower plain block is ignored; a lower callout's block is a veto.
        (&[HardPermit, Block], Permitted, Some(0), true),
        (&[CalloutHardPermit, Block], Permitted, Some(0), true),
        (&[HardPermit, CalloutBlock], Blocked, Some(1), true),
        (&[HardPermit, Permit], Permitted, Some(0), true),
        (&[HardPermit, Nothing, CalloutHardBlock], Blocked, Some(2), true),
        // Soft block: a lower permit may override.
        (&[CalloutBlock, Permit], Permitted, Some(1), false),
        (&[CalloutBlock, CalloutHardPermit], Permitted, Some(1), true),
        (&[CalloutBlock, Block], Blocked, Some(1), true),
        // Hard block: nothing overrides.
        (&[Block, Permit], Blocked, Some(0), true),
        (&[Block, HardPermit], Blocked, Some(0), true),
        (&[Block, Block], Blocked, Some(0), true),
        (&[CalloutHardBlock, Permit, HardPermit], Blocked, Some(0), true),
        // After a veto nothing overrides either.
        (&[HardPermit, CalloutBlock, HardPermit], Blocked, Some(1), true),
        // An added but not registered callout.
        (&[Unregistered], Blocked, Some(0), true),
        (&[UnregisteredPermitting], Permitted, Some(0), false),
        (&[Permit, Unregistered], Blocked, Some(1), true),
        (&[HardPermit, Unregistered], Permitted, Some(0), true),
        (&[UnregisteredInspection, Permit], Permitted, Some(1), false),
        (&[UnregisteredPermitting, Block], Blocked, Some(1), true),
    ];
    for (says, decision, by, hard) in table {
        let (verdict, decided, violations) = arbitrate(says);
        assert_eq!((verdict.action, decided, verdict.hard), (*decision, *by, *hard), "{says:?}");
        assert!(violations.is_empty(), "{says:?}: {violations:?}");
    }
}
