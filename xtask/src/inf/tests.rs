use std::collections::BTreeSet;

use super::check::check;
use super::finding::rule;

/// A primitive driver's file without a mistake.
const PRIMITIVE: &str = r#"; A sample.
[Version]
Signature   = "$WINDOWS NT$"
Class       = WFPCALLOUTS
ClassGuid   = {57465043-616C-6C6F-7574-5F636C617373}
Provider    = %Company%
CatalogFile = sample.cat
DriverVer   = 01/31/2026,1.2.3.4
PnpLockdown = 1

[SourceDisksNames]
1 = %Disk%,,,""

[SourceDisksFiles]
sample.sys = 1

[DestinationDirs]
DefaultDestDir   = 13
Sample.CopyFiles = 13

[DefaultInstall.NTamd64]
OptionDesc = %Description%
CopyFiles  = Sample.CopyFiles

[DefaultInstall.NTamd64.Services]
AddService = sample,,Sample.Service ; no device

[DefaultUninstall.NTamd64]
LegacyUninstall = 1

[DefaultUninstall.NTamd64.Services]
DelService = sample,0x200

[Sample.CopyFiles]
sample.sys,,,0x40

[Sample.Service]
DisplayName    = %Description%
ServiceType    = 1
StartType      = 3
ErrorControl   = 1
ServiceBinary  = %13%\sample.sys
LoadOrderGroup = NDIS
AddReg         = Sample.Registry

[Sample.Registry]
HKR,"Parameters","Level",0x00010001,1
HKR,"Parameters","Path",0x00020000,"%%SystemRoot%%\sample"

[Strings]
Company     = "Sample, Inc"
Disk        = "Disk; the ""first"" of all"
Description = ""Sample driver""
"#;

/// A device driver's file without a mistake.
const DEVICE: &str = r#"[version]
signature="$Windows NT$"
class=Net
classguid={4d36e972-e325-11ce-bfc1-08002be10318}
provider=%company%
catalogfile.ntamd64=device.cat
driverver=02-28-2026,1.0.0.0
pnplockdown=1
[manufacturer]
%company%=Models,NTamd64,NTarm64.10.0
[Models.NTamd64]
%device%=Device,Root\First
[Models.NTarm64.10.0]
%device%=Device,Root\Second
[Device.NT]
CopyFiles=@device.sys
[Device.NT.Services]
AddService=device,%ASSOCIATED%,\
    Device.Service
[Device.Service]
ServiceType=0x1
StartType=3
ErrorControl=1
ServiceBinary=%12%\device.sys
[SourceDisksNames.amd64]
1=%device%
[SourceDisksNames.arm64]
1=%device%
[SourceDisksFiles.amd64]
device.sys=1,x64
[SourceDisksFiles.arm64]
device.sys=1,arm64
[DestinationDirs]
DefaultDestDir=12
[Strings]
company=Company
device=Device
ASSOCIATED=0x2
"#;

/// A mistake: a text, what it becomes, and the findings: each rule, and a text that only its line has.
struct Seed {
    sample: &'static str,
    from: &'static str,
    to: &'static str,
    expected: &'static [(super::finding::Rule, &'static str)],
}

const fn seed(from: &'static str, to: &'static str, rule: &'static [(super::finding::Rule, &'static str)]) -> Seed {
    Seed { sample: PRIMITIVE, from, to, expected: rule }
}

const fn device(from: &'static str, to: &'static str, rule: &'static [(super::finding::Rule, &'static str)]) -> Seed {
    Seed { sample: DEVICE, from, to, expected: rule }
}

