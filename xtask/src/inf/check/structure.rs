//! Which sections there are, how they are named, and who refers to them.

use super::{ARCHITECTURES, Checker, SUFFIXES, classes, contains, has_directives, number, without_nt};
use crate::inf::finding::rule;
use crate::inf::syntax::{Section, extends};

/// Sections that the system looks for by name.
const SYSTEM: &[&str] = &[
    "Version",
    "Strings",
    "SourceDisksNames",
    "SourceDisksFiles",
    "DestinationDirs",
    "Manufacturer",
    "ControlFlags",
    "DefaultInstall",
    "DefaultUninstall",
    "ClassInstall32",
    "InterfaceInstall32",
    "DeviceInstall32",
    "SignatureAttributes",
];

/// Directives that a universal INF must not have ("Using a Universal INF File").
const NOT_UNIVERSAL: &[&str] = &[
    "BitReg",
    "DelFiles",
    "DelProperty",
    "DelReg",
    "DelService",
    "Ini2Reg",
    "LogConfig",
    "ProfileItems",
    "RegisterDlls",
    "RenFiles",
    "UnregisterDlls",
    "UpdateIniFields",
    "UpdateInis",
];

/// Directives of a DefaultInstall section. OptionDesc is not on its page, but in Microsoft's samples.
const DEFAULT_INSTALL: &[&str] = &["OptionDesc", "CopyFiles", "CopyINF", "AddReg", "Include", "Needs"];
const SERVICES: &[&str] = &["AddService", "DelService", "Include", "Needs"];

/// Directives all of whose values are names of sections.
const LISTS: &[&str] = &[
    "AddPowerSetting",
    "AddProperty",
    "AddReg",
    "AddTrigger",
    "BitReg",
    "CopyFiles",
    "DelFiles",
    "DelProperty",
    "DelReg",
    "FailureActions",
    "Ini2Reg",
    "LogConfig",
    "ProfileItems",
    "RegisterDlls",
    "RenFiles",
    "UnregisterDlls",
    "UpdateIniFields",
    "UpdateInis",
];

/// Directives with a name of a section at one place, and whether it must be there.
const SINGLE: &[(&str, usize, bool)] = &[
    ("AddComponent", 2, false),
    ("AddEventProvider", 1, true),
    ("AddFilter", 2, true),
    ("AddInterface", 2, false),
    ("AddService", 3, false),
    ("AddSoftware", 2, true),
    ("KmdfService", 1, true),
    ("UmdfService", 1, true),
];

