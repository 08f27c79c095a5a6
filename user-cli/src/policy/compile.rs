//! From a document to objects of the filter engine.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use clap::ValueEnum;
use postern_engine::guids::{self, Names};
use postern_engine::objects::{DisplayData, Filter, FilterFlags, Provider, Sublayer, Weight};
use toml::Spanned;
use uuid::{Uuid, uuid};

use super::document::{Document, ProviderTable, Scalar, SublayerTable, Values};
use super::problem::{Problem, Severity};
use super::value;
use super::words::{self, Lifetime};
use crate::filter::own::SUBLAYER_WEIGHT;

mod rule;

pub use rule::numbers;

/// What a policy's keys are derived from, together with its name.
const NAMESPACE: Uuid = uuid!("706f7374-6572-4e00-9000-000000000020");

/// A policy as objects.
#[derive(Debug)]
pub struct Policy {
    pub name: String,
    /// Whose filters go when their rules have left the file.
    pub provider: Uuid,
    /// But for these.
    pub keep: HashSet<Uuid>,
    /// Those that rules or sublayers refer to, and that the file says something of.
    pub providers: Vec<Provider>,
    pub sublayers: Vec<Sublayer>,
    pub filters: Vec<Wanted>,
    /// What surprises people that is seen only while the file is read.
    pub warnings: Vec<Problem>,
}

/// A filter that a rule asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub filter: Filter,
    /// The driver's callout that it names.
    pub callout: Option<postern_protocol::Callout>,
    /// Where its rule's name stands.
    pub span: Range<usize>,
}

/// The key of an object of a policy.
pub fn key(policy: &str, what: &str, name: &str) -> Uuid {
    let policy = Uuid::new_v5(&NAMESPACE, policy.as_bytes());
    Uuid::new_v5(&policy, format!("{what}\0{name}").as_bytes())
}

/// The key of a rule's filter at a layer.
pub fn filter_key(policy: &str, rule: &str, layer: &Uuid) -> Uuid {
    let layer = postern_engine::layers::by_key(layer).map_or_else(|| layer.to_string(), |layer| layer.name.to_owned());
    key(policy, "filter", &format!("{rule}\0{layer}"))
}

/// The objects of a document; or everything that is wrong with it.
pub fn compile(document: &Document) -> Result<Policy, Vec<Problem>> {
    let mut problems = Problems::default();
    let policy = document.policy.name.get_ref().clone();
    problems.name(&document.policy.name, "a policy");
    let mut names = Objects::new(document, &mut problems);
    let lifetime = document.policy.lifetime.as_ref();
    let lifetime = lifetime.and_then(|word| problems.word(word)).unwrap_or(Lifetime::Static);

    let mut filters: Vec<Wanted> = Vec::with_capacity(document.rules.len());
    let mut keys: HashMap<Uuid, Range<usize>> = HashMap::with_capacity(document.rules.len());
    for rule in &document.rules {
        for wanted in rule::compile(rule, &policy, lifetime, &names, &mut problems) {
            let Some(before) = keys.insert(wanted.filter.key, wanted.span.clone()) else {
                filters.push(wanted);
                continue;
            };
            let problem = match &rule.key {
                Some(key) => Problem::error(key.span(), "two rules have this key").help("leave one of them out"),
                None => Problem::error(
                    wanted.span,
                    format!(
                        "two rules named '{}' are at layer {}",
                        rule.name.get_ref(),
                        crate::filter::describe::layer(&wanted.filter.layer)
                    ),
                )
                .help(
                    "a filter's key is made from the names of rule and layer: give one of them another name, or a key",
                ),
            };
            problems.push(problem.and(before, "the other"));
        }
    }
    names.keep_what_is_used(&filters);
    let keep = document.policy.keep.iter().filter_map(|key| problems.key(key)).collect();
    match problems.errors.is_empty() {
        true => Ok(Policy {
            name: policy,
            provider: names.own_provider,
            keep,
            providers: names.providers.into_values().collect(),
            sublayers: names.sublayers.into_values().collect(),
            filters,
            warnings: problems.warnings,
        }),
        false => Err(problems.errors),
    }
}

