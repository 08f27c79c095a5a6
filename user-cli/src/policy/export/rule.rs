//! From a filter to its rule.

use std::collections::hash_map::Entry;

use postern_engine::guids::condition;
use postern_engine::layers::{DataType, Field, Layer};
use postern_engine::objects::{Action, Condition, ConditionValue, FilterFlags, MatchType, Weight};
use postern_protocol::{CALLOUTS, FilterContext, Role};
use toml_edit::{InlineTable, Value};

use super::*;
use crate::filter::layer::SHORT;
use crate::filter::protocol::Protocol;
use crate::policy::compile::numbers;
use crate::policy::value::text;
use crate::policy::words::{self, Match};

/// What a rule need not say.
#[derive(Debug, Clone, Copy)]
pub struct Defaults<'a> {
    pub policy: &'a str,
    pub provider: Uuid,
    pub sublayer: Uuid,
    pub lifetime: &'a str,
}

/// `None` for flags that a rule cannot have at the same time.
pub fn lifetime(filter: &Filter) -> Option<&'static str> {
    match (filter.flags.contains(FilterFlags::PERSISTENT), filter.flags.contains(FilterFlags::BOOTTIME)) {
        (false, false) => Some("static"),
        (true, false) => Some("persistent"),
        (false, true) => Some("boot-time"),
        (true, true) => None,
    }
}

