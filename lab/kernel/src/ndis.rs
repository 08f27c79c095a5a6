//! `ndis.sys`: net buffer lists and their pools.

use crate::export::Export;

pub(crate) const EXPORTS: &[Export] = &[];
