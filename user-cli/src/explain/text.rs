//! An explanation as text for a terminal.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, Color};

use super::view::*;
use crate::output::{count, counted, lines, paint, table};

/// `everything`: layers that decide nothing, too.
pub fn text(explanation: &Explanation, everything: bool) -> String {
    let mut out = String::new();
    question(&mut out, &explanation.question);
    let verdict = &explanation.verdict;
    let colour = style(verdict.decision);
    line(&mut out, 0, &format!("\n{}", paint(&verdict_text(verdict), colour.bold())));
    line(&mut out, 0, &verdict.why);
    for asked in &explanation.asked {
        let place = if asked.layer.is_empty() { String::new() } else { format!(" at {}", asked.layer) };
        line(&mut out, 0, &format!("filter {}{place}: {}", asked.id, asked.text));
    }
    for stage in &explanation.stages {
        self::stage(&mut out, stage, everything);
    }
    if !explanation.notes.is_empty() {
        line(&mut out, 0, &format!("\n{}", paint("notes", Style::new().bold())));
        for note in &explanation.notes {
            line(&mut out, 2, &format!("- {note}"));
        }
    }
    out
}

fn question(out: &mut String, question: &QuestionView) {
    line(out, 0, &paint(&question.text, Style::new().bold()));
    let time = question.time.as_ref().map_or_else(String::new, |time| format!(", {time}"));
    line(out, 0, &format!("{} of {}{time}", counted(question.filters as u64, "filter"), question.state));
    let or_unknown = |text: Option<&str>| text.unwrap_or("not known").to_owned();
    let InterfaceView { luid, index, kind, tunnel, .. } = &question.interface;
    let tunnel = if *tunnel == 0 { String::new() } else { format!(", tunnel {tunnel}") };
    let rows = [
        ("program", or_unknown(question.app.as_deref())),
        ("user", or_unknown((!question.user.is_empty()).then(|| question.user.join(", ")).as_deref())),
        ("package", question.package.clone().unwrap_or_default()),
        (
            "interface",
            format!(
                "type {kind}, LUID {luid}, index {index}{tunnel}{}",
                if question.loopback { ", loopback" } else { "" }
            ),
        ),
        ("profile", question.profile.to_string()),
    ];
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        line(out, 2, &format!("{name:<10} {value}"));
    }
}

/// The first line of an answer: what, where, by what.
pub fn verdict_text(verdict: &VerdictView) -> String {
    let by = match (&verdict.filter, &verdict.layer) {
        (Some(filter), Some(layer)) => format!(" at {layer} by filter {} ({})", filter.id, filter.name),
        (_, Some(layer)) => format!(" at {layer}, no filter decided"),
        (_, None) if verdict.decision == Decision::Permit => ", no filter decided".to_owned(),
        _ => String::new(),
    };
    match verdict.decision {
        Decision::Depends => "depends on callouts".to_owned(),
        decision => format!("{}{by}", decision.past()),
    }
}

fn stage(out: &mut String, stage: &Stage, everything: bool) {
    line(out, 0, &format!("\n{}", paint(&stage.title, Style::new().bold())));
    let rows = stage.stops.iter().map(|stop| {
        let cell = match stop.decision {
            _ if stop.discard => Cell::new("-"),
            Decision::Permit => Cell::new("permit").fg(Color::Green),
            Decision::Block => Cell::new("block").fg(Color::Red),
            Decision::Depends => Cell::new("depends").fg(Color::Yellow),
        };
        [Cell::new(format!("  {}", stop.layer)), cell, Cell::new(summary(stop))]
    });
    out.push_str(&lines(&table(["  layer", "verdict", "by"], rows)));
    for stop in stage.stops.iter().filter(|stop| is_worth_telling(stop, everything)) {
        self::stop(out, stop);
    }
}

/// Who decides at a layer, in few words.
pub fn summary(stop: &Stop) -> String {
    let reached = if stop.depends { ", if permitted before" } else { "" };
    let by = match (&stop.filter, stop.decision, stop.filters) {
        _ if stop.discard => "sees what was dropped".to_owned(),
        (_, Decision::Depends, _) => "a callout".to_owned(),
        (Some(filter), ..) => {
            format!(
                "{} {}{}",
                filter.id,
                filter.name,
                if stop.hard && stop.decision == Decision::Permit { ", hard" } else { "" }
            )
        }
        (None, _, 0) => "default: no filters".to_owned(),
        (None, _, filters) => format!("default: {}, and none decides", counted(filters as u64, "filter")),
    };
    by + reached
}

fn is_worth_telling(stop: &Stop, everything: bool) -> bool {
    if !everything {
        return !stop.discard && (stop.filter.is_some() || stop.decision == Decision::Depends);
    }
    stop.sublayers.iter().any(|sublayer| sublayer.filters.iter().any(|filter| filter.part != Part::Unknown))
}

