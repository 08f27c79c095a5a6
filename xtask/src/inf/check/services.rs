//! Services: AddService, DelService, and the sections that describe a service.

use std::collections::BTreeSet;

use super::{Checker, classes, contains, number};
use crate::inf::finding::rule;
use crate::inf::syntax::{Entry, Section};

/// SPSVCINST_* that AddService has.
const ADD_FLAGS: u32 = 0x0006_fdfb;
const ASSOCIATED: u32 = 0x2;
/// SPSVCINST_* that DelService has.
const DELETE_FLAGS: u32 = 0x204;

const KERNEL_DRIVER: u32 = 0x1;
const FILE_SYSTEM_DRIVER: u32 = 0x2;
/// Programs: a process of their own, a shared one, each of a user's, and with a desktop.
const PROGRAMS: &[u32] = &[0x10, 0x20, 0x50, 0x60, 0x110, 0x120];
const DISABLED: u32 = 4;
const HIGHEST_ERROR_CONTROL: u32 = 3;

const REQUIRED: &[&str] = &["ServiceType", "StartType", "ErrorControl", "ServiceBinary"];
const SINGLE: &[&str] = &[
    "DisplayName",
    "Description",
    "ServiceType",
    "StartType",
    "ErrorControl",
    "ServiceBinary",
    "StartName",
    "LoadOrderGroup",
    "ServiceSidType",
    "DelayedAutoStart",
    "BootFlags",
    "Security",
];
const LISTS: &[&str] =
    &["AddReg", "DelReg", "BitReg", "Dependencies", "RequiredPrivileges", "AddTrigger", "FailureActions"];

const EVENT_LOG_TYPES: &[&str] = &["System", "Security", "Application"];

