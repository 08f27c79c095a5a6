//! Images that cannot be loaded, made from one that can by changing a field of its headers.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod drivers;

use drivers::image;
use postern_lab::{Config, ImageError, Lab, LoadError};

/// Offsets from the PE signature, as the PE format has them for 64-bit images.
const MACHINE: usize = 4;
const CHARACTERISTICS: usize = 22;
const ENTRY_POINT: usize = 24 + 16;
const SIZE_OF_IMAGE: usize = 24 + 56;
const SUBSYSTEM: usize = 24 + 68;
const IMPORT_DIRECTORY: usize = 24 + 112 + 8;
const RELOCATION_DIRECTORY: usize = 24 + 112 + 5 * 8;
const SECTIONS: usize = 24 + 240;
/// Offsets in a section header.
const VIRTUAL_SIZE: usize = 8;
const VIRTUAL_ADDRESS: usize = 12;

fn headers(file: &[u8]) -> usize {
    u32::from_le_bytes(file[0x3c..0x40].try_into().unwrap()) as usize
}

/// Loads the image with some bytes behind its PE signature changed, and returns why that failed.
fn changed(at: usize, bytes: &[u8]) -> ImageError {
    let mut file = image().to_vec();
    let at = headers(&file) + at;
    file[at..at + bytes.len()].copy_from_slice(bytes);
    load(&file)
}

fn load(file: &[u8]) -> ImageError {
    match Lab::start(Config::default()).load("changed", file) {
        Err(LoadError::Image(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_machine_is_named() {
    assert_eq!(changed(MACHINE, &0xaa64u16.to_le_bytes()), ImageError::Machine { found: 0xaa64 });
}

#[test]
fn a_program_is_no_driver() {
    assert_eq!(changed(SUBSYSTEM, &3u16.to_le_bytes()), ImageError::Subsystem { found: 3 });
}

#[test]
fn an_image_without_relocations_is_refused() {
    let mut file = image().to_vec();
    let at = headers(&file) + CHARACTERISTICS;
    file[at] |= 1;
    assert_eq!(load(&file), ImageError::NoRelocations);
}

#[test]
fn an_entry_point_must_lie_in_code() {
    for entry in [0u32, 0x10, 0x7fff_ffff] {
        let error = changed(ENTRY_POINT, &entry.to_le_bytes()).to_string();
        assert!(error.contains("entry point"), "{error}");
    }
}

#[test]
fn a_section_must_lie_in_the_image_and_beside_the_others() {
    let error = changed(SECTIONS + VIRTUAL_SIZE, &0x100_0000u32.to_le_bytes()).to_string();
    assert!(error.starts_with("section .text") && error.contains("outside of the image"), "{error}");
    let error = changed(SECTIONS + 40 + VIRTUAL_ADDRESS, &0x1000u32.to_le_bytes()).to_string();
    assert!(error.contains("over section .text"), "{error}");
    let error = changed(SECTIONS + VIRTUAL_ADDRESS, &0x1010u32.to_le_bytes()).to_string();
    assert!(error.contains("does not begin on a page"), "{error}");
}

#[test]
fn an_image_of_no_or_absurd_size_is_refused() {
    for size in [0u32, 0xffff_f000] {
        let error = changed(SIZE_OF_IMAGE, &size.to_le_bytes()).to_string();
        assert!(error.contains("SizeOfImage"), "{error}");
    }
}

#[test]
fn directories_that_point_nowhere_are_refused() {
    for (directory, name) in [(IMPORT_DIRECTORY, "import"), (RELOCATION_DIRECTORY, "")] {
        let error = changed(directory, &0x7fff_0000u32.to_le_bytes());
        assert!(matches!(error, ImageError::Malformed(_)), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn every_unknown_import_is_named() {
    let mut file = image().to_vec();
    for (known, unknown) in [("IoDeleteDevice", "IoDeleteDevise"), ("KeCancelTimer", "KeCancelTimes")] {
        let at = file.windows(known.len()).position(|window| window == known.as_bytes()).unwrap();
        file[at..at + unknown.len()].copy_from_slice(unknown.as_bytes());
    }
    let ImageError::UnknownImports(mut names) = load(&file) else { panic!() };
    names.sort();
    assert_eq!(names, ["ntoskrnl.exe!IoDeleteDevise", "ntoskrnl.exe!KeCancelTimes"]);
}

#[test]
fn no_damage_to_the_headers_harms_the_lab() {
    let lab = Lab::start(Config::default());
    let end = headers(image()) + SECTIONS + 40 * 8;
    for at in 0..end {
        for value in [0x00, 0x7f, 0xff] {
            let mut file = image().to_vec();
            file[at] = value;
            // Whatever loads is not entered here: its entry point could be anywhere in its code.
            let _ = lab.check_image(&file);
        }
    }
}
