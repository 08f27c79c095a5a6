//! Persistent and boot-time objects: where a lab gets them from when it starts, and who is told when they change.

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::BTreeSet;
use std::sync::Mutex;

use postern_engine::{BootError, Engine, Persistent};

use crate::kernel::lock;
use crate::lab::Lab;

/// Told of what is to be kept, each time that it has changed, while nobody can change it further.
pub type Keeper = Box<dyn Fn(&Persistent) + Send + Sync>;

#[derive(Default)]
pub(super) struct Kept {
    keeper: Mutex<Option<Keeper>>,
    /// [`Engine::persistent_version`] of what the keeper has.
    version: AtomicU64,
    /// Services that do not start by themselves, in lower case.
    manual: Mutex<BTreeSet<String>>,
}

impl Kept {
    /// With the engine locked.
    pub fn save(&self, engine: &Engine) {
        let keeper = lock(&self.keeper);
        let Some(keeper) = &*keeper else { return };
        let version = engine.persistent_version();
        if self.version.swap(version, Ordering::Relaxed) != version {
            keeper(&engine.persistent());
        }
    }

    pub fn starts(&self, service: &str) -> bool {
        !lock(&self.manual).contains(&service.to_lowercase())
    }
}

impl Lab {
    /// The machine starts with what an earlier one has kept. To be called before anything else is done with the filter engine. `keeper` is
    /// told of every change of what is to be kept from now on.
    pub fn boot(&self, objects: &Persistent, keeper: Keeper) -> Result<(), BootError> {
        let fwp = &self.kernel.fwp;
        let mut booted = Some(Engine::boot(objects)?);
        self.enter(|| {
            // It fails only within notifyFn, where no machine starts.
            let _ = fwp.manage(None, |engine, _| {
                if let Some(booted) = booted.take() {
                    *engine = booted;
                }
                fwp.kept.version.store(engine.persistent_version(), Ordering::Relaxed);
                Ok(())
            });
            *lock(&fwp.kept.keeper) = Some(keeper);
            if fwp.bfe.is_running() {
                fwp.bfe_started();
            }
        });
        Ok(())
    }

    /// Whether a service starts by itself, which every one does at first: when the base filtering engine starts next, the persistent
    /// objects of a provider whose service does not are disabled.
    pub fn set_service_starts(&self, service: &str, starts: bool) {
        let mut manual = lock(&self.kernel.fwp.kept.manual);
        match starts {
            true => manual.remove(&service.to_lowercase()),
            false => manual.insert(service.to_lowercase()),
        };
    }
}
