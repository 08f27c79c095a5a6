//! Why a connection or packet is permitted or blocked: the layers that it passes, what every filter that matches says there, whose
//! word counts, and what would change that.
//!
//! The filters are those of an engine in this process, made of the state of another one (`State::engine`): a lab's, Windows', or that
//! in a file that netsh wrote. The way through the layers is the lab's own (`postern_traffic`), and the verdicts are the engine's.

mod callouts;
mod changes;
mod compose;
mod names;
pub mod page;
mod question;
pub mod text;
mod tracer;
mod view;
mod walk;

pub use question::{Captured, Kind, Question, Subject};
pub use view::*;

use postern_engine::Restored;

use crate::filter::interface;
use names::Names;

/// Explains what the engine does with what is asked about.
pub fn explain(restored: &Restored, question: &Question) -> Explanation {
    let names = Names::new(&restored.engine);
    let snapshot = restored.engine.snapshot();
    let machine = interface::of_filters(restored.engine.view(None).filters(), question.local.is_ipv6());
    let interface = question.interface.complete(question.loopback(), &machine);
    let walked = walk::walk(&snapshot, &names, question, interface);
    compose::compose(restored, &snapshot, &names, question, interface, walked)
}
