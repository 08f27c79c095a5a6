//! Drivers in C for the lab's tests, built with what the project builds its own images with.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What the drivers import; the import libraries are made from these lists.
const KERNEL: &[&str] = &[
    "DbgBreakPoint",
    "DbgPrint",
    "ExAcquireRundownProtection",
    "ExAllocatePool2",
    "ExDeleteNPagedLookasideList",
    "ExFreePoolWithTag",
    "ExInitializeNPagedLookasideList",
    "ExInitializeRundownProtection",
    "ExQueryDepthSList",
    "ExQueueWorkItem",
    "ExReleaseRundownProtection",
    "ExWaitForRundownProtectionRelease",
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
    "KeInsertQueueDpc",
    "KeReadStateEvent",
    "KeReleaseSpinLock",
    "KeSetEvent",
    "KeSetTimer",
    "KeSetTimerEx",
    "KeWaitForSingleObject",
    "MmMapLockedPagesSpecifyCache",
    "ObReferenceObjectByHandle",
    "ObfDereferenceObject",
    "PsCreateSystemThread",
    "PsSetCreateProcessNotifyRoutine",
    "PsTerminateSystemThread",
    "WdmlibIoCreateDeviceSecure",
    "ZwClose",
    "ZwWaitForSingleObject",
];

const FILTER_ENGINE: &[&str] = &[
    "FwpmCalloutAdd0",
    "FwpmEngineClose0",
    "FwpmEngineGetOption0",
    "FwpmEngineOpen0",
    "FwpmFilterAdd0",
    "FwpsCalloutRegister0",
    "FwpsCalloutRegister1",
    "FwpsCalloutUnregisterById0",
    "FwpsFlowAssociateContext0",
    "FwpsFlowRemoveContext0",
    "FwpsInjectionHandleCreate0",
    "FwpsInjectionHandleDestroy0",
];

const FRAMEWORK: &[&str] = &["WdfVersionBind", "WdfVersionUnbind"];

/// The image of `wdm.c`, built once a process.
#[allow(dead_code, reason = "each test program uses one of the drivers")]
pub fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| build("wdm.c"))
}

/// The image of `timed.c`, built once a process.
#[allow(dead_code, reason = "each test program uses one of the drivers")]
pub fn timed() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| build("timed.c"))
}

/// Builds a driver from its source, in the folder `tests/drivers` of the package that is tested.
pub fn build(source: &str) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(source);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders below the root");
    let parts = xwdk::Parts::find(root).expect("the toolchain's folder");
    parts.complete().expect("the parts that images are built from");
    let environment = parts.environment();
    // Each test program builds for itself, and several may run at once.
    let name = format!("{}-{}", std::process::id(), source.file_stem().and_then(OsStr::to_str).unwrap_or_default());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
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
    fn words(text: &str) -> Vec<&OsStr> {
        text.split(' ').map(OsStr::new).collect()
    }

    let include = environment
        .iter()
        .find(|(name, _)| *name == "XWDK_MINGW_INCLUDE")
        .map_or(PathBuf::from("/usr/share/mingw-w64/include"), |(_, folder)| folder.into());
    let mut compile = words("--target=x86_64-w64-windows-gnu -O1 -ffreestanding -fno-builtin -Wall -Wno-multichar");
    compile.extend(words("-Wno-unknown-pragmas -c -o driver.o -isystem"));
    let ddk = include.join("ddk");
    compile.extend([include.as_os_str(), "-isystem".as_ref(), ddk.as_os_str(), source.as_os_str()]);
    run("clang".as_ref(), &compile);

    for (module, library, imports) in [
        ("ntoskrnl.exe", "kernel", KERNEL),
        ("fwpkclnt.sys", "engine", FILTER_ENGINE),
        ("wdfldr.sys", "framework", FRAMEWORK),
    ] {
        let definition = format!("LIBRARY {module}\nEXPORTS\n{}\n", imports.join("\n"));
        std::fs::write(folder.join(format!("{library}.def")), definition).expect("a file in the folder");
        run("llvm-dlltool".as_ref(), &words(&format!("-m i386:x86-64 -d {library}.def -l {library}.lib")));
    }

    let linker = sysroot().join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    let mut link = words("-flavor link /driver /subsystem:native /entry:DriverEntry /nodefaultlib /debug:symtab");
    link.extend(words("/out:driver.sys driver.o kernel.lib engine.lib framework.lib"));
    run(linker.as_os_str(), &link);
    let image = std::fs::read(folder.join("driver.sys")).expect("the image that was just built");
    let _ = std::fs::remove_dir_all(&folder);
    image
}

fn sysroot() -> PathBuf {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc runs");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim())
}
