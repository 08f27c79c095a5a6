use std::path::Path;

use anyhow::Result;

use crate::say;

pub fn setup(root: &Path) -> Result<()> {
    xwdk::install(root, &mut say)
}