const SEEDS: &[Seed] = &[
    // Text.
    seed("; A sample.", "; Prüfling", &[(rule::ENCODING, "; Prüfling")]),
    seed("; A sample.\n", "stray = 1\n", &[(rule::SECTION_HEADER, "stray")]),
    seed("[DestinationDirs]", "[DestinationDirs] |", &[(rule::SECTION_HEADER, "[DestinationDirs]")]),
    seed(
        "[Sample.Registry]",
        "[Sample.Registry",
        &[(rule::SECTION_MISSING, "AddReg  "), (rule::SECTION_HEADER, "[Sample.Registry")],
    ),
    seed("[Strings]\n", "[Strings]\nOne = 1\n[STRINGS]\n", &[(rule::DUPLICATE_SECTION, "[STRINGS]")]),
    seed("sample.cat\n", "sample.cat \\ ; see\n", &[(rule::CONTINUATION, "CatalogFile")]),
    seed("\"Sample, Inc\"", "\"Sample, Inc", &[(rule::QUOTATION, "Company     =")]),
    seed("\"Sample, Inc\"", "Sample\" Inc", &[(rule::QUOTATION, "Company     ="), (rule::QUOTATION, "Company     =")]),
    seed("\"Sample, Inc\"", "Sample \"the\" Inc", &[(rule::QUOTATION, "Company     =")]),
    seed("\"Sample, Inc\"", "'Sample Inc'", &[(rule::QUOTATION, "Company     =")]),
    seed("\"Sample, Inc\"", "Sample, Inc", &[(rule::EXTRA_VALUE, "Company     =")]),
    seed("Provider    = %Company%", "Provider    = Sample, Inc", &[(rule::EXTRA_VALUE, "Provider")]),
    seed("%%SystemRoot%%", "%SystemRoot%", &[(rule::STRING_UNDEFINED, "\"Path\"")]),
    seed("%%SystemRoot%%", "50 %", &[(rule::PERCENT, "\"Path\"")]),
    seed("Provider    = %Company%", "Provider    = %Company", &[(rule::PERCENT, "Provider")]),
    seed(
        "[Sample.Registry]\n",
        "[Sample.Registry]\nHKR,\"Parameters\",\"A\",,\"$ARCH$\"\n",
        &[(rule::STAMP, "$ARCH$")],
    ),
    // Strings.
    seed("Disk        =", "Disc        =", &[(rule::STRING_UNDEFINED, "1 = %Disk%")]),
    seed(
        "Disk        = \"Disk; the \"\"first\"\" of all\"",
        "Disk        =",
        &[(rule::STRING_MISSING_VALUE, "Disk        =")],
    ),
    seed("[Strings]\n", "[Strings]\nAlone\n", &[(rule::STRING_MISSING_VALUE, "Alone")]),
    seed("[Strings]\n", "[Strings]\nDISK = \"2\"\n", &[(rule::DUPLICATE, "Disk        =")]),
    seed("[Strings]\n", "[Strings.0407]\nCompany = \"X\"\n[Strings]\n", &[(rule::LANGUAGES, "[Strings.0407]")]),
    // [Version]
    seed("\"$WINDOWS NT$\"", "\"$WINDOWS$\"", &[(rule::VERSION, "Signature")]),
    seed("Provider    = %Company%\n", "", &[(rule::PROVIDER, "[Version]")]),
    seed("\"Sample, Inc\"", "\"Microsoft Corporation\"", &[(rule::PROVIDER, "Provider")]),
    seed("Class       = WFPCALLOUTS\n", "", &[(rule::CLASS, "[Version]")]),
    seed("= WFPCALLOUTS", "= Net", &[(rule::CLASS_MISMATCH, "ClassGuid")]),
    seed("= WFPCALLOUTS", "= Callouts", &[(rule::CLASS_MISMATCH, "Class       =")]),
    seed("57465043-616C", "58465043-616C", &[(rule::CLASS_MISMATCH, "ClassGuid")]),
    seed("5F636C617373}", "5F636C617373", &[(rule::CLASS_GUID, "ClassGuid")]),
    seed("5F636C617373}", "5F636C61737}", &[(rule::CLASS_GUID, "ClassGuid")]),
    seed("CatalogFile = sample.cat\n", "", &[(rule::CATALOG_FILE, "[Version]")]),
    seed("sample.cat", "sample.ca", &[(rule::CATALOG_FILE, "CatalogFile")]),
    seed("DriverVer   = 01/31/2026,1.2.3.4\n", "", &[(rule::DRIVER_VER, "[Version]")]),
    seed("01/31/2026", "31/01/2026", &[(rule::DRIVER_VER, "DriverVer")]),
    seed("01/31/2026", "1/31/2026", &[(rule::DRIVER_VER, "DriverVer")]),
    seed("01/31/2026", "02/29/2026", &[(rule::DRIVER_VER, "DriverVer")]),
    seed("1.2.3.4", "1.2.3", &[(rule::DRIVER_VER, "DriverVer")]),
    seed("1.2.3.4", "1.2.3.65535", &[(rule::DRIVER_VER, "DriverVer")]),
    seed("1.2.3.4", "0.0.0.0", &[(rule::DRIVER_VER, "DriverVer")]),
    seed("01/31/2026,1.2.3.4", "", &[(rule::DRIVER_VER, "DriverVer")]),
    seed("1.2.3.4", "1.2.3.4,5", &[(rule::EXTRA_VALUE, "DriverVer")]),
    seed("PnpLockdown = 1\n", "", &[(rule::PNP_LOCKDOWN, "[Version]")]),
    seed("PnpLockdown = 1", "PnpLockdown = 0", &[(rule::PNP_LOCKDOWN, "PnpLockdown")]),
    seed("PnpLockdown = 1\n", "PnpLockdown = 1\npnplockdown = 1\n", &[(rule::DUPLICATE, "pnplockdown")]),
    seed("PnpLockdown = 1\n", "PnpLockdown = 1\n# note\n", &[(rule::NO_KEY, "# note")]),
    seed("PnpLockdown = 1\n", "PnpLockdown 1\n", &[(rule::PNP_LOCKDOWN, "[Version]"), (rule::NO_KEY, "PnpLockdown 1")]),
    seed("DefaultDestDir   = 13", "DefaultDestDir   13", &[(rule::NO_KEY, "DefaultDestDir")]),
    // Sections.
    seed("OptionDesc = %Description%", "OptionDesc = Sample, driver", &[(rule::EXTRA_VALUE, "OptionDesc")]),
    seed("OptionDesc = %Description%", "Needs = Other.Install", &[(rule::NEEDS, "Needs")]),
    seed(
        "OptionDesc = %Description%",
        "AddService = sample,,Sample.Service",
        &[(rule::DIRECTIVE, "AddService = sample,,Sample.Service")],
    ),
    seed("[DefaultInstall.NTamd64]", "[DefaultInstall]", &[(rule::ARCHITECTURE, "[DefaultInstall]")]),
    seed("[DefaultInstall.NTamd64]", "[DefaultInstall.NTamd65]", &[(rule::ARCHITECTURE, "[DefaultInstall.NTamd65]")]),
    seed("[DefaultInstall.NTamd64]", "[DefaultInstall.amd64]", &[(rule::ARCHITECTURE, "[DefaultInstall.amd64]")]),
    seed(
        "[DefaultInstall.NTamd64.Services]",
        "[DefaultInstall.NTx86.Services]",
        &[(rule::SERVICES_ALONE, "[DefaultInstall.NTx86.Services]")],
    ),
    seed(
        "[DefaultInstall.NTamd64.Services]",
        "[DefaultInstall.NTamd64.Service]",
        &[(rule::SECTION_EXTENSION, "[DefaultInstall.NTamd64.Service]")],
    ),
    seed(
        "[DefaultInstall.NTamd64.Services]\nAddService = sample,,Sample.Service ; no device\n",
        "",
        &[(rule::NO_SERVICE, "[DefaultInstall.NTamd64]")],
    ),
    seed("LegacyUninstall = 1", "LegacyUninstall = 0", &[(rule::UNINSTALL, "LegacyUninstall = 0")]),
    seed("LegacyUninstall = 1\n", "", &[(rule::UNINSTALL, "[DefaultUninstall.NTamd64]")]),
    seed("[DefaultUninstall.NTamd64]", "[DefaultUninstall]", &[(rule::ARCHITECTURE, "[DefaultUninstall]")]),
    seed(
        "[Strings]",
        "[Manufacturer]\n%Company% = Models\n[Models]\n%Disk% = DefaultInstall.NTamd64,Root\\X\n[Strings]",
        &[(rule::MANUFACTURER, "[DefaultInstall.NTamd64]")],
    ),
    seed("OptionDesc =", "OptionDesk =", &[(rule::DIRECTIVE, "OptionDesk")]),
    seed(
        "OptionDesc = %Description%",
        "DelFiles = Sample.CopyFiles",
        &[(rule::UNIVERSAL, "DelFiles"), (rule::DRIVER_STORE_DELETE, "DelFiles")],
    ),
    seed("[Strings]", "[ClassInstall32]\n[Strings]", &[(rule::CLASS_INSTALL, "[ClassInstall32]")]),
    seed("[Strings]", "[DefaultInstall.NTamd64.CoInstallers]\n[Strings]", &[(rule::UNIVERSAL, "CoInstallers")]),
    seed("CopyFiles  = Sample.CopyFiles", "CopyFiles  = Sample.CopyFile", &[(rule::SECTION_MISSING, "CopyFiles  =")]),
    seed("CopyFiles  = Sample.CopyFiles", "CopyFiles  =", &[(rule::SECTION_NAME_MISSING, "CopyFiles  =")]),
    seed("sample,,Sample.Service", "sample,,Sample.Servise", &[(rule::SECTION_MISSING, "AddService")]),
    seed("sample,,Sample.Service", "sample", &[(rule::SECTION_NAME_MISSING, "AddService")]),
    seed("[Strings]", "[Left.Over]\nkey = 1\n[Strings]", &[(rule::SECTION_UNUSED, "[Left.Over]")]),
    // Files.
    seed("[SourceDisksFiles]\nsample.sys = 1\n", "", &[(rule::SOURCE_FILE_MISSING, "sample.sys,,,")]),
    seed("sample.sys = 1", "simple.sys = 1", &[(rule::SOURCE_FILE_MISSING, "sample.sys,,,")]),
    seed("sample.sys = 1", "sample.sys = 1\nother.sys = 1", &[(rule::SOURCE_FILE_UNUSED, "other.sys")]),
    seed("sample.sys = 1", "sample.sys = 1\nsample.cat = 1", &[(rule::SOURCE_FILE, "sample.cat = 1")]),
    seed("sample.sys = 1", "sample.sys = 1\n%Disk%.sys = 1", &[(rule::SOURCE_FILE, "%Disk%.sys")]),
    seed("sample.sys = 1", "sample.sys = 2", &[(rule::DISK_ID, "sample.sys = 2")]),
    seed("sample.sys = 1", "sample.sys =", &[(rule::DISK_ID, "sample.sys =")]),
    seed("[SourceDisksNames]\n1 = %Disk%,,,\"\"\n", "", &[(rule::DISK_ID, "[SourceDisksFiles]")]),
    seed("[SourceDisksFiles]", "[SourceDisksFiles.NTamd64]", &[(rule::DISKS_ARCHITECTURE, "[SourceDisksFiles")]),
    seed("[SourceDisksFiles]", "[SourceDisksFiles.arm64]", &[(rule::SOURCE_FILE_MISSING, "sample.sys,,,")]),
    seed(
        "[DestinationDirs]\nDefaultDestDir   = 13\nSample.CopyFiles = 13\n",
        "",
        &[(rule::DESTINATION_MISSING, "CopyFiles  =")],
    ),
    seed("DefaultDestDir   = 13\nSample.CopyFiles = 13\n", "", &[(rule::DESTINATION_MISSING, "CopyFiles  =")]),
    seed("DefaultDestDir   = 13", "Sample.Copy = 13", &[(rule::DESTINATION_UNUSED, "Sample.Copy =")]),
    seed("Sample.CopyFiles = 13", "Sample.CopyFiles = 12", &[(rule::DIRID_13, "Sample.CopyFiles = 12")]),
    seed("DefaultDestDir   = 13", "DefaultDestDir   = 14", &[(rule::DIRID, "DefaultDestDir")]),
    seed("DefaultDestDir   = 13", "DefaultDestDir   = %13%", &[(rule::DIRID, "DefaultDestDir")]),
    seed("%13%\\sample.sys", "%14%\\sample.sys", &[(rule::DIRID, "ServiceBinary")]),
    seed("sample.sys,,,0x40", "sample.sys,original.sys,,0x40", &[(rule::SOURCE_FILE_MISSING, "original.sys,,")]),
    seed("sample.sys = 1", "sample.sys = 1,x64", &[(rule::DRIVER_STORE_COPY, "sample.sys = 1,x64")]),
    seed("sample.sys,,,0x40", "sample.sys,,,0x12", &[(rule::COPY_FLAGS, "sample.sys,,,0x12")]),
    seed("sample.sys,,,0x40", "sample.sys,,,0x80", &[(rule::COPY_FLAGS, "sample.sys,,,0x80")]),
    seed("sample.sys,,,0x40", "sample.sys,,,0x40\nSAMPLE.sys", &[(rule::DUPLICATE, "SAMPLE.sys")]),
    seed("1 = %Disk%,,,\"\"", "1 =", &[(rule::MISSING_VALUE, "1 =")]),
    // Services.
    seed("= NDIS", "=", &[(rule::MISSING_VALUE, "LoadOrderGroup")]),
    seed("sample,,Sample.Service", "sample,2,Sample.Service", &[(rule::ASSOCIATED_SERVICE, "AddService")]),
    seed("sample,,Sample.Service", "sample,0x200,Sample.Service", &[(rule::SERVICE_FLAGS, "AddService")]),
    seed("sample,,Sample.Service", ",,Sample.Service", &[(rule::SERVICE_NAME, "AddService")]),
    seed("sample,,Sample.Service ;", "sample,,Sample.Service,,Driver ;", &[(rule::EVENT_LOG_TYPE, "AddService")]),
    seed("DelService = sample,0x200", "DelService = simple,0x200", &[(rule::SERVICE_UNKNOWN, "DelService")]),
    seed("DelService = sample,0x200", "DelService = sample,2", &[(rule::SERVICE_FLAGS, "DelService")]),
    seed("ServiceType    = 1\n", "", &[(rule::SERVICE_ENTRY_MISSING, "[Sample.Service]")]),
    seed("StartType      = 3\n", "", &[(rule::SERVICE_ENTRY_MISSING, "[Sample.Service]")]),
    seed("ErrorControl   = 1\n", "", &[(rule::SERVICE_ENTRY_MISSING, "[Sample.Service]")]),
    seed("ServiceBinary  = %13%\\sample.sys\n", "", &[(rule::SERVICE_ENTRY_MISSING, "[Sample.Service]")]),
    seed("ServiceType    = 1", "ServiceType    = 2", &[(rule::SERVICE_ENTRY, "ServiceType")]),
    seed("ServiceType    = 1", "ServiceType    = 0x10", &[(rule::SERVICE_ENTRY, "ServiceType")]),
    seed("StartType      = 3", "StartType      = 4", &[(rule::SERVICE_ENTRY, "StartType")]),
    seed("StartType      = 3", "StartType      = demand", &[(rule::SERVICE_ENTRY, "StartType")]),
    seed("ErrorControl   = 1", "ErrorControl   = 4", &[(rule::SERVICE_ENTRY, "ErrorControl")]),
    seed("StartType      = 3", "StartType      = 3\nstarttype = 3", &[(rule::DUPLICATE, "starttype")]),
    seed("StartType      = 3", "StartType      = 3, 1", &[(rule::EXTRA_VALUE, "StartType")]),
    seed("LoadOrderGroup =", "LoadGroup =", &[(rule::DIRECTIVE, "LoadGroup")]),
    seed("%13%\\sample.sys", "13\\sample.sys", &[(rule::SERVICE_BINARY, "ServiceBinary")]),
    seed("%13%\\sample.sys", "%12%\\sample.sys", &[(rule::SERVICE_BINARY, "ServiceBinary")]),
    seed("%13%\\sample.sys", "%13%\\simple.sys", &[(rule::SERVICE_BINARY, "ServiceBinary")]),
    // The registry.
    seed("HKR,\"Parameters\",\"Level\"", "HKEY,\"Parameters\",\"Level\"", &[(rule::REGISTRY_ROOT, "\"Level\"")]),
    seed("HKR,\"Parameters\",\"Level\"", "HKLM,\"Parameters\",\"Level\"", &[(rule::REGISTRY_ISOLATION, "\"Level\"")]),
    seed("HKR,\"Parameters\",\"Level\"", "HKR,\"\",\"Level\"", &[(rule::REGISTRY_ISOLATION, "\"Level\"")]),
    seed("0x00010001,1", "0x00010001,high", &[(rule::REGISTRY_VALUE, "\"Level\"")]),
    seed("\"Path\",0x00020000", "\"Level\",0x00020000", &[(rule::DUPLICATE, "0x00020000")]),
    // Device drivers.
    device("Models,NTamd64,", "Models,NTamd65,", &[(rule::SECTION_MISSING, "%company%=Models")]),
    device("%company%=Models,NTamd64,NTarm64.10.0", "%company%=", &[(rule::MODELS, "%company%=")]),
    device(
        "[Device.NT]\n",
        "[Devise.NT]\n",
        &[
            (rule::SECTION_MISSING, "%device%=Device,Root\\First"),
            (rule::SECTION_MISSING, "%device%=Device,Root\\Second"),
        ],
    ),
    device(
        "AddService=device,",
        "AddService=,2\nAddService=device,",
        &[(rule::ASSOCIATED_SERVICE, "AddService=device")],
    ),
    device("%12%\\device.sys", "%13%\\device.sys", &[(rule::SERVICE_BINARY, "ServiceBinary")]),
];

