//! Objects as named fields, to compare them and to show what is different.

use std::collections::BTreeMap;

use postern_engine::guids;
use postern_engine::objects::{
    Callout, ContextContent, DisplayData, Filter, FilterFlags, Provider, ProviderContext, Sublayer,
};
use serde::Serialize;
use uuid::Uuid;

use crate::filter::describe;
use crate::output::{hex, json_line};

/// Values by the name of their field. Most have one, conditions and flags several.
pub type Fields = BTreeMap<String, Vec<String>>;

/// The kinds of objects that are compared, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Provider,
    Sublayer,
    Callout,
    ProviderContext,
    Filter,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Provider => "provider",
            Kind::Sublayer => "sublayer",
            Kind::Callout => "callout",
            Kind::ProviderContext => "provider context",
            Kind::Filter => "filter",
        }
    }
}

/// An object of the filter engine.
pub trait Object {
    const KIND: Kind;
    fn key(&self) -> Uuid;
    fn name(&self) -> &str;
    /// The provider that it names; a provider is its own.
    fn provider(&self) -> Option<Uuid>;
    fn layer(&self) -> Option<String> {
        None
    }
    /// But for numbers that are given anew at each start.
    fn is_same(&self, other: &Self) -> bool;
    /// The same, by name.
    fn fields(&self) -> Fields;
}

struct Builder(Fields);

impl Builder {
    fn new(display: &DisplayData) -> Builder {
        Builder(Fields::new()).with("name", &display.name).with("description", &display.description)
    }

    /// An empty value is none.
    fn with(mut self, field: &str, value: impl ToString) -> Builder {
        let value = value.to_string();
        if !value.is_empty() {
            self.0.entry(field.to_owned()).or_default().push(value);
        }
        self
    }

    fn flag(self, name: &str, set: bool) -> Builder {
        self.with("flags", if set { name } else { "" })
    }

    fn key(self, field: &str, names: &guids::Names, key: Option<Uuid>) -> Builder {
        self.with(field, key.map(|key| symbol(names, &key)).unwrap_or_default())
    }
}

fn symbol(names: &guids::Names, key: &Uuid) -> String {
    names.name(key).map_or_else(|| key.braced().to_string(), str::to_owned)
}

impl Object for Provider {
    const KIND: Kind = Kind::Provider;

    fn key(&self) -> Uuid {
        self.key
    }

    fn name(&self) -> &str {
        &self.display.name
    }

    fn provider(&self) -> Option<Uuid> {
        Some(self.key)
    }

    fn is_same(&self, other: &Provider) -> bool {
        self == other
    }

    fn fields(&self) -> Fields {
        let Provider { key: _, display, persistent, data, service_name, disabled: _ } = self;
        let fields = Builder::new(display).flag("persistent", *persistent).with("data", hex(data));
        fields.with("service", service_name.as_deref().unwrap_or_default()).0
    }
}

impl Object for Sublayer {
    const KIND: Kind = Kind::Sublayer;

    fn key(&self) -> Uuid {
        self.key
    }

    fn name(&self) -> &str {
        &self.display.name
    }

    fn provider(&self) -> Option<Uuid> {
        self.provider
    }

    fn is_same(&self, other: &Sublayer) -> bool {
        self == other
    }

    fn fields(&self) -> Fields {
        let Sublayer { key: _, display, persistent, provider, data, weight } = self;
        let fields = Builder::new(display).flag("persistent", *persistent).with("data", hex(data));
        fields.key("provider", &guids::provider::NAMES, *provider).with("weight", weight).0
    }
}

impl Object for Callout {
    const KIND: Kind = Kind::Callout;

    fn key(&self) -> Uuid {
        self.key
    }

    fn name(&self) -> &str {
        &self.display.name
    }

    fn provider(&self) -> Option<Uuid> {
        self.provider
    }

    fn layer(&self) -> Option<String> {
        Some(describe::layer(&self.layer))
    }

    fn is_same(&self, other: &Callout) -> bool {
        *self == Callout { id: self.id, ..other.clone() }
    }

