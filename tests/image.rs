//! `postern.sys` and `postern_wdm.sys` are what the kernel's loader expects of a driver, and ask only for what Windows exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use object::LittleEndian as LE;
use object::pe::{
    IMAGE_DIRECTORY_ENTRY_BASERELOC, IMAGE_DIRECTORY_ENTRY_EXCEPTION, IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE,
    IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY, IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA,
    IMAGE_DLLCHARACTERISTICS_NX_COMPAT, IMAGE_FILE_MACHINE_AMD64, IMAGE_FILE_RELOCS_STRIPPED, IMAGE_SCN_MEM_EXECUTE,
    IMAGE_SCN_MEM_WRITE, IMAGE_SUBSYSTEM_NATIVE, ImageNtHeaders64,
};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, Import, PeFile64};
use postern_image::{IMAGES, POSTERN_SYS};

#[test]
fn each_is_a_native_amd64_image_smaller_than_96_kib() {
    for (name, image) in IMAGES {
        let pe = parse(image);
        let headers = pe.nt_headers();
        assert_eq!(headers.file_header().machine.get(LE), IMAGE_FILE_MACHINE_AMD64, "{name}");
        assert_eq!(headers.optional_header().subsystem(), IMAGE_SUBSYSTEM_NATIVE, "{name}");
        assert!(image.len() < 96 * 1024, "{name}: {} bytes", image.len());
    }
}

#[test]
fn each_may_be_loaded_anywhere_and_its_data_is_never_executed() {
    for (name, image) in IMAGES {
        let pe = parse(image);
        let headers = pe.nt_headers();
        let wanted = IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE
            | IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA
            | IMAGE_DLLCHARACTERISTICS_NX_COMPAT
            | IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY;
        assert_eq!(headers.optional_header().dll_characteristics() & wanted, wanted, "{name}");
        let characteristics = headers.file_header().characteristics.get(LE);
        assert!(!characteristics.contains(IMAGE_FILE_RELOCS_STRIPPED), "{name}");
        let relocations = pe.data_directory(IMAGE_DIRECTORY_ENTRY_BASERELOC).expect(name);
        assert!(relocations.size.get(LE) > 0, "{name}");
    }
}

#[test]
fn no_section_is_writable_and_executable() {
    for (name, image) in IMAGES {
        for section in parse(image).section_table().iter() {
            let both = IMAGE_SCN_MEM_WRITE | IMAGE_SCN_MEM_EXECUTE;
            let characteristics = section.characteristics.get(LE);
            assert_ne!(characteristics & both, both, "{name}: {}", String::from_utf8_lossy(&section.name));
        }
    }
}

#[test]
fn header_checksum_is_right() {
    for (name, image) in IMAGES {
        let headers_at = u32::from_le_bytes(image[0x3C..0x40].try_into().unwrap()) as usize;
        let checksum_at = headers_at + 4 + 20 + 64;
        // The sum of all 16-bit words but the checksum's own, carries added back, plus the length (imagehlp's CheckSumMappedFile).
        let mut sum = 0u32;
        for (index, word) in image.chunks(2).enumerate() {
            if !(checksum_at..checksum_at + 4).contains(&(index * 2)) {
                sum += u32::from(word[0]) | u32::from(*word.get(1).unwrap_or(&0)) << 8;
                sum = (sum & 0xFFFF) + (sum >> 16);
            }
        }
        let expected = sum + image.len() as u32;
        assert_eq!(parse(image).nt_headers().optional_header().check_sum(), expected, "{name}");
    }
}

#[test]
#[cfg_attr(windows, ignore = "the WDK's entry point calls a function that binds")]
fn the_kmdf_images_entry_point_binds_to_the_framework() {
    let (_, _, bind_slot) = imports(POSTERN_SYS)
        .into_iter()
        .find(|(module, name, _)| module == "wdfldr.sys" && name == "WdfVersionBind")
        .expect("WdfVersionBind from wdfldr.sys");

    // The function at the entry point: its end is in the exception table, three words a function.
    let pe = parse(POSTERN_SYS);
    let entry = pe.nt_headers().optional_header().address_of_entry_point();
    let table = pe.data_directory(IMAGE_DIRECTORY_ENTRY_EXCEPTION).expect("unwind data");
    let begin = table.virtual_address.get(LE);
    let (_, end) = bytes_at(begin, begin + table.size.get(LE))
        .chunks_exact(12)
        .map(|function| {
            let word = |at: usize| u32::from_le_bytes(function[at..at + 4].try_into().unwrap());
            (word(0), word(4))
        })
        .find(|(begin, _)| *begin == entry)
        .expect("the entry point is a function");

    // call [rip + displacement] is FF 15 and four bytes; the displacement counts from the next instruction.
    let code = bytes_at(entry, end);
    let calls: BTreeSet<u32> = (0..code.len().saturating_sub(5))
        .filter(|at| code[*at..at + 2] == [0xFF, 0x15])
        .map(|at| {
            let displacement = i32::from_le_bytes(code[at + 2..at + 6].try_into().unwrap());
            (entry + at as u32 + 6).wrapping_add_signed(displacement)
        })
        .collect();
    assert!(calls.contains(&bind_slot), "the entry point does not call WdfVersionBind");
}

