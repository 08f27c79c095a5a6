//! `postern connect` and `postern accept`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::device::{CalloutStatistics, Device, EndsView};
use crate::failure::{Exit, Failure, Result};
use crate::filter::app_id;
use crate::filter::protocol::Protocol;
use crate::filter::spec::endpoint;
use crate::lab::address::Address;
use crate::lab::driver;
use crate::lab::message::Request;
use crate::output::parse_time;
use crate::replay::{Attempt, Connection, Direction, Stage, Verdict};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern connect --protocol tcp --remote 192.0.2.7:443
  postern connect --protocol udp --remote '[2001:db8::1]:53' --app 'C:\\Windows\\System32\\svchost.exe'
  postern accept --protocol tcp --remote 203.0.113.9:50000 --local 192.168.1.2:3389
  postern connect --protocol tcp --remote 192.0.2.7:443 --timeout 10s     # if a callout-hold filter holds it
  postern connect --protocol tcp --remote 192.0.2.7:443 --keep-open 1m    # for `postern flows`

Exit code 0: permitted, 4: blocked, 6: held, and not answered yet.")]
pub struct Arguments {
    /// tcp, udp, icmp, icmpv6 or a number
    #[arg(long)]
    protocol: Protocol,
    /// The other side: ADDR:PORT, [ADDR]:PORT or ADDR
    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint)]
    remote: (IpAddr, u16),
    /// This side [default: 192.168.0.2 or fd00::2; port 50000]
    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint)]
    local: Option<(IpAddr, u16)>,
    /// The program, by its Windows path
    #[arg(long, value_name = "PATH", value_parser = app_id::nt_path)]
    app: Option<String>,
    /// If it is held: wait for the answer for this long [default: until the filter's own verdict]
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// If it is held: do not wait for the answer
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
    /// Keep the connection open for this long: 500ms, 10s, 5m, or until Ctrl-C
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    keep_open: Option<Duration>,
}

pub fn connect(context: &Context, arguments: Arguments) -> Result<Exit> {
    decide(context, arguments, Direction::Outbound)
}

pub fn accept(context: &Context, arguments: Arguments) -> Result<Exit> {
    decide(context, arguments, Direction::Inbound)
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    verdict: Verdict,
    /// The number of what was held, for `postern ask`.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<u64>,
    /// The callouts of the Postern driver that were asked.
    callouts: Vec<Seen>,
}

#[derive(Serialize)]
struct Seen {
    layer: String,
    role: String,
}

fn decide(context: &Context, arguments: Arguments, begun: Direction) -> Result<Exit> {
    let attempt = Attempt {
        begun,
        patience: if arguments.no_wait { Duration::ZERO } else { arguments.timeout.unwrap_or(Duration::MAX) },
        keep_open: arguments.keep_open.unwrap_or_default(),
        connection: arguments.connection()?,
    };
    let command = match begun {
        Direction::Outbound => "postern connect",
        Direction::Inbound => "postern accept",
    };
    let client = context.client()?;
    let before = statistics(context, command)?;
    let mut operation = None;
    let mut shown = None;
    let canceller = Arc::new(client.canceller()?);
    let blocked = Arc::new(AtomicBool::new(false));
    let mut verdict: Verdict = client.call_with_progress(&Request::Connect(attempt.clone()), |stage| match stage {
        Stage::Held => {
            operation = held(context, command, &attempt);
            if attempt.patience.is_zero() {
                return;
            }
            eprintln!("held: waits for an answer{} (`postern ask`)", number(operation));
            if let Some(operation) = operation.filter(|_| begun == Direction::Inbound) {
                let (address, canceller, blocked) = (context.address.clone(), canceller.clone(), blocked.clone());
                std::thread::spawn(move || {
                    if wait_while_held(&address, operation).is_ok() {
                        blocked.store(true, Ordering::Release);
                        canceller.cancel();
                    }
                });
            }
        }
        // What is open is told at once, and what went wrong in telling it at the end.
        Stage::Open(verdict) => shown = Some(show(context, command, &before, verdict, operation)),
    })?;
    verdict.held &= !blocked.load(Ordering::Acquire);
    shown.unwrap_or_else(|| show(context, command, &before, verdict.clone(), operation))?;
    Ok(match verdict {
        Verdict { permitted: true, .. } => Exit::Success,
        Verdict { held: true, .. } => Exit::Waiting,
        _ => Exit::Blocked,
    })
}

