//! From one rule to its filters.

use std::ops::Range;

use postern_engine::guids::{callout, condition};
use postern_engine::layers::{self, Layer};
use postern_engine::objects::{Action, Condition, ConditionValue, FilterFlags, MatchType};
use toml::Spanned;
use uuid::Uuid;

use super::{Objects, Problems, Wanted, filter_key, weight};
use crate::failure::Failure;
use crate::filter::app_id;
use crate::filter::layer::Layers;
use crate::filter::own::Owner;
use crate::filter::spec::{self, Spec, Verb};
use crate::policy::document::{ConditionTable, Rule, Values};
use crate::policy::problem::Problem;
use crate::policy::value;
use crate::policy::words::{self, Family, Lifetime, Numbers};

/// The filters of a rule: those of `postern filter add` with the same words as options, and the conditions which that does not have.
pub fn compile(
    rule: &Rule,
    policy: &str,
    lifetime: Lifetime,
    objects: &Objects,
    problems: &mut Problems,
) -> Vec<Wanted> {
    let before = problems.errors.len();
    problems.name(&rule.name, "a rule");
    if let Some(text) = &rule.description {
        problems.printable(text);
    }
    let lifetime = rule.lifetime.as_ref().and_then(|word| problems.word(word)).unwrap_or(lifetime);
    let sublayer = rule.sublayer.as_ref().and_then(|name| objects.sublayer(name, problems));
    let provider = rule.provider.as_ref().and_then(|name| objects.provider(name, problems));
    let key = rule.key.as_ref().and_then(|text| problems.key(text));
    let data = problems.data(&rule.data);
    let action = problems.word::<words::Action>(&rule.action);
    let called = called(rule, action, problems);
    let context = context(rule, action, problems);
    let provider_context = rule.provider_context.as_ref().and_then(|text| problems.key(text));
    if let (Some(text), Some(_)) = (&rule.provider_context, &rule.context) {
        problems.push(Problem::error(text.span(), "a filter has a context or a provider context, not both"));
    }
    let spec = spec(rule, action, problems);
    let layers = problems.each(&Some(rule.layer.clone()), Layers::parse);
    if problems.errors.len() > before {
        return Vec::new();
    }
    // Its lifetime is not used: a policy's filters may be boot-time ones, too.
    let owner = Owner::new(spec::Lifetime::Static);
    let mut wanted = Vec::new();
    for layers in layers {
        match (Spec { layer: layers, ..spec.clone() }).plan(&owner) {
            Ok(planned) => wanted.extend(planned.into_iter().map(|planned| Wanted {
                filter: planned.filter,
                callout: planned.callout,
                span: rule.name.span(),
            })),
            Err(failure) => problems.push(misfit(rule, &failure)),
        }
    }
    for Wanted { filter, .. } in &mut wanted {
        filter.display.name.clone_from(rule.name.get_ref());
        filter.key = key.unwrap_or_else(|| filter_key(policy, rule.name.get_ref(), &filter.layer));
        filter.provider = provider.unwrap_or(Some(objects.own_provider));
        filter.sublayer = sublayer.unwrap_or(objects.own_sublayer);
        filter.data.clone_from(&data);
        filter.flags.set(FilterFlags::PERSISTENT, lifetime == Lifetime::Persistent);
        filter.flags.set(FilterFlags::BOOTTIME, lifetime == Lifetime::BootTime);
        filter.flags.set(FilterFlags::HAS_PROVIDER_CONTEXT, provider_context.is_some());
        filter.provider_context = provider_context;
        if let Some(context) = context {
            filter.raw_context = context;
        }
        if let Some(action) = called {
            filter.action = action;
            let decides = !matches!(action, Action::CalloutInspection(_));
            let fail_closed = rule.fail_closed.as_ref().is_some_and(|given| *given.get_ref());
            filter.flags.set(FilterFlags::PERMIT_IF_CALLOUT_UNREGISTERED, decides && !fail_closed);
        }
        if let Some(layer) = layers::by_key(&filter.layer) {
            more(rule, layer, &mut filter.conditions, problems);
        }
    }
    if let (Some(key), [_, other, ..]) = (&rule.key, &wanted[..]) {
        let other = crate::filter::describe::layer(&other.filter.layer);
        problems.push(
            Problem::error(key.span(), format!("a key names one filter, and the rule has another one at {other}"))
                .help("write one layer with its IP version, as in ALE_AUTH_CONNECT_V4; or leave the key out"),
        );
    }
    wanted
}

