//! How bindings are generated, so that they have the shape that the WDK's crates expect.

use std::borrow::Borrow;
use std::process::Command;

use bindgen::callbacks::{ItemInfo, ItemKind, ParseCallbacks};

use crate::headers::clang_arguments;
use crate::{Config, ConfigError};

/// Makes a [`bindgen::Builder`] for the WDK's headers.
pub trait BuilderExt {
    fn wdk_default(config: impl Borrow<Config>) -> Result<bindgen::Builder, ConfigError>;
}

impl BuilderExt for bindgen::Builder {
    fn wdk_default(config: impl Borrow<Config>) -> Result<bindgen::Builder, ConfigError> {
        let config = config.borrow();
        let rust_target = bindgen::RustTarget::stable(91, 0).expect("bindgen knows the Rust version of wdk-build 0.6");
        Ok(bindgen::Builder::default()
            .use_core()
            .derive_default(true)
            .generate_cstr(true)
            .detect_include_paths(false)
            .rust_target(rust_target)
            .rust_edition(bindgen::RustEdition::Edition2024)
            .default_enum_style(bindgen::EnumVariation::ModuleConsts)
            .must_use_type("NTSTATUS")
            .must_use_type("HRESULT")
            // Deprecated in the WDK, and therefore not bound by Microsoft's wdk-build either.
            .blocklist_item("ExAllocatePool(WithTag|WithQuotaTag|WithTagPriority)?")
            // Types whose bit fields or missing definitions bindgen cannot lay out.
            .opaque_type("_KGDTENTRY64")
            .opaque_type("_KIDTENTRY64")
            .blocklist_item(".*MCG_CAP(?:__bindgen.*)?")
            .blocklist_item(".*WHEA_XPF_MCA_SECTION")
            .blocklist_item(".*WHEA_ARM_(PROCESSOR|CACHE|BUS)_ERROR(?:__bindgen.*)?")
            .clang_args(clang_arguments()?)
            // `size_t` in the compiler's own declarations would be bound as u64 instead of usize.
            .clang_arg("-fno-builtin")
            .clang_args(resource_include())
            .clang_args(config.include_paths()?.map(|folder| format!("--include-directory={}", folder.display())))
            .clang_args(
                config
                    .preprocessor_definitions()
                    .map(|(name, value)| format!("-D{name}{}", value.map(|v| format!("={v}")).unwrap_or_default())),
            )
            .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()))
            .parse_callbacks(Box::new(WdfFunctionsName(config.compute_wdffunctions_symbol_name()))))
    }
}

/// clang's own headers (`stddef.h`, `stdarg.h`), which libclang does not find by itself where it is a shared library of the system.
fn resource_include() -> Option<String> {
    let output = Command::new("clang").arg("-print-resource-dir").output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    Some(format!("-isystem{}/include", folder.trim()))
}

/// Gives the function table the name `WdfFunctions` that a macro of `wdf.h` gives it in C.
#[derive(Debug)]
struct WdfFunctionsName(Option<String>);

impl ParseCallbacks for WdfFunctionsName {
    fn generated_name_override(&self, item: ItemInfo<'_>) -> Option<String> {
        (matches!(item.kind, ItemKind::Var) && Some(item.name) == self.0.as_deref()).then(|| "WdfFunctions".to_owned())
    }
}