/// What is wrong, as it is found.
#[derive(Debug, Default)]
struct Problems {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Problems {
    /// The filters of one rule have the same mistake: it is told once.
    fn push(&mut self, problem: Problem) {
        let list = match problem.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        let again = list.last().is_some_and(|last| last.span == problem.span && last.help == problem.help);
        if !again {
            list.push(problem);
        }
    }

    fn take<T, E: Display>(&mut self, span: Range<usize>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.push(Problem::error(span, error.to_string()))).ok()
    }

    fn word<T: ValueEnum>(&mut self, word: &Spanned<String>) -> Option<T> {
        self.take(word.span(), words::parse(word.get_ref()))
    }

    /// Each value of a list. An empty one is no condition at all, which nobody means.
    fn each<T>(&mut self, values: &Option<Values>, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Some(values) = values else { return Vec::new() };
        if values.each.is_empty() {
            self.push(
                Problem::error(values.span.clone(), "the list is empty, so the rule would match every value")
                    .help("leave the key out if that is meant"),
            );
        }
        let parse = |problems: &mut Problems, value: &Spanned<Scalar>| match value.get_ref() {
            Scalar::Text(text) => problems.take(value.span(), parse(text)),
            number => problems.take(value.span(), parse(&number.to_string())),
        };
        values.each.iter().filter_map(|value| parse(self, value)).collect()
    }

    fn parsed<T: FromStr<Err = String>>(&mut self, values: &Option<Values>) -> Vec<T> {
        self.each(values, str::parse)
    }

    fn key(&mut self, text: &Spanned<String>) -> Option<Uuid> {
        self.take(
            text.span(),
            Uuid::try_parse(text.get_ref()).map_err(|_| {
                format!("'{}' is no key: write a GUID, {{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}}", text.get_ref())
            }),
        )
    }

    fn data(&mut self, text: &Option<Spanned<String>>) -> Vec<u8> {
        let Some(text) = text else { return Vec::new() };
        let bytes = value::bytes(text.get_ref()).ok_or("data are written as 0x and pairs of hexadecimal digits");
        self.take(text.span(), bytes).unwrap_or_default()
    }

    /// A name that the engine takes: not empty, without control characters.
    fn name(&mut self, text: &Spanned<String>, of: &str) {
        if text.get_ref().is_empty() {
            self.push(Problem::error(text.span(), format!("{of} needs a name")));
        }
        self.printable(text);
    }

    fn printable(&mut self, text: &Spanned<String>) {
        if text.get_ref().contains(char::is_control) {
            self.push(
                Problem::error(text.span(), "the text holds a control character, which the filter engine refuses")
                    .help("write it in one line, without tabs"),
            );
        }
    }
}

/// What a name of the file stands for: several objects may have it, and are then known by their keys alone.
type Named = Option<Uuid>;

/// Providers and sublayers, by the names that rules have for them.
struct Objects {
    own_provider: Uuid,
    own_sublayer: Uuid,
    named_providers: HashMap<String, Named>,
    named_sublayers: HashMap<String, Named>,
    providers: BTreeMap<Uuid, Provider>,
    sublayers: BTreeMap<Uuid, Sublayer>,
    /// Those that the file does not say whether they are persistent: as what refers to them needs it.
    as_needed: Vec<Uuid>,
    /// Those that the file does not speak of.
    implied: Vec<Uuid>,
}

