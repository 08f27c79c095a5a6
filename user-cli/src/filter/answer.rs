//! From an answer that is to hold for ever to a filter object.

use postern_engine::layers;
use postern_engine::objects::{Filter, Weight};
use postern_protocol::ioctl::Verdict;

use super::address::Addresses;
use super::describe::View;
use super::explain::explain;
use super::layer::Layers;
use super::own::Owner;
use super::ports::Ports;
use super::protocol::Protocol;
use super::spec::{Spec, Verb};
use crate::cli::Context;
use crate::device::HeldView;
use crate::engine::{Access, transaction};
use crate::failure::{Failure, Result};
use crate::replay::Direction;

/// Adds a filter for what an operation has in common with the next of its kind. It decides before the filter that holds.
pub fn add_filter(context: &Context, held: &HeldView, verdict: Verdict) -> Result<View> {
    let engine = context.engine(false)?;
    transaction(&*engine, Access::ReadWrite, || {
        let filters = engine.filters().map_err(explain)?;
        let (spec, owner) = plan(held, verdict, filters.iter().find(|filter| filter.id == held.filter_id))?;
        let ids = owner.add(&*engine, &spec.plan(&owner)?).map_err(explain)?;
        let (filters, providers) = (engine.filters().map_err(explain)?, engine.providers().map_err(explain)?);
        let added = filters.iter().find(|filter| ids.contains(&filter.id));
        added.map(|filter| View::new(filter, &providers)).ok_or_else(|| Failure::new("the new filter is not there"))
    })
}

fn plan(held: &HeldView, verdict: Verdict, holds: Option<&Filter>) -> Result<(Spec, Owner)> {
    let once = "answer this one operation with p or b";
    let number = held.filter_id;
    let holds = holds.ok_or_else(|| {
        Failure::new(format!("filter {number}, which holds the operation, has been removed")).help(once)
    })?;
    // No other may refer to what a dynamic session has added.
    let owner = Owner::of_lasting(holds).ok_or_else(|| {
        Failure::new(format!("filter {number}, which holds the operation, is dynamic or another program's")).help(once)
    })?;
    let weight = holds.effective_weight.checked_add(1).ok_or_else(|| {
        Failure::new(format!("filter {number}, which holds the operation, has the highest weight there is")).help(once)
    })?;
    let app =
        held.ends.application.clone().ok_or_else(|| {
            Failure::new("the program is not known, so the filter would be for every program").help(once)
        })?;
    let layer = layers::by_key(&holds.layer)
        .ok_or_else(|| Failure::new(format!("filter {number} is at a layer that is not known")).help(once))?;
    let protocol = Protocol(held.ends.protocol);
    let port = |port, direction| match protocol.has_ports() && held.ends.direction == direction {
        true => vec![Ports::from(port)],
        false => Vec::new(),
    };
    let spec = Spec {
        layer: Layers::One(layer),
        family: None,
        action: match verdict {
            Verdict::Permit => Verb::Permit,
            Verdict::Block => Verb::Block,
        },
        protocol: vec![protocol],
        local: Vec::new(),
        remote: vec![Addresses::One(held.ends.remote.ip())],
        // The port of the side that began is another one each time.
        local_port: port(held.ends.local.port(), Direction::Inbound),
        remote_port: port(held.ends.remote.port(), Direction::Outbound),
        app: vec![app],
        weight: Weight::Exact(weight),
        name: None,
        description: format!("The answer for operation {}", held.operation),
        lifetime: owner.lifetime(),
        hard: false,
        fail_closed: false,
        silent: false,
        reject: false,
        hold_for: None,
        otherwise: None,
    };
    Ok((spec, owner))
}
