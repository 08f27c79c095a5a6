//! Drivers in C for the lab's tests, built with what the project builds its own images with.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What `wdm.c` imports; the import library is made from this list.
const IMPORTS: &[&str] = &[
    "DbgBreakPoint",
    "DbgPrint",
    "ExAllocatePool2",
    "ExDeleteNPagedLookasideList",
    "ExFreePoolWithTag",
    "ExInitializeNPagedLookasideList",
    "ExQueryDepthSList",
    "ExpInterlockedPopEntrySList",
    "ExpInterlockedPushEntrySList",
    "IoAllocateWorkItem",
    "IoCreateDevice",
    "IoCreateSymbolicLink",
    "IoDeleteDevice",
    "IoDeleteSymbolicLink",
    "IoFreeWorkItem",
    "IoQueueWorkItem",
    "IoReleaseCancelSpinLock",
    "IofCompleteRequest",
    "KeAcquireSpinLockRaiseToDpc",
    "KeBugCheckEx",
    "KeCancelTimer",
    "KeClearEvent",
    "KeDelayExecutionThread",
    "KeEnterCriticalRegion",
    "KeFlushQueuedDpcs",
    "KeInitializeDpc",
    "KeInitializeEvent",
    "KeInitializeTimer",
    "KeReleaseSpinLock",
    "KeSetEvent",
    "KeSetTimer",
    "KeSetTimerEx",
    "KeWaitForSingleObject",
    "MmMapLockedPagesSpecifyCache",
    "ObReferenceObjectByHandle",
    "ObfDereferenceObject",
    "PsCreateSystemThread",
    "PsTerminateSystemThread",
    "ZwClose",
];

/// The image of `wdm.c`, built once a process.
pub fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(build)
}

fn build() -> Vec<u8> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers/wdm.c");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders below the root");
    let parts = xwdk::Parts::find(root).expect("the toolchain's folder");
    parts.complete().expect("the parts that images are built from");
    let environment = parts.environment();
    // Each test program builds for itself, and several may run at once.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(std::process::id().to_string());
    std::fs::create_dir_all(&folder).expect("a folder to build in");
    let run = |program: &OsStr, arguments: &[&OsStr]| {
        let output = Command::new(program)
            .current_dir(&folder)
            .envs(environment.iter().cloned())
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", program.display()));
        assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    };
    let words = |text: &'static str| text.split(' ').map(OsStr::new).collect::<Vec<_>>();

    let include = environment
        .iter()
        .find(|(name, _)| *name == "XWDK_MINGW_INCLUDE")
        .map_or(PathBuf::from("/usr/share/mingw-w64/include"), |(_, folder)| folder.into());
    let mut compile = words("--target=x86_64-w64-windows-gnu -O1 -ffreestanding -fno-builtin -Wall -Wno-multichar");
    compile.extend(words("-Wno-unknown-pragmas -c -o wdm.o -isystem"));
    let ddk = include.join("ddk");
    compile.extend([include.as_os_str(), "-isystem".as_ref(), ddk.as_os_str(), source.as_ref()]);
    run("clang".as_ref(), &compile);

    let definition = format!("LIBRARY ntoskrnl.exe\nEXPORTS\n{}\n", IMPORTS.join("\n"));
    std::fs::write(folder.join("kernel.def"), definition).expect("a file in the folder");
    run("llvm-dlltool".as_ref(), &words("-m i386:x86-64 -d kernel.def -l kernel.lib"));

    let linker = sysroot().join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    let mut link = words("-flavor link /driver /subsystem:native /entry:DriverEntry /nodefaultlib /debug:symtab");
    link.extend(words("/out:wdm.sys wdm.o kernel.lib"));
    run(linker.as_os_str(), &link);
    let image = std::fs::read(folder.join("wdm.sys")).expect("the image that was just built");
    let _ = std::fs::remove_dir_all(&folder);
    image
}

fn sysroot() -> PathBuf {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc runs");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim())
}
