//! simplewall's profile.xml and its older rules files. Every part of a rule, an address or a port, is a filter of its own there.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::{Foreign, Note};
use crate::failure::{Failure, Result};

const SERVICES: &str = r"%SystemRoot%\System32\svchost.exe";

pub fn read(text: &str) -> Result<(Vec<Foreign>, Vec<Note>)> {
    let mut reader = Reader::from_str(text);
    let (mut rules, mut notes, mut section) = (Vec::new(), Vec::new(), String::new());
    loop {
        let place = reader.buffer_position();
        let wrong = |error: &dyn std::fmt::Display| {
            let line = text.get(..place as usize).map_or(0, |before| before.matches('\n').count() + 1);
            Failure::new(format!("line {line}: {error}")).help("give simplewall's profile.xml")
        };
        let event = reader.read_event().map_err(|error| wrong(&error))?;
        let element = match &event {
            Event::Eof => break,
            Event::Start(element) | Event::Empty(element) => element,
            _ => continue,
        };
        let name = element.name().as_ref().to_owned();
        if name != "item" {
            section = name;
            continue;
        }
        let mut item = BTreeMap::new();
        for attribute in element.attributes() {
            let attribute = attribute.map_err(|error| wrong(&error))?;
            let value =
                attribute.normalized_value(quick_xml::XmlVersion::Explicit1_0).map_err(|error| wrong(&error))?;
            item.insert(attribute.key.as_ref().to_owned(), value.into_owned());
        }
        translate(&section, &item, &mut rules, &mut notes);
    }
    if rules.is_empty() && notes.is_empty() {
        return Err(Failure::new("there is no rule in the file").help("give simplewall's profile.xml"));
    }
    Ok((rules, notes))
}

fn translate(section: &str, item: &BTreeMap<String, String>, rules: &mut Vec<Foreign>, notes: &mut Vec<Note>) {
    let text = |name: &str| item.get(name).map_or("", |value| value.trim());
    let yes = |name: &str| matches!(text(name), "1" | "true");
    let name = [text("name"), text("path")].into_iter().find(|text| !text.is_empty()).unwrap_or("unnamed").to_owned();
    let mut note = |what: String| notes.push(Note { rule: name.clone(), what });
    // The states of built-in rules, which are not in this file.
    if section == "rules_config" {
        return note("it turns a built-in rule on or off, which is not in the file".to_owned());
    }
    let base = Foreign {
        name: name.clone(),
        description: text("comment").to_owned(),
        disabled: !yes("is_enabled"),
        permit: !yes("is_block") && section != "rules_blocklist",
        protocol: text("protocol").parse().ok().filter(|number| *number != 0),
        family: match text("version") {
            "2" => Some("v4"),
            "23" => Some("v6"),
            _ => None,
        },
        ..Foreign::default()
    };
    if section == "apps" {
        let path = if text("path").is_empty() { text("name") } else { text("path") };
        rules.push(Foreign { app: Some(path.to_owned()), permit: true, inbound: true, outbound: true, ..base });
        return;
    }
    let direction = [text("dir"), text("direction")].into_iter().find(|text| !text.is_empty()).unwrap_or("0");
    let (inbound, outbound) = match direction {
        "0" => (false, true),
        "1" => (true, false),
        "2" => (true, true),
        other => return note(format!("a policy has no words for direction {other}")),
    };
    let mut apps: Vec<Option<String>> =
        text("apps").split(['|', ';']).filter(|app| !app.is_empty()).map(|app| Some(app.to_owned())).collect();
    if yes("is_services") {
        apps.push(Some(SERVICES.to_owned()));
    }
    if yes("is_kernel") {
        apps.push(Some("System".to_owned()));
    }
    if apps.is_empty() {
        apps.push(None);
    }
    let remote = [text("rule_remote"), text("rule")].into_iter().find(|text| !text.is_empty()).unwrap_or("");
    for app in &apps {
        // A service stands in the place of a program by its name.
        let service = app.as_ref().filter(|app| !app.contains(['\\', '/']) && !app.eq_ignore_ascii_case("system"));
        for (remote, remote_ports) in parts(remote) {
            for (local, local_ports) in parts(text("rule_local")) {
                rules.push(Foreign {
                    app: app.clone().filter(|_| service.is_none()),
                    service: service.cloned(),
                    inbound,
                    outbound,
                    remote: remote.clone(),
                    remote_ports: remote_ports.clone(),
                    local,
                    local_ports,
                    ..base.clone()
                });
            }
        }
    }
}

/// The addresses of a rule and its ports, apart.
fn parts(text: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let all = text.split([';', ',']).map(str::trim).filter(|part| !part.is_empty() && *part != "*");
    let is_port = |part: &&str| part.chars().all(|c| c.is_ascii_digit() || c == '-');
    let (ports, addresses): (Vec<&str>, Vec<&str>) = all.partition(is_port);
    let owned = |parts: Vec<&str>| parts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let mut apart = Vec::new();
    if !addresses.is_empty() {
        apart.push((owned(addresses), Vec::new()));
    }
    if !ports.is_empty() || apart.is_empty() {
        apart.push((Vec::new(), owned(ports)));
    }
    apart
}
