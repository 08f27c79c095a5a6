//! The objects of ours that filters need beside them: a provider, a sublayer, and the objects of the driver's callouts.
//!
//! They are added with the first filter that needs them and deleted with the last, in the same transaction. There is one set
//! for each lifetime, because an object must not refer to one that may go before it.

use clap::ValueEnum;
use postern_engine::objects::{Callout, DisplayData, Filter, Provider, Sublayer};
use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

use super::spec::Planned;
use crate::engine::{EngineError, FilterEngine};

/// How long an object lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifetime {
    /// Until it is removed, or the base filtering engine stops
    Static,
    /// Until it is removed
    Persistent,
    /// Until it is removed; in force when the machine starts, until the base filtering engine runs
    BootTime,
    /// Until the session ends
    Dynamic,
}

/// The provider and sublayer of a set of filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub provider: Uuid,
    pub sublayer: Uuid,
    lifetime: Lifetime,
}

const STATIC: Owner = Owner {
    provider: uuid!("706f7374-6572-4e00-9000-000000000001"),
    sublayer: uuid!("706f7374-6572-4e00-9000-000000000002"),
    lifetime: Lifetime::Static,
};
const PERSISTENT: Owner = Owner {
    provider: uuid!("706f7374-6572-4e00-9000-000000000011"),
    sublayer: uuid!("706f7374-6572-4e00-9000-000000000012"),
    lifetime: Lifetime::Persistent,
};

/// Above `FWPM_SUBLAYER_UNIVERSAL` (0x8000), so that what a user of the CLI decides comes before other programs' defaults.
pub const SUBLAYER_WEIGHT: u16 = 0x8400;

impl Owner {
    pub fn new(lifetime: Lifetime) -> Owner {
        match lifetime {
            Lifetime::Static => STATIC,
            Lifetime::Persistent | Lifetime::BootTime => PERSISTENT,
            // Two sessions may each have one.
            Lifetime::Dynamic => Owner { provider: Uuid::new_v4(), sublayer: Uuid::new_v4(), lifetime },
        }
    }

    /// The owner of a filter that was added by `postern filter add` with a lifetime beyond the command's.
    pub fn of_lasting(filter: &Filter) -> Option<Owner> {
        [STATIC, PERSISTENT].into_iter().find(|owner| filter.provider == Some(owner.provider))
    }

    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    fn is_persistent(&self) -> bool {
        self.lifetime == Lifetime::Persistent
    }

    /// Adds filters, and what they need that is not there yet. To be called in a transaction. Returns the filters' ids.
    pub fn add(&self, engine: &dyn FilterEngine, planned: &[Planned]) -> Result<Vec<u64>, EngineError> {
        let suffix = match self.lifetime {
            Lifetime::Static => "",
            Lifetime::Persistent | Lifetime::BootTime => " (persistent)",
            Lifetime::Dynamic => " (dynamic)",
        };
        if !engine.providers()?.iter().any(|provider| provider.key == self.provider) {
            engine.provider_add(&Provider {
                key: self.provider,
                display: DisplayData {
                    name: format!("Postern CLI{suffix}"),
                    description: "Filters added with `postern filter add`".into(),
                },
                persistent: self.is_persistent(),
                disabled: false,
                data: Vec::new(),
                service_name: None,
            })?;
        }
        if !engine.sublayers()?.iter().any(|sublayer| sublayer.key == self.sublayer) {
            engine.sublayer_add(&Sublayer {
                key: self.sublayer,
                display: DisplayData {
                    name: format!("Postern CLI{suffix}"),
                    description: "Filters added with `postern filter add`".into(),
                },
                persistent: self.is_persistent(),
                provider: Some(self.provider),
                data: Vec::new(),
                weight: SUBLAYER_WEIGHT,
            })?;
        }
        let mut have: Vec<Uuid> = engine.callouts()?.iter().map(|callout| callout.key).collect();
        let mut ids = Vec::new();
        for Planned { filter, callout } in planned {
            if let Some(callout) = callout
                && !have.contains(&Uuid::from_u128(callout.key()))
            {
                engine.callout_add(&self::callout(*callout, self.provider, self.is_persistent()))?;
                have.push(Uuid::from_u128(callout.key()));
            }
            ids.push(engine.filter_add(filter)?);
        }
        Ok(ids)
    }
}

/// The object of a callout of the driver's, for filters of a provider.
pub fn callout(callout: postern_protocol::Callout, provider: Uuid, persistent: bool) -> Callout {
    Callout {
        display: DisplayData {
            name: format!("Postern {} at {}", callout.role.name(), callout.layer.name()),
            description: "A callout of the Postern driver, for filters of the Postern CLI".into(),
        },
        persistent,
        provider: Some(provider),
        ..Callout::new(Uuid::from_u128(callout.key()), "", Uuid::from_u128(callout.layer.key()))
    }
}

/// Deletes our callouts, sublayers and providers that nothing refers to any more. To be called in a transaction.
pub fn sweep(engine: &dyn FilterEngine) -> Result<(), EngineError> {
    let filters = engine.filters()?;
    let callouts = engine.callouts()?;
    for owner in [STATIC, PERSISTENT] {
        let (unused, used): (Vec<&Callout>, Vec<&Callout>) = callouts
            .iter()
            .filter(|callout| callout.provider == Some(owner.provider))
            .partition(|callout| filters.iter().all(|filter| filter.action.callout() != Some(callout.key)));
        for callout in unused {
            engine.callout_delete(callout.key)?;
        }
        let needed = !used.is_empty()
            || filters
                .iter()
                .any(|filter| filter.sublayer == owner.sublayer || filter.provider == Some(owner.provider));
        if needed {
            continue;
        }
        if engine.sublayers()?.iter().any(|sublayer| sublayer.key == owner.sublayer) {
            engine.sublayer_delete(owner.sublayer)?;
        }
        if engine.providers()?.iter().any(|provider| provider.key == owner.provider) {
            engine.provider_delete(owner.provider)?;
        }
    }
    Ok(())
}
