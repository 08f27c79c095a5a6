//! What `Get-NetFirewallRule` returns, with its port, address and application filters joined, as JSON or CSV (pages
//! "Get-NetFirewallRule", "Get-NetFirewallPortFilter" and their kin; the numbers are those of class MSFT_NetFirewallRule).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Foreign, Note, checked_sid};
use crate::failure::{Failure, Result};

/// The properties of a rule and of its filters, whichever of them a property is of; each a list.
type Properties = BTreeMap<String, Vec<String>>;

const HOW: &str = "join the filters to each rule: Get-NetFirewallRule | % { $p = $_ | Get-NetFirewallPortFilter; $a = $_ | \
                   Get-NetFirewallAddressFilter; $x = $_ | Get-NetFirewallApplicationFilter; [pscustomobject]@{ DisplayName = \
                   $_.DisplayName; Enabled = \"$($_.Enabled)\"; Direction = \"$($_.Direction)\"; Action = \"$($_.Action)\"; Profile = \
                   \"$($_.Profile)\"; Protocol = $p.Protocol; LocalPort = $p.LocalPort; RemotePort = $p.RemotePort; IcmpType = \
                   $p.IcmpType; LocalAddress = $a.LocalAddress; RemoteAddress = $a.RemoteAddress; Program = $x.Program; Package = \
                   $x.Package } } | ConvertTo-Json";

pub fn read(text: &str) -> Result<(Vec<Foreign>, Vec<Note>)> {
    let all = match text.trim_start().starts_with(['[', '{']) {
        true => json(text)?,
        false => csv(text)?,
    };
    if all.is_empty() {
        return Err(Failure::new("there is no rule in the file").help(HOW));
    }
    // Without its filters a rule would match everything.
    let needed = ["protocol", "localport", "remoteport", "localaddress", "remoteaddress", "program"];
    if let Some(missing) = needed.iter().find(|property| all.iter().all(|rule| !rule.contains_key(**property))) {
        return Err(
            Failure::new(format!("the rules have no property {missing}, so it is not known what they match")).help(HOW)
        );
    }
    Ok((all.iter().map(rule).collect(), Vec::new()))
}

fn json(text: &str) -> Result<Vec<Properties>> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| Failure::new(format!("the file is no JSON: {error}")))?;
    let rules = match value {
        Value::Array(rules) => rules,
        one => vec![one],
    };
    Ok(rules
        .iter()
        .map(|rule| {
            let mut properties = Properties::new();
            flatten(rule, &mut properties);
            properties
        })
        .collect())
}

/// Filters may be objects in the rule.
fn flatten(value: &Value, properties: &mut Properties) {
    let Value::Object(members) = value else { return };
    for (name, member) in members {
        // CIM's own members repeat what others say.
        if name.starts_with("Cim") || name.starts_with("PS") {
            continue;
        }
        match member {
            // PowerShell 5 writes an array that was a property as an object.
            Value::Object(inner) if inner.contains_key("value") => {
                properties.insert(name.to_lowercase(), texts(&inner["value"]));
            }
            Value::Object(_) => flatten(member, properties),
            member => _ = properties.insert(name.to_lowercase(), texts(member)),
        }
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(all) => all.iter().flat_map(texts).collect(),
        other => vec![other.to_string()],
    }
}

fn csv(text: &str) -> Result<Vec<Properties>> {
    let wrong = |error: csv::Error| Failure::new(format!("the file is no CSV: {error}"));
    // Export-Csv of PowerShell 5 begins with the type.
    let text = match text.starts_with("#TYPE") {
        true => text.split_once('\n').map_or("", |(_, rest)| rest),
        false => text,
    };
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().map_err(wrong)?.iter().map(str::to_lowercase).collect();
    let mut all = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let split = |name: &str, text: &str| -> Vec<String> {
            let listed = ["localport", "remoteport", "localaddress", "remoteaddress", "icmptype"].contains(&name);
            match listed {
                true => text.split([',', ' ', ';']).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
                false if text.is_empty() => Vec::new(),
                false => vec![text.to_owned()],
            }
        };
        all.push(header.iter().zip(&record).map(|(name, text)| (name.clone(), split(name, text))).collect());
    }
    Ok(all)
}

fn rule(properties: &Properties) -> Foreign {
    let list = |name: &str| -> Vec<String> {
        let any = |text: &String| !text.is_empty() && !text.eq_ignore_ascii_case("any");
        properties.get(name).into_iter().flatten().filter(|text| any(text)).cloned().collect()
    };
    let one = |name: &str| list(name).into_iter().next();
    let word = |name: &str| one(name).unwrap_or_default().to_lowercase();
    let mut rule = Foreign {
        name: one("displayname").or_else(|| one("name")).unwrap_or_default(),
        description: one("description").unwrap_or_default(),
        disabled: matches!(&*word("enabled"), "2" | "false"),
        local: list("localaddress"),
        remote: list("remoteaddress"),
        local_ports: list("localport"),
        remote_ports: list("remoteport"),
        app: one("program"),
        service: one("service"),
        ..Foreign::default()
    };
    match &*word("action") {
        "2" | "allow" => rule.permit = true,
        "4" | "block" => rule.permit = false,
        other => rule.unknown.push(format!("action '{other}'")),
    }
    match &*word("direction") {
        "1" | "inbound" => rule.inbound = true,
        "2" | "outbound" => rule.outbound = true,
        other => rule.unknown.push(format!("direction '{other}'")),
    }
    let protocol = word("protocol");
    rule.protocol = match &*protocol {
        "" => None,
        "icmpv4" => Some(1),
        text => text.parse::<crate::filter::protocol::Protocol>().map(|protocol| protocol.0).ok(),
    };
    if rule.protocol.is_none() && !protocol.is_empty() {
        rule.unknown.push(format!("protocol '{protocol}'"));
    }
    rule.icmp = list("icmptype")
        .iter()
        .map(|text| {
            let (kind, code) = text.split_once(':').unwrap_or((text, "*"));
            (kind.to_owned(), code.to_owned())
        })
        .collect();
    if let Some(package) = one("package") {
        match checked_sid(&package) {
            Ok(sid) => rule.package = Some(sid),
            Err(_) => rule.unknown.push(format!("package '{package}'")),
        }
    }
    for (property, plain) in [
        ("edgetraversalpolicy", &["0", "block"][..]),
        ("localuser", &[]),
        ("remoteuser", &[]),
        ("remotemachine", &[]),
        ("interfacealias", &[]),
    ] {
        let value = word(property);
        if !value.is_empty() && !plain.contains(&&*value) {
            rule.unknown.push(format!("{property} '{value}'"));
        }
    }
    rule.profiles = profiles(&word("profile"));
    rule
}

/// The profiles of a rule that is not for all; numbers are bits.
fn profiles(text: &str) -> Vec<String> {
    const NAMES: [(&str, u32); 3] = [("Domain", 1), ("Private", 2), ("Public", 4)];
    let bits = match text.parse::<u32>() {
        Ok(bits) => bits,
        Err(_) => NAMES.iter().filter(|(name, _)| text.contains(&name.to_lowercase())).map(|(_, bit)| bit).sum(),
    };
    match bits & 7 {
        0 | 7 => Vec::new(),
        some => NAMES.iter().filter(|(_, bit)| some & bit != 0).map(|(name, _)| (*name).to_owned()).collect(),
    }
}
