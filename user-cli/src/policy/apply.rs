//! Makes the engine's objects those of a policy, in one transaction.

use super::compile::Policy;
use super::plan::Plan;
use super::problem::{Problem, Source};
use crate::engine::{EngineError, FilterEngine};
use crate::failure::Failure;
use crate::filter::explain::explain;

/// Carries a plan out. To be called in a transaction, which is to be aborted on an error.
pub fn carry_out(engine: &dyn FilterEngine, policy: &Policy, plan: &Plan, source: &Source) -> Result<(), Failure> {
    let named = |what: &str, name: &str| {
        let what = format!("{what} '{name}'");
        move |error: EngineError| {
            let failure = explain(error);
            Failure { message: format!("{what}: {}", failure.message), ..failure }
        }
    };
    for filter in &plan.delete {
        engine.filter_delete(filter.key).map_err(named("filter", &filter.display.name))?;
    }
    let Plan { providers, sublayers, callouts, .. } = plan;
    for callout in &callouts.delete {
        engine.callout_delete(callout.key).map_err(named("callout", &callout.display.name))?;
    }
    for sublayer in &sublayers.delete {
        engine.sublayer_delete(sublayer.key).map_err(named("sublayer", &sublayer.display.name))?;
    }
    for provider in &providers.delete {
        engine.provider_delete(provider.key).map_err(named("provider", &provider.display.name))?;
    }
    for provider in &providers.add {
        engine.provider_add(provider).map_err(named("provider", &provider.display.name))?;
    }
    for sublayer in &sublayers.add {
        engine.sublayer_add(sublayer).map_err(named("sublayer", &sublayer.display.name))?;
    }
    for callout in &callouts.add {
        engine.callout_add(callout).map_err(named("callout", &callout.display.name))?;
    }
    for index in &plan.add {
        let wanted = &policy.filters[*index];
        engine.filter_add(&wanted.filter).map_err(|error| {
            let failure = explain(error);
            let layer = crate::filter::describe::layer(&wanted.filter.layer);
            let name = &wanted.filter.display.name;
            let problem = Problem::error(wanted.span.clone(), format!("rule '{name}' at {layer}: {}", failure.message));
            let message = format!("{}\nnothing was changed", source.show(&problem).trim_start_matches("error: "));
            Failure { message, ..failure }
        })?;
    }
    Ok(())
}
