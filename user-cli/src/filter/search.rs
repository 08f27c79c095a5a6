//! From the options of `postern filter list` to enumeration templates.

use clap::Args;
use postern_engine::guids::{self, Names, condition};
use postern_engine::layers::{self, Layer};
use postern_engine::objects::{Condition, ConditionValue, DisplayData, Filter, MatchType};
use postern_engine::template::{EnumFlags, EnumType, FilterTemplate};
use uuid::Uuid;

use super::address::{Addresses, Version};
use super::app_id;
use super::explain::explain;
use super::layer::{Layers, version};
use super::ports::Ports;
use super::protocol::Protocol;
use super::spec::{no_field, version_name};
use crate::engine::FilterEngine;
use crate::failure::{Failure, Result};

/// Which filters.
#[derive(Debug, Clone, Default, Args)]
pub struct Search {
    /// At this layer: as for `postern filter add`
    #[arg(long, value_parser = Layers::parse)]
    layer: Option<Layers>,

    /// Of this provider: its name, its key, or a FWPM_PROVIDER_* name
    #[arg(long, value_name = "NAME|KEY")]
    provider: Option<String>,

    /// That call this callout: its name, its key, or a FWPM_CALLOUT_* name
    #[arg(long, value_name = "NAME|KEY")]
    callout: Option<String>,

    /// Only boot-time filters, which are in force until the base filtering engine runs
    #[arg(long)]
    boot_time: bool,

    /// Whose conditions may match this traffic: tcp, udp, icmp, icmpv6 or a number
    #[arg(long)]
    protocol: Option<Protocol>,

    /// From or to this local address: ADDR, ADDR/PREFIX or ADDR-ADDR
    #[arg(long, value_name = "ADDR")]
    local: Option<Addresses>,

    /// From or to this remote address: ADDR, ADDR/PREFIX or ADDR-ADDR
    #[arg(long, value_name = "ADDR")]
    remote: Option<Addresses>,

    /// From or to this local port: N or N-N
    #[arg(long, value_name = "PORT")]
    local_port: Option<Ports>,

    /// From or to this remote port: N or N-N
    #[arg(long, value_name = "PORT")]
    remote_port: Option<Ports>,

    /// Of this program, by its Windows path
    #[arg(long, value_name = "PATH", value_parser = app_id::nt_path)]
    app: Option<String>,

    /// Only filters that match all of the traffic described, not some of it (FWP_FILTER_ENUM_FULLY_CONTAINED)
    #[arg(long)]
    contains: bool,
}

impl Search {
    /// The filters that it describes. To be called in a transaction.
    pub fn filters(&self, engine: &dyn FilterEngine) -> Result<Vec<Filter>> {
        if !self.narrows() {
            return engine.filters().map_err(explain);
        }
        let providers = match &self.provider {
            None => vec![None],
            Some(wanted) => {
                let known = engine.providers().map_err(explain)?;
                let known = known.iter().map(|provider| (provider.key, &provider.display));
                keys("provider", wanted, known, &guids::provider::NAMES)?
            }
        };
        let callouts = match &self.callout {
            None => vec![None],
            Some(wanted) => {
                let known = engine.callouts().map_err(explain)?;
                let known = known.iter().map(|callout| (callout.key, &callout.display));
                keys("callout", wanted, known, &guids::callout::NAMES)?
            }
        };
        let mut found = Vec::new();
        for layer in self.layers()? {
            let Some(conditions) = self.conditions(layer)? else { continue };
            for provider in &providers {
                for callout in &callouts {
                    let mut template = FilterTemplate {
                        provider: *provider,
                        callout: *callout,
                        conditions: conditions.clone(),
                        ..FilterTemplate::at(layer.key)
                    };
                    if self.contains {
                        template.enum_type = EnumType::FullyContained;
                    }
                    template.flags.set(EnumFlags::BOOTTIME_ONLY, self.boot_time);
                    found.extend(engine.filters_matching(&template).map_err(explain)?);
                }
            }
        }
        Ok(found)
    }