impl Defaults<'_> {
    /// The rule for a filter, after it was read again and found to say the same; or why there is none.
    pub fn rule(&self, filter: &Filter, live: &Live) -> Result<Table, String> {
        self.said(filter, live, in_words).or_else(|_| self.said(filter, live, |_, _, _| None))
    }

    fn said(&self, filter: &Filter, live: &Live, in_words: InWords) -> Result<Table, String> {
        let layer = layers::by_key(&filter.layer).ok_or("its layer is not known")?;
        let mut table = Table::new();
        let mut say = |key: &str, item: Value| table.insert(key, value(item)).is_none();
        say("name", filter.display.name.as_str().into());
        if !filter.display.description.is_empty() {
            say("description", filter.display.description.as_str().into());
        }
        if filter.key != filter_key(self.policy, &filter.display.name, &filter.layer) {
            say("key", filter.key.braced().to_string().into());
        }
        say("layer", layer.name.into());
        for (key, item) in action(filter, live) {
            say(key, item);
        }
        if let Some(context) = filter.provider_context {
            say("provider-context", context.braced().to_string().into());
        }
        if filter.sublayer != self.sublayer {
            say("sublayer", sublayer_text(&filter.sublayer).into());
        }
        if filter.provider != Some(self.provider) {
            let text = filter.provider.as_ref().map_or_else(|| "none".to_owned(), provider_text);
            say("provider", text.into());
        }
        match filter.weight {
            Weight::Auto => {}
            Weight::Range(range) => _ = say("weight", i64::from(range).into()),
            Weight::Exact(weight) => _ = say("weight", format!("{weight:#x}").into()),
        }
        let lifetime = lifetime(filter).ok_or("it is persistent and boot-time at once")?;
        if lifetime != self.lifetime {
            say("lifetime", lifetime.into());
        }
        if filter.flags.contains(FilterFlags::CLEAR_ACTION_RIGHT) {
            say("hard", true.into());
        }
        if !filter.data.is_empty() {
            say("data", format!("0x{}", hex(&filter.data)).into());
        }
        let (words, explicit) = conditions(layer, &filter.conditions, in_words)?;
        for (key, item) in words {
            say(key, item);
        }
        if !explicit.is_empty() {
            say("condition", explicit.into_iter().collect::<Array>().into());
        }
        self.check(filter, &table)?;
        Ok(table)
    }

    /// Reads a rule as it would stand in the policy.
    fn read(&self, table: &Table) -> Result<Vec<compile::Wanted>, String> {
        let text = format!(
            "[policy]\nname = {}\nprovider = \"{}\"\nsublayer = \"{}\"\nlifetime = \"{}\"\n[[rule]]\n{table}",
            Value::from(self.policy),
            self.provider,
            self.sublayer,
            self.lifetime
        );
        let policy = crate::policy::read(&Source::new("", text)).map_err(|problems| problems[0].message.clone())?;
        Ok(policy.filters)
    }

    fn check(&self, filter: &Filter, table: &Table) -> Result<(), String> {
        let wanted = self.read(table)?;
        let [wanted] = &wanted[..] else { return Err("its rule would be several filters".to_owned()) };
        if wanted.filter.key != filter.key {
            return Err(format!("its rule would have the key {}", wanted.filter.key.braced()));
        }
        match differences(filter, &wanted.filter).first() {
            None => Ok(()),
            Some(difference) => {
                Err(format!("its {} would be {} instead of {}", difference.what, difference.after, difference.before))
            }
        }
    }

    /// Rules that differ in nothing but the layer become one, which names the layers as people do.
    pub fn merged(&self, said: Vec<(&Filter, Table)>) -> Vec<Table> {
        let mut rules: Vec<(Table, Vec<&'static Layer>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (filter, table) in said {
            let Some(layer) = layers::by_key(&filter.layer) else { continue };
            if table.contains_key("key") {
                rules.push((table, vec![layer]));
                continue;
            }
            let mut body = table.clone();
            body.remove("layer");
            match places.entry(body.to_string()) {
                Entry::Occupied(place) => rules[*place.get()].1.push(layer),
                Entry::Vacant(place) => {
                    place.insert(rules.len());
                    rules.push((table, vec![layer]));
                }
            }
        }
        rules.into_iter().flat_map(|(table, layers)| self.with_layers(table, &layers)).collect()
    }

    fn with_layers(&self, table: Table, layers: &[&'static Layer]) -> Vec<Table> {
        if layers.len() == 1 {
            return vec![table];
        }
        let mut names: Vec<&str> = Vec::new();
        for layer in layers {
            let stem = layer.name.trim_end_matches("_V4").trim_end_matches("_V6");
            let pair =
                layers.iter().filter(|other| other.name.starts_with(stem) && other.name.len() == layer.name.len());
            let short = SHORT.iter().find(|(_, name)| *name == stem).map(|(short, _)| *short);
            let name = short.filter(|_| pair.count() == 2).unwrap_or(layer.name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut one = table.clone();
        let together =
            if let [name] = names[..] { Value::from(name) } else { names.iter().copied().collect::<Array>().into() };
        one.insert("layer", value(together));
        // Whether a rule without addresses is one for both IP versions depends on the protocol.
        let mut same = self.read(&one).is_ok_and(|wanted| wanted.len() == layers.len());
        if !same {
            one.insert("family", value("both"));
            same = self.read(&one).is_ok_and(|wanted| wanted.len() == layers.len());
        }
        if same {
            return vec![one];
        }
        layers
            .iter()
            .map(|layer| {
                let mut table = table.clone();
                table.insert("layer", value(layer.name));
                table
            })
            .collect()
    }
}

fn action(filter: &Filter, live: &Live) -> Vec<(&'static str, Value)> {
    let context = |said: &mut Vec<(&'static str, Value)>| {
        if filter.raw_context != 0 {
            said.push(("context", format!("{:#x}", filter.raw_context).into()));
        }
    };
    let word = match filter.action {
        Action::Permit | Action::Block => {
            let word = if filter.action == Action::Permit { "permit" } else { "block" };
            let mut said = vec![("action", word.into())];
            context(&mut said);
            return said;
        }
        Action::CalloutTerminating(_) => "callout-terminating",
        Action::CalloutInspection(_) => "callout-inspection",
        Action::CalloutUnknown(_) => "callout-unknown",
    };
    let key = filter.action.callout().unwrap_or_default();
    let open = filter.flags.contains(FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED);
    let decides = word != "callout-inspection";
    let mut said: Vec<(&str, Value)> = Vec::new();
    let drivers = CALLOUTS.iter().find(|callout| callout.key() == key.as_u128());
    let there = live.callouts.iter().any(|callout| callout.key == key);
    let ours = FilterContext::from_raw(filter.raw_context);
    if let (Some(callout), true, Some(ours)) = (drivers, there, ours)
        && callout.role != Role::Monitor
        && ours.to_raw() == filter.raw_context
        && decides == (callout.role != Role::Inspect)
    {
        said.push(("action", format!("callout-{}", callout.role.name()).into()));
        for (key, flag) in [("silent", FilterContext::ABSORB), ("reject", FilterContext::REJECT)] {
            if ours.contains(flag) {
                said.push((key, true.into()));
            }
        }
        if ours.hold_seconds() > 0 && callout.role == Role::Hold {
            said.push(("hold-for", i64::from(ours.hold_seconds()).into()));
        }
        if ours.contains(FilterContext::OTHERWISE_PERMIT) {
            said.push(("otherwise", "permit".into()));
        }
    } else {
        said.push(("action", word.into()));
        let name = guids::callout::NAMES.name(&key);
        said.push(("callout", name.map_or_else(|| key.braced().to_string(), str::to_owned).into()));
        context(&mut said);
    }
    if decides && !open {
        said.push(("fail-closed", true.into()));
    }
    said
}

/// Conditions in words, and those that have none.
type Said = (Vec<(&'static str, Value)>, Vec<InlineTable>);

/// What words a rule has for the conditions on a field, if any.
type InWords = fn(&Field, &[Condition], bool) -> Option<(&'static str, Value)>;

fn conditions(layer: &Layer, conditions: &[Condition], in_words: InWords) -> Result<Said, String> {
    let icmp = conditions.iter().any(|condition| {
        condition.field == condition::IP_PROTOCOL
            && matches!(&condition.value, ConditionValue::Uint8(number) if !Protocol(*number).has_ports())
    });
    let mut said = (Vec::new(), Vec::new());
    for alternatives in conditions.chunk_by(|a, b| a.field == b.field) {
        let key = alternatives[0].field;
        let index = layer.field_index(&key).ok_or("a condition is on a field that its layer does not have")?;
        let field = &layer.fields[index];
        match in_words(field, alternatives, icmp) {
            Some(words) => said.0.push(words),
            None => {
                for condition in alternatives {
                    said.1.push(explicit(field, condition)?);
                }
            }
        }
    }
    Ok(said)
}

/// The key of a rule for a field, and its values.
fn in_words(field: &Field, alternatives: &[Condition], icmp: bool) -> Option<(&'static str, Value)> {
    let numbers = numbers(&field.key);
    if field.key == condition::FLAGS {
        let [Condition { match_type, value: ConditionValue::Uint32(mask), .. }] = alternatives else { return None };
        let key = match match_type {
            MatchType::FlagsAnySet => "flags",
            MatchType::FlagsAllSet => "flags-all",
            MatchType::FlagsNoneSet => "flags-none",
            _ => return None,
        };
        return Some((key, list(words::FLAGS.mask(*mask))));
    }
    let key = match field.key {
        condition::IP_PROTOCOL => "protocol",
        condition::IP_LOCAL_ADDRESS => "local",
        condition::IP_REMOTE_ADDRESS => "remote",
        condition::IP_LOCAL_PORT if icmp => "icmp-type",
        condition::IP_REMOTE_PORT if icmp => "icmp-code",
        condition::IP_LOCAL_PORT => "local-port",
        condition::IP_REMOTE_PORT => "remote-port",
        condition::ALE_APP_ID => "app",
        condition::ALE_USER_ID => "user",
        condition::ALE_PACKAGE_ID => "package",
        condition::IP_LOCAL_INTERFACE => "interface",
        condition::INTERFACE_TYPE => "interface-type",
        condition::TUNNEL_TYPE => "tunnel-type",
        condition::IP_LOCAL_ADDRESS_TYPE => "local-address-type",
        condition::IP_DESTINATION_ADDRESS_TYPE => "destination-address-type",
        condition::DIRECTION => "direction",
        _ => return None,
    };
    let text_of = |condition: &Condition| match (condition.match_type, &condition.value) {
        (MatchType::Equal, ConditionValue::Uint8(number)) if key == "protocol" => Some(Protocol(*number).to_string()),
        (MatchType::Equal, ConditionValue::ByteBlob(_)) => {
            text(field, numbers, &condition.value).filter(|path| !path.starts_with("0x"))
        }
        (MatchType::Equal, value) => text(field, numbers, value),
        (MatchType::Range, ConditionValue::Range(ends)) if !matches!(key, "protocol" | "app" | "user" | "package") => {
            Some(format!("{}-{}", text(field, numbers, &ends.0)?, text(field, numbers, &ends.1)?))
        }
        _ => None,
    };
    let texts = alternatives.iter().map(text_of).collect::<Option<Vec<String>>>()?;
    Some((key, list(texts)))
}

/// One value, or a list; numbers as such.
fn list(texts: Vec<String>) -> Value {
    match <[String; 1]>::try_from(texts) {
        Ok([one]) => scalar(&one),
        Err(several) => several.iter().map(|text| scalar(text)).collect::<Array>().into(),
    }
}

fn scalar(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}

fn explicit(field: &Field, condition: &Condition) -> Result<InlineTable, String> {
    let mut table = InlineTable::new();
    let name = guids::condition::NAMES.name(&condition.field);
    let name = name.map_or_else(|| condition.field.braced().to_string(), |name| name.replace("FWPM_CONDITION_", ""));
    table.insert("field", name.as_str().into());
    let natural = match condition.value {
        ConditionValue::Range(_) => MatchType::Range,
        _ => MatchType::Equal,
    };
    if condition.match_type != natural {
        table.insert("match", words::name(&Match::of(condition.match_type)).into());
    }
    let said = |value: &ConditionValue| {
        let unsaid = || format!("its condition on {name} has a value that cannot be written: {value:?}");
        // Masks are numbers, not addresses.
        let numbers = if field.data_type == DataType::Uint32 && field.key == condition::FLAGS {
            &words::PLAIN
        } else {
            numbers(&field.key)
        };
        text(field, numbers, value).map(|text| scalar(&text)).ok_or_else(unsaid)
    };
    match &condition.value {
        ConditionValue::Empty => {}
        ConditionValue::Range(ends) => {
            table.insert("value", said(&ends.0)?);
            table.insert("to", said(&ends.1)?);
        }
        value => {
            table.insert("value", said(value)?);
        }
    }
    Ok(table)
}
