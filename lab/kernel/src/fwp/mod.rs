//! `fwpkclnt.sys`: the filter engine's kernel side.

use crate::export::Export;
use crate::kernel::Config;

pub(crate) const EXPORTS: &[Export] = &[];

/// What the filter engine keeps in a kernel.
pub(crate) struct State {}

impl State {
    pub fn new(_config: &Config) -> State {
        State {}
    }

    /// What the image with this number has registered, a line each.
    pub fn registrations(&self, _image: u64) -> Vec<String> {
        Vec::new()
    }

    /// What the image with this number still has registered; asked when its driver has unloaded.
    pub fn left_behind(&self, _image: u64) -> Vec<String> {
        Vec::new()
    }
}
