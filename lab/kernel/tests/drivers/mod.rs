//! Drivers in C for the lab's tests, compiled by mingw.

use std::process::Command;
use std::sync::OnceLock;

/// The driver's image, built once. Needs Debian's package gcc-mingw-w64-x86-64.
pub fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers/wdm.c");
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        // mingw's import library is older than this function.
        std::fs::write(folder.join("newer.def"), "LIBRARY ntoskrnl.exe\nEXPORTS\nExAllocatePool2\n").unwrap();
        let library = Command::new("x86_64-w64-mingw32-dlltool")
            .current_dir(folder)
            .args(["-d", "newer.def", "-l", "libnewer.a"])
            .status()
            .expect("x86_64-w64-mingw32-dlltool runs: install gcc-mingw-w64-x86-64");
        assert!(library.success());
        let built = Command::new("x86_64-w64-mingw32-gcc")
            .current_dir(folder)
            .args(["-O1", "-Wall", "-Wno-unknown-pragmas", "-Wno-multichar", "-fno-builtin", "-shared", "-nostdlib"])
            .args(["-I/usr/x86_64-w64-mingw32/include/ddk", "-Wl,--subsystem,native", "-Wl,--entry,DriverEntry"])
            .args(["-Wl,--dynamicbase", "-Wl,--exclude-all-symbols", "-o", "wdm.sys", source])
            .args(["-L.", "-lnewer", "-lntoskrnl"])
            .output()
            .expect("x86_64-w64-mingw32-gcc runs: install gcc-mingw-w64-x86-64");
        let out = folder.join("wdm.sys");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        std::fs::read(out).expect("the image that was just built")
    })
}
