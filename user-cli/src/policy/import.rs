//! Rules of other programs as a policy. A rule that cannot be said whole is left out and listed: half of it would match more.

mod firewall_registry;
mod net_firewall_rule;
mod simplewall;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use clap::{Args, ValueEnum};
use serde::Serialize;
use sha1_smol::Sha1;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::problem::Source;
use crate::failure::{Failure, Result};
use crate::filter::sid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// Windows Firewall's rules in the registry: a .reg file, `reg query`, or the strings alone
    FirewallRegistry,
    /// Get-NetFirewallRule with its filters joined, from ConvertTo-Json or Export-Csv
    #[value(name = "netfirewallrule")]
    NetFirewallRule,
    /// simplewall's profile.xml or rules files
    Simplewall,
}

/// A policy, and what it lacks.
#[derive(Debug)]
pub struct Import {
    pub document: DocumentMut,
    pub rules: usize,
    pub notes: Vec<Note>,
}

/// What could not be translated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    pub rule: String,
    pub what: String,
}

/// A rule, as the other programs have it in common.
#[derive(Debug, Clone, Default)]
struct Foreign {
    name: String,
    description: String,
    disabled: bool,
    permit: bool,
    inbound: bool,
    outbound: bool,
    protocol: Option<u8>,
    local: Vec<String>,
    remote: Vec<String>,
    local_ports: Vec<String>,
    remote_ports: Vec<String>,
    /// Type and code; `*` is any.
    icmp: Vec<(String, String)>,
    app: Option<String>,
    service: Option<String>,
    package: Option<String>,
    interface_types: Vec<String>,
    family: Option<&'static str>,
    /// The profiles, of a rule that is not for all of them.
    profiles: Vec<String>,
    /// What there are no words for.
    unknown: Vec<String>,
}

/// Blocks come before permits, as in the programs that the rules are from.
const BLOCK_WEIGHT: i64 = 10;
const PERMIT_WEIGHT: i64 = 5;

/// What of the rules is imported beside those that can be said as they are.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Wider {
    /// Import rules of single profiles (domain, private, public) for all of them
    #[arg(long)]
    pub any_profile: bool,
    /// Import rules that are not active, as if they were
    #[arg(long)]
    pub inactive: bool,
}

/// Translates a file.
pub fn import(from: From, bytes: &[u8], name: &str, wider: Wider) -> Result<Import> {
    let text = decode(bytes)?;
    let (rules, mut notes) = match from {
        From::FirewallRegistry => firewall_registry::read(&text)?,
        From::NetFirewallRule => net_firewall_rule::read(&text)?,
        From::Simplewall => simplewall::read(&text)?,
    };
    let mut tables = ArrayOfTables::new();
    let mut names: HashSet<String> = HashSet::new();
    for mut rule in rules {
        if wider.any_profile {
            rule.profiles.clear();
        }
        rule.disabled &= !wider.inactive;
        let plain = rule.name.replace(char::is_control, " ");
        let base = if plain.trim().is_empty() { "rule without a name".to_owned() } else { plain };
        match rule.tables(&base) {
            Err(what) => notes.push(Note { rule: base, what }),
            Ok(found) => {
                for mut table in found {
                    let mut name = base.clone();
                    let mut number = 2;
                    while !names.insert(name.clone()) {
                        name = format!("{base} ({number})");
                        number += 1;
                    }
                    table.insert("name", value(name));
                    tables.push(table);
                }
            }
        }
    }
    let rules = tables.len();
    let mut document = DocumentMut::new();
    let mut head = Table::new();
    head.insert("name", value(name));
    document.insert("policy", Item::Table(head));
    document.insert("rule", Item::ArrayOfTables(tables));
    Ok(Import { document, rules, notes })
}

/// UTF-8, or UTF-16 with a byte order mark.
fn decode(bytes: &[u8]) -> Result<String> {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = units.iter().map(|pair| unit(*pair)).collect();
        String::from_utf16(&units).ok().filter(|_| rest.is_empty())
    };
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => String::from_utf8(rest.to_vec()).ok(),
    };
    text.ok_or_else(|| Failure::new("the file is neither UTF-8 nor UTF-16 with a byte order mark"))
}