impl Checker<'_> {
    pub fn structure(&mut self) {
        self.default_sections();
        self.decorations_of_disks();
        if self.primitive {
            self.entry_point();
        } else {
            self.devices();
        }
        self.class_install();
        self.references();
        // What only follows from a reference that leads nowhere is not reported as well.
        if !self.is_broken() {
            self.unused_sections();
        }
    }

    /// Whether a section is missing, or misnamed, so that others seem to be without use.
    pub fn is_broken(&self) -> bool {
        self.is_reported(&[
            rule::SECTION_HEADER,
            rule::SECTION_MISSING,
            rule::SECTION_NAME_MISSING,
            rule::SERVICES_ALONE,
            rule::ENTRY_POINT,
            rule::ARCHITECTURE,
            rule::UNINSTALL,
            rule::SECTION_EXTENSION,
            rule::MODELS,
            rule::DESTINATION_MISSING,
        ])
    }

    fn entry_point(&mut self) {
        if !self.inf.sections.iter().any(|section| section.extends("DefaultInstall")) {
            let message = "nothing is installed: there is no [DefaultInstall.NTamd64] (nor a [Manufacturer])";
            self.report(rule::ENTRY_POINT, self.inf.sections.first().map_or(1, |section| section.line), message);
        }
    }

    fn default_sections(&mut self) {
        let inf = self.inf;
        for base in ["DefaultInstall", "DefaultUninstall"] {
            // Shorter names first: a section's extensions hang on it.
            let mut sections: Vec<&Section> = inf.sections.iter().filter(|section| section.extends(base)).collect();
            sections.sort_by_key(|section| section.name.split('.').count());
            for section in sections {
                self.default_section(section, base);
            }
        }
    }

    fn default_section(&mut self, section: &Section, base: &str) {
        let name = &section.name;
        let extensions: Vec<&str> = name.split('.').skip(1).collect();
        let suffix = suffix(name);
        let decorations = &extensions[..extensions.len() - usize::from(suffix.is_some())];
        let installs = base == "DefaultInstall";

        if !self.primitive {
            if installs && suffix.is_none() {
                let message = format!("[Manufacturer] and [{name}] must not be in one file: is it a device's driver?");
                self.report(rule::MANUFACTURER, section.line, message);
            }
            return;
        }

        let main = &name[..name.len() - suffix.map_or(0, |suffix| suffix.len() + 1)];
        let main_section = self.inf.section(main);
        if suffix.is_some() && main_section.is_none() {
            // A misspelled architecture has been reported where the section is that this one looks for.
            if self.is_reported(&[rule::ARCHITECTURE]) {
                return;
            }
            let message = format!("[{name}] needs a section [{main}], and there is none");
            self.report(if installs { rule::SERVICES_ALONE } else { rule::UNINSTALL }, section.line, message);
            return;
        }
        match decorations {
            [decoration] if is_architecture(decoration) => {}
            // Reported for the section that it belongs to.
            _ if suffix.is_some() => return,
            [decoration, extension] if is_architecture(decoration) => {
                let message = format!("[{name}]: no section has the extension '{extension}'; Services is one");
                self.report(rule::SECTION_EXTENSION, section.line, message);
                return;
            }
            _ => {
                let message = format!("[{name}] must be named for an architecture: [{base}.NTamd64]");
                self.report(rule::ARCHITECTURE, section.line, message);
            }
        }

        match (installs, suffix) {
            (true, None) => {
                self.duplicate_keys(section, &["CopyFiles", "CopyINF", "AddReg", "Include", "Needs"]);
                self.single_values(section, &["OptionDesc"]);
                self.directives(section, DEFAULT_INSTALL);
            }
            (true, Some(suffix)) if suffix.eq_ignore_ascii_case("Services") => self.directives(section, SERVICES),
            (true, Some(suffix)) if contains(&["CoInstallers", "FactDef", "LogConfigOverride"], suffix) => {
                let message = format!("[{name}] is not for a universal INF, which a primitive driver's must be");
                self.report(rule::UNIVERSAL, section.line, message);
            }
            (false, None) => {
                let legacy = section.find("LegacyUninstall");
                if legacy.is_none_or(|entry| number(entry.value(0)) != Some(1)) {
                    let line = legacy.map_or(section.line, |entry| entry.line);
                    let message = format!("[{name}] is only for older systems, and must say so: LegacyUninstall = 1");
                    self.report(rule::UNINSTALL, line, message);
                }
            }
            _ => {}
        }
    }

    fn directives(&mut self, section: &Section, known: &[&str]) {
        for entry in &section.entries {
            let key = entry.key.as_deref().unwrap_or_else(|| entry.value(0));
            if contains(NOT_UNIVERSAL, key) {
                let message = format!("{key} is not for a universal INF, which a primitive driver's must be");
                self.report(rule::UNIVERSAL, entry.line, message);
            } else if !contains(known, key) {
                let message = format!("{key} is no directive of [{}]; it has {}", section.name, known.join(", "));
                self.report(rule::DIRECTIVE, entry.line, message);
            }
        }
    }

    /// Unlike other sections', their extensions have no `NT`.
    fn decorations_of_disks(&mut self) {
        for section in &self.inf.sections {
            for base in ["SourceDisksNames", "SourceDisksFiles"] {
                let Some(extension) = section.name.get(base.len() + 1..).filter(|_| section.extends(base)) else {
                    continue;
                };
                if !contains(ARCHITECTURES, extension) && !extension.contains('$') {
                    let message =
                        format!("[{}] is found by no system; name it [{base}] or [{base}.amd64]", section.name);
                    self.report(rule::DISKS_ARCHITECTURE, section.line, message);
                }
            }
        }
    }

    /// [Manufacturer] leads to models sections, and these lead to install sections.
    fn devices(&mut self) {
        let Some(manufacturers) = self.inf.section("Manufacturer") else { return };
        let mut models = Vec::new();
        for entry in &manufacturers.entries {
            let base = if entry.key.is_some() { self.value(entry, 0) } else { String::new() };
            if base.is_empty() {
                self.report(rule::MODELS, entry.line, "the manufacturer has no models section");
                continue;
            }
            let decorations: Vec<String> = (1..entry.values.len()).map(|index| self.value(entry, index)).collect();
            let names = match decorations.as_slice() {
                [] => vec![base],
                decorations => decorations.iter().map(|decoration| format!("{base}.{decoration}")).collect(),
            };
            for name in names {
                match self.inf.section(&name) {
                    Some(section) => models.push(section),
                    None => self.report(rule::SECTION_MISSING, entry.line, format!("there is no section [{name}]")),
                }
            }
        }
        let entries: Vec<_> = models.iter().flat_map(|section| &section.entries).collect();
        if entries.iter().all(|entry| entry.value(1).is_empty())
            && !self.is_reported(&[rule::SECTION_MISSING, rule::MODELS])
        {
            let message =
                "the driver installs on no device; without one, it is a primitive driver ([DefaultInstall.NTamd64])";
            self.report(rule::NO_DEVICE, manufacturers.line, message);
        }
        for entry in entries {
            let install = self.value(entry, 0);
            if install.is_empty() {
                self.report(rule::MODELS, entry.line, "the model has no install section");
            } else if !self.inf.sections.iter().any(|section| is_install_section(&section.name, &install)) {
                self.report(rule::SECTION_MISSING, entry.line, format!("there is no section [{install}]"));
            }
        }
    }

    fn class_install(&mut self) {
        let Some(section) = self.inf.sections.iter().find(|section| section.extends("ClassInstall32")) else { return };
        let version = self.inf.section("Version");
        let class =
            version.and_then(|version| version.find("Class")).map_or(String::new(), |entry| self.value(entry, 0));
        if classes::guid_of(&class).is_some() {
            let message = format!("[{}] must not be there: Microsoft defines the class {class}", section.name);
            self.report(rule::CLASS_INSTALL, section.line, message);
        } else if self.primitive {
            let message = format!("[{}] is not for a universal INF, which a primitive driver's must be", section.name);
            self.report(rule::UNIVERSAL, section.line, message);
        }
    }

    /// Each name of a section must be that of one.
    fn references(&mut self) {
        let inf = self.inf;
        for section in inf.sections.iter().filter(|section| has_directives(section)) {
            if let Some(needs) = section.find("Needs").filter(|_| section.find("Include").is_none()) {
                let message =
                    format!("Needs takes a section of another INF file, and [{}] has no Include", section.name);
                self.report(rule::NEEDS, needs.line, message);
            }
            for entry in &section.entries {
                let Some(key) = entry.key.as_deref() else { continue };
                if contains(LISTS, key) {
                    if entry.values.iter().all(String::is_empty) {
                        self.report(rule::SECTION_NAME_MISSING, entry.line, format!("{key} names no section"));
                    }
                    for index in 0..entry.values.len() {
                        self.reference(key, entry.line, &self.value(entry, index));
                    }
                }
                for (_, index, required) in SINGLE.iter().filter(|(directive, ..)| entry.is(directive)) {
                    let name = self.value(entry, *index);
                    if *required && name.is_empty() {
                        self.report(rule::SECTION_NAME_MISSING, entry.line, format!("{key} names no section"));
                    }
                    self.reference(key, entry.line, &name);
                }
            }
        }
    }

    pub fn reference(&mut self, directive: &str, line: usize, name: &str) {
        if !name.is_empty() && !name.starts_with('@') && self.inf.section(name).is_none() {
            self.report(rule::SECTION_MISSING, line, format!("{directive}: there is no section [{name}]"));
        }
    }

    /// A section is used if the system knows its name, or if a value is its name or the beginning of it.
    fn unused_sections(&mut self) {
        let inf = self.inf;
        let mut names: Vec<String> = SYSTEM.iter().map(|name| (*name).to_owned()).collect();
        for section in &inf.sections {
            let decorations = section.extends("Manufacturer");
            for entry in &section.entries {
                for index in 0..entry.values.len() {
                    let value = self.value(entry, index);
                    if decorations && index > 0 {
                        names.push(format!("{}.{value}", self.value(entry, 0)));
                    }
                    names.push(value);
                }
            }
        }
        for section in &inf.sections {
            // A service that no AddService installs has a rule of its own.
            let service = section.find("ServiceBinary").is_some() && self.installs_no_service();
            if !service && !names.iter().any(|name| extends(&section.name, name)) {
                self.report(rule::SECTION_UNUSED, section.line, format!("nothing refers to [{}]", section.name));
            }
        }
    }
}

/// What tells which part of an install section this is: `Services`.
fn suffix(section: &str) -> Option<&str> {
    section.rsplit_once('.').map(|(_, last)| last).filter(|last| contains(SUFFIXES, last))
}

/// Whether a section is the install section `base`, for every system or for some: `base.NTamd64`.
fn is_install_section(section: &str, base: &str) -> bool {
    let extension = section.get(base.len() + 1..).unwrap_or("NT");
    extends(section, base) && without_nt(extension).is_some() && suffix(section).is_none()
}

fn is_architecture(decoration: &str) -> bool {
    // `NT$ARCH$` is one when stampinf has run.
    without_nt(decoration).is_some_and(|architecture| contains(ARCHITECTURES, architecture) || architecture == "$ARCH$")
}
