//! What an error of the engine means for the one who asked, and what to do.

use postern_engine::FwpError;

use crate::engine::EngineError;
use crate::failure::Failure;

/// An engine's error while filters were added, removed or listed.
pub fn explain(error: EngineError) -> Failure {
    let EngineError::Refused { error: code, .. } = error else { return error.into() };
    let failure = Failure::from(error);
    let failure = Failure { message: format!("{}: {}", failure.message, meaning(code)), ..failure };
    match help(code) {
        Some(help) => failure.help(help),
        None => failure,
    }
}

/// The error's text without its symbol, which stands in the message already.
fn meaning(error: FwpError) -> String {
    let text = error.to_string();
    text.split_once(": ").map_or(text.clone(), |(_, meaning)| meaning.to_owned())
}

fn help(error: FwpError) -> Option<&'static str> {
    Some(match error {
        FwpError::FilterNotFound => "`postern filter list` shows the filters that there are",
        FwpError::ConditionNotFound => "leave the condition out, or choose another layer",
        FwpError::LifetimeMismatch => {
            "a callout object of the driver can have one lifetime: remove the filters that name the same callout with \
             another lifetime (`postern filter list`), or give this one the same --lifetime"
        }
        FwpError::Timeout => "another session has a transaction in progress: try again when it is done",
        FwpError::WrongSession => "a dynamic filter goes when the program that added it ends: end that program",
        FwpError::DynamicSessionInProgress => "remove it from a session that is not dynamic",
        FwpError::InUse => "`postern state` shows what refers to it: remove that first",
        FwpError::BuiltinObject => "built-in objects stay",
        FwpError::CalloutNotificationFailed => {
            "the callout's driver refused the filter: see what it printed (in a lab: `postern lab log`)"
        }
        FwpError::IncompatibleLayer => "the callout belongs to another layer",
        FwpError::SessionAborted | FwpError::TxnAborted => "try again: nothing was changed",
        _ => return None,
    })
}
