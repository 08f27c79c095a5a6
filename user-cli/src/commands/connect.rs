//! `postern connect` and `postern accept`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::device::{self, CalloutStatistics};
use crate::failure::{Exit, Failure, Result};
use crate::filter::app_id;
use crate::filter::protocol::Protocol;
use crate::filter::spec::endpoint;
use crate::lab::client::Client;
use crate::lab::message::Request;
use crate::replay::{Connection, Verdict};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern connect --protocol tcp --remote 192.0.2.7:443
  postern connect --protocol udp --remote '[2001:db8::1]:53' --app 'C:\\Windows\\System32\\svchost.exe'
  postern accept --protocol tcp --remote 203.0.113.9:50000 --local 192.168.1.2:3389

Exit code 0: permitted, 4: blocked.")]
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
}

pub fn connect(context: &Context, arguments: Arguments) -> Result<Exit> {
    decide(context, arguments, Request::Connect)
}

pub fn accept(context: &Context, arguments: Arguments) -> Result<Exit> {
    decide(context, arguments, Request::Accept)
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    verdict: Verdict,
    /// The callouts of the Postern driver that were asked.
    callouts: Vec<Seen>,
}

#[derive(Serialize)]
struct Seen {
    layer: String,
    role: String,
}

fn decide(context: &Context, arguments: Arguments, request: impl FnOnce(Connection) -> Request) -> Result<Exit> {
    let connection = arguments.connection()?;
    let client = context.client()?;
    let before = statistics(&client);
    let verdict: Verdict = client.call(&request(connection))?;
    let shown = Shown { verdict, callouts: seen(&before, &statistics(&client)) };
    context.output.print(&shown, |shown| {
        let verdict = &shown.verdict;
        let mut text = format!("{} at {}", if verdict.permitted { "permitted" } else { "blocked" }, verdict.layer);
        text += &match &verdict.filter {
            Some(filter) => format!(" by filter {} ({})\n", filter.id, filter.name),
            None => ", no filter decided\n".to_owned(),
        };
        for callout in &shown.callouts {
            text += &format!("seen by callout {} at {}\n", callout.role, callout.layer);
        }
        text
    })?;
    Ok(if shown.verdict.permitted { Exit::Success } else { Exit::Blocked })
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
fn statistics(client: &Client) -> Vec<CalloutStatistics> {
    device::statistics(client).unwrap_or_default()
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
