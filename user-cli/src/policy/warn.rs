//! What surprises people in a policy that is right.

mod alternatives;
mod covered;
mod essential;
#[cfg(test)]
mod tests;

use postern_engine::layers::{self, DataType};
use postern_engine::objects::{Condition, Filter};
use uuid::Uuid;

use super::compile::Policy;
use super::problem::Problem;

/// Everything that deserves a look, in the order of the file.
pub fn warnings(policy: &Policy) -> Vec<Problem> {
    let mut found = policy.warnings.clone();
    found.extend(alternatives::warnings(policy));
    found.extend(covered::warnings(policy));
    found.extend(essential::warnings(policy));
    found.sort_by_key(|problem| problem.span.start);
    found
}

/// The conditions on each field of a filter: the alternatives.
fn fields(filter: &Filter) -> impl Iterator<Item = &[Condition]> {
    filter.conditions.chunk_by(|one, next| one.field == next.field)
}

fn data_type(layer: &Uuid, field: &Uuid) -> DataType {
    let layer = layers::by_key(layer);
    layer
        .and_then(|layer| layer.field_index(field).map(|index| layer.fields[index].data_type))
        .unwrap_or(DataType::Empty)
}
