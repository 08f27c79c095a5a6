//! What the checker reports, and by which rule.

use std::fmt;

use serde::Serialize;

/// A rule of Microsoft's pages about INF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub name: &'static str,
    /// The page it is from; a number is that of InfVerif's error on the page "INF Validation Errors and Warnings".
    pub source: &'static str,
}

impl Rule {
    pub fn at(self, line: usize, message: impl Into<String>) -> Finding {
        Finding { line, rule: self.name, message: message.into(), source: self.source }
    }
}

/// A place where a file breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub line: usize,
    pub rule: &'static str,
    pub message: String,
    pub source: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {} ({})", self.line, self.rule, self.message, self.source)
    }
}

macro_rules! rules {
    ($($constant:ident = $name:literal, $source:literal;)*) => {
        /// Every rule.
        pub mod rule {
            use super::Rule;
            $(pub const $constant: Rule = Rule { name: $name, source: $source };)*
            /// For the test that each is seen to be broken.
            #[cfg(test)]
            pub const ALL: &[Rule] = &[$($constant),*];
        }
    };
}

rules! {
    ENCODING = "encoding", "General Guidelines for INF Files; INF Validation Errors and Warnings, 1003";
    SECTION_HEADER = "section-header", "General Syntax Rules for INF Files: Section Names";
    DUPLICATE_SECTION = "duplicate-section", "INF Validation Errors and Warnings, 1209";
    CONTINUATION = "continuation", "General Syntax Rules for INF Files: Line Format, Continuation, and Comments";
    QUOTATION = "quotation", "General Syntax Rules for INF Files; INF Strings Section";
    SIZE = "size", "General Syntax Rules for INF Files: INF Size Limits";
    PERCENT = "percent", "General Syntax Rules for INF Files: a percent character is written as %%";
    STAMP = "unresolved-token", "Stampinf Command Options; INF Validation Errors and Warnings, 1274";
    STRING_UNDEFINED = "undefined-string", "INF Validation Errors and Warnings, 1235";
    STRING_MISSING_VALUE = "string-without-value", "INF Strings Section";
    LANGUAGES = "languages-differ", "INF Validation Errors and Warnings, 1295";
    DUPLICATE = "duplicate-key", "INF Validation Errors and Warnings, 1294";
    NO_KEY = "no-key", "General Syntax Rules for INF Files; INF Version Section; INF DestinationDirs Section";
    MISSING_VALUE = "missing-value", "INF Validation Errors and Warnings, 1006";
    NEEDS = "needs-without-include", "INF Validation Errors and Warnings, 1315 and 2651";
    EXTRA_VALUE = "extra-value", "INF Validation Errors and Warnings, 1201";
    VERSION = "version-section", "INF Validation Errors and Warnings, 1001";
    PROVIDER = "provider", "INF Version Section; INF Validation Errors and Warnings, 1204 and 1234";
    CLASS = "class", "INF Version Section; INF Validation Errors and Warnings, 1234 and 1286";
    CLASS_GUID = "class-guid", "INF Version Section; INF Validation Errors and Warnings, 1010 and 1234";
    CLASS_MISMATCH = "class-mismatch", "INF Validation Errors and Warnings, 1280 and 1281";
    CATALOG_FILE = "catalog-file", "INF Validation Errors and Warnings, 1214 and 1233";
    DRIVER_VER = "driver-ver", "INF DriverVer Directive; INF Validation Errors and Warnings, 1217 and 1218";
    PNP_LOCKDOWN = "pnp-lockdown", "INF Validation Errors and Warnings, 1324";
    ENTRY_POINT = "no-install-section", "Creating a Primitive Driver; INF Validation Errors and Warnings, 1423";
    MANUFACTURER = "manufacturer-and-default-install", "Creating a Primitive Driver; INF Validation Errors and Warnings, 1212";
    ARCHITECTURE = "architecture", "Creating a Primitive Driver; INF Validation Errors and Warnings, 1421";
    SECTION_EXTENSION = "section-extension", "INF DefaultInstall.Services Section; INF Validation Errors and Warnings, 2083";
    DISKS_ARCHITECTURE = "disks-architecture", "INF SourceDisksFiles Section";
    UNINSTALL = "default-uninstall", "Creating a Primitive Driver: Legacy Compatibility; INF Validation Errors and Warnings, 1422";
    SERVICES_ALONE = "services-without-install", "INF DefaultInstall.Services Section";
    NO_SERVICE = "no-service", "INF DefaultInstall Section: Remarks";
    DIRECTIVE = "directive", "INF DefaultInstall Section; INF AddService Directive; INF Validation Errors and Warnings, 1290";
    UNIVERSAL = "not-universal", "Using a Universal INF File";
    CLASS_INSTALL = "class-install", "INF Validation Errors and Warnings, 1285";
    SECTION_MISSING = "missing-section", "INF Validation Errors and Warnings, 1203";
    SECTION_NAME_MISSING = "section-name-required", "INF Validation Errors and Warnings, 1005";
    SECTION_UNUSED = "unused-section", "INF Validation Errors and Warnings, 2083";
    MODELS = "models", "INF Manufacturer Section; INF Models Section; INF Validation Errors and Warnings, 1011 and 1271";
    NO_DEVICE = "no-device", "INF Validation Errors and Warnings, 1297";
    SOURCE_FILE_MISSING = "not-in-source-disks-files", "INF Validation Errors and Warnings, 1230";
    SOURCE_FILE_UNUSED = "not-copied", "INF SourceDisksFiles Section";
    SOURCE_FILE = "source-file", "INF SourceDisksFiles Section; INF Validation Errors and Warnings, 1213";
    DISK_ID = "disk-id", "INF Validation Errors and Warnings, 1008 and 1273";
    DESTINATION_MISSING = "no-destination", "INF DestinationDirs Section; INF Validation Errors and Warnings, 1275";
    DESTINATION_UNUSED = "unused-destination", "INF DestinationDirs Section";
    DIRID = "dirid", "Using Dirids; INF Validation Errors and Warnings, 1243";
    DIRID_13 = "run-from-driver-store", "Creating a Primitive Driver; Run From Driver Store; INF Validation Errors and Warnings, 1322";
    DRIVER_STORE_COPY = "driver-store-copy", "Run From Driver Store; INF Validation Errors and Warnings, 1100";
    DRIVER_STORE_DELETE = "driver-store-delete", "INF Validation Errors and Warnings, 1102";
    COPY_FLAGS = "copy-flags", "INF CopyFiles Directive";
    SERVICE_NAME = "service-name", "INF AddService Directive; INF Validation Errors and Warnings, 1253";
    SERVICE_FLAGS = "service-flags", "INF AddService Directive; INF DelService Directive; INF Validation Errors and Warnings, 1083";
    ASSOCIATED_SERVICE = "associated-service", "INF AddService Directive: SPSVCINST_ASSOCSERVICE; INF Validation Errors and Warnings, 1211";
    SERVICE_ENTRY_MISSING = "service-entry-missing", "INF AddService Directive; INF Validation Errors and Warnings, 1013";
    SERVICE_ENTRY = "service-entry", "INF AddService Directive; INF Validation Errors and Warnings, 1014";
    SERVICE_BINARY = "service-binary", "INF AddService Directive: ServiceBinary; Using Dirids; INF Validation Errors and Warnings, 1254";
    SERVICE_UNKNOWN = "unknown-service", "INF Validation Errors and Warnings, 2501";
    EVENT_LOG_TYPE = "event-log-type", "INF Validation Errors and Warnings, 1250";
    REGISTRY_ROOT = "registry-root", "INF AddReg Directive; INF Validation Errors and Warnings, 1224";
    REGISTRY_ISOLATION = "registry-isolation", "Driver Package Isolation; INF Validation Errors and Warnings, 1320 and 1323";
    REGISTRY_VALUE = "registry-value", "INF AddReg Directive; INF Validation Errors and Warnings, 1268";
}
