//! `postern replay`.

use std::path::PathBuf;

use clap::Args;
use comfy_table::Cell;

use crate::cli::Context;
use crate::failure::{Exit, Failure, Result};
use crate::filter::address::Addresses;
use crate::filter::app_id;
use crate::filter::protocol::Protocol;
use crate::lab::message::Request;
use crate::output::{ProgressLine, count, counted, lines, table, verdict};
use crate::replay::{FilterName, Progress, Replay, Summary};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern replay capture.pcapng
  postern replay capture.pcap --local 192.168.1.0/24 --verbose
  postern replay capture.pcap --repeat 100 --threads 2 --json

Every packet becomes traffic of its flow: the first one is authorised at the connect or accept layer, and every one passes
the transport layers. Which side is this host is taken from --local; else from the capture, if it tells directions; else it
is the address that takes part in most of the capture; else the client: the side with the higher port.
Fragments, truncated packets and captures with a snapshot length are fine; what cannot be judged is counted as skipped.
Link types: Ethernet (with VLAN tags and PPPoE), raw IP, Linux cooked v1 and v2, BSD loopback.")]
pub struct Arguments {
    /// Capture file, pcap or pcapng
    file: PathBuf,
    /// What is on this side: ADDR, ADDR/PREFIX or ADDR-ADDR; several are alternatives
    #[arg(long, value_name = "ADDR")]
    local: Vec<Addresses>,
    /// The program that all the traffic belongs to, by its Windows path
    #[arg(long, value_name = "PATH", value_parser = app_id::nt_path)]
    app: Option<String>,
    /// Spread the flows over N threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Replay the capture N times, each time as new traffic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// List every flow
    #[arg(long)]
    verbose: bool,
}

pub fn run(context: &Context, arguments: Arguments) -> Result<Exit> {
    // The lab opens the file, and its working directory is another.
    let path = arguments
        .file
        .canonicalize()
        .map_err(|error| Failure::new(format!("cannot open {}: {error}", arguments.file.display())))?;
    if path.to_str().is_none() {
        return Err(Failure::new(format!("the name of {} is not UTF-8", path.display())).help("rename the file"));
    }
    let replay = Replay {
        path,
        local: arguments.local.iter().map(Addresses::to_string).collect(),
        app: arguments.app,
        threads: arguments.threads.into(),
        repeat: arguments.repeat,
        flows: arguments.verbose,
    };
    let mut line = ProgressLine::default();
    let summary: Summary = context.client()?.call_with_progress(&Request::Replay(replay), |progress: Progress| {
        let rate = progress.packets as f64 / progress.seconds;
        line.show(|| format!("{} packets, {} a second", count(progress.packets), count(rate as u64)));
    })?;
    line.end();
    context.output.print(&summary, describe)?;
    match &summary.damage {
        None => Ok(Exit::Success),
        Some(damage) => Err(Failure::new(damage).help("what comes before was replayed; capture again for the rest")),
    }
}

fn describe(summary: &Summary) -> String {
    let mut text = String::new();
    if !summary.flow_list.is_empty() {
        let rows = summary.flow_list.iter().map(|flow| {
            [
                Cell::new(Protocol(flow.protocol)),
                Cell::new(Protocol(flow.protocol).local(flow.local)),
                Cell::new(flow.direction.arrow()),
                Cell::new(Protocol(flow.protocol).remote(flow.remote)),
                verdict(if flow.permitted { "permit" } else { "block" }, flow.permitted),
                Cell::new(&flow.layer),
                Cell::new(filter_name(flow.filter.as_ref())),
            ]
        });
        text += &lines(&table(["protocol", "local", "", "remote", "verdict", "layer", "filter"], rows));
        text.push('\n');
    }
    if !summary.decisions.is_empty() {
        let rows = summary.decisions.iter().map(|decision| {
            [
                Cell::new(&decision.layer),
                verdict(if decision.permitted { "permit" } else { "block" }, decision.permitted),
                Cell::new(count(decision.packets)).set_alignment(comfy_table::CellAlignment::Right),
                Cell::new(filter_name(decision.filter.as_ref())),
            ]
        });
        text += &lines(&table(["layer", "verdict", "packets", "filter"], rows));
        text.push('\n');
    }
    text += &format!(
        "{}, {}: {} permitted, {} blocked, {} skipped\n",
        counted(summary.packets, "packet"),
        counted(summary.flows, "flow"),
        count(summary.permitted),
        count(summary.blocked),
        count(summary.skipped.values().sum())
    );
    for (reason, packets) in &summary.skipped {
        text += &format!("skipped: {} {}\n", count(*packets), reason.reason());
    }
    text += &format!("this host: {}\n", summary.local);
    text += &format!(
        "{:.3} s, {} packets a second, {}\n",
        summary.seconds,
        count(summary.packets_per_second as u64),
        counted(summary.threads as u64, "thread")
    );
    text
}

fn filter_name(filter: Option<&FilterName>) -> String {
    filter.map_or_else(|| "(default)".to_owned(), |filter| format!("{} {}", filter.id, filter.name))
}
