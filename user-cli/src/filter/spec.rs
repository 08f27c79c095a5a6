//! From the options of `postern filter add` to filter objects.

use std::fmt::Write;
use std::net::IpAddr;

use clap::{Args, ValueEnum};
use postern_engine::guids::condition;
use postern_engine::layers::{self, Layer};
use postern_engine::objects::{Action, Condition, ConditionValue, DisplayData, Filter, FilterFlags, MatchType, Weight};
use postern_protocol::{FilterContext, Role};
use uuid::Uuid;

use super::address::{Addresses, Version};
use super::layer::Layers;
use super::own;
pub use super::own::Lifetime;
use super::ports::Ports;
use super::protocol::Protocol;
use super::{app_id, weight};
use crate::failure::{Failure, Result};

/// What a filter shall do to which traffic, where.
#[derive(Debug, Clone, Args)]
pub struct Spec {
    /// Layer: bind, listen, connect, accept, established, outbound-transport, inbound-transport, outbound-ippacket,
    /// inbound-ippacket, forward, stream, datagram, ..., or a FWPM_LAYER_* name
    #[arg(long, value_parser = Layers::parse)]
    pub layer: Layers,

    /// IP version [default: that of the addresses given, else both, which makes two filters]
    #[arg(long)]
    pub family: Option<Family>,

    /// What to do with traffic that matches
    #[arg(long)]
    pub action: Verb,

    /// tcp, udp, icmp, icmpv6 or a number; several are alternatives
    #[arg(long)]
    pub protocol: Vec<Protocol>,

    /// Local address: ADDR, ADDR/PREFIX or ADDR-ADDR; several are alternatives
    #[arg(long, value_name = "ADDR")]
    pub local: Vec<Addresses>,

    /// Remote address: ADDR, ADDR/PREFIX or ADDR-ADDR; several are alternatives
    #[arg(long, value_name = "ADDR")]
    pub remote: Vec<Addresses>,

    /// Local port: N or N-N; several are alternatives
    #[arg(long, value_name = "PORT")]
    pub local_port: Vec<Ports>,

    /// Remote port: N or N-N; several are alternatives
    #[arg(long, value_name = "PORT")]
    pub remote_port: Vec<Ports>,

    /// Program, by its Windows path; several are alternatives
    #[arg(long, value_name = "PATH", value_parser = app_id::nt_path)]
    pub app: Vec<String>,

    /// auto (from the conditions), a range 0 to 15, or 0x... for an exact 64-bit weight
    #[arg(long, default_value = "auto", allow_negative_numbers = true, value_parser = weight::parse)]
    pub weight: Weight,

    /// Name that people see [default: made from the other options]
    #[arg(long)]
    pub name: Option<String>,

    /// Description that people see
    #[arg(long, default_value = "")]
    pub description: String,

    /// static: until removed or restart; persistent: until removed; boot-time: until removed, in force while the machine starts;
    /// dynamic: until this command ends (it waits)
    #[arg(long, default_value = "static")]
    pub lifetime: Lifetime,

    /// Lower sublayers may not override the decision (FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT)
    #[arg(long)]
    pub hard: bool,

    /// With callout-permit, callout-block and callout-hold: block while the callout is not registered. Without this such traffic
    /// is permitted (FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED)
    #[arg(long)]
    pub fail_closed: bool,

    /// With callout-block: drop the packets silently, without discard layers and audit events (FWPS_CLASSIFY_OUT_FLAG_ABSORB)
    #[arg(long)]
    pub silent: bool,

    /// With callout-block at accept: answer a TCP packet with a reset, so that its sender learns at once that it is refused
    #[arg(long)]
    pub reject: bool,

    /// With callout-hold: for how long an answer is waited for [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..))]
    pub hold_for: Option<u16>,

