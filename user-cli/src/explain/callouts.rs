//! What callouts say. Nobody calls them here: the Postern driver's answers are known, and of others every answer is tried.

use postern_core::verdict;
use postern_engine::{
    CalloutCall, Callouts, ClassifyOut, RIGHT_ACTION_WRITE, RuntimeFilter, Snapshot, Trace, Value, Verdict, action,
    filter_flag,
};
use postern_protocol::{CALLOUTS, FilterContext, Role};

use super::names::Names;
use super::view::Decision;

/// `FWP_CALLOUT_FLAG_CONDITIONAL_ON_FLOW`.
const CONDITIONAL_ON_FLOW: u32 = 0x1;
/// More combinations of answers are not tried: six callouts whose answers are all open.
const MOST_RUNS: usize = 729;

/// What a callout may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It is called only on flows that carry its context, and this one does not.
    NotCalled,
    Continue,
    Permit,
    Block,
}

impl Says {
    pub fn word(self) -> &'static str {
        match self {
            Says::NotCalled => "not called",
            Says::Continue => "continue",
            Says::Permit => "permit",
            Says::Block => "block",
        }
    }
}

/// A callout that was asked, and what it was taken to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub filter: u64,
    pub callout: u32,
    pub says: Says,
}

/// What is known of a callout's answer for a filter.
pub enum Known {
    NotRegistered,
    /// One of the Postern driver's, for a filter that it understands.
    Ours(Role),
    /// It can only let the next filter decide.
    Inspects,
    /// Another driver's.
    Open,
}

pub fn known(names: &Names<'_>, filter: &RuntimeFilter) -> Known {
    let callout = names.callout(filter.action.callout_id).filter(|callout| callout.registered);
    let Some(callout) = callout else { return Known::NotRegistered };
    match CALLOUTS.iter().find(|ours| ours.key() == callout.key.as_u128()) {
        Some(ours) => Known::Ours(ours.role),
        None if filter.action.action_type == action::CALLOUT_INSPECTION => Known::Inspects,
        None => Known::Open,
    }
}

fn is_conditional(names: &Names<'_>, callout: u32) -> bool {
    names.callout(callout).is_some_and(|callout| callout.registration_flags & CONDITIONAL_ON_FLOW != 0)
}

/// A way in which a classify may go.
#[derive(Debug, Clone)]
pub struct Possible {
    /// The callouts whose answers are not known.
    pub asked: Vec<Asked>,
    pub verdict: Verdict,
}

/// Everything that a classify may come to.
pub struct Possibilities {
    /// One for each verdict. The first is that which permits, if one does: what comes after it is worth looking at.
    pub ways: Vec<Possible>,
    /// There were too many combinations to try them all.
    pub incomplete: bool,
}

impl Possibilities {
    pub fn decision(&self) -> Decision {
        let mut decisions = self.ways.iter().map(|way| Decision::from(way.verdict.action));
        let first = decisions.next().unwrap_or(Decision::Permit);
        if decisions.all(|decision| decision == first) { first } else { Decision::Depends }
    }

    pub fn first(&self) -> &Possible {
        &self.ways[0]
    }
}

/// Classifies with every combination of answers.
pub fn possibilities(snapshot: &Snapshot, names: &Names<'_>, layer: u16, values: &[Value<'_>]) -> Possibilities {
    let mut ways: Vec<Possible> = Vec::new();
    let mut script = Vec::new();
    let mut runs = 0;
    loop {
        let mut answers = Answers::new(names, &script);
        let verdict = snapshot.classify(layer, values, &mut answers);
        let next = answers.next_script();
        let way = Possible { asked: answers.asked.into_iter().map(|(asked, _)| asked).collect(), verdict };
        match ways.iter_mut().find(|known| known.verdict == verdict) {
            // Of two ways to one verdict the one with fewer assumptions tells more.
            Some(known) if assumptions(&way) < assumptions(known) => *known = way,
            Some(_) => {}
            None => ways.push(way),
        }
        runs += 1;
        match next {
            Some(next) if runs < MOST_RUNS => script = next,
            next => {
                ways.sort_by_key(|way| way.verdict.action != postern_engine::Decision::Permit);
                return Possibilities { ways, incomplete: next.is_some() };
            }
        }
    }
}

fn assumptions(way: &Possible) -> usize {
    way.asked.iter().filter(|asked| !matches!(asked.says, Says::Continue | Says::NotCalled)).count()
}

/// The classify in one of its ways, told step by step.
pub fn trace(snapshot: &Snapshot, names: &Names<'_>, layer: u16, values: &[Value<'_>], way: &Possible) -> Trace {
    let script: Vec<Says> = way.asked.iter().map(|asked| asked.says).collect();
    snapshot.trace(layer, values, &mut Answers::by_words(names, script))
}

/// Callouts that answer by a script; where it ends, with the first of their possible answers.
struct Answers<'a> {
    names: &'a Names<'a>,
    /// Positions among the possible answers.
    script: &'a [usize],
    words: Option<Vec<Says>>,
    asked: Vec<(Asked, &'static [Says])>,
}

impl<'a> Answers<'a> {
    fn new(names: &'a Names<'a>, script: &'a [usize]) -> Answers<'a> {
        Answers { names, script, words: None, asked: Vec::new() }
    }

    fn by_words(names: &'a Names<'a>, words: Vec<Says>) -> Answers<'a> {
        Answers { names, script: &[], words: Some(words), asked: Vec::new() }
    }

