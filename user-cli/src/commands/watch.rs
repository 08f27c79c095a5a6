//! `postern watch`.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use postern_protocol::ioctl::{Event, EventKind, WATCH_FROM_NOW, WatchHeader};
use serde::Serialize;

use crate::cli::Context;
use crate::device::{Device, EventView, event_kind};
use crate::failure::{Exit, Result};
use crate::interrupt;
use crate::output::{self, Output, counted, parse_time};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern watch
  postern watch --verdicts --count 100
  postern watch --flows --held --for 10s --json

Without --verdicts, --flows and --held, it shows all of them. With --json each event is one line.
The driver keeps a limited number of events: what this program did not fetch in time is counted and told as lost.
An open watch keeps the driver from being unloaded until it ends: with Ctrl-C, or as --count and --for say.")]
pub struct Arguments {
    /// What callouts decided
    #[arg(long)]
    verdicts: bool,
    /// Flows that begin and end
    #[arg(long)]
    flows: bool,
    /// Operations that are held for an answer, and their answers
    #[arg(long)]
    held: bool,
    /// End after N events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time: 500ms, 10s, 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_time)]
    time: Option<Duration>,
}

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    let device = Device::open(&context.address, "postern watch")?;
    let canceller = Arc::new(device.canceller()?);
    let on_signal = Arc::clone(&canceller);
    interrupt::on_signal(move || on_signal.cancel())?;
    if let Some(time) = arguments.time {
        interrupt::after(time, move || canceller.cancel());
    }
    let mut shown = Shown::default();
    let ended = arguments.watch(context, &device, &mut shown);
    if context.output == Output::Human {
        let lost = if shown.lost == 0 { String::new() } else { format!(", {} lost", output::count(shown.lost)) };
        eprintln!("{}{lost}", counted(shown.events, "event"));
    }
    ended.map(|()| Exit::Success)
}

#[derive(Default)]
struct Shown {
    events: u64,
    lost: u64,
}

impl Arguments {
    fn watch(&self, context: &Context, device: &Device, shown: &mut Shown) -> Result<()> {
        let mut from = WATCH_FROM_NOW;
        while let Some((header, events)) = device.watch(from)? {
            if from == WATCH_FROM_NOW {
                eprintln!("watching (Ctrl-C ends it)");
            }
            from = header.next;
            shown.lost = shown.lost.saturating_add(header.lost);
            if let Some(gap) = Gap::of(&header)
                && !output::write_if_read(&gap.line(context.output)?)?
            {
                return Ok(());
            }
            for event in events.iter().filter(|event| self.wants(event)) {
                let view = EventView::new(event, device)?;
                let line = match context.output {
                    Output::Human => view.text(),
                    Output::Json => output::json_line(&view)?,
                };
                if !output::write_if_read(&line)? {
                    return Ok(());
                }
                shown.events += 1;
                if self.count == Some(shown.events) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn wants(&self, event: &Event) -> bool {
        let everything = !(self.verdicts || self.flows || self.held);
        everything
            || match event_kind(event) {
                Some(EventKind::Verdict) => self.verdicts,
                Some(EventKind::FlowBegun | EventKind::FlowEnded) => self.flows,
                Some(EventKind::Held | EventKind::Answered) => self.held,
                None => false,
            }
    }
}

/// Events that are missing between two answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Gap {
    kind: &'static str,
    events: u64,
    /// Others went unrecorded, because this program had not asked for too long.
    lapsed: bool,
}

impl Gap {
    fn of(header: &WatchHeader) -> Option<Gap> {
        let gap = Gap { kind: "lost", events: header.lost, lapsed: header.lapsed != 0 };
        (gap.events != 0 || gap.lapsed).then_some(gap)
    }

    fn line(&self, output: Output) -> Result<String> {
        if output == Output::Json {
            return output::json_line(self);
        }
        Ok(match (self.events, self.lapsed) {
            (events, false) => format!("lost {}", counted(events, "event")),
            (0, true) => "lost an unknown number of events: nobody had asked for them".to_owned(),
            (events, true) => {
                format!("lost {}, and an unknown number before: nobody had asked for them", counted(events, "event"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    fn wanted(verdicts: bool, flows: bool, held: bool) -> Vec<u8> {
        let arguments = Arguments { verdicts, flows, held, count: None, time: None };
        let event = |kind| Event { kind, ..Event::new_zeroed() };
        (1..=6).filter(|kind| arguments.wants(&event(*kind))).collect()
    }

    #[test]
    fn kinds_of_events_are_chosen_and_without_a_choice_all_are_shown() {
        assert_eq!(wanted(false, false, false), [1, 2, 3, 4, 5, 6]);
        assert_eq!(wanted(true, false, false), [1]);
        assert_eq!(wanted(false, true, false), [2, 3]);
        assert_eq!(wanted(false, true, true), [2, 3, 4, 5]);
    }

    #[test]
    fn missing_events_are_told() {
        let header = WatchHeader::new_zeroed();
        assert_eq!(Gap::of(&header), None);
        let gap = Gap::of(&WatchHeader { lost: 1, ..header }).unwrap();
        assert_eq!(gap.line(Output::Human).unwrap(), "lost 1 event");
        let gap = Gap::of(&WatchHeader { lapsed: 1, ..header }).unwrap();
        assert!(gap.line(Output::Human).unwrap().contains("unknown number"));
        assert_eq!(gap.line(Output::Json).unwrap(), r#"{"kind":"lost","events":0,"lapsed":true}"#);
    }
}
