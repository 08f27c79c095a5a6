//! `postern flows`.

use std::cmp::Reverse;

use clap::{Args, ValueEnum};
use comfy_table::{Cell, CellAlignment};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::Context;
use crate::device::{Device, FlowView, program};
use crate::failure::{Exit, Result};
use crate::filter::protocol::Protocol;
use crate::output::{bytes, count, counted, lines, table, time};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern flows
  postern flows --app curl --sort bytes
  postern flows --json

Bytes are those of the transport layers: transport headers and what follows them. Payload is what programs sent and received.
In and out are seen from this host.")]
pub struct Arguments {
    /// Only flows of programs whose path contains this, in whatever case
    #[arg(long, value_name = "SUBSTRING")]
    app: Option<String>,
    /// Largest first; last: the latest packet first
    #[arg(long, default_value = "last")]
    sort: Sort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Bytes,
    Packets,
    Last,
}

#[derive(Serialize)]
struct Shown {
    flows: Vec<FlowView>,
}

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    let device = Device::open(&context.address, "postern flows")?;
    let entries = device.flows()?;
    let now = Timestamp::now();
    let flows = entries.iter().map(|entry| FlowView::new(entry, now, &device)).collect::<Result<Vec<_>>>()?;
    context.output.print(&Shown { flows: select(flows, arguments.app.as_deref(), arguments.sort) }, |shown| {
        let total = counted(shown.flows.len() as u64, "flow");
        if shown.flows.is_empty() {
            return total;
        }
        format!("{}\n{total}", flow_table(&shown.flows))
    })?;
    Ok(Exit::Success)
}

fn select(mut flows: Vec<FlowView>, app: Option<&str>, sort: Sort) -> Vec<FlowView> {
    flows.retain(|flow| flow.ends.is_of(app));
    match sort {
        Sort::Bytes => flows.sort_by_key(|flow| Reverse(flow.traffic.bytes_in.saturating_add(flow.traffic.bytes_out))),
        Sort::Packets => {
            flows.sort_by_key(|flow| Reverse(flow.traffic.packets_in.saturating_add(flow.traffic.packets_out)));
        }
        Sort::Last => flows.sort_by(|a, b| a.idle_seconds.total_cmp(&b.idle_seconds)),
    }
    flows
}

fn flow_table(flows: &[FlowView]) -> String {
    let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let rows = flows.iter().map(|flow| {
        let (ends, traffic) = (&flow.ends, &flow.traffic);
        let protocol = Protocol(ends.protocol);
        [
            Cell::new(protocol),
            Cell::new(protocol.local(ends.local)),
            Cell::new(ends.direction.arrow()),
            Cell::new(protocol.remote(ends.remote)),
            Cell::new(program(ends.application.as_deref())),
            number(if ends.process_id == 0 { String::new() } else { ends.process_id.to_string() }),
            number(count(traffic.packets_in)),
            number(count(traffic.packets_out)),
            number(bytes(traffic.bytes_in)),
            number(bytes(traffic.bytes_out)),
            number(bytes(traffic.payload_in)),
            number(bytes(traffic.payload_out)),
            number(time(flow.age_seconds)),
            number(time(flow.idle_seconds)),
        ]
    });
    let header = [
        "protocol",
        "local",
        "",
        "remote",
        "program",
        "process",
        "packets in",
        "out",
        "bytes in",
        "out",
        "payload in",
        "out",
        "age",
        "idle",
    ];
    lines(&table(header, rows))
}

#[cfg(test)]
mod tests {
    use postern_protocol::ioctl::{Endpoints, FlowEntry, Traffic};

    use super::*;

    fn flow(flow: u64, path: &str, bytes: u64, packets: u64, idle: f64) -> FlowView {
        let traffic = Traffic { bytes: [bytes, 0], packets: [0, packets], ..Traffic::default() };
        let endpoints = Endpoints { ip_version: 4, protocol: 6, ..Endpoints::default() };
        let entry = FlowEntry { flow, endpoints, traffic, ..FlowEntry::default() };
        FlowView { idle_seconds: idle, ..FlowView::of(&entry, Some(path)) }
    }

    #[test]
    fn flows_are_chosen_by_program_and_sorted_largest_first() {
        let flows = || {
            vec![
                flow(1, r"\device\curl.exe", 10, 3, 5.0),
                flow(2, r"\device\Curl.exe", 30, 1, 9.0),
                flow(3, r"\device\wget.exe", 20, 2, 1.0),
            ]
        };
        let order = |app, sort| select(flows(), app, sort).iter().map(|flow| flow.flow).collect::<Vec<_>>();
        assert_eq!(order(None, Sort::Bytes), [2, 3, 1]);
        assert_eq!(order(None, Sort::Packets), [1, 3, 2]);
        assert_eq!(order(None, Sort::Last), [3, 1, 2]);
        assert_eq!(order(Some("CURL"), Sort::Last), [1, 2]);
    }

    #[test]
    fn a_row_has_sizes_for_people() {
        let table = flow_table(&[flow(1, r"\device\curl.exe", 2048, 1200, 90.0)]);
        for part in ["tcp", "curl.exe", "2.0 KiB", "1,200", "1 min 30 s"] {
            assert!(table.contains(part), "{part}: {table}");
        }
    }
}