fn findings(text: &str) -> Vec<(usize, &'static str)> {
    check(text.as_bytes()).into_iter().map(|finding| (finding.line, finding.rule)).collect()
}

/// The line of the only place where `text` is.
fn line_of(file: &str, text: &str) -> usize {
    let lines: Vec<usize> = file
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with(text) || line.contains(text))
        .map(|(i, _)| i + 1)
        .collect();
    assert!(!lines.is_empty(), "{text:?} is nowhere");
    lines[0]
}

#[test]
fn files_without_a_mistake_have_no_findings() {
    assert_eq!(check(PRIMITIVE.as_bytes()), []);
    assert_eq!(check(DEVICE.as_bytes()), []);
    // And with the line ends that Windows has.
    assert_eq!(check(PRIMITIVE.replace('\n', "\r\n").as_bytes()), []);
}

#[test]
fn each_mistake_gives_its_finding_and_no_other() {
    let mut wrong = Vec::new();
    for Seed { sample, from, to, expected } in SEEDS {
        assert!(sample.contains(from), "{from:?} is not in the sample");
        let file = sample.replacen(from, to, 1);
        let expected: Vec<_> = expected.iter().map(|(rule, text)| (line_of(&file, text), rule.name)).collect();
        let found = check(file.as_bytes());
        if found.iter().map(|finding| (finding.line, finding.rule)).ne(expected.iter().copied()) {
            wrong.push(format!("{from:?} -> {to:?}: expected {expected:?}, found {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_rule_is_broken_by_a_mistake() {
    let mut seeded: BTreeSet<&str> = SEEDS.iter().flat_map(|seed| seed.expected).map(|(rule, _)| rule.name).collect();
    // Those that no replacement in the samples makes have a test of their own.
    seeded.extend([rule::ENTRY_POINT.name, rule::SIZE.name, rule::NO_DEVICE.name]);
    let rules: BTreeSet<&str> = rule::ALL.iter().map(|rule| rule.name).collect();
    assert_eq!(seeded, rules);
}

#[test]
fn a_file_that_installs_nothing_says_so() {
    let without = PRIMITIVE.replace("DefaultInstall.", "Install.").replace("DefaultUninstall.", "Uninstall.");
    assert_eq!(findings(&without), [(2, "no-install-section")]);
    let without_hardware = DEVICE.replace(",Root\\First", "").replace(",Root\\Second", "");
    assert_eq!(findings(&without_hardware), [(9, "no-device")]);
}

#[test]
fn a_file_without_version_or_strings_has_one_finding() {
    let (_, rest) = PRIMITIVE.split_once("[SourceDisksNames]").unwrap();
    assert_eq!(findings(&format!("[SourceDisksNames]{rest}")), [(1, "version-section")]);
    let (rest, _) = PRIMITIVE.split_once("[Strings]").unwrap();
    assert_eq!(findings(rest), [(6, "undefined-string")]);
}

#[test]
fn too_long_a_value_is_reported() {
    let file = PRIMITIVE.replace("Sample, Inc", &"x".repeat(4096));
    assert_eq!(findings(&file), [(line_of(PRIMITIVE, "Company     ="), "size")]);
}

#[test]
fn every_encoding_is_read_and_those_that_windows_does_not_read_are_reported() {
    let units = |text: &str, convert: fn(u16) -> [u8; 2]| -> Vec<u8> {
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(convert).collect()
    };
    let text = PRIMITIVE.replace("; A sample.", "; Prüfling");
    assert_eq!(check(&units(&text, u16::to_le_bytes)), []);
    let without_mark: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let rules = |bytes: &[u8]| check(bytes).into_iter().map(|finding| (finding.line, finding.rule)).collect::<Vec<_>>();
    assert_eq!(rules(&units(&text, u16::to_be_bytes)), [(1, "encoding")]);
    assert_eq!(rules(format!("\u{feff}{text}").as_bytes()), [(1, "encoding")]);
    assert_eq!(rules(&without_mark), [(1, "encoding")]);
    let latin: Vec<u8> = text.chars().map(|character| character as u8).collect();
    assert_eq!(rules(&latin), [(1, "encoding")]);
}

#[test]
fn sections_of_one_name_are_read_as_one() {
    let split = PRIMITIVE.replace("StartType      = 3", "[SAMPLE.SERVICE]\nStartType      = 3");
    assert_eq!(findings(&split), [(line_of(&split, "[SAMPLE.SERVICE]"), "duplicate-section")]);
}

#[test]
fn the_drivers_own_files_have_no_findings() {
    let files = super::own_files(&crate::root()).unwrap();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        assert_eq!(super::check(&file).unwrap(), [], "{}", file.display());
    }
}
