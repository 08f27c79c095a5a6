//! notifyFn: how the engine tells callouts of filters.

use core::ptr::null;

use postern_engine::RuntimeFilter;
use postern_engine::{CalloutNotify, NotifyRefused, NotifyType};
use uuid::Uuid;

use super::State;
use super::marshal::guid;
use super::view::CalloutFilter;
use crate::call::{CallContext, call_image};
use crate::nt::PASSIVE_LEVEL;
use crate::thread;

/// Calls the notifyFn of the callouts of one kernel.
pub(crate) struct Notifier<'a>(pub &'a State);

impl CalloutNotify for Notifier<'_> {
    fn notify(
        &mut self,
        kind: NotifyType,
        callout_id: u32,
        filter_key: Option<Uuid>,
        filter: &mut RuntimeFilter,
    ) -> Result<(), NotifyRefused> {
        let Some(callout) = self.0.callouts.get(callout_id) else { return Ok(()) };
        if kind == NotifyType::DeleteFilter
            && let Some(filter) = self.0.view.load().filter(filter)
        {
            filter.delete();
            // What notifyFn frees now may be in use by a classify that began before: let those end first.
            if self.0.deletion_waits {
                callout.quiesce();
            }
        }
        let processor = thread::page().processor.get();
        let Some(_call) = callout.enter(processor) else { return Ok(()) };
        let context = CallContext {
            what: match kind {
                NotifyType::AddFilter => "notifyFn (ADD_FILTER)",
                NotifyType::DeleteFilter => "notifyFn (DELETE_FILTER)",
                NotifyType::AddFilterPostCommit => "notifyFn (ADD_FILTER_POST_COMMIT)",
            },
            object: callout.name(),
            at: super::callouts::layer_name(filter.layer),
        };
        let key = filter_key.map(guid);
        let mut raw = CalloutFilter::new(filter);
        let arguments = (kind as u32, key.as_ref().map_or(null(), core::ptr::from_ref), raw.as_mut_ptr());
        // SAFETY: registered as a `FWPS_CALLOUT_NOTIFY_FN3`, and entered; the structures outlive the call.
        let result = unsafe { call_image(&context, PASSIVE_LEVEL, callout.registration.notify, arguments) };
        match result {
            Ok(status) if kind == NotifyType::AddFilter && (status as i32) < 0 => Err(NotifyRefused),
            Ok(_) => {
                if kind == NotifyType::AddFilter {
                    filter.context = raw.context();
                }
                Ok(())
            }
            Err(_) => Err(NotifyRefused),
        }
    }
}