    /// With callout-hold: what happens when nobody has answered in time [default: block]
    #[arg(long, value_name = "VERDICT")]
    pub otherwise: Option<Otherwise>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Otherwise {
    Permit,
    Block,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Family {
    V4,
    V6,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Verb {
    /// The filter engine permits
    Permit,
    /// The filter engine blocks
    Block,
    /// The driver's callout permits
    CalloutPermit,
    /// The driver's callout blocks
    CalloutBlock,
    /// The driver's callout counts, and lets others decide
    CalloutInspect,
    /// The driver's callout holds the operation until `postern ask` answers, at connect and accept
    CalloutHold,
}

impl Verb {
    fn role(self) -> Option<Role> {
        match self {
            Verb::Permit | Verb::Block => None,
            Verb::CalloutPermit => Some(Role::Permit),
            Verb::CalloutBlock => Some(Role::Block),
            Verb::CalloutInspect => Some(Role::Inspect),
            Verb::CalloutHold => Some(Role::Hold),
        }
    }

    /// Only then does it matter whether the callout is registered (documentation page `FWPM_FILTER0`: the flag is for
    /// terminating and unknown callouts).
    fn decides_in_callout(self) -> bool {
        matches!(self, Verb::CalloutPermit | Verb::CalloutBlock | Verb::CalloutHold)
    }

    fn name(self) -> &'static str {
        match self {
            Verb::Permit => "permit",
            Verb::Block => "block",
            Verb::CalloutPermit => "callout-permit",
            Verb::CalloutBlock => "callout-block",
            Verb::CalloutInspect => "callout-inspect",
            Verb::CalloutHold => "callout-hold",
        }
    }
}

/// A filter to add, and the callout of ours that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub filter: Filter,
    pub callout: Option<postern_protocol::Callout>,
}

impl Spec {
    /// The filters that do it: one for each IP version.
    pub fn plan(&self, owner: &own::Owner) -> Result<Vec<Planned>> {
        if self.fail_closed && !self.action.decides_in_callout() {
            return Err(Failure::usage(format!("--fail-closed means nothing with --action {}", self.action.name()))
                .help("it goes with callout-permit, callout-block and callout-hold"));
        }
        for (option, given) in [("--hold-for", self.hold_for.is_some()), ("--otherwise", self.otherwise.is_some())] {
            if given && self.action != Verb::CalloutHold {
                return Err(Failure::usage(format!("{option} means nothing with --action {}", self.action.name()))
                    .help("it goes with callout-hold"));
            }
        }
        if self.silent && self.action != Verb::CalloutBlock {
            return Err(Failure::usage(format!("--silent means nothing with --action {}", self.action.name()))
                .help("it goes with callout-block: the driver's callout can drop silently, the filter engine cannot"));
        }
        if self.reject && self.action != Verb::CalloutBlock {
            return Err(Failure::usage(format!("--reject means nothing with --action {}", self.action.name()))
                .help("it goes with callout-block: the driver's callout can answer, the filter engine cannot"));
        }
        if self.reject && self.silent {
            return Err(Failure::usage("--reject and --silent contradict each other").help("give one of them"));
        }
        if self.name.as_deref() == Some("") {
            return Err(
                Failure::usage("--name is empty, and a filter needs a name").help("leave it out for one made here")
            );
        }
        for (option, text) in
            [("--name", self.name.as_deref().unwrap_or_default()), ("--description", &self.description)]
        {
            if text.contains(char::is_control) {
                return Err(Failure::usage(format!(
                    "{option} holds a control character, which the filter engine refuses"
                ))
                .help("write it in one line, without tabs"));
            }
        }
        let mut planned = Vec::new();
        for version in self.versions()? {
            let layer = match (self.layer, version) {
                (Layers::One(layer), None) => layer,
                (layers, Some(version)) => layers.of(version).ok_or_else(|| {
                    Failure::usage(format!("the layer is not one of {} packets", version_name(version)))
                        .help("leave --family out, or name the layer of the other IP version")
                })?,
                (Layers::Pair { v4, .. }, None) => v4,
            };
            planned.push(self.plan_at(layer, version, owner)?);
        }
        Ok(planned)
    }