fn stop(out: &mut String, stop: &Stop) {
    let title = format!("{}: {}", stop.layer, stop.purpose);
    line(out, 2, &format!("\n  {}", paint(&title, Style::new().bold())));
    line(out, 2, &stop.why);
    for sublayer in &stop.sublayers {
        if sublayer.filters.iter().all(|filter| filter.part == Part::Unknown) {
            continue;
        }
        let name = format!("sublayer {} ({})", sublayer.name, sublayer.weight);
        line(out, 4, &format!("{name}: {}", sublayer_style(sublayer, &sublayer.why)));
        for filter in sublayer.filters.iter().filter(|filter| filter.part != Part::Unknown) {
            self::filter(out, filter);
        }
        let text = not_matching(sublayer);
        if !text.is_empty() {
            line(out, 6, &dim(&text));
        }
    }
    if let Some(silent) = silent(stop) {
        line(out, 4, &dim(&silent));
    }
    if !stop.outcomes.is_empty() {
        line(out, 4, "what callouts may say:");
        for outcome in &stop.outcomes {
            line(out, 6, &format!("- {}", possibility(outcome)));
        }
    }
    if !stop.changes.is_empty() {
        line(out, 4, "what would change it:");
        for change in &stop.changes {
            line(out, 6, &format!("- {}", change.text()));
        }
    }
}

/// How many filters of a sublayer do not match; empty if all do.
pub fn not_matching(sublayer: &SublayerView) -> String {
    let unknown = sublayer.filters.iter().filter(|filter| filter.part == Part::Unknown).count() as u64;
    let filters = match sublayer.others as u64 + unknown {
        0 => return String::new(),
        1 => "1 filter does not match".to_owned(),
        all => format!("{} filters do not match", count(all)),
    };
    match unknown {
        0 => filters,
        unknown if sublayer.others == 0 => {
            format!("{filters}, for lack of {}", if unknown == 1 { "a value" } else { "values" })
        }
        unknown => format!("{filters}, {} of them for lack of values", count(unknown)),
    }
}

/// The sublayers in which no filter matches.
pub fn silent(stop: &Stop) -> Option<String> {
    let silent = stop.sublayers.iter().filter(|of| of.filters.iter().all(|filter| filter.part == Part::Unknown));
    let names: Vec<String> = silent.map(|of| format!("{} ({})", of.name, of.weight)).collect();
    (!names.is_empty()).then(|| format!("no filter matches in {}", names.join(", ")))
}

pub fn possibility(outcome: &Possibility) -> String {
    let condition: Vec<String> = outcome
        .condition
        .iter()
        .map(|of| match of.says {
            "not called" => format!("{} is not called for filter {}", of.callout, of.filter),
            says => format!("{} says {says} to filter {}", of.callout, of.filter),
        })
        .collect();
    let by = match &outcome.filter {
        Some(filter) => format!(" by filter {} ({})", filter.id, filter.name),
        None => " by default".to_owned(),
    };
    let hard = if outcome.hard && outcome.decision == Decision::Permit { ", hard" } else { "" };
    let verdict = format!("{}{by}{hard}", outcome.decision.past());
    match condition.is_empty() {
        true => verdict,
        false => format!("if {}: {verdict}", condition.join(" and ")),
    }
}

fn filter(out: &mut String, filter: &FilterView) {
    let mark = if filter.part == Part::Wins { "*" } else { "-" };
    let provider = filter.provider.as_ref().map_or_else(String::new, |provider| format!(" [{provider}]"));
    let title = format!("{mark} {} {}{provider}: {}", filter.id, filter.name, filter.says);
    let title = match (filter.part, filter.says.starts_with("permits")) {
        (Part::Wins, true) => paint(&title, AnsiColor::Green.on_default()),
        (Part::Wins, false) => paint(&title, AnsiColor::Red.on_default()),
        (Part::NotReached, _) => dim(&title),
        _ => title,
    };
    line(out, 6, &title);
    if filter.part == Part::NotReached {
        return;
    }
    if let Some(callout) = &filter.callout {
        line(out, 10, &format!("{}, callout {}: {}", filter.action, callout.name, callout.answer));
    }
    for condition in &filter.conditions {
        let value = condition.value.as_ref().map_or_else(String::new, |value| format!("  (is {value})"));
        line(out, 10, &format!("{}{}", condition.text, dim(&value)));
    }
    if filter.conditions.is_empty() {
        line(out, 10, &dim("no conditions: matches everything"));
    }
}

fn sublayer_style(sublayer: &SublayerView, text: &str) -> String {
    match (sublayer.effect, sublayer.says) {
        (Some(Effect::Decides | Effect::Vetoes), Some(says)) => paint(text, style(says)),
        _ => text.to_owned(),
    }
}

fn style(decision: Decision) -> Style {
    match decision {
        Decision::Permit => AnsiColor::Green.on_default(),
        Decision::Block => AnsiColor::Red.on_default(),
        Decision::Depends => AnsiColor::Yellow.on_default(),
    }
}

fn dim(text: &str) -> String {
    paint(text, Style::new().dimmed())
}

fn line(out: &mut String, indent: usize, text: &str) {
    // Writing to a string does not fail.
    let _ = match text.strip_prefix('\n') {
        Some(text) => writeln!(out, "\n{text}"),
        None => writeln!(out, "{:indent$}{text}", ""),
    };
}