fn number(operation: Option<u64>) -> String {
    operation.map_or_else(String::new, |operation| format!(" (operation {operation})"))
}

fn show(
    context: &Context,
    command: &str,
    before: &[CalloutStatistics],
    verdict: Verdict,
    operation: Option<u64>,
) -> Result<()> {
    let callouts = seen(before, &statistics(context, command)?);
    context.output.print(&Shown { verdict, operation, callouts }, describe)
}

fn describe(shown: &Shown) -> String {
    let verdict = &shown.verdict;
    let what = match verdict {
        Verdict { permitted: true, .. } => "permitted",
        Verdict { held: true, .. } => "held",
        _ => "blocked",
    };
    let mut text = format!("{what} at {}", verdict.layer);
    text += &match &verdict.filter {
        Some(filter) => format!(" by filter {} ({})", filter.id, filter.name),
        None => ", no filter decided".to_owned(),
    };
    if verdict.held {
        text += &format!(": waits for an answer{}", number(shown.operation));
    }
    text.push('\n');
    for callout in &shown.callouts {
        text += &format!("seen by callout {} at {}\n", callout.role, callout.layer);
    }
    text
}

/// The number under which our driver holds it; another driver's callouts may put off decisions, too.
fn held(context: &Context, command: &str, attempt: &Attempt) -> Option<u64> {
    let device = Device::open(&context.address, command).ok()?;
    let Connection { protocol, local, remote, .. } = attempt.connection;
    let is_it = |ends: &EndsView| (ends.protocol, ends.local, ends.remote) == (protocol, local, remote);
    let entries = device.held().ok()?;
    // The newest, if the same was tried before.
    let entry =
        entries.iter().rev().find(|entry| EndsView::new(&entry.endpoints, &device).is_ok_and(|ends| is_it(&ends)));
    entry.map(|entry| entry.operation)
}

impl Arguments {
    fn connection(self) -> Result<Connection> {
        let (remote, remote_port) = self.remote;
        let (local, local_port) = self.local.unwrap_or_else(|| match remote {
            _ if !self.protocol.has_ports() => (default_local(remote), 0),
            remote => (default_local(remote), 50000),
        });
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(Failure::usage(format!("{local} and {remote} are of different IP versions")));
        }
        if self.protocol.has_ports() && remote_port == 0 {
            return Err(Failure::usage(format!("{} needs a remote port", self.protocol))
                .help(format!("write --remote {}", SocketAddr::new(remote, 443))));
        }
        Ok(Connection {
            protocol: self.protocol.0,
            local: SocketAddr::new(local, local_port),
            remote: SocketAddr::new(remote, remote_port),
            app: self.app,
        })
    }
}

fn default_local(remote: IpAddr) -> IpAddr {
    match remote {
        IpAddr::V4(_) => Ipv4Addr::new(192, 168, 0, 2).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
    }
}

/// Without our driver in the lab there are none.
fn statistics(context: &Context, command: &str) -> Result<Vec<CalloutStatistics>> {
    match Device::try_open(&context.address, command)? {
        Ok(device) => device.statistics(),
        Err(_) => Ok(Vec::new()),
    }
}

/// Waits until an accept is held no more and its packet would have come. The packet of one that is blocked never comes: then
/// nothing else tells that it is decided.
fn wait_while_held(address: &Address, operation: u64) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(50);
    const PACKET: Duration = Duration::from_millis(500);
    loop {
        // Not open in between, so that a driver that is asked to unload waits for nobody here.
        let waits = match Device::try_open(address, "postern accept")? {
            Ok(device) => device.held()?.iter().any(|held| held.operation == operation),
            Err(_) => driver::stopping(address)?.is_some(),
        };
        if !waits {
            std::thread::sleep(PACKET);
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

/// The callouts whose counters have moved.
fn seen(before: &[CalloutStatistics], after: &[CalloutStatistics]) -> Vec<Seen> {
    let calls = |callout: &CalloutStatistics| callout.acted + callout.passed_over;
    after
        .iter()
        .filter(|now| {
            let then = before.iter().find(|then| then.layer == now.layer && then.role == now.role);
            calls(now) > then.map_or(0, calls)
        })
        .map(|callout| Seen { layer: callout.layer.clone(), role: callout.role.clone() })
        .collect()
}