impl Foreign {
    /// The rules of the policy for it; or why there are none.
    fn tables(&self, name: &str) -> Result<Vec<Table>, String> {
        if self.disabled {
            return Err("it is not active: --inactive imports it all the same".to_owned());
        }
        if let Some(what) = self.unknown.first() {
            return Err(format!("a policy has no words for {what}"));
        }
        if !self.profiles.is_empty() {
            let profiles = self.profiles.join(", ");
            return Err(format!(
                "it is for the profile {profiles} only, which a policy does not know: --any-profile imports it for all"
            ));
        }
        let mut table = Table::new();
        table.insert("name", value(name));
        if !self.description.is_empty() {
            table.insert("description", value(self.description.replace(char::is_control, " ")));
        }
        let layers: Vec<&str> = [("connect", self.outbound), ("accept", self.inbound)]
            .iter()
            .filter(|(_, is)| *is)
            .map(|(l, _)| *l)
            .collect();
        table.insert("layer", list(layers.iter().map(|layer| (*layer).to_owned()).collect()));
        if let Some(family) = self.family {
            table.insert("family", value(family));
        }
        table.insert("action", value(if self.permit { "permit" } else { "block" }));
        table.insert("weight", value(if self.permit { PERMIT_WEIGHT } else { BLOCK_WEIGHT }));
        if let Some(protocol) = self.protocol {
            table.insert("protocol", scalar(&crate::filter::protocol::Protocol(protocol).to_string()).into());
        }
        for (key, addresses) in [("local", &self.local), ("remote", &self.remote)] {
            let addresses = addresses.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
            if !addresses.is_empty() {
                table.insert(key, list(addresses));
            }
        }
        for (key, ports) in [("local-port", &self.local_ports), ("remote-port", &self.remote_ports)] {
            if !ports.is_empty() {
                table.insert(key, list(ports.clone()));
            }
        }
        if let Some(app) = &self.app {
            table.insert("app", value(expand(app)?));
        }
        if let Some(service) = &self.service {
            table.insert("user", value(service_sid(service)));
        }
        if let Some(package) = &self.package {
            table.insert("package", value(package));
        }
        if !self.interface_types.is_empty() {
            table.insert("interface-type", list(self.interface_types.clone()));
        }
        let tables: Vec<Table> = match self.icmp.iter().all(|(_, code)| code == "*") {
            true => {
                if !self.icmp.is_empty() && self.icmp.iter().all(|(kind, _)| kind != "*") {
                    table.insert("icmp-type", list(self.icmp.iter().map(|(kind, _)| kind.clone()).collect()));
                }
                vec![table]
            }
            // Each type has codes of its own.
            false => self
                .icmp
                .iter()
                .map(|(kind, code)| {
                    let mut table = table.clone();
                    for (key, number) in [("icmp-type", kind), ("icmp-code", code)] {
                        if number != "*" {
                            table.insert(key, scalar(number).into());
                        }
                    }
                    table
                })
                .collect(),
        };
        for table in &tables {
            let source = Source::new("", format!("[policy]\nname = \"x\"\n[[rule]]\n{table}"));
            super::read(&source).map_err(|problems| problems[0].message.clone())?;
        }
        Ok(tables)
    }
}

fn list(texts: Vec<String>) -> Item {
    match <[String; 1]>::try_from(texts) {
        Ok([one]) => scalar(&one).into(),
        Err(several) => value(several.iter().map(|text| scalar(text)).collect::<Array>()),
    }
}

fn scalar(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| text.into(), Value::from)
}

/// An address as policies write it: masks as prefix lengths, host bits cleared as the other programs ignore them.
fn address(text: &str) -> Result<String, String> {
    let Some((network, mask)) = text.split_once('/') else { return Ok(text.to_owned()) };
    let wrong = || format!("'{text}' is no network");
    let network: IpAddr = network.parse().map_err(|_| wrong())?;
    let length = match mask.parse::<Ipv4Addr>() {
        Ok(mask) => {
            let mask = u32::from(mask);
            if mask.leading_ones() != mask.count_ones() {
                return Err(format!("'{text}' has a mask that is no prefix"));
            }
            mask.count_ones()
        }
        Err(_) => mask.parse().map_err(|_| wrong())?,
    };
    Ok(match network {
        IpAddr::V4(address) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            format!("{}/{length}", Ipv4Addr::from(u32::from(address) & mask))
        }
        IpAddr::V6(address) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            format!("{}/{length}", std::net::Ipv6Addr::from(u128::from(address) & mask))
        }
        _ => return Err(wrong()),
    })
}

/// The variables that paths of rules have, as Windows sets itself up. Others are a user's.
const VARIABLES: [(&str, &str); 7] = [
    ("%systemroot%", r"C:\Windows"),
    ("%windir%", r"C:\Windows"),
    ("%systemdrive%", "C:"),
    ("%programfiles%", r"C:\Program Files"),
    ("%programfiles(x86)%", r"C:\Program Files (x86)"),
    ("%programdata%", r"C:\ProgramData"),
    ("%allusersprofile%", r"C:\ProgramData"),
];

fn expand(path: &str) -> Result<String, String> {
    let Some(end) = path.strip_prefix('%').and_then(|rest| rest.find('%')) else { return Ok(path.to_owned()) };
    let (variable, rest) = path.split_at(end + 2);
    let known = VARIABLES.iter().find(|(name, _)| name.eq_ignore_ascii_case(variable));
    known
        .map(|(_, folder)| format!("{folder}{rest}"))
        .ok_or_else(|| format!("it is not known what {variable} stands for"))
}

/// The SID of a service: `S-1-5-80-` and the SHA-1 of its name in upper case (page "[MS-DTYP] Well-known SID Structures", and
/// `sc showsid`).
fn service_sid(name: &str) -> String {
    let name: Vec<u8> = name.to_uppercase().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let digest = Sha1::from(name).digest().bytes();
    let (parts, _) = digest.as_chunks::<4>();
    parts.iter().fold("S-1-5-80".to_owned(), |text, part| format!("{text}-{}", u32::from_le_bytes(*part)))
}

/// A SID, or what there are no words for.
fn checked_sid(text: &str) -> Result<String, String> {
    sid::parse(text).map(|_| text.to_owned())
}
