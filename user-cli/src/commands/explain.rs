//! `postern explain`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::capture;
use crate::cli::Context;
use crate::explain::{self, Captured, Question, Subject};
use crate::failure::{Exit, Failure, Result};
use crate::filter::address::Addresses;
use crate::filter::interface::{self, Description};
use crate::filter::protocol::Protocol;
use crate::filter::spec::endpoint;
use crate::filter::{app_id, explain as engine_error, sid};
use crate::replay::{Locality, Orientation};
use crate::state::State;
use crate::state::xml::Dump;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  postern explain connect --protocol tcp --remote 192.0.2.7:443
  postern explain accept --protocol tcp --remote 203.0.113.9:50000 --local 192.168.1.2:3389 --html why.html
  postern explain listen --protocol tcp --local 0.0.0.0:80
  postern explain packet --capture capture.pcapng --number 17
  postern explain connect --protocol tcp --remote 192.0.2.7:443 --state wfpstate.xml     # of another machine
  postern explain connect --protocol udp --remote 192.0.2.7:53 --filter 65545     # why not this one?

The layers that it passes, in their order; at each, sublayers by weight, the filters that match and their conditions, whose
word counts and why, and what would change that. Nothing is sent, and no callout is called: what another driver's callout
would say is not known, so each answer that makes a difference is followed.")]
pub enum Command {
    /// One outgoing connection
    Connect(Connection),
    /// One incoming connection
    Accept(Connection),
    /// A program binds to a local address and port
    Bind(Local),
    /// A program listens for TCP connections
    Listen(Local),
    /// One packet of a capture, after those of its flow before it
    Packet(Packet),
}

#[derive(Debug, Args)]
pub struct Connection {
    /// tcp, udp, icmp, icmpv6 or a number
    #[arg(long)]
    protocol: Protocol,
    /// The other side: ADDR:PORT, [ADDR]:PORT or ADDR
    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint)]
    remote: (IpAddr, u16),
    /// This side [default: 192.168.0.2 or fd00::2; port 50000; the loopback address for one]
    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint)]
    local: Option<(IpAddr, u16)>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub struct Local {
    /// tcp or udp
    #[arg(long, default_value = "tcp")]
    protocol: Protocol,
    /// ADDR:PORT, [ADDR]:PORT or ADDR; 0.0.0.0 and [::] are any address, port 0 is one that the stack chooses
    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint)]
    local: (IpAddr, u16),
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub struct Packet {
    /// Capture file, pcap or pcapng
    #[arg(long, value_name = "FILE")]
    capture: PathBuf,
    /// The packet's number in it, as Wireshark counts: from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// What is on this side: ADDR, ADDR/PREFIX or ADDR-ADDR; several are alternatives [default: found out from the capture]
    #[arg(long, value_name = "ADDR")]
    local: Vec<Addresses>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// The program, by its Windows path
    #[arg(long, value_name = "PATH", value_parser = app_id::nt_path)]
    app: Option<String>,
    /// The program's user and groups: S-1-5-..., system, local-service, network-service, everyone or administrators; several
    /// are one token [default: with --app an ordinary user, else not known]
    #[arg(long, value_name = "SID", value_parser = parse_sid)]
    user: Vec<Sid>,
    /// The program's package (app container)
    #[arg(long, value_name = "SID", value_parser = parse_sid)]
    package: Option<Sid>,
    /// ethernet, wifi, ppp, wwan, tunnel or loopback; more after commas: luid=0x...,
    /// index=N, type=N, tunnel=N, epoch=N [default: loopback between addresses of one machine; else Ethernet, or what the filters name]
    #[arg(long, value_name = "INTERFACE", value_parser = interface::parse)]
    interface: Option<Description>,
    /// The network profile's number in conditions on profiles
    #[arg(long, value_name = "N", default_value_t = 1)]
    profile: u32,
    /// Tell what becomes of this filter, even if it does not match; several are possible
    #[arg(long, value_name = "ID")]
    filter: Vec<u64>,
    /// Ask the filters in this file, which `netsh wfp show state` or `show filters` wrote, instead of those in force
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Tell of layers that decide nothing, too
    #[arg(long)]
    verbose: bool,
    /// Also write a page that draws it: one file, for any browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The bytes of a security identifier.
#[derive(Debug, Clone)]
struct Sid(Vec<u8>);

/// Those that are asked for most ("Well-known SIDs"), by a name, or any other.
fn parse_sid(text: &str) -> Result<Sid, String> {
    const NAMES: [(&str, &str); 5] = [
        ("system", "S-1-5-18"),
        ("local-service", "S-1-5-19"),
        ("network-service", "S-1-5-20"),
        ("everyone", "S-1-1-0"),
        ("administrators", "S-1-5-32-544"),
    ];
    let named = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    sid::parse(named.map_or(text, |(_, sid)| sid)).map(Sid)
}

pub fn run(context: &Context, command: Command) -> Result<Exit> {
    match command {
        Command::Connect(connection) => connection.run(context, Subject::Connect),
        Command::Accept(connection) => connection.run(context, Subject::Accept),
        Command::Bind(local) => local.run(context, Subject::Bind),
        Command::Listen(local) => local.run(context, Subject::Listen),
        Command::Packet(packet) => packet.run(context),
    }
}

impl Connection {
    fn run(self, context: &Context, subject: Subject) -> Result<Exit> {
        let (remote, remote_port) = self.remote;
        let port = if self.protocol.has_ports() { 50000 } else { 0 };
        let (local, local_port) = self.local.unwrap_or_else(|| (default_local(remote), port));
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(Failure::usage(format!("{local} and {remote} are of different IP versions")));
        }
        if self.protocol.has_ports() && remote_port == 0 {
            return Err(Failure::usage(format!("{} needs a remote port", self.protocol))
                .help(format!("write --remote {}", SocketAddr::new(remote, 443))));
        }
        let (local, remote) = (SocketAddr::new(local, local_port), SocketAddr::new(remote, remote_port));
        self.common.answer(context, subject, self.protocol, local, remote)
    }
}

