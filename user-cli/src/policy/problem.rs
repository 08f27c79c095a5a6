//! What is wrong with a policy file, or surprising: where, and what to do.

use std::io::{self, IsTerminal};
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use crate::failure::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// One thing, at one place of the file. Spans are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub severity: Severity,
    pub message: String,
    pub span: Range<usize>,
    /// Other places that have to do with it, each with a word.
    pub others: Vec<(Range<usize>, String)>,
    pub help: Option<String>,
}

impl Problem {
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Error, message: message.into(), span, others: Vec::new(), help: None }
    }

    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..Problem::error(span, message) }
    }

    pub fn help(self, help: impl Into<String>) -> Problem {
        Problem { help: Some(help.into()), ..self }
    }

    pub fn and(mut self, span: Range<usize>, what: impl Into<String>) -> Problem {
        self.others.push((span, what.into()));
        self
    }
}

/// So many errors or warnings are shown of a file that has more.
pub const SHOWN: usize = 20;

/// The text that problems are found in.
#[derive(Debug)]
pub struct Source {
    pub path: String,
    pub text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

/// A problem as `--json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProblemView {
    pub severity: Severity,
    pub message: String,
    pub line: usize,
    pub column: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Source {
    pub fn new(path: impl Into<String>, text: String) -> Source {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Source { path: path.into(), text, lines }
    }

    /// The line of an offset, counted from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    fn column(&self, offset: usize) -> usize {
        let start = self.lines[self.line(offset) - 1];
        self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1
    }

    pub fn view(&self, problem: &Problem) -> ProblemView {
        ProblemView {
            severity: problem.severity,
            message: problem.message.clone(),
            line: self.line(problem.span.start),
            column: self.column(problem.span.start),
            help: problem.help.clone(),
        }
    }

    /// Why the file is of no use.
    pub fn failure(&self, problems: &[Problem]) -> Failure {
        let shown: Vec<String> = problems.iter().take(SHOWN).map(|problem| self.show(problem)).collect();
        let mut message = shown.join("\n\n");
        if problems.len() > SHOWN {
            message += &format!("\n\nand {} more", problems.len() - SHOWN);
        }
        Failure::new(message.strip_prefix("error: ").unwrap_or(&message))
    }

    /// With the lines of the file that it is about.
    pub fn show(&self, problem: &Problem) -> String {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group =
            level.primary_title(&problem.message).element(self.snippet(AnnotationKind::Primary, &problem.span, ""));
        for (span, what) in &problem.others {
            group = group.element(self.snippet(AnnotationKind::Context, span, what));
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help));
        }
        let renderer = if io::stderr().is_terminal() { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group]).to_string()
    }

    /// The lines of a span, and no others: the file may be large.
    fn snippet<'a>(&'a self, kind: AnnotationKind, span: &Range<usize>, what: &'a str) -> Snippet<'a, Annotation<'a>> {
        let (first, last) = (self.line(span.start), self.line(span.end.saturating_sub(1).max(span.start)));
        let start = self.lines[first - 1];
        let end = self.lines.get(last).copied().unwrap_or(self.text.len());
        let annotation = kind.span(span.start - start..span.end.min(end) - start);
        let annotation = if what.is_empty() { annotation } else { annotation.label(what) };
        Snippet::source(&self.text[start..end]).line_start(first).path(&*self.path).annotation(annotation)
    }
}
