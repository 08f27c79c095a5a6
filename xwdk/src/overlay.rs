//! The WDK's headers include each other in whatever case their authors typed: `WdfQueryInterface.h` for `wdfqueryinterface.h`. Clang
//! finds them on a case-sensitive file system through an overlay that lists every header.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// An overlay for clang's `-ivfsoverlay` that finds the headers below `include` in any case.
pub fn overlay(include: &Path) -> Result<String> {
    let mut overlay = String::from(r#"{"version": 0, "case-sensitive": "false", "roots": ["#);
    folder(include, &include.display().to_string(), &mut overlay)?;
    overlay += "]}\n";
    Ok(overlay)
}

fn folder(path: &Path, name: &str, overlay: &mut String) -> Result<()> {
    write!(overlay, r#"{{"type": "directory", "name": {name:?}, "contents": ["#)?;
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    for (index, entry) in entries.enumerate() {
        if index > 0 {
            overlay.push(',');
        }
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            folder(&path, &name, overlay)?;
        } else {
            let contents = path.display().to_string();
            write!(overlay, r#"{{"type": "file", "name": {name:?}, "external-contents": {contents:?}}}"#)?;
        }
    }
    overlay.push_str("]}\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_lists_every_header_with_its_place() {
        let include = tempfile::tempdir().unwrap();
        let shared = include.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::write(shared.join("driverspecs.h"), "").unwrap();

        let overlay = overlay(include.path()).unwrap();

        let header = shared.join("driverspecs.h").display().to_string();
        assert!(
            overlay
                .contains(&format!(r#"{{"type": "file", "name": "driverspecs.h", "external-contents": {header:?}}}"#))
        );
        assert!(overlay.contains(r#""name": "shared""#));
    }
}