    /// The script that tries the next combination.
    fn next_script(&self) -> Option<Vec<usize>> {
        let positions = self.asked.iter().map(|(asked, options)| {
            (options.iter().position(|says| *says == asked.says).unwrap_or_default(), options.len())
        });
        let positions: Vec<(usize, usize)> = positions.collect();
        let last = positions.iter().rposition(|(position, of)| position + 1 < *of)?;
        let mut script: Vec<usize> = positions[..=last].iter().map(|(position, _)| *position).collect();
        script[last] += 1;
        Some(script)
    }

    fn choose(&mut self, filter: &RuntimeFilter, options: &'static [Says]) -> Says {
        let number = self.asked.len();
        let says = match &self.words {
            Some(words) => words.get(number).copied().unwrap_or(options[0]),
            None => options[self.script.get(number).copied().unwrap_or(0)],
        };
        self.asked.push((Asked { filter: filter.id, callout: filter.action.callout_id, says }, options));
        says
    }
}

impl Callouts for Answers<'_> {
    fn classify(&mut self, callout_id: u32, filter: &RuntimeFilter, out: &mut ClassifyOut) -> CalloutCall {
        let may_write = out.rights & RIGHT_ACTION_WRITE != 0;
        let says = match known(self.names, filter) {
            Known::NotRegistered => return CalloutCall::NotRegistered,
            Known::Inspects => Says::Continue,
            Known::Ours(Role::Hold) if may_write && FilterContext::from_raw(filter.context).is_some() => {
                self.choose(filter, &[Says::Permit, Says::Block])
            }
            Known::Ours(role) => return ours(role, filter, may_write, out),
            Known::Open => {
                let conditional = is_conditional(self.names, callout_id);
                let options: &[Says] = match (may_write, conditional) {
                    // It may block against a hard permit, which is a veto.
                    (false, true) => &[Says::NotCalled, Says::Block],
                    (false, false) => &[Says::Continue, Says::Block],
                    (true, true) => &[Says::NotCalled, Says::Permit, Says::Block],
                    (true, false) if filter.action.action_type == action::CALLOUT_TERMINATING => {
                        &[Says::Permit, Says::Block]
                    }
                    (true, false) => &[Says::Continue, Says::Permit, Says::Block],
                };
                self.choose(filter, options)
            }
        };
        if says == Says::NotCalled {
            return CalloutCall::NotOnThisFlow;
        }
        write(says, filter, out);
        CalloutCall::Called
    }
}

/// As the documentation tells callouts to answer (page "FWPS_CALLOUT_CLASSIFY_FN3"): who blocks clears the right to write, who
/// permits clears it where the filter says so.
fn write(says: Says, filter: &RuntimeFilter, out: &mut ClassifyOut) {
    match says {
        Says::NotCalled => {}
        Says::Continue => out.action = action::CONTINUE,
        Says::Permit => {
            out.action = action::PERMIT;
            if filter.has_flag(filter_flag::CLEAR_ACTION_RIGHT) {
                out.rights &= !RIGHT_ACTION_WRITE;
            }
        }
        Says::Block => {
            out.action = action::BLOCK;
            out.rights &= !RIGHT_ACTION_WRITE;
        }
    }
}

/// The driver's own verdict.
fn ours(role: Role, filter: &RuntimeFilter, may_write: bool, out: &mut ClassifyOut) -> CalloutCall {
    let question = verdict::Question {
        may_write,
        clear_right: filter.has_flag(filter_flag::CLEAR_ACTION_RIGHT),
        permit_if_unregistered: filter.has_flag(filter_flag::PERMIT_IF_CALLOUT_UNREGISTERED),
        context: filter.context,
    };
    let answer = verdict::in_service(role, question);
    match answer.action {
        Some(verdict::Action::Continue) => out.action = action::CONTINUE,
        Some(verdict::Action::Permit) => out.action = action::PERMIT,
        Some(verdict::Action::Block) => out.action = action::BLOCK,
        None => {}
    }
    if answer.clear_right {
        out.rights &= !RIGHT_ACTION_WRITE;
    }
    if answer.absorb {
        out.flags |= postern_engine::CLASSIFY_OUT_FLAG_ABSORB;
    }
    CalloutCall::Called
}

/// What is known of the answer, for people.
pub fn describe(names: &Names<'_>, filter: &RuntimeFilter) -> String {
    let permits = filter.has_flag(filter_flag::PERMIT_IF_CALLOUT_UNREGISTERED);
    match known(names, filter) {
        Known::NotRegistered if filter.action.action_type == action::CALLOUT_INSPECTION => {
            "not registered: passed over".to_owned()
        }
        Known::NotRegistered if permits => "not registered: permits, as the filter says".to_owned(),
        Known::NotRegistered => "not registered: blocks".to_owned(),
        Known::Ours(Role::Monitor | Role::Inspect) => "the Postern driver's: lets the next filter decide".to_owned(),
        Known::Ours(Role::Block) => "the Postern driver's: blocks".to_owned(),
        Known::Ours(Role::Permit) => "the Postern driver's: permits".to_owned(),
        Known::Ours(Role::Hold) => "the Postern driver's: holds until a program answers (`postern ask`)".to_owned(),
        Known::Inspects => "registered, for inspection: lets the next filter decide".to_owned(),
        Known::Open => {
            let terminates = filter.action.action_type == action::CALLOUT_TERMINATING;
            let called =
                if is_conditional(names, filter.action.callout_id) { ", on flows that it has marked" } else { "" };
            let says = if terminates { "permits or blocks" } else { "permits, blocks, or lets the next filter decide" };
            format!("another driver's: {says}{called}")
        }
    }
}