impl<'a> Checker<'a> {
    pub fn services(&mut self) {
        let mut described: BTreeSet<usize> = BTreeSet::new();
        let mut named: Vec<String> = Vec::new();
        for section in self.services_sections() {
            let mut associated: Option<&Entry> = None;
            let mut here: Vec<String> = Vec::new();
            for entry in section.all("AddService") {
                let name = self.value(entry, 0);
                if !name.is_empty() && here.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                    self.report(rule::DUPLICATE, entry.line, format!("the service {name} is added twice"));
                }
                if self.add_service(entry) {
                    if let Some(first) = associated {
                        let message = format!("line {} has the device's service already", first.line);
                        self.report(rule::ASSOCIATED_SERVICE, entry.line, message);
                    }
                    associated = Some(entry);
                }
                if let Some(description) = self.inf.section(&self.value(entry, 2))
                    && described.insert(description.line)
                {
                    self.service(description);
                }
                here.push(name);
            }
            named.extend(here);
        }
        for section in self.services_sections() {
            for entry in section.all("DelService") {
                self.delete_service(entry, &named);
            }
        }
        if self.primitive && self.installs_no_service() && !self.is_broken() {
            let line = self.inf.sections.iter().find(|section| section.extends("DefaultInstall")).map_or(1, |s| s.line);
            let unreached = self.inf.sections.iter().find(|section| section.find("ServiceBinary").is_some());
            let hint = unreached.map_or(String::new(), |section| format!("; nothing leads to [{}]", section.name));
            let message = format!("no AddService in [DefaultInstall.NT….Services]: no driver is installed{hint}");
            self.report(rule::NO_SERVICE, line, message);
        }
    }

    fn services_sections(&self) -> impl Iterator<Item = &'a Section> + use<'a> {
        self.inf.sections.iter().filter(|section| section.name.to_ascii_lowercase().ends_with(".services"))
    }

    /// Whether no section of services adds one.
    pub fn installs_no_service(&self) -> bool {
        self.services_sections().all(|section| section.find("AddService").is_none())
    }

    /// Checks the directive, and tells whether its service is that of the device.
    fn add_service(&mut self, entry: &Entry) -> bool {
        let (name, flags, description) = (self.value(entry, 0), self.value(entry, 1), self.value(entry, 2));
        let bits = if flags.is_empty() { Some(0) } else { number(&flags) };
        let Some(bits) = bits.filter(|bits| bits & !ADD_FLAGS == 0) else {
            self.report(rule::SERVICE_FLAGS, entry.line, format!("'{flags}' are no flags of AddService"));
            return false;
        };
        let associated = bits & ASSOCIATED != 0;
        if associated && self.primitive {
            let message =
                "SPSVCINST_ASSOCSERVICE (2) makes a service that of a device, and a primitive driver has none";
            self.report(rule::ASSOCIATED_SERVICE, entry.line, message);
        }
        if name.is_empty() && !associated {
            self.report(rule::SERVICE_NAME, entry.line, "AddService names no service");
        }
        if !name.is_empty() {
            if description.is_empty() {
                let message = format!("AddService names no section that describes the service {name}");
                self.report(rule::SECTION_NAME_MISSING, entry.line, message);
            }
            self.reference("AddService", entry.line, &description);
        }
        self.event_log_type(entry, 4);
        associated
    }

    fn delete_service(&mut self, entry: &Entry, named: &[String]) {
        let (name, flags) = (self.value(entry, 0), self.value(entry, 1));
        if name.is_empty() {
            self.report(rule::SERVICE_NAME, entry.line, "DelService names no service");
        } else if !named.iter().any(|known| known.is_empty() || known.eq_ignore_ascii_case(&name)) && !named.is_empty()
        {
            let message = format!("DelService removes {name}, which this file does not install");
            self.report(rule::SERVICE_UNKNOWN, entry.line, message);
        }
        if !flags.is_empty() && number(&flags).is_none_or(|bits| bits & !DELETE_FLAGS != 0) {
            self.report(rule::SERVICE_FLAGS, entry.line, format!("'{flags}' are no flags of DelService"));
        }
        self.event_log_type(entry, 2);
    }

    fn event_log_type(&mut self, entry: &Entry, index: usize) {
        let kind = self.value(entry, index);
        if !kind.is_empty() && !contains(EVENT_LOG_TYPES, &kind) {
            let message = format!("'{kind}' must be {}", EVENT_LOG_TYPES.join(", "));
            self.report(rule::EVENT_LOG_TYPE, entry.line, message);
        }
    }

    fn service(&mut self, section: &Section) {
        self.duplicate_keys(section, &["AddReg", "DelReg", "BitReg", "AddTrigger"]);
        self.single_values(section, SINGLE);
        for entry in &section.entries {
            let key = entry.key.as_deref().unwrap_or_else(|| entry.value(0));
            if !contains(SINGLE, key) && !contains(LISTS, key) {
                self.report(rule::DIRECTIVE, entry.line, format!("{key} is no entry of a service"));
            } else if contains(&["DisplayName", "Description", "LoadOrderGroup", "Dependencies", "StartName"], key)
                && self.value(entry, 0).is_empty()
            {
                self.report(rule::MISSING_VALUE, entry.line, format!("{key} has no value"));
            }
        }
        for key in REQUIRED {
            match section.find(key) {
                None => {
                    self.report(rule::SERVICE_ENTRY_MISSING, section.line, format!("[{}] has no {key}", section.name));
                }
                Some(entry) => self.service_entry(key, entry, section),
            }
        }
    }

    fn service_entry(&mut self, key: &str, entry: &Entry, section: &Section) {
        let text = self.value(entry, 0);
        if key == "ServiceBinary" {
            return self.service_binary(entry, &text);
        }
        let value = number(&text);
        let problem = match key {
            "ServiceType" => self.service_type_problem(value, section),
            "StartType" => match value {
                Some(0..DISABLED) => None,
                Some(DISABLED) => Some("4 (SERVICE_DISABLED) cannot be installed".to_owned()),
                _ => Some("must be 0 (boot), 1 (system), 2 (automatic) or 3 (demand)".to_owned()),
            },
            _ => value
                .is_none_or(|value| value > HIGHEST_ERROR_CONTROL)
                .then(|| "must be 0 (ignore), 1 (normal), 2 (severe) or 3 (critical)".to_owned()),
        };
        if let Some(problem) = problem {
            self.report(rule::SERVICE_ENTRY, entry.line, format!("{key} = {text}: {problem}"));
        }
    }

    fn service_type_problem(&self, value: Option<u32>, section: &Section) -> Option<String> {
        let binary = section.find("ServiceBinary").map_or(String::new(), |entry| self.value(entry, 0));
        let driver = binary.to_ascii_lowercase().ends_with(".sys");
        let class = self.inf.section("Version").and_then(|version| version.find("Class"));
        let callouts =
            class.is_some_and(|class| classes::guid_of(&self.value(class, 0)) == classes::guid_of("WFPCALLOUTS"));
        match value {
            Some(KERNEL_DRIVER) if driver || binary.is_empty() => None,
            Some(FILE_SYSTEM_DRIVER) if driver && !callouts => None,
            Some(value) if PROGRAMS.contains(&value) && !driver => None,
            _ if driver => Some("a driver's is 1 (SERVICE_KERNEL_DRIVER)".to_owned()),
            _ => {
                Some("a program's is 0x10 (SERVICE_WIN32_OWN_PROCESS) or 0x20 (SERVICE_WIN32_SHARE_PROCESS)".to_owned())
            }
        }
    }

    /// `%dirid%\file`, of a file that is copied there.
    fn service_binary(&mut self, entry: &Entry, path: &str) {
        let place = path.strip_prefix('%').and_then(|rest| rest.split_once("%\\")).filter(|(_, file)| !file.is_empty());
        let Some((Ok(directory), file)) = place.map(|(directory, file)| (directory.parse::<i32>(), file)) else {
            // A string that is not defined has been reported.
            if !self.findings.iter().any(|finding| finding.line == entry.line) {
                self.report(rule::SERVICE_BINARY, entry.line, format!("'{path}' must be like %13%\\driver.sys"));
            }
            return;
        };
        let from_elsewhere = self.inf.sections.iter().any(|section| section.find("Include").is_some());
        if from_elsewhere || !file.to_ascii_lowercase().ends_with(".sys") || self.is_broken() {
            return;
        }
        let copied = self.copied(false);
        let same_file = |copied: &&super::files::Copied| {
            let folder = copied.folder.trim_matches('\\');
            let path = if folder.is_empty() { copied.name.clone() } else { format!("{folder}\\{}", copied.name) };
            path.eq_ignore_ascii_case(file)
        };
        // A wrong directory in [DestinationDirs] has been reported there.
        let moved = self.is_reported(&[rule::DIRID_13, rule::DIRID]);
        match copied.iter().find(same_file) {
            None => {
                let message = format!("no CopyFiles directive copies {file}");
                self.report(rule::SERVICE_BINARY, entry.line, message);
            }
            Some(copied) if copied.directory != directory && !moved => {
                let message =
                    format!("{file} is copied to {}, and the service looks for it in {directory}", copied.directory);
                self.report(rule::SERVICE_BINARY, entry.line, message);
            }
            Some(_) => {}
        }
    }
}
