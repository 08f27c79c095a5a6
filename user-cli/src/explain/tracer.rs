//! A host of traffic that notes what each layer decides and why.

use postern_engine::{Snapshot, Trace, Verdict, layers};
use postern_traffic::{At, Direction, Facts, Flow, Host, Passing, Program, PutOff, with_values};

use super::callouts::{Possibilities, possibilities, trace};
use super::changes::changes;
use super::names::{self, Names};
use super::view::{Change, Decision};

/// A classify, as it went.
pub struct Noted {
    pub at: At,
    pub layer: u16,
    pub discard: bool,
    /// By field.
    pub values: Vec<Option<String>>,
    pub possibilities: Possibilities,
    /// Of the first of the possibilities.
    pub trace: Trace,
    pub changes: Vec<Change>,
}

pub struct Tracer<'a> {
    pub snapshot: &'a Snapshot,
    pub names: &'a Names<'a>,
    pub program: Program<'a>,
    /// Off for what leads up to the packet that is asked about.
    pub notes: bool,
    pub noted: Vec<Noted>,
    /// How many there were, noted or not.
    pub classifies: u64,
    next: u64,
}

impl<'a> Tracer<'a> {
    pub fn new(snapshot: &'a Snapshot, names: &'a Names<'a>, program: Program<'a>) -> Tracer<'a> {
        Tracer { snapshot, names, program, notes: true, noted: Vec::new(), classifies: 0, next: 1 }
    }

    fn classify(&mut self, at: At, layer: u16, discard: bool, passing: &Passing<'_>) -> Verdict {
        self.classifies += 1;
        with_values(at, passing, |values| {
            let possibilities = possibilities(self.snapshot, self.names, layer, values);
            let verdict = possibilities.first().verdict;
            if self.notes {
                let trace = trace(self.snapshot, self.names, layer, values, possibilities.first());
                let changes = match discard {
                    true => Vec::new(),
                    false => changes(self.snapshot, self.names, layer, values, &possibilities, &trace),
                };
                let fields = layers::by_id(layer).map_or(&[][..], |layer| layer.fields);
                let values = values.iter().zip(fields).map(|(value, field)| names::value(field.name, value)).collect();
                self.noted.push(Noted { at, layer, discard, values, possibilities, trace, changes });
            }
            verdict
        })
    }
}

/// Nothing is put off here: a callout that does so has two answers, and both are followed.
pub enum Never {}

impl PutOff for Never {
    fn at(&self) -> At {
        match *self {}
    }

    fn verdict(&self) -> Option<Verdict> {
        match *self {}
    }
}

impl<'a, 'b: 'a> Host<'a> for &mut Tracer<'b> {
    type Pended = Never;

    /// Layers without filters are passed, too.
    fn has_filters(&self, _: u16) -> bool {
        true
    }

    fn classify(&mut self, at: At, layer: u16, passing: &Passing<'a>) -> Verdict {
        Tracer::classify(self, at, layer, false, passing)
    }

    fn classify_or_pend(
        &mut self,
        at: At,
        layer: u16,
        passing: &Passing<'a>,
        _: &Flow<Never>,
    ) -> (Verdict, Option<Never>) {
        (Tracer::classify(self, at, layer, false, passing), None)
    }

    fn blocked(&mut self, at: At, discard: Option<u16>, passing: &Passing<'a>, _: &Verdict) {
        if let Some(layer) = discard.filter(|layer| self.snapshot.has_filters(*layer)) {
            Tracer::classify(self, at, layer, true, passing);
        }
    }

    fn begin_flow(&mut self) -> (u64, u64) {
        self.next += 1;
        (self.next, self.next)
    }

    fn end_flow(&mut self, _: u64) {}

    fn is_aborted(&self, _: u64) -> bool {
        false
    }

    fn belongs_to(&mut self, _: &Flow<Never>, facts: &mut Facts<'a>) {
        facts.set_program(self.program);
    }

    fn epoch(&self, _: Direction, _: bool) -> u64 {
        0
    }
}

impl Noted {
    pub fn decision(&self) -> Decision {
        self.possibilities.decision()
    }
}