/// The filter's context. Those of filters for the driver's callouts are made of other words.
fn context(rule: &Rule, action: Option<words::Action>, problems: &mut Problems) -> Option<u64> {
    let given = rule.context.as_ref()?;
    if let Some(
        verb @ (words::Action::CalloutPermit
        | words::Action::CalloutBlock
        | words::Action::CalloutInspect
        | words::Action::CalloutHold),
    ) = action
    {
        problems.push(
            Problem::error(given.span(), format!("context means nothing with action {}", words::name(&verb)))
                .help("the driver's callouts are told by silent, reject, hold-for and otherwise"),
        );
        return None;
    }
    problems.take(given.span(), words::number(&given.get_ref().to_string()))
}

/// The action of a filter that calls another program's callout.
fn called(rule: &Rule, action: Option<words::Action>, problems: &mut Problems) -> Option<Action> {
    let action = action?;
    if action.verb().is_some() {
        if let Some(stray) = &rule.callout {
            problems.push(
                Problem::error(stray.span(), format!("callout means nothing with action {}", words::name(&action)))
                    .help("it goes with callout-terminating, callout-inspection and callout-unknown"),
            );
        }
        return None;
    }
    let Some(name) = &rule.callout else {
        problems.push(
            Problem::error(rule.action.span(), format!("{} needs a callout", words::name(&action)))
                .help("write its key, `callout = \"{...}\"`: `postern state` shows those that there are"),
        );
        return None;
    };
    let found = callout::NAMES.key(name.get_ref()).or_else(|| Uuid::try_parse(name.get_ref()).ok());
    let found = found.ok_or_else(|| format!("'{}' is neither a key nor a FWPM_CALLOUT_* name", name.get_ref()));
    let key = problems.take(name.span(), found)?;
    if rule.fail_closed.is_some() && action == words::Action::CalloutInspection {
        problems.push(
            Problem::error(rule.name.span(), "fail-closed means nothing with action callout-inspection")
                .help("such a callout does not decide"),
        );
    }
    Some(match action {
        words::Action::CalloutInspection => Action::CalloutInspection(key),
        words::Action::CalloutUnknown => Action::CalloutUnknown(key),
        _ => Action::CalloutTerminating(key),
    })
}

fn spec(rule: &Rule, action: Option<words::Action>, problems: &mut Problems) -> Spec {
    let yes = |given: &Option<Spanned<bool>>| given.as_ref().is_some_and(|given| *given.get_ref());
    let verb = action.and_then(words::Action::verb);
    let family = rule.family.as_ref().and_then(|word| problems.word(word)).map(|family| match family {
        Family::V4 => spec::Family::V4,
        Family::V6 => spec::Family::V6,
        Family::Both => spec::Family::Both,
    });
    let otherwise = rule.otherwise.as_ref().and_then(|word| problems.word(word)).map(|otherwise| match otherwise {
        words::Otherwise::Permit => spec::Otherwise::Permit,
        words::Otherwise::Block => spec::Otherwise::Block,
    });
    let hold_for = rule.hold_for.as_ref().and_then(|given| {
        let seconds = given.get_ref().to_string().parse::<u16>().ok().filter(|seconds| *seconds > 0);
        problems.take(given.span(), seconds.ok_or("an answer is waited for 1 to 65535 seconds"))
    });
    Spec {
        // One after the other takes its place.
        layer: Layers::One(&layers::all()[0]),
        family,
        action: verb.unwrap_or(Verb::Block),
        protocol: problems.parsed(&rule.protocol),
        local: problems.parsed(&rule.local),
        remote: problems.parsed(&rule.remote),
        local_port: problems.parsed(&rule.local_port),
        remote_port: problems.parsed(&rule.remote_port),
        app: problems.each(&rule.app, app_id::nt_path),
        weight: weight(&rule.weight, problems),
        name: Some(rule.name.get_ref().clone()),
        description: rule.description.as_ref().map_or_else(String::new, |text| text.get_ref().clone()),
        lifetime: spec::Lifetime::Static,
        hard: yes(&rule.hard),
        fail_closed: verb.is_some() && yes(&rule.fail_closed),
        silent: yes(&rule.silent),
        reject: yes(&rule.reject),
        hold_for,
        otherwise,
    }
}

