//! Windows Firewall's rules as the registry holds them ([MS-GPFAS] 2.2.2.19 "Firewall Rule and the Firewall Rule Grammar Rule").

use super::{Foreign, Note, checked_sid};
use crate::failure::{Failure, Result};

pub fn read(text: &str) -> Result<(Vec<Foreign>, Vec<Note>)> {
    let (mut rules, mut notes) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let Some((id, fields)) = split(line) else {
            let other =
                line.is_empty() || line.starts_with(['[', ';', '@']) || line.starts_with("HKEY_") || number == 0;
            if !other {
                notes.push(Note { rule: format!("line {}", number + 1), what: "it is no firewall rule".to_owned() });
            }
            continue;
        };
        rules.push(rule(&id, &fields));
    }
    if rules.is_empty() {
        return Err(Failure::new("there is no firewall rule in the file").help(
            "export HKLM\\SYSTEM\\CurrentControlSet\\Services\\SharedAccess\\Parameters\\FirewallPolicy\\FirewallRules: \
             each rule begins with v2., as in v2.30|Action=Allow|",
        ));
    }
    Ok((rules, notes))
}

/// The value's name, and the fields after the version.
fn split(line: &str) -> Option<(String, Vec<String>)> {
    let start = line.match_indices('v').map(|(index, _)| index).find(|index| {
        let rest = &line[index + 1..];
        let version = rest.find('|').map(|end| &rest[..end]);
        version.is_some_and(|version| version.contains('.') && version.chars().all(|c| c.is_ascii_digit() || c == '.'))
    })?;
    let before = line[..start].trim();
    let id = before.trim_end_matches("REG_SZ").trim().trim_end_matches(['=', '"']).trim_start_matches('"').to_owned();
    let mut rule = line[start..].to_owned();
    // A .reg file quotes values, and escapes in them.
    if before.ends_with("=\"") {
        rule = rule.strip_suffix('"').unwrap_or(&rule).replace("\\\\", "\\").replace("\\\"", "\"");
    }
    let fields = rule.split('|').skip(1).filter(|field| !field.trim().is_empty()).map(str::to_owned).collect();
    Some((id, fields))
}

fn rule(id: &str, fields: &[String]) -> Foreign {
    let mut rule = Foreign { name: id.to_owned(), ..Foreign::default() };
    let mut profiles = Vec::new();
    for field in fields {
        let Some((key, value)) = field.split_once('=') else {
            rule.unknown.push(format!("'{field}'"));
            continue;
        };
        let word = value.to_ascii_lowercase();
        let mut unknown = || rule.unknown.push(field.clone());
        match key {
            "Action" => match &*word {
                "allow" => rule.permit = true,
                "block" => rule.permit = false,
                _ => unknown(),
            },
            "Active" => rule.disabled = word == "false",
            "Dir" => match &*word {
                "in" => rule.inbound = true,
                "out" => rule.outbound = true,
                _ => unknown(),
            },
            "Protocol" => match value.parse() {
                Ok(number) => rule.protocol = Some(number),
                Err(_) if value == "256" => {}
                Err(_) => unknown(),
            },
            "LPort" | "LPort2_10" | "LPort2_20" | "LPort2_24" | "LPort2_29" => rule.local_ports.push(value.to_owned()),
            "RPort" | "RPort2_10" | "RPort2_25" => rule.remote_ports.push(value.to_owned()),
            "LA4" | "LA6" => rule.local.push(value.to_owned()),
            "RA4" | "RA6" | "RA42" | "RA62" => rule.remote.push(value.to_owned()),
            "ICMP4" | "ICMP6" => {
                let (kind, code) = value.split_once(':').unwrap_or((value, "*"));
                rule.icmp.push((kind.to_owned(), code.to_owned()));
            }
            "App" => rule.app = Some(value.to_owned()),
            "Svc" if value != "*" => rule.service = Some(value.to_owned()),
            "AppPkgId" => match checked_sid(value) {
                Ok(sid) => rule.package = Some(sid),
                Err(_) => unknown(),
            },
            "IFType" => match &*word {
                "lan" => rule.interface_types.push("ethernet".to_owned()),
                "wireless" => rule.interface_types.push("wifi".to_owned()),
                "remoteaccess" => rule.interface_types.push("ppp".to_owned()),
                _ => unknown(),
            },
            "Profile" => profiles.push(value.to_owned()),
            "Name" => rule.name = value.to_owned(),
            "Desc" => rule.description = value.to_owned(),
            // What a rule is shown under, and what it says of traffic that arrives through a NAT or that another program defers.
            "EmbedCtxt" => {}
            "Edge" | "LSM" if word == "false" => {}
            _ => unknown(),
        }
    }
    let all = ["domain", "private", "public"];
    let for_all = |profile: &&str| profiles.iter().any(|has| has.eq_ignore_ascii_case(profile));
    if !profiles.is_empty() && !all.iter().all(for_all) {
        rule.profiles = profiles;
    }
    if !rule.inbound && !rule.outbound {
        rule.unknown.push("a rule without a direction".to_owned());
    }
    rule
}
