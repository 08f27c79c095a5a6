//! An explanation as a page: one file, which needs nothing else, and runs no script.

use askama::Template;

use super::text::{self, verdict_text};
use super::view::*;
use crate::failure::{Failure, Result};
use crate::output::count;

#[derive(Template)]
#[template(path = "explain.html")]
struct Page<'a> {
    explanation: &'a Explanation,
    headline: String,
    filters: String,
    version: &'static str,
}

pub fn page(explanation: &Explanation) -> Result<String> {
    let page = Page {
        explanation,
        headline: verdict_text(&explanation.verdict),
        filters: count(explanation.question.filters as u64),
        version: env!("CARGO_PKG_VERSION"),
    };
    page.render().map_err(|error| Failure::new(format!("cannot write the page: {error}")))
}

impl Stop {
    /// A filter, or a callout, has decided here.
    fn is_loud(&self) -> bool {
        !self.discard && (self.filter.is_some() || self.decision != Decision::Permit)
    }

    fn is_empty(&self) -> bool {
        self.filters == 0
    }

    fn tone(&self) -> &'static str {
        if self.discard { "none" } else { self.decision.word() }
    }

    fn summary(&self) -> String {
        text::summary(self)
    }

    /// Sublayers with filters that match.
    fn speaking(&self) -> impl Iterator<Item = &SublayerView> {
        self.sublayers.iter().filter(|sublayer| sublayer.matching().next().is_some())
    }

    fn silent(&self) -> Option<String> {
        text::silent(self)
    }
}

impl SublayerView {
    fn tone(&self) -> &'static str {
        self.says.map_or("none", Decision::word)
    }

    fn is_lit(&self) -> bool {
        matches!(self.effect, Some(Effect::Decides | Effect::Vetoes))
    }

    fn matching(&self) -> impl Iterator<Item = &FilterView> {
        self.filters.iter().filter(|filter| filter.part != Part::Unknown)
    }

    fn nearly(&self) -> Vec<&FilterView> {
        self.filters.iter().filter(|filter| filter.part == Part::Unknown).collect()
    }

    fn not_matching(&self) -> String {
        text::not_matching(self)
    }
}

impl FilterView {
    /// What it would say, whether or not that counts.
    fn tone(&self) -> &'static str {
        match &*self.action {
            "permit" => "permit",
            "block" => "block",
            _ if self.part == Part::Wins && self.says.starts_with("permits") => "permit",
            _ if self.part == Part::Wins && self.says.starts_with("blocks") => "block",
            _ => "none",
        }
    }
}

impl Part {
    fn class(self) -> &'static str {
        match self {
            Part::Wins => "wins",
            Part::PassesOn => "passes",
            Part::Loses | Part::NotReached | Part::Unknown => "dim",
        }
    }
}

impl Match {
    fn word(self) -> &'static str {
        match self {
            Match::Matches => "matches",
            Match::Differs => "differs",
            Match::Unknown => "not known",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Match::Matches => "\u{2713}",
            Match::Differs => "\u{2715}",
            Match::Unknown => "?",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Match::Matches => "yes",
            Match::Differs => "no",
            Match::Unknown => "unknown",
        }
    }
}

impl Possibility {
    fn text(&self) -> String {
        text::possibility(self)
    }
}