/// What `postern filter add` would say, at the place of the key that it speaks of: a rule's keys are that command's options.
fn misfit(rule: &Rule, failure: &Failure) -> Problem {
    let option = failure.message.split_once("--").map_or("layer", |(_, rest)| {
        rest.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap_or_default()
    });
    let values = |values: &Option<Values>| values.as_ref().map(|values| values.span.clone());
    let span: Option<Range<usize>> = match option {
        "layer" => Some(rule.layer.span.clone()),
        "description" => rule.description.as_ref().map(Spanned::span),
        "family" => rule.family.as_ref().map(Spanned::span),
        "protocol" => values(&rule.protocol),
        "local" => values(&rule.local),
        "remote" => values(&rule.remote),
        "local-port" => values(&rule.local_port),
        "remote-port" => values(&rule.remote_port),
        "app" => values(&rule.app),
        "fail-closed" => rule.fail_closed.as_ref().map(Spanned::span),
        "silent" => rule.silent.as_ref().map(Spanned::span),
        "reject" => rule.reject.as_ref().map(Spanned::span),
        "hold-for" => rule.hold_for.as_ref().map(Spanned::span),
        "otherwise" => rule.otherwise.as_ref().map(Spanned::span),
        _ => None,
    };
    let plain = |text: &str| text.replace("--", "");
    let problem = Problem::error(span.unwrap_or_else(|| rule.name.span()), plain(&failure.message));
    Problem { help: failure.help.as_deref().map(plain), ..problem }
}