    /// Which IP versions the options ask for. A layer that sees both has one filter, without a version.
    fn versions(&self) -> Result<Vec<Option<Version>>> {
        let addresses = || [("--local", &self.local), ("--remote", &self.remote)];
        let has = |version| addresses().iter().any(|(_, set)| set.iter().any(|a| a.version() == version));
        let by_protocol = |version| match version {
            Version::V4 => !self.protocol.is_empty() && self.protocol.iter().all(|p| *p == Protocol::ICMP),
            Version::V6 => !self.protocol.is_empty() && self.protocol.iter().all(|p| *p == Protocol::ICMPV6),
        };
        let versions = match (self.family, self.layer) {
            (Some(Family::V4), _) => vec![Version::V4],
            (Some(Family::V6), _) => vec![Version::V6],
            (Some(Family::Both), Layers::Pair { .. }) => vec![Version::V4, Version::V6],
            (_, one @ Layers::One(_)) => match one.version() {
                Some(version) => vec![version],
                None if has(Version::V4) || has(Version::V6) => {
                    return Err(Failure::usage("the layer has no IP addresses").help("leave --local and --remote out"));
                }
                None => return Ok(vec![None]),
            },
            (None, Layers::Pair { .. }) => match (has(Version::V4), has(Version::V6)) {
                (true, false) => vec![Version::V4],
                (false, true) => vec![Version::V6],
                (false, false) if by_protocol(Version::V4) => vec![Version::V4],
                (false, false) if by_protocol(Version::V6) => vec![Version::V6],
                _ => vec![Version::V4, Version::V6],
            },
        };
        // An option whose addresses are all of another version must not vanish: its filter would match everything.
        for (option, set) in addresses() {
            for version in &versions {
                if !set.is_empty() && set.iter().all(|a| a.version() != *version) {
                    return Err(Failure::usage(format!(
                        "{option} has no {name} address, so the {name} filter would match every address",
                        name = version_name(*version)
                    ))
                    .help(format!(
                        "give {option} an {} address too, or one IP version with --family",
                        version_name(*version)
                    )));
                }
            }
            if let Some(lost) = set.iter().find(|a| !versions.contains(&a.version())) {
                return Err(Failure::usage(format!("{option} {lost} is no {} address", version_name(versions[0])))
                    .help("give addresses of the layer's IP version, or another --family"));
            }
        }
        Ok(versions.into_iter().map(Some).collect())
    }

    fn plan_at(&self, layer: &'static Layer, version: Option<Version>, owner: &own::Owner) -> Result<Planned> {
        let callout = match self.action.role() {
            None => None,
            Some(role) => {
                let at = postern_protocol::Layer::ALL.into_iter().find(|at| at.id() == layer.id);
                let callout = at.and_then(|at| postern_protocol::Callout::new(role, at)).ok_or_else(|| {
                    let failure =
                        Failure::usage(format!("the driver has no {} callout at layer {}", role.name(), layer.name));
                    match role {
                        Role::Hold => {
                            failure.help("an operation can be held where it is authorised: at connect and accept")
                        }
                        _ => failure
                            .help("callout actions work at connect, accept, inbound-transport and outbound-transport"),
                    }
                })?;
                Some(callout)
            }
        };
        if self.reject && !callout.is_some_and(|callout| ACCEPT.contains(&callout.layer)) {
            return Err(Failure::usage(format!("--reject means nothing at layer {}", layer.name))
                .help("a connection is refused where it would be accepted: at accept"));
        }
        let action = match callout.map(|callout| (callout.role, Uuid::from_u128(callout.key()))) {
            None if self.action == Verb::Permit => Action::Permit,
            None => Action::Block,
            Some((Role::Inspect | Role::Monitor, key)) => Action::CalloutInspection(key),
            Some((_, key)) => Action::CalloutTerminating(key),
        };
        let mut flags = FilterFlags::empty();
        flags.set(FilterFlags::PERSISTENT, self.lifetime == Lifetime::Persistent);
        flags.set(FilterFlags::BOOTTIME, self.lifetime == Lifetime::BootTime);
        flags.set(FilterFlags::CLEAR_ACTION_RIGHT, self.hard);
        flags.set(FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED, self.action.decides_in_callout() && !self.fail_closed);
        let mut context = FilterContext::empty();
        context.set(FilterContext::ABSORB, self.silent);
        context.set(FilterContext::REJECT, self.reject);
        context.set(FilterContext::OTHERWISE_PERMIT, self.otherwise == Some(Otherwise::Permit));
        let context = context.with_hold_seconds(self.hold_for.unwrap_or(0));
        Ok(Planned {
            filter: Filter {
                key: Uuid::new_v4(),
                display: DisplayData {
                    name: self.name.clone().unwrap_or_else(|| self.default_name(layer)),
                    description: self.description.clone(),
                },
                flags,
                provider: Some(owner.provider),
                data: Vec::new(),
                layer: layer.key,
                sublayer: owner.sublayer,
                weight: self.weight,
                conditions: self.conditions(layer, version)?,
                action,
                raw_context: if callout.is_some() { context.to_raw() } else { 0 },
                provider_context: None,
                id: 0,
                effective_weight: 0,
            },
            callout,
        })
    }

