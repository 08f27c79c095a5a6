//! [Version]

use jiff::civil::Date;

use super::{Checker, classes};
use crate::inf::finding::rule;
use crate::inf::syntax::Section;

const LONGEST_CLASS: usize = 31;
const SINGLE: &[&str] = &["Signature", "Class", "ClassGuid", "Provider", "CatalogFile", "PnpLockdown"];

impl Checker<'_> {
    pub fn version(&mut self) {
        let Some(section) = self.inf.section("Version") else {
            self.report(rule::VERSION, 1, "there is no [Version] section");
            return;
        };
        self.keys(section);
        self.duplicate_keys(section, &[]);
        self.single_values(section, SINGLE);
        self.signature(section);
        self.provider(section);
        self.class(section);
        self.catalog(section);
        self.driver_ver(section);
        self.lockdown(section);
    }

    /// The line to report and the value of a key, which is empty where there is none.
    fn version_value(&self, section: &Section, key: &str) -> (usize, String) {
        section.find(key).map_or((section.line, String::new()), |entry| (entry.line, self.value(entry, 0)))
    }

    fn signature(&mut self, section: &Section) {
        let (line, signature) = self.version_value(section, "Signature");
        if !["$windows nt$", "$chicago$"].contains(&signature.to_ascii_lowercase().as_str()) {
            let message = format!("Signature is '{signature}', and must be \"$WINDOWS NT$\" or \"$CHICAGO$\"");
            self.report(rule::VERSION, line, message);
        }
    }

    fn provider(&mut self, section: &Section) {
        let (line, provider) = self.version_value(section, "Provider");
        if provider.is_empty() {
            self.report(rule::PROVIDER, line, "Provider is missing: who made the driver package");
        } else if provider.to_ascii_lowercase().starts_with("microsoft") {
            self.report(rule::PROVIDER, line, format!("Provider is '{provider}', which only Microsoft may be"));
        }
    }

    fn class(&mut self, section: &Section) {
        let (class_line, class) = self.version_value(section, "Class");
        let (guid_line, guid) = self.version_value(section, "ClassGuid");
        if class.is_empty() {
            self.report(rule::CLASS, class_line, "Class is missing");
        } else if class.chars().count() > LONGEST_CLASS {
            self.report(rule::CLASS, class_line, format!("the class is longer than {LONGEST_CLASS} characters"));
        }
        if guid.is_empty() {
            self.report(rule::CLASS_GUID, guid_line, "ClassGuid is missing");
            return;
        }
        if !is_guid(&guid) {
            let message = format!("ClassGuid is '{guid}', and must be like {{01234567-89AB-CDEF-0123-456789ABCDEF}}");
            self.report(rule::CLASS_GUID, guid_line, message);
            return;
        }
        if let Some(expected) = classes::guid_of(&class).filter(|expected| !expected.eq_ignore_ascii_case(&guid)) {
            let message = format!("the ClassGuid of {class} is {expected}, not {guid}");
            self.report(rule::CLASS_MISMATCH, guid_line, message);
        } else if let Some(expected) = classes::class_of(&guid)
            && !class.is_empty()
            && !expected.eq_ignore_ascii_case(&class)
        {
            let message = format!("the class of {guid} is {expected}, not {class}");
            self.report(rule::CLASS_MISMATCH, class_line, message);
        }
    }

    fn catalog(&mut self, section: &Section) {
        let catalogs: Vec<_> = section
            .entries
            .iter()
            .filter(|entry| entry.key.as_ref().is_some_and(|key| crate::inf::syntax::extends(key, "CatalogFile")))
            .collect();
        if catalogs.is_empty() {
            self.report(rule::CATALOG_FILE, section.line, "CatalogFile is missing: nothing signs the driver package");
        }
        for entry in catalogs {
            let name = self.value(entry, 0);
            let is_catalog =
                name.len() > 4 && name.to_ascii_lowercase().ends_with(".cat") && !name.contains(['\\', '/']);
            if !is_catalog {
                self.report(rule::CATALOG_FILE, entry.line, format!("'{name}' must be a file name that ends in .cat"));
            }
        }
    }

    fn driver_ver(&mut self, section: &Section) {
        let Some(entry) = section.find("DriverVer") else {
            self.report(rule::DRIVER_VER, section.line, "DriverVer is missing: mm/dd/yyyy,w.x.y.z");
            return;
        };
        if entry.values.is_empty() {
            self.report(rule::DRIVER_VER, entry.line, "DriverVer is empty: mm/dd/yyyy,w.x.y.z");
            return;
        }
        let (date, version) = (self.value(entry, 0), self.value(entry, 1));
        if !is_date(&date) {
            let message = format!("DriverVer's date is '{date}', and must be a day like 01/31/2026 (mm/dd/yyyy)");
            self.report(rule::DRIVER_VER, entry.line, message);
        }
        if !is_version(&version) {
            let message = format!(
                "DriverVer's version is '{version}', and must be four numbers like 1.0.0.0, each less than 65535, not all zero"
            );
            self.report(rule::DRIVER_VER, entry.line, message);
        }
        if entry.values.len() > 2 {
            let message = format!("DriverVer has a date and a version, and '{}' is one value more", entry.value(2));
            self.report(rule::EXTRA_VALUE, entry.line, message);
        }
    }

    fn lockdown(&mut self, section: &Section) {
        let (line, value) = self.version_value(section, "PnpLockdown");
        if super::number(&value) != Some(1) {
            let message = "PnpLockdown = 1 is missing: any program could change the files that are installed";
            self.report(rule::PNP_LOCKDOWN, line, message);
        }
    }
}

fn is_guid(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else { return false };
    let groups: Vec<&str> = inner.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// "INF DriverVer Directive": two digits, two digits, four digits, with `/` or `-` between them.
fn is_date(text: &str) -> bool {
    let fields: Vec<&str> = text.split(['/', '-']).collect();
    let digits = fields.iter().all(|field| field.bytes().all(|digit| digit.is_ascii_digit()));
    let [month, day, year] = fields.as_slice() else { return false };
    digits
        && [month.len(), day.len(), year.len()] == [2, 2, 4]
        && matches!((year.parse(), month.parse(), day.parse()), (Ok(year), Ok(month), Ok(day)) if Date::new(year, month, day).is_ok())
}

fn is_version(text: &str) -> bool {
    let parts: Vec<Option<u16>> = text
        .split('.')
        .map(|part| part.bytes().all(|digit| digit.is_ascii_digit()).then(|| part.parse().ok()).flatten())
        .collect();
    parts.len() == 4
        && parts.iter().all(|part| part.is_some_and(|part| part < u16::MAX))
        && parts.iter().any(|part| *part != Some(0))
}
