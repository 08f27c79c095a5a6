//! AddReg.

use super::{Checker, contains, number};
use crate::inf::finding::rule;
use crate::inf::syntax::{Entry, Section};

const ROOTS: &[&str] = &["HKR", "HKLM", "HKCR", "HKCU", "HKU"];
const TYPE_DWORD: u32 = 0x0001_0001;
const TYPE_MASK: u32 = 0xffff_0001;
const APPEND: u32 = 0x8;

impl Checker<'_> {
    pub fn registry(&mut self) {
        let mut seen: Vec<&str> = Vec::new();
        for (name, from, _) in self.referenced("AddReg") {
            let Some(section) = self.inf.section(&name) else { continue };
            if seen.contains(&section.name.as_str()) {
                continue;
            }
            seen.push(&section.name);
            let of_service = from.find("ServiceBinary").is_some();
            for (index, entry) in section.entries.iter().enumerate() {
                self.registry_entry(entry, of_service);
                self.registry_duplicate(section, index);
            }
        }
    }

    fn registry_entry(&mut self, entry: &Entry, of_service: bool) {
        let (root, key) = (self.value(entry, 0), self.value(entry, 1));
        if !contains(ROOTS, &root) {
            self.report(rule::REGISTRY_ROOT, entry.line, format!("'{root}' must be {}", ROOTS.join(", ")));
            return;
        }
        if self.primitive {
            let classes = root.eq_ignore_ascii_case("HKCR")
                || root.eq_ignore_ascii_case("HKLM") && key.to_ascii_lowercase().starts_with("software\\classes");
            if !root.eq_ignore_ascii_case("HKR") && !classes {
                self.report(
                    rule::REGISTRY_ISOLATION,
                    entry.line,
                    format!("{root}\\{key} is outside the driver's own HKR"),
                );
            } else if of_service && !in_parameters(&key) {
                let message = format!("a service's values are below its subkey Parameters, not in '{key}'");
                self.report(rule::REGISTRY_ISOLATION, entry.line, message);
            }
        }
        let (flags, value) = (self.value(entry, 3), self.value(entry, 4));
        let bits = if flags.is_empty() { Some(0) } else { number(&flags) };
        match bits {
            None => self.report(rule::REGISTRY_VALUE, entry.line, format!("'{flags}' are no flags of AddReg")),
            Some(bits) if bits & TYPE_MASK == TYPE_DWORD && number(&value).is_none() => {
                let message = format!("'{value}' must be a number: the flags say REG_DWORD");
                self.report(rule::REGISTRY_VALUE, entry.line, message);
            }
            Some(_) => {}
        }
    }

    fn registry_duplicate(&mut self, section: &Section, index: usize) {
        let place =
            |entry: &Entry| (0..3).map(|field| self.value(entry, field).to_ascii_lowercase()).collect::<Vec<_>>();
        let entry = &section.entries[index];
        let appends = number(&self.value(entry, 3)).is_some_and(|flags| flags & APPEND != 0);
        let first = section.entries[..index].iter().find(|earlier| place(earlier) == place(entry));
        if let Some(first) = first.filter(|_| !appends) {
            let message = format!("the value is set already, in line {}", first.line);
            self.report(rule::DUPLICATE, entry.line, message);
        }
    }
}

fn in_parameters(key: &str) -> bool {
    key.split('\\').next().is_some_and(|first| first.eq_ignore_ascii_case("Parameters"))
}