    /// Conditions on one field stand together: that makes them alternatives.
    fn conditions(&self, layer: &'static Layer, version: Option<Version>) -> Result<Vec<Condition>> {
        if (!self.local_port.is_empty() || !self.remote_port.is_empty())
            && let Some(other) = self.protocol.iter().find(|protocol| !protocol.has_ports())
        {
            return Err(Failure::usage(format!("protocol {other} has no ports"))
                .help("give --local-port and --remote-port with --protocol tcp or udp only"));
        }
        let of_version = |set: &[Addresses]| -> Vec<_> {
            set.iter().filter(|a| Some(a.version()) == version).map(Addresses::condition).collect()
        };
        let sets = [
            ("--protocol", condition::IP_PROTOCOL, {
                self.protocol.iter().map(|p| (MatchType::Equal, ConditionValue::Uint8(p.0))).collect()
            }),
            ("--local", condition::IP_LOCAL_ADDRESS, of_version(&self.local)),
            ("--remote", condition::IP_REMOTE_ADDRESS, of_version(&self.remote)),
            ("--local-port", condition::IP_LOCAL_PORT, self.local_port.iter().map(Ports::condition).collect()),
            ("--remote-port", condition::IP_REMOTE_PORT, self.remote_port.iter().map(Ports::condition).collect()),
            ("--app", condition::ALE_APP_ID, {
                self.app.iter().map(|a| (MatchType::Equal, ConditionValue::ByteBlob(app_id::blob(a)))).collect()
            }),
        ];
        let mut conditions = Vec::new();
        for (option, field, matches) in sets {
            let matches: Vec<(MatchType, ConditionValue)> = matches;
            if !matches.is_empty() && layer.field_index(&field).is_none() {
                return Err(no_field(option, &field, layer));
            }
            conditions.extend(matches.into_iter().map(|(match_type, value)| Condition { field, match_type, value }));
        }
        Ok(conditions)
    }

    fn default_name(&self, layer: &Layer) -> String {
        let mut name = format!("Postern: {}", self.action.name());
        let mut add = |word: &str, values: Vec<String>| {
            if !values.is_empty() {
                let _ = write!(name, "{word} {}", values.join(", "));
            }
        };
        fn texts<T: ToString>(values: &[T]) -> Vec<String> {
            values.iter().map(T::to_string).collect()
        }
        add("", texts(&self.protocol));
        add(" from", texts(&self.local));
        add(" port", texts(&self.local_port));
        add(" to", texts(&self.remote));
        add(" port", texts(&self.remote_port));
        add(" of", self.app.clone());
        let _ = write!(name, " at {}", layer.name);
        name
    }
}

/// Where a connection that arrives is authorised.
const ACCEPT: [postern_protocol::Layer; 2] =
    [postern_protocol::Layer::AleAuthRecvAcceptV4, postern_protocol::Layer::AleAuthRecvAcceptV6];

pub fn version_name(version: Version) -> &'static str {
    match version {
        Version::V4 => "IPv4",
        Version::V6 => "IPv6",
    }
}

/// The layer does not have the field that an option needs: tells which layers have it.
pub fn no_field(option: &str, field: &Uuid, layer: &Layer) -> Failure {
    let have: Vec<&str> = super::layer::SHORT
        .iter()
        .filter(|(_, name)| {
            layers::by_name(&format!("{name}_V4")).is_some_and(|layer| layer.field_index(field).is_some())
        })
        .map(|(short, _)| *short)
        .collect();
    Failure::usage(format!(
        "layer {} has no field {}, which {option} needs",
        layer.name,
        condition::NAMES.name(field).unwrap_or("of that key")
    ))
    .help(format!("layers that have it: {}", have.join(", ")))
}

/// An address and a port as they are written on the command line.
pub fn endpoint(text: &str) -> Result<(IpAddr, u16), String> {
    if let Ok(endpoint) = text.parse::<std::net::SocketAddr>() {
        return Ok((endpoint.ip(), endpoint.port()));
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed.unwrap_or(text).parse::<IpAddr>() {
        Ok(address) if bracketed.is_none() || address.is_ipv6() => Ok((address, 0)),
        Ok(address) => Err(format!("'{text}' is no endpoint: brackets are for IPv6; write {address}")),
        Err(_) => Err(format!("'{text}' is no endpoint: write ADDR:PORT, [ADDR]:PORT for IPv6, or ADDR")),
    }
}
