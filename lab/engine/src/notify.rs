//! What callouts hear of filters that name them (documentation page "Processing Notify Callouts").

use uuid::Uuid;

use crate::runtime::RuntimeFilter;

/// `FWPS_CALLOUT_NOTIFY_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum NotifyType {
    AddFilter = 0,
    DeleteFilter = 1,
    /// Only to callouts registered with `FWP_CALLOUT_FLAG_ENABLE_COMMIT_ADD_NOTIFY`.
    AddFilterPostCommit = 2,
}

/// A callout does not want a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotifyRefused;

/// The host of the callouts: calls notify functions. Only asked for callouts that are registered at that time.
pub trait CalloutNotify {
    /// `filter_key` is `None` for a deletion. What an addition writes to `filter.context` is kept; a refusal counts only there.
    fn notify(
        &mut self,
        kind: NotifyType,
        callout_id: u32,
        filter_key: Option<Uuid>,
        filter: &mut RuntimeFilter,
    ) -> Result<(), NotifyRefused>;
}

/// For hosts without callouts: agrees to everything.
impl CalloutNotify for () {
    fn notify(&mut self, _: NotifyType, _: u32, _: Option<Uuid>, _: &mut RuntimeFilter) -> Result<(), NotifyRefused> {
        Ok(())
    }
}