fn default_local(remote: IpAddr) -> IpAddr {
    match remote {
        remote if remote.is_loopback() => remote,
        IpAddr::V4(_) => Ipv4Addr::new(192, 168, 0, 2).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
    }
}

impl Local {
    fn run(self, context: &Context, subject: Subject) -> Result<Exit> {
        let listens = matches!(subject, Subject::Listen);
        if !self.protocol.has_ports() || listens && self.protocol != Protocol::TCP {
            let (what, who) = if listens { ("listens", "tcp") } else { ("is bound to a port", "tcp and udp") };
            return Err(Failure::usage(format!("nothing {what} with {}: {who} only", self.protocol)));
        }
        let (address, port) = self.local;
        let nowhere: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        self.common.answer(context, subject, self.protocol, SocketAddr::new(address, port), SocketAddr::new(nowhere, 0))
    }
}

impl Packet {
    fn run(self, context: &Context) -> Result<Exit> {
        let packets = captured(&self.capture, self.number, self.local)?;
        let Some(last) = packets.last() else { return Err(no_such_packet(&self.capture, self.number, 0)) };
        let (protocol, local, remote) = (Protocol(last.protocol), last.local, last.remote);
        self.common.answer(context, Subject::Packet(packets), protocol, local, remote)
    }
}

/// The packet, after those between the same two addresses.
fn captured(path: &Path, number: u64, local: Vec<Addresses>) -> Result<Vec<Captured>> {
    let locality = if local.is_empty() { Locality::find(path)? } else { Locality::Given(local) };
    let mut orientation = Orientation::new(&locality);
    let mut packets: Vec<Captured> = Vec::new();
    let mut found = Err(None);
    let mut last = 0;
    let read = capture::read(path, |frame| {
        last = frame.number;
        let decoded = capture::decode(&frame);
        let oriented = match &decoded {
            Ok(packet) => orientation.orient(packet).ok_or(capture::Skipped::NotLocal),
            Err(reason) => Err(*reason),
        };
        if let Ok(oriented) = &oriented {
            packets.push(Captured::new(frame.number, &oriented.traffic()));
        }
        if frame.number < number {
            return ControlFlow::Continue(());
        }
        found = oriented.map(drop).map_err(Some);
        ControlFlow::Break(())
    });
    match found {
        Ok(()) => {}
        Err(Some(reason)) => {
            return Err(Failure::new(format!(
                "packet {number} of {} is no traffic for the filter engine: {}",
                path.display(),
                reason.reason()
            )));
        }
        Err(None) => {
            read?;
            return Err(no_such_packet(path, number, last));
        }
    }
    if let Some(asked) = packets.last() {
        let (local, remote) = (asked.local.ip(), asked.remote.ip());
        packets.retain(|packet| packet.local.ip() == local && packet.remote.ip() == remote);
    }
    Ok(packets)
}

fn no_such_packet(path: &Path, number: u64, last: u64) -> Failure {
    Failure::new(format!("there is no packet {number} in {}: it has {last}", path.display()))
}

/// A file of netsh.
pub fn read_dump(path: &Path) -> Result<State> {
    let bytes =
        std::fs::read(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    Ok(Dump::read(bytes).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?.state)
}

impl Common {
    fn answer(
        self,
        context: &Context,
        subject: Subject,
        protocol: Protocol,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Exit> {
        let (state, whose) = match &self.state {
            Some(path) => (read_dump(path)?, path.display().to_string()),
            None => {
                let engine = context.engine(false)?;
                (State::read(&*engine).map_err(engine_error::explain)?, context.address.whose())
            }
        };
        let restored = state.engine().map_err(|error| Failure::new(format!("{whose}: {error}")))?;
        let question = Question {
            subject,
            protocol,
            local,
            remote,
            app: self.app,
            user: self.user.into_iter().map(|sid| sid.0).collect(),
            package: self.package.map(|sid| sid.0),
            interface: self.interface.unwrap_or_default(),
            profile: self.profile,
            filters: self.filter,
            state: whose,
            time: state.time,
        };
        let explanation = explain::explain(&restored, &question);
        if let Some(path) = &self.html {
            let page = explain::page::page(&explanation)?;
            std::fs::write(path, page)
                .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        }
        context.output.print(&explanation, |explanation| explain::text::text(explanation, self.verbose))?;
        Ok(Exit::Success)
    }
}
