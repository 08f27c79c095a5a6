//! Conditions on one field are alternatives, which negations and bounds do not look like.

use postern_engine::guids::condition;
use postern_engine::objects::{Condition, MatchType};
use postern_engine::values::match_every_value;

use super::{data_type, fields};
use crate::policy::compile::Policy;
use crate::policy::problem::Problem;

pub fn warnings(policy: &Policy) -> Vec<Problem> {
    let mut found: Vec<Problem> = Vec::new();
    for wanted in &policy.filters {
        for alternatives in fields(&wanted.filter).filter(|alternatives| alternatives.len() > 1) {
            let field = alternatives[0].field;
            let everything = match_every_value(alternatives, data_type(&wanted.filter.layer, &field));
            if !everything && !alternatives.iter().any(is_negated) {
                continue;
            }
            let name = condition::NAMES.name(&field).unwrap_or("one field");
            let effect = if everything { "together they match every value" } else { "one of them is enough" };
            let problem =
                Problem::warning(wanted.span.clone(), format!("the conditions on {name} are alternatives: {effect}"))
                    .help("for values between two write a range; for all but several, a rule of more weight for these");
            // The rule's filters for other layers and IP versions are alike.
            if found.last() != Some(&problem) {
                found.push(problem);
            }
        }
    }
    found
}

fn is_negated(condition: &Condition) -> bool {
    matches!(condition.match_type, MatchType::NotEqual | MatchType::NotPrefix | MatchType::FlagsNoneSet)
}