#[test]
fn every_import_is_exported_by_windows() {
    let mut exports = BTreeMap::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("xwdk/exports");
    for list in fs::read_dir(folder).unwrap() {
        let list = list.unwrap().path();
        let names: BTreeSet<String> = fs::read_to_string(&list)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        exports.insert(list.file_stem().unwrap().to_str().unwrap().to_owned(), names);
    }
    for (image_name, image) in IMAGES {
        for (module, name, _) in imports(image) {
            let known = exports.get(&module).is_some_and(|names| names.contains(&name));
            assert!(known, "{image_name}: {name} from {module}");
        }
    }
}

#[test]
fn each_imports_from_the_modules_of_its_driver_model_and_no_other() {
    let expected: [&[&str]; 2] =
        [&["fwpkclnt.sys", "ndis.sys", "ntoskrnl.exe", "wdfldr.sys"], &["fwpkclnt.sys", "ndis.sys", "ntoskrnl.exe"]];
    for ((name, image), expected) in IMAGES.into_iter().zip(expected) {
        let modules: BTreeSet<String> = imports(image).into_iter().map(|(module, ..)| module).collect();
        let expected = expected.iter().map(|module| (*module).to_owned()).collect();
        assert_eq!(modules, expected, "{name}");
    }
}

fn parse(image: &[u8]) -> PeFile64<'_> {
    PeFile64::parse(image).expect("a 64-bit PE image")
}

/// Every import: module, name, and the address of its slot in the import address table.
fn imports(image: &[u8]) -> Vec<(String, String, u32)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let table = parse(image).import_table().unwrap().expect("an import table");
    let mut imports = Vec::new();
    let mut modules = table.descriptors().unwrap();
    while let Some(module) = modules.next().unwrap() {
        let module_name = text(table.name(module.name.get(LE)).unwrap()).to_lowercase();
        let mut slot = module.first_thunk.get(LE);
        let mut names = table.thunks(module.original_first_thunk.get(LE)).unwrap();
        while let Some(thunk) = names.next::<ImageNtHeaders64>().unwrap() {
            let Import::Name(_, name) = table.import::<ImageNtHeaders64>(thunk).unwrap() else {
                panic!("an import from {module_name} by ordinal");
            };
            imports.push((module_name.clone(), text(name), slot));
            slot += 8;
        }
    }
    imports
}

/// The bytes of `postern.sys` from `begin` to `end`, addresses relative to its base.
fn bytes_at(begin: u32, end: u32) -> &'static [u8] {
    let bytes = parse(POSTERN_SYS).section_table().pe_data_at(POSTERN_SYS, begin).expect("an address in a section");
    &bytes[..(end - begin) as usize]
}

#[test]
fn the_devices_security_descriptor_names_system_and_administrators_alone() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for (name, image) in IMAGES {
        let count = |text: &str| {
            let wanted = utf16(text);
            image.windows(wanted.len()).filter(|bytes| *bytes == wanted).count()
        };
        assert_eq!(count("D:P(A;;GA;;;SY)(A;;GA;;;BA)\0"), 1, "{name}");
        assert_eq!(count("D:P"), 1, "another descriptor is in {name}");
    }
}

#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn the_lab_knows_of_every_import_how_it_fails_or_why_it_does_not() {
    for (name, image) in IMAGES {
        for (_, function, _) in imports(image) {
            let fails = !postern_lab::failures_of(&function).is_empty();
            let cannot = postern_lab::cannot_fail(&function).is_some();
            assert!(fails != cannot, "{name} imports {function}: it fails {fails}, it cannot fail {cannot}");
        }
    }
}