    fn narrows(&self) -> bool {
        self.layer.is_some()
            || self.provider.is_some()
            || self.callout.is_some()
            || self.boot_time
            || self.contains
            || self.protocol.is_some()
            || self.local.is_some()
            || self.remote.is_some()
            || self.local_port.is_some()
            || self.remote_port.is_some()
            || self.app.is_some()
    }

    /// A template is for one layer. Without one asked for: all that see the IP version of the addresses.
    fn layers(&self) -> Result<Vec<&'static Layer>> {
        let wanted = self.version()?;
        let fits = |layer: &&'static Layer| match (wanted, version(layer)) {
            (Some(wanted), Some(own)) => wanted == own,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let layers: Vec<&'static Layer> = match self.layer {
            None => layers::all().iter().filter(fits).collect(),
            Some(Layers::One(layer)) => [layer].into_iter().filter(fits).collect(),
            Some(Layers::Pair { v4, v6 }) => [v4, v6].into_iter().filter(fits).collect(),
        };
        match (wanted, layers.is_empty()) {
            (Some(wanted), true) => Err(Failure::usage(format!("the layer sees no {} address", version_name(wanted)))
                .help("name another layer with --layer, or leave it out")),
            _ => Ok(layers),
        }
    }

    fn version(&self) -> Result<Option<Version>> {
        let versions = [self.local, self.remote].map(|addresses| addresses.map(|addresses| addresses.version()));
        match versions {
            [Some(local), Some(remote)] if local != remote => {
                Err(Failure::usage("--local and --remote are of different IP versions").help("give addresses of one"))
            }
            [local, remote] => Ok(local.or(remote)),
        }
    }

    /// `None`: the layer has not all of the fields, so that none of its filters can be meant.
    fn conditions(&self, layer: &'static Layer) -> Result<Option<Vec<Condition>>> {
        let given = [
            (
                "--protocol",
                condition::IP_PROTOCOL,
                self.protocol.map(|of| (MatchType::Equal, ConditionValue::Uint8(of.0))),
            ),
            ("--local", condition::IP_LOCAL_ADDRESS, self.local.map(|of| of.condition())),
            ("--remote", condition::IP_REMOTE_ADDRESS, self.remote.map(|of| of.condition())),
            ("--local-port", condition::IP_LOCAL_PORT, self.local_port.map(|of| of.condition())),
            ("--remote-port", condition::IP_REMOTE_PORT, self.remote_port.map(|of| of.condition())),
            (
                "--app",
                condition::ALE_APP_ID,
                self.app.as_ref().map(|of| (MatchType::Equal, ConditionValue::ByteBlob(app_id::blob(of)))),
            ),
        ];
        let mut conditions = Vec::new();
        for (option, field, given) in given {
            let Some((match_type, value)) = given else { continue };
            match (layer.field_index(&field), self.layer) {
                (Some(_), _) => conditions.push(Condition { field, match_type, value }),
                (None, Some(_)) => return Err(no_field(option, &field, layer)),
                (None, None) => return Ok(None),
            }
        }
        Ok(Some(conditions))
    }
}

/// The keys of the objects that are called so. Several objects may have one name.
fn keys<'a>(
    kind: &str,
    wanted: &str,
    known: impl Iterator<Item = (Uuid, &'a DisplayData)>,
    names: &Names,
) -> Result<Vec<Option<Uuid>>> {
    if let Some(key) = Uuid::try_parse(wanted).ok().or_else(|| names.key(wanted)) {
        return Ok(vec![Some(key)]);
    }
    let (found, others): (Vec<_>, Vec<_>) = known.partition(|(_, display)| display.name == wanted);
    if found.is_empty() {
        let mut others: Vec<&str> = others.iter().map(|(_, display)| &*display.name).collect();
        others.dedup();
        return Err(Failure::new(format!("there is no {kind} named '{wanted}'"))
            .help(format!("there are: {}; or write its key (a GUID)", others.join(", "))));
    }
    Ok(found.into_iter().map(|(key, _)| Some(key)).collect())
}
