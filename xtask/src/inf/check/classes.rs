//! Device setup classes.

/// Classes and their GUIDs, as devguid.h has them; that of WFP callouts is in Microsoft's samples of callout drivers.
pub const CLASSES: &[(&str, &str)] = &[
    ("Bluetooth", "{E0CBF06C-CD8B-4647-BB8A-263B43F0F974}"),
    ("Camera", "{CA3E7AB9-B4C3-4AE6-8251-579EF933890F}"),
    ("DiskDrive", "{4D36E967-E325-11CE-BFC1-08002BE10318}"),
    ("Display", "{4D36E968-E325-11CE-BFC1-08002BE10318}"),
    ("Extension", "{E2F84CE7-8EFA-411C-AA69-97454CA4CB57}"),
    ("Firmware", "{F2E7DD72-6468-4E36-B6F1-6488F42C1B52}"),
    ("HDC", "{4D36E96A-E325-11CE-BFC1-08002BE10318}"),
    ("HIDClass", "{745A17A0-74D3-11D0-B6FE-00A0C90F57DA}"),
    ("Image", "{6BDD1FC6-810F-11D0-BEC7-08002BE2092F}"),
    ("Keyboard", "{4D36E96B-E325-11CE-BFC1-08002BE10318}"),
    ("Media", "{4D36E96C-E325-11CE-BFC1-08002BE10318}"),
    ("Modem", "{4D36E96D-E325-11CE-BFC1-08002BE10318}"),
    ("Monitor", "{4D36E96E-E325-11CE-BFC1-08002BE10318}"),
    ("Mouse", "{4D36E96F-E325-11CE-BFC1-08002BE10318}"),
    ("Net", "{4D36E972-E325-11CE-BFC1-08002BE10318}"),
    ("NetClient", "{4D36E973-E325-11CE-BFC1-08002BE10318}"),
    ("NetService", "{4D36E974-E325-11CE-BFC1-08002BE10318}"),
    ("NetTrans", "{4D36E975-E325-11CE-BFC1-08002BE10318}"),
    ("Ports", "{4D36E978-E325-11CE-BFC1-08002BE10318}"),
    ("Primitive", "{242681D1-EED3-41D2-A1EF-1468FC843106}"),
    ("Printer", "{4D36E979-E325-11CE-BFC1-08002BE10318}"),
    ("SCSIAdapter", "{4D36E97B-E325-11CE-BFC1-08002BE10318}"),
    ("Sensor", "{5175D334-C371-4806-B3BA-71FD53C9258D}"),
    ("SoftwareComponent", "{5C4C3332-344D-483C-8739-259E934C9CC8}"),
    ("System", "{4D36E97D-E325-11CE-BFC1-08002BE10318}"),
    ("USB", "{36FC9E60-C465-11CF-8056-444553540000}"),
    ("WFPCALLOUTS", "{57465043-616C-6C6F-7574-5F636C617373}"),
];

/// The GUID of a class that Microsoft defines.
pub fn guid_of(class: &str) -> Option<&'static str> {
    CLASSES.iter().find(|(name, _)| name.eq_ignore_ascii_case(class)).map(|(_, guid)| *guid)
}

/// The class that Microsoft gave a GUID.
pub fn class_of(guid: &str) -> Option<&'static str> {
    CLASSES.iter().find(|(_, known)| known.eq_ignore_ascii_case(guid)).map(|(name, _)| *name)
}
