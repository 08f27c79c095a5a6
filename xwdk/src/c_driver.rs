//! Drivers in C for tests, built with what the project builds its own images with.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::Parts;

/// Where Debian has the headers, if the toolchain's folder does not.
const MINGW_INCLUDE: &str = "/usr/share/mingw-w64/include";

/// Builds the driver image of a C source in `folder`, which it makes. Names that begin with `Fwp` are imported from `fwpkclnt.sys`,
/// with `Wdf` from `wdfldr.sys`, and all others from `ntoskrnl.exe`.
pub fn build(root: &Path, source: &Path, folder: &Path) -> Result<PathBuf> {
    let parts = Parts::find(root)?;
    parts.complete()?;
    let environment = parts.environment();
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let run = |program: &OsStr, arguments: &[OsString]| -> Result<String> {
        let mut command = Command::new(program);
        command.current_dir(folder).envs(environment.iter().cloned()).args(arguments);
        let output = command
            .output()
            .with_context(|| format!("cannot run {}; run `cargo xtask setup`", program.to_string_lossy()))?;
        if !output.status.success() {
            bail!("{}: {}", program.to_string_lossy(), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };

    let include = environment
        .iter()
        .find(|(name, _)| *name == "XWDK_MINGW_INCLUDE")
        .map_or(PathBuf::from(MINGW_INCLUDE), |(_, folder)| folder.into());
    let mut compile = words(
        "--target=x86_64-w64-windows-gnu -O1 -ffreestanding -fno-builtin -fasynchronous-unwind-tables -fms-extensions -c -Wall",
    );
    compile.extend(words("-Wno-multichar -Wno-unknown-pragmas -Werror=implicit-function-declaration"));
    compile.extend(words("-D_WIN32_WINNT=0x0A00 -DNTDDI_VERSION=0x0A000008 -isystem"));
    compile.extend([include.clone().into(), "-isystem".into(), include.join("ddk").into()]);
    compile.extend(words("-o driver.o"));
    compile.push(source.into());
    run("clang".as_ref(), &compile)?;

    let wanted = run("llvm-nm".as_ref(), &words("--undefined-only --format=just-symbols driver.o"))?;
    let mut modules = BTreeMap::<&str, Vec<&str>>::new();
    // The linker itself defines the image's base.
    for line in wanted.lines().filter(|line| *line != "__ImageBase") {
        let name = line.strip_prefix("__imp_").unwrap_or(line);
        let module = match () {
            () if name.starts_with("Fwp") => "fwpkclnt.sys",
            () if name.starts_with("Wdf") => "wdfldr.sys",
            () => "ntoskrnl.exe",
        };
        modules.entry(module).or_default().push(name);
    }
    let mut link = words("-flavor link /driver /subsystem:native /entry:DriverEntry /nodefaultlib /debug:symtab");
    for (module, mut names) in modules {
        names.sort_unstable();
        names.dedup();
        std::fs::write(folder.join("imports.def"), format!("LIBRARY {module}\nEXPORTS\n{}\n", names.join("\n")))
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        run("llvm-dlltool".as_ref(), &words(&format!("-m i386:x86-64 -d imports.def -l {module}.lib")))?;
        link.push(format!("{module}.lib").into());
    }
    link.extend(words("/out:driver.sys driver.o"));
    let linker = parts.sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    run(linker.as_os_str(), &link)?;
    Ok(folder.join("driver.sys"))
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}
