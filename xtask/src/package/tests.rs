use std::fs;
use std::io::Read;

use super::*;
use crate::root;

fn signed_package() -> (tempfile::TempDir, Package) {
    let out = tempfile::tempdir().unwrap();
    let package = make(&root(), out.path(), true).unwrap();
    (out, package)
}

#[test]
fn a_package_has_what_a_test_host_needs_and_the_zip_has_the_same() {
    let (_out, package) = signed_package();
    let mut names: Vec<String> = fs::read_dir(&package.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "postern.exe")
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "Invoke-Postern.ps1",
            "LICENSE-APACHE",
            "LICENSE-MIT",
            "README.md",
            "postern-test.cer",
            "postern.inf",
            "postern.pdb",
            "postern.sys",
            "postern_wdm.inf",
            "postern_wdm.pdb",
            "postern_wdm.sys",
        ]
    );
    let mut zip = zip::ZipArchive::new(fs::File::open(&package.zip).unwrap()).unwrap();
    for index in 0..zip.len() {
        let mut file = zip.by_index(index).unwrap();
        let mut contents = Vec::new();
        file.read_to_end(&mut contents).unwrap();
        let name = file.name().unwrap().into_owned();
        assert_eq!(fs::read(package.folder.parent().unwrap().join(&name)).unwrap(), contents, "{name}");
    }
}

#[test]
fn the_same_sources_make_the_same_zip() {
    let zips = [(); 2].map(|()| {
        let out = tempfile::tempdir().unwrap();
        fs::read(make(&root(), out.path(), false).unwrap().zip).unwrap()
    });
    assert!(zips[0] == zips[1]);
}

#[test]
fn images_name_no_folder_of_the_machine_that_built_them() {
    for driver in Driver::all(&root()) {
        let image = fs::read(driver.build().unwrap()).unwrap();
        let folder = root().display().to_string();
        assert!(!image.windows(folder.len()).any(|bytes| bytes == folder.as_bytes()), "{folder}");
    }
}

#[test]
fn an_image_with_one_byte_changed_is_not_verified() {
    let (_out, package) = signed_package();
    let certificate = package.folder.join(CERTIFICATE);
    let image = package.folder.join("postern.sys");
    let original = fs::read(&image).unwrap();
    sign::verify(&root(), &image, &certificate).unwrap();

    // Each byte: the checksum.
    let mut bytes = original.clone();
    for place in (0..bytes.len()).step_by(if cfg!(debug_assertions) { 101 } else { 1 }) {
        bytes[place] ^= 0x01;
        assert_ne!(sign::checksum_is_right(&bytes), Some(true), "byte {place}");
        bytes[place] ^= 0x01;
    }

    // Whoever changes an image mends the checksum: the signature.
    for place in [0x80, 0x600, original.len() / 3, original.len() / 2] {
        let mut bytes = original.clone();
        bytes[place] ^= 0x01;
        fs::write(&image, sign::with_checksum(bytes)).unwrap();
        let error = format!("{:#}", sign::verify(&root(), &image, &certificate).unwrap_err());
        assert!(error.contains("the signature is not that of"), "{error}");
    }
}

#[test]
fn an_image_that_another_certificate_signed_is_not_verified() {
    let (_first, one) = signed_package();
    let (_second, other) = signed_package();
    let error = sign::verify(&root(), &one.folder.join("postern.sys"), &other.folder.join(CERTIFICATE)).unwrap_err();
    assert!(format!("{error:#}").contains("the signature is not that of"), "{error:#}");
}

#[test]
fn an_inf_that_names_a_file_which_is_not_in_the_package_makes_no_package() {
    let error = check_inf(&root().join("inf/postern.inf"), &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("postern.sys is not in the package"), "{error}");
}
