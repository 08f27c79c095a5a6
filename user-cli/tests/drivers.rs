//! Loading and unloading drivers.

#[allow(dead_code)]
mod common;

use common::lab::Lab;

#[test]
fn files_that_are_no_driver_images_are_refused_with_the_reason() {
    let lab = Lab::started();
    let image = postern_image::POSTERN_SYS;
    let cut = lab.socket().with_extension("sys");
    std::fs::write(&cut, &image[..image.len() / 2]).unwrap();
    let cargo = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for (file, part) in [
        (cut.to_str().unwrap(), "truncated"),
        (cargo, "does not begin with MZ"),
        ("/bin/sh", "does not begin with MZ"),
        ("/nowhere/x.sys", "cannot read the image /nowhere/x.sys: No such file or directory"),
    ] {
        let ran = lab.run(&["driver", "load", "--image", file]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains(part) && ran.err.contains(file), "{ran:?}");
    }
    lab.ok(&["lab", "status"]);
}

#[test]
fn a_driver_that_is_not_loaded_cannot_be_unloaded() {
    let lab = Lab::started();
    let ran = lab.run(&["driver", "unload", "nobody"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no driver is loaded as nobody"), "{ran:?}");
    let status = lab.run(&["driver", "status", "nobody"]);
    assert_eq!(status.code, 1);
    assert!(status.out.contains("is not loaded"), "{status:?}");
}
