//! What an image is, before anything of it has run.

use std::collections::BTreeMap;

use object::LittleEndian as LE;
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, PeFile64};
use object::{Object, ObjectSymbol};
use postern_faults::scenario::{Outcome, Subject};
use postern_lab::{Circumstance, Config, ImageError, Lab};
use serde::Serialize;

/// What an image is.
#[derive(Debug, Serialize)]
pub struct ImageFacts {
    pub service: String,
    pub bytes: usize,
    /// `WDM`, or `KMDF 1.33` with the version that the driver asks for.
    pub model: String,
    /// Imported names by module.
    pub imports: BTreeMap<String, Vec<String>>,
    /// Imports that the lab does not supply.
    pub unknown: Vec<String>,
    /// Why the image cannot be loaded, unless it is for its imports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// Functions that reports can name.
    pub symbols: usize,
    /// `IMAGE_FILE_HEADER.TimeDateStamp`, in seconds.
    pub timestamp: u32,
    pub linker: String,
}

impl ImageFacts {
    pub fn of(subject: &Subject) -> ImageFacts {
        let mut facts = ImageFacts {
            service: subject.service.clone(),
            bytes: subject.image.len(),
            model: "WDM".into(),
            imports: BTreeMap::new(),
            unknown: Vec::new(),
            broken: None,
            symbols: 0,
            timestamp: 0,
            linker: String::new(),
        };
        match Lab::start(Config::default()).check_image(&subject.image) {
            Err(ImageError::UnknownImports(names)) => facts.unknown = names,
            Err(error) => facts.broken = Some(error.to_string()),
            Ok(()) => {}
        }
        let Ok(file) = PeFile64::parse(&*subject.image) else { return facts };
        for import in file.imports().into_iter().flat_map(|imports| imports.flatten()) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let name = match import.name() {
                object::NameOrOrdinal::Name(name) => text(name),
                object::NameOrOrdinal::Ordinal(ordinal) => format!("#{ordinal}"),
            };
            facts.imports.entry(text(import.library()).to_ascii_lowercase()).or_default().push(name);
        }
        for names in facts.imports.values_mut() {
            names.sort();
        }
        if facts.imports.contains_key("wdfldr.sys") {
            facts.model = "KMDF".into();
        }
        facts.symbols = file.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text).count();
        let headers = file.nt_headers();
        facts.timestamp = headers.file_header().time_date_stamp.get(LE);
        let optional = headers.optional_header();
        facts.linker = format!("{}.{}", optional.major_linker_version(), optional.minor_linker_version());
        facts
    }

    /// With what the driver says when it binds to the framework.
    pub fn with_framework(mut self, base: &Outcome) -> ImageFacts {
        let minor = base.trace.iter().find_map(|call| match call.circumstance {
            Some(Circumstance::FrameworkVersion(minor)) => Some(minor),
            _ => None,
        });
        if let Some(minor) = minor {
            self.model = format!("KMDF 1.{minor}");
        }
        self
    }
}