/// How the values of a key become a condition.
enum Reading {
    /// As the field needs it, with these words.
    Value(&'static Numbers),
    /// All flags in one mask.
    Mask(MatchType),
}

impl Rule {
    /// The keys for conditions that `postern filter add` has no option for.
    fn more(&self) -> [(&'static str, Uuid, Reading, &Option<Values>); 13] {
        use Reading::{Mask, Value};
        [
            ("icmp-type", condition::IP_LOCAL_PORT, Value(&words::PLAIN), &self.icmp_type),
            ("icmp-code", condition::IP_REMOTE_PORT, Value(&words::PLAIN), &self.icmp_code),
            ("user", condition::ALE_USER_ID, Value(&words::PLAIN), &self.user),
            ("package", condition::ALE_PACKAGE_ID, Value(&words::PLAIN), &self.package),
            ("interface", condition::IP_LOCAL_INTERFACE, Value(&words::PLAIN), &self.interface),
            ("interface-type", condition::INTERFACE_TYPE, Value(&words::INTERFACE_TYPES), &self.interface_type),
            ("tunnel-type", condition::TUNNEL_TYPE, Value(&words::TUNNEL_TYPES), &self.tunnel_type),
            (
                "local-address-type",
                condition::IP_LOCAL_ADDRESS_TYPE,
                Value(&words::ADDRESS_TYPES),
                &self.local_address_type,
            ),
            (
                "destination-address-type",
                condition::IP_DESTINATION_ADDRESS_TYPE,
                Value(&words::ADDRESS_TYPES),
                &self.destination_address_type,
            ),
            ("direction", condition::DIRECTION, Value(&words::DIRECTIONS), &self.direction),
            ("flags", condition::FLAGS, Mask(MatchType::FlagsAnySet), &self.flags),
            ("flags-all", condition::FLAGS, Mask(MatchType::FlagsAllSet), &self.flags_all),
            ("flags-none", condition::FLAGS, Mask(MatchType::FlagsNoneSet), &self.flags_none),
        ]
    }
}

/// Adds those conditions. Conditions on one field stand together: that makes them alternatives.
fn more(rule: &Rule, layer: &'static Layer, conditions: &mut Vec<Condition>, problems: &mut Problems) {
    let before = conditions.len();
    for (option, field, reading, values) in rule.more() {
        let Some(given) = values else { continue };
        let Some(index) = layer.field_index(&field) else {
            let failure = spec::no_field(option, &field, layer);
            problems.push(Problem { help: failure.help, ..Problem::error(given.span.clone(), failure.message) });
            continue;
        };
        if conditions.iter().any(|condition| condition.field == field) {
            let name = condition::NAMES.name(&field).unwrap_or_default();
            problems.push(
                Problem::warning(given.span.clone(), format!("another key of the rule is for the same field, {name}"))
                    .help("conditions on one field are alternatives: traffic need not match both"),
            );
        }
        let field_type = &layer.fields[index];
        match reading {
            Reading::Value(words) => {
                let parsed = problems.each(values, |text| value::parse(field_type, words, text));
                conditions.extend(parsed.into_iter().map(|(match_type, value)| Condition { field, match_type, value }));
            }
            Reading::Mask(match_type) => {
                let mask = problems.each(values, |text| words::FLAGS.parse(text)).into_iter().fold(0, |a, b| a | b);
                let mask = u32::try_from(mask).map_err(|_| "flags are 32 bits");
                let value = problems.take(given.span.clone(), mask).map(ConditionValue::Uint32);
                conditions.extend(value.map(|value| Condition { field, match_type, value }));
            }
        }
    }
    for table in &rule.condition {
        conditions.extend(explicit(table, layer, problems));
    }
    if conditions.len() > before {
        let order: Vec<Uuid> = conditions.iter().map(|condition| condition.field).collect();
        conditions.sort_by_key(|condition| order.iter().position(|field| *field == condition.field));
    }
}

/// A condition written as the filter engine knows it.
fn explicit(table: &ConditionTable, layer: &Layer, problems: &mut Problems) -> Option<Condition> {
    let name = table.field.get_ref();
    let key = condition::NAMES.key(name).or_else(|| condition::NAMES.key(&name.to_uppercase().replace('-', "_")));
    let key = key.or_else(|| Uuid::try_parse(name).ok()).ok_or_else(|| {
        format!("there is no field '{name}': write the name of a FWPM_CONDITION_* GUID (fwpmu.h), or a key")
    });
    let key = problems.take(table.field.span(), key)?;
    let Some(index) = layer.field_index(&key) else {
        let failure = spec::no_field("condition", &key, layer);
        problems.push(Problem { help: failure.help, ..Problem::error(table.field.span(), failure.message) });
        return None;
    };
    let field = &layer.fields[index];
    let given = match &table.match_type {
        None => None,
        Some(word) => Some(problems.word::<words::Match>(word)?.match_type()),
    };
    let words = numbers(&key);
    let (natural, value) = match (&table.value, &table.to) {
        (None, None) => (MatchType::Equal, ConditionValue::Empty),
        (Some(value), None) => {
            let parsed = value::parse(field, words, &value.get_ref().to_string());
            problems.take(value.span(), parsed)?
        }
        (Some(value), Some(to)) => {
            let low = problems.take(value.span(), value::one(field, words, &value.get_ref().to_string()))?;
            let high = problems.take(to.span(), value::one(field, words, &to.get_ref().to_string()))?;
            (MatchType::Range, ConditionValue::Range(Box::new((low, high))))
        }
        (None, Some(to)) => {
            problems.push(Problem::error(to.span(), "a range needs a `value` to begin with"));
            return None;
        }
    };
    Some(Condition { field: key, match_type: given.unwrap_or(natural), value })
}

/// The words for the numbers of a field.
pub fn numbers(field: &Uuid) -> &'static Numbers {
    match *field {
        condition::INTERFACE_TYPE | condition::ARRIVAL_INTERFACE_TYPE | condition::NEXTHOP_INTERFACE_TYPE => {
            &words::INTERFACE_TYPES
        }
        condition::TUNNEL_TYPE | condition::ARRIVAL_TUNNEL_TYPE | condition::NEXTHOP_TUNNEL_TYPE => {
            &words::TUNNEL_TYPES
        }
        condition::IP_LOCAL_ADDRESS_TYPE | condition::IP_DESTINATION_ADDRESS_TYPE => &words::ADDRESS_TYPES,
        condition::DIRECTION => &words::DIRECTIONS,
        condition::FLAGS => &words::FLAGS,
        _ => &words::PLAIN,
    }
}
