//! The lab's half: every function of its kernel is called or excused, and the page says what it says.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::fs;
use std::path::Path;

use postern_opinion::{Document, driver, imports, in_lab, review};

#[test]
fn the_page_says_of_the_lab_what_it_says_itself() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders below the root");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("opinion");
    let image = fs::read(driver(root, &folder).expect("the driver")).expect("its image");
    let lab = in_lab(&image).expect("answers");
    let page = fs::read_to_string(root.join("docs/windows-truth.md")).expect("the page");
    let document = Document::parse(&page).expect("its tables");
    let complaints =
        review(&lab, &imports(&image).expect("imports"), &document, &postern_lab::exported_names("ntoskrnl.exe"));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(lab.0.values().all(|tried| !tried.lacks && tried.raised.is_none()));
}