impl Objects {
    fn new(document: &Document, problems: &mut Problems) -> Objects {
        let head = &document.policy;
        let policy = head.name.get_ref();
        let (own_provider, own_sublayer) = (key(policy, "provider", ""), key(policy, "sublayer", ""));
        let mut objects = Objects {
            own_provider,
            own_sublayer,
            named_providers: HashMap::new(),
            named_sublayers: HashMap::new(),
            providers: BTreeMap::new(),
            sublayers: BTreeMap::new(),
            as_needed: Vec::new(),
            implied: Vec::new(),
        };
        let description = || head.description.as_ref().map_or_else(String::new, |text| text.get_ref().clone());
        if let Some(text) = &head.description {
            problems.printable(text);
        }
        for table in &document.providers {
            objects.add_provider(table, policy, problems);
        }
        if let Some(name) = &head.provider {
            objects.own_provider = objects.provider(name, problems).flatten().unwrap_or(own_provider);
        } else {
            let display = DisplayData { name: policy.clone(), description: description() };
            let provider = Provider {
                key: own_provider,
                display,
                persistent: false,
                disabled: false,
                data: Vec::new(),
                service_name: None,
            };
            objects.providers.insert(own_provider, provider);
            objects.implied.push(own_provider);
        }
        for table in &document.sublayers {
            objects.add_sublayer(table, policy, problems);
        }
        if let Some(name) = &head.sublayer {
            objects.own_sublayer = objects.sublayer(name, problems).unwrap_or(own_sublayer);
        } else {
            let sublayer = Sublayer {
                key: own_sublayer,
                display: DisplayData { name: policy.clone(), description: description() },
                persistent: false,
                provider: Some(objects.own_provider),
                data: Vec::new(),
                weight: SUBLAYER_WEIGHT,
            };
            objects.sublayers.insert(own_sublayer, sublayer);
            objects.implied.push(own_sublayer);
        }
        objects
    }

    fn add_provider(&mut self, table: &ProviderTable, policy: &str, problems: &mut Problems) {
        let name = table.name.get_ref();
        let (key, display) = described("provider", &table.name, &table.key, &table.description, policy, problems);
        if self.providers.contains_key(&key) {
            problems.push(Problem::error(table.name.span(), "two providers have this key, or this name and none"));
        }
        self.named_providers.entry(name.clone()).and_modify(|named| *named = None).or_insert(Some(key));
        if table.persistent.is_none() {
            self.as_needed.push(key);
        }
        self.providers.insert(
            key,
            Provider {
                key,
                display,
                persistent: table.persistent.unwrap_or(false),
                disabled: false,
                data: problems.data(&table.data),
                service_name: table.service.clone(),
            },
        );
    }

    fn add_sublayer(&mut self, table: &SublayerTable, policy: &str, problems: &mut Problems) {
        let name = table.name.get_ref();
        let (key, display) = described("sublayer", &table.name, &table.key, &table.description, policy, problems);
        if self.sublayers.contains_key(&key) {
            problems.push(Problem::error(table.name.span(), "two sublayers have this key, or this name and none"));
        }
        self.named_sublayers.entry(name.clone()).and_modify(|named| *named = None).or_insert(Some(key));
        if table.persistent.is_none() {
            self.as_needed.push(key);
        }
        let weight = words::number(&table.weight.get_ref().to_string())
            .and_then(|weight| u16::try_from(weight).map_err(|_| format!("{weight} is too large")))
            .map_err(|error| format!("{error}: a sublayer's weight is 0 to 65535 (0xffff)"));
        let weight = problems.take(table.weight.span(), weight).unwrap_or_default();
        let provider = match &table.provider {
            None => Some(self.own_provider),
            Some(name) => self.provider(name, problems).flatten(),
        };
        let persistent = table.persistent.unwrap_or(false);
        let data = problems.data(&table.data);
        self.sublayers.insert(key, Sublayer { key, display, persistent, provider, data, weight });
    }

    /// The key of a provider; `Some(None)` is no provider.
    fn provider(&self, name: &Spanned<String>, problems: &mut Problems) -> Option<Option<Uuid>> {
        if name.get_ref() == "none" {
            return Some(None);
        }
        find(name, "provider", &self.named_providers, &guids::provider::NAMES, problems).map(Some)
    }

