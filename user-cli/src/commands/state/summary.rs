//! The objects of a state that are not built in, for people.

use std::collections::BTreeMap;

use comfy_table::Cell;
use serde::Serialize;
use uuid::Uuid;

use crate::commands::filter::filter_table;
use crate::filter::describe::{self, View};
use crate::output::{lines, table};
use crate::state::{State, Unknown};

#[derive(Serialize)]
pub struct Summary {
    time: Option<String>,
    sessions: Vec<SessionView>,
    providers: Vec<ProviderView>,
    sublayers: Vec<SublayerView>,
    callouts: Vec<CalloutView>,
    filters: Vec<View>,
    /// What a file says beyond that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<Unknown>,
}

#[derive(Serialize)]
struct SessionView {
    key: Uuid,
    name: String,
    process_id: u32,
    user: String,
    kernel_mode: bool,
    dynamic: bool,
}

#[derive(Serialize)]
struct ProviderView {
    key: Uuid,
    name: String,
    description: String,
    persistent: bool,
}

#[derive(Serialize)]
struct SublayerView {
    key: Uuid,
    name: String,
    weight: u16,
    provider: Option<Uuid>,
    persistent: bool,
}

#[derive(Serialize)]
struct CalloutView {
    id: u32,
    key: Uuid,
    name: String,
    layer: String,
    /// By a driver. A filter that names a callout without one blocks, or permits if it says so.
    registered: bool,
    provider: Option<Uuid>,
    filters: usize,
}

impl Summary {
    pub fn new(state: &State) -> Summary {
        let built_in = |names: &postern_engine::guids::Names, key: &Uuid| names.name(key).is_some();
        let mut uses: BTreeMap<Uuid, usize> = BTreeMap::new();
        for callout in state.filters.iter().filter_map(|filter| filter.action.callout()) {
            *uses.entry(callout).or_default() += 1;
        }
        Summary {
            time: state.time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()),
            sessions: state
                .sessions
                .iter()
                .map(|session| SessionView {
                    key: session.key,
                    name: session.display.name.clone(),
                    process_id: session.process_id,
                    user: session.user.clone(),
                    kernel_mode: session.kernel_mode,
                    dynamic: session.dynamic,
                })
                .collect(),
            providers: state
                .providers
                .iter()
                .filter(|provider| !built_in(&postern_engine::guids::provider::NAMES, &provider.key))
                .map(|provider| ProviderView {
                    key: provider.key,
                    name: provider.display.name.clone(),
                    description: provider.display.description.clone(),
                    persistent: provider.persistent,
                })
                .collect(),
            sublayers: state
                .sublayers
                .iter()
                .rev()
                .filter(|sublayer| !built_in(&postern_engine::guids::sublayer::NAMES, &sublayer.key))
                .map(|sublayer| SublayerView {
                    key: sublayer.key,
                    name: sublayer.display.name.clone(),
                    weight: sublayer.weight,
                    provider: sublayer.provider,
                    persistent: sublayer.persistent,
                })
                .collect(),
            callouts: state
                .callouts
                .iter()
                .filter(|callout| !built_in(&postern_engine::guids::callout::NAMES, &callout.key))
                .map(|callout| CalloutView {
                    id: callout.id,
                    key: callout.key,
                    name: callout.display.name.clone(),
                    layer: describe::layer(&callout.layer),
                    registered: callout.registered,
                    provider: callout.provider,
                    filters: uses.get(&callout.key).copied().unwrap_or(0),
                })
                .collect(),
            filters: state.filters.iter().map(|filter| View::new(filter, &state.providers)).collect(),
            unknown: state.unknown.clone(),
        }
    }

    pub fn to_text(&self) -> String {
        let provider_name = |key: Option<Uuid>| {
            key.and_then(|key| self.providers.iter().find(|provider| provider.key == key))
                .map_or("", |provider| provider.name.as_str())
        };
        let yes = |is: bool, word: &'static str| if is { word } else { "" };
        let section = |title: &str, table: comfy_table::Table| match table.row_count() {
            0 => format!("{title}: none\n\n"),
            _ => format!("{title}\n{}\n", lines(&table)),
        };
        let sessions = self.sessions.iter().map(|session| {
            [
                Cell::new(&session.name),
                Cell::new(session.process_id),
                Cell::new(&session.user),
                Cell::new(yes(session.kernel_mode, "kernel")),
                Cell::new(yes(session.dynamic, "dynamic")),
            ]
        });
        let providers = self.providers.iter().map(|provider| {
            [
                Cell::new(&provider.name),
                Cell::new(&provider.description),
                Cell::new(provider.key.braced()),
                Cell::new(yes(provider.persistent, "persistent")),
            ]
        });
        let sublayers = self.sublayers.iter().map(|sublayer| {
            [
                Cell::new(sublayer.weight),
                Cell::new(&sublayer.name),
                Cell::new(provider_name(sublayer.provider)),
                Cell::new(sublayer.key.braced()),
                Cell::new(yes(sublayer.persistent, "persistent")),
            ]
        });
        let callouts = self.callouts.iter().map(|callout| {
            [
                Cell::new(callout.id),
                Cell::new(&callout.layer),
                Cell::new(&callout.name),
                Cell::new(if callout.registered { "registered" } else { "not registered" }),
                Cell::new(callout.filters),
                Cell::new(provider_name(callout.provider)),
            ]
        });
        section("Sessions", table(["name", "process", "user", "mode", "lifetime"], sessions))
            + &section("Providers", table(["name", "description", "key", "lifetime"], providers))
            + &section("Sublayers", table(["weight", "name", "provider", "key", "lifetime"], sublayers))
            + &section("Callouts", table(["id", "layer", "name", "state", "filters", "provider"], callouts))
            + section("Filters", filter_table(&self.filters)).trim_end()
            + "\n"
    }
}