    fn fields(&self) -> Fields {
        let Callout { key: _, display, persistent, uses_provider_context, provider, data, layer, .. } = self;
        let registration = match self.registration_flags {
            0 => String::new(),
            flags => format!("{flags:#x}"),
        };
        Builder::new(display)
            .flag("persistent", *persistent)
            .flag("uses provider context", *uses_provider_context)
            .flag("registered", self.registered)
            .with("flags", registration)
            .key("provider", &guids::provider::NAMES, *provider)
            .with("data", hex(data))
            .with("layer", describe::layer(layer))
            .0
    }
}

impl Object for ProviderContext {
    const KIND: Kind = Kind::ProviderContext;

    fn key(&self) -> Uuid {
        self.key
    }

    fn name(&self) -> &str {
        &self.display.name
    }

    fn provider(&self) -> Option<Uuid> {
        self.provider
    }

    fn is_same(&self, other: &ProviderContext) -> bool {
        *self == ProviderContext { id: self.id, ..other.clone() }
    }

    fn fields(&self) -> Fields {
        let ProviderContext { key: _, display, persistent, provider, data, content, id: _ } = self;
        let text = match content {
            ContextContent::General(bytes) => hex(bytes),
            ContextContent::Policy { text, .. } => text.split_whitespace().collect::<Vec<_>>().join(" "),
            ContextContent::ClassifyOptions(options) => json_line(options).unwrap_or_default(),
        };
        Builder::new(display)
            .flag("persistent", *persistent)
            .key("provider", &guids::provider::NAMES, *provider)
            .with("data", hex(data))
            .with("type", content.context_type().symbol())
            .with("content", text)
            .0
    }
}

impl Object for Filter {
    const KIND: Kind = Kind::Filter;

    fn key(&self) -> Uuid {
        self.key
    }

    fn name(&self) -> &str {
        &self.display.name
    }

    fn provider(&self) -> Option<Uuid> {
        self.provider
    }

    fn layer(&self) -> Option<String> {
        Some(describe::layer(&self.layer))
    }

    fn is_same(&self, other: &Filter) -> bool {
        self.key == other.key && same_content(self, other)
    }

    fn fields(&self) -> Fields {
        let mut fields = Builder::new(&self.display)
            .key("provider", &guids::provider::NAMES, self.provider)
            .with("data", hex(&self.data))
            .with("layer", describe::layer(&self.layer))
            .with("sublayer", describe::sublayer(&self.sublayer))
            .with("weight", describe::weight(self.weight))
            .with("effective weight", format!("{:#x}", self.effective_weight))
            .with("action", describe::action_of(self))
            .key("callout", &guids::callout::NAMES, self.action.callout())
            .key("provider context", &guids::provider_context::NAMES, self.provider_context)
            .with("context", format!("{:#x}", self.raw_context));
        // Whether filters are found by an index is for the engine to decide.
        for (name, _) in self.flags.difference(FilterFlags::INDEXED).iter_names() {
            fields = fields.with("flags", name.to_lowercase().replace('_', " "));
        }
        let unnamed = self.flags.bits() & !FilterFlags::all().bits();
        if unnamed != 0 {
            fields = fields.with("flags", format!("{unnamed:#x}"));
        }
        for condition in describe::conditions(&self.conditions) {
            fields = fields.with("condition", condition);
        }
        fields.0
    }
}

/// Whether all is equal but key and id, and whether the filter is found by an index, which the engine decides.
pub fn same_content(one: &Filter, other: &Filter) -> bool {
    let Filter {
        key: _,
        display,
        flags,
        provider,
        data,
        layer,
        sublayer,
        weight,
        conditions,
        action,
        raw_context,
        provider_context,
        id: _,
        effective_weight,
    } = one;
    *display == other.display
        && flags.difference(FilterFlags::INDEXED) == other.flags.difference(FilterFlags::INDEXED)
        && *provider == other.provider
        && *data == other.data
        && *layer == other.layer
        && *sublayer == other.sublayer
        && *weight == other.weight
        && *conditions == other.conditions
        && *action == other.action
        && *raw_context == other.raw_context
        && *provider_context == other.provider_context
        && *effective_weight == other.effective_weight
}