    fn sublayer(&self, name: &Spanned<String>, problems: &mut Problems) -> Option<Uuid> {
        find(name, "sublayer", &self.named_sublayers, &guids::sublayer::NAMES, problems)
    }

    /// Drops what the file does not speak of and nothing refers to, and makes persistent what something persistent refers to: an object must not refer to one that
    /// may go before it.
    fn keep_what_is_used(&mut self, filters: &[Wanted]) {
        let mut used: HashMap<Uuid, bool> = HashMap::new();
        let mut refer = |key: Uuid, persistent: bool| *used.entry(key).or_default() |= persistent;
        for Wanted { filter, .. } in filters {
            let persistent = filter.flags.intersects(FilterFlags::PERSISTENT | FilterFlags::BOOTTIME);
            refer(filter.sublayer, persistent);
            if let Some(provider) = filter.provider {
                refer(provider, persistent);
            }
        }
        let as_needed = |key: &Uuid| self.as_needed.contains(key) || self.implied.contains(key);
        let implied = |key: &Uuid| self.implied.contains(key);
        self.sublayers.retain(|key, _| used.contains_key(key) || !implied(key));
        for sublayer in self.sublayers.values_mut() {
            if as_needed(&sublayer.key) {
                sublayer.persistent = used.get(&sublayer.key).copied().unwrap_or_default();
            }
            if let Some(provider) = sublayer.provider {
                *used.entry(provider).or_default() |= sublayer.persistent;
            }
        }
        self.providers.retain(|key, _| used.contains_key(key) || !implied(key));
        for provider in self.providers.values_mut().filter(|provider| as_needed(&provider.key)) {
            provider.persistent = used.get(&provider.key).copied().unwrap_or_default();
        }
    }
}

fn described(
    what: &str,
    name: &Spanned<String>,
    given: &Option<Spanned<String>>,
    description: &Option<Spanned<String>>,
    policy: &str,
    problems: &mut Problems,
) -> (Uuid, DisplayData) {
    problems.name(name, what);
    let made = key(policy, what, name.get_ref());
    let key = given.as_ref().and_then(|text| problems.key(text)).unwrap_or(made);
    if let Some(text) = description {
        problems.printable(text);
    }
    let description = description.as_ref().map_or_else(String::new, |text| text.get_ref().clone());
    (key, DisplayData { name: name.get_ref().clone(), description })
}

/// A name of the file, a symbol of the headers, or a key.
fn find(
    name: &Spanned<String>,
    what: &str,
    named: &HashMap<String, Named>,
    symbols: &Names,
    problems: &mut Problems,
) -> Option<Uuid> {
    let text = name.get_ref();
    if named.get(text) == Some(&None) {
        problems.push(Problem::error(name.span(), format!("several {what}s are named '{text}'")).help("write the key"));
        return None;
    }
    let found = named.get(text).copied().flatten().or_else(|| symbols.key(text)).or_else(|| Uuid::try_parse(text).ok());
    if found.is_none() {
        let mut known: Vec<&str> = named.keys().map(String::as_str).collect();
        known.sort_unstable();
        let of_file = if known.is_empty() { String::new() } else { format!(": {}", known.join(", ")) };
        problems.push(Problem::error(name.span(), format!("there is no {what} '{text}'")).help(format!(
            "write the name of a [[{what}]] of this file{of_file}; a FWPM_{}_* name; or a key",
            what.to_uppercase()
        )));
    }
    found
}

/// The weight as it is written.
fn weight(given: &Option<Spanned<Scalar>>, problems: &mut Problems) -> Weight {
    let Some(given) = given else { return Weight::Auto };
    problems.take(given.span(), crate::filter::weight::parse(&given.get_ref().to_string())).unwrap_or(Weight::Auto)
}
