//! The I/O control requests of the driver's device.
//!
//! All of them are `METHOD_BUFFERED` and need a handle opened for reading. A list is read in pieces: the caller names the first
//! entry it wants, the driver answers with a [`ListHeader`] and as many entries as fit into the output buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::callout::{Callout, Layer, Role};

/// `CTL_CODE(FILE_DEVICE_NETWORK, 0x800 + function, METHOD_BUFFERED, FILE_READ_DATA)` (wdm.h).
const fn control_code(function: u32) -> u32 {
    const FILE_DEVICE_NETWORK: u32 = 0x12;
    const FILE_READ_DATA: u32 = 1;
    const METHOD_BUFFERED: u32 = 0;
    FILE_DEVICE_NETWORK << 16 | FILE_READ_DATA << 14 | (0x800 + function) << 2 | METHOD_BUFFERED
}

/// No input. Output: [`Version`].
pub const GET_VERSION: u32 = control_code(0);
/// Input: [`ListRequest`]. Output: [`ListHeader`], then [`CalloutEntry`] records.
pub const LIST_CALLOUTS: u32 = control_code(1);
/// Input: [`ListRequest`]. Output: [`ListHeader`], then [`StatisticsEntry`] records.
pub const GET_STATISTICS: u32 = control_code(2);

/// Which driver this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Version {
    /// [`crate::VERSION`] of the driver.
    pub protocol: u32,
    pub driver_major: u16,
    pub driver_minor: u16,
    pub driver_patch: u16,
    /// Zero.
    pub reserved: u16,
}

/// Asks for a piece of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListRequest {
    /// [`crate::VERSION`] of the caller; its major half must be the driver's.
    pub protocol: u32,
    /// Index of the first entry wanted.
    pub first: u32,
}

/// Stands before the entries of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListHeader {
    /// Entries of the whole list.
    pub total: u32,
    /// Index of the first entry that follows.
    pub first: u32,
    /// Number of entries that follow.
    pub count: u32,
    /// Size of one entry in bytes.
    pub entry_size: u32,
}

/// A callout as it is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CalloutEntry {
    /// `calloutKey`, the bytes of a `GUID` as Windows keeps it in memory.
    pub key: [u8; 16],
    /// Run-time id (`calloutId`); zero while the callout is not registered.
    pub id: u32,
    /// Run-time id of its layer (`FWPS_LAYER_*`).
    pub layer: u16,
    /// A [`Role`].
    pub role: u8,
    /// Zero.
    pub reserved: u8,
}

/// What a callout has done since the driver was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StatisticsEntry {
    /// Index of the callout in the list of callouts.
    pub callout: u32,
    /// Zero.
    pub reserved: u32,
    /// Classifies in which the callout did what its role says.
    pub acted: u64,
    /// Classifies in which it could not, because a filter of higher weight had taken the right to decide, or because the
    /// filter's context was not ours.
    pub passed_over: u64,
}

impl CalloutEntry {
    /// The layer and role of this entry, if they are ones that this contract knows.
    pub fn callout(&self) -> Option<Callout> {
        let role = Role::ALL.into_iter().find(|role| *role as u8 == self.role)?;
        let layer = Layer::ALL.into_iter().find(|layer| layer.id() == self.layer)?;
        Some(Callout { role, layer })
    }
}

/// The bytes of a `GUID` as Windows keeps it in memory: the first three fields are little-endian.
pub const fn guid_bytes(key: u128) -> [u8; 16] {
    let be = key.to_be_bytes();
    [
        be[3], be[2], be[1], be[0], be[5], be[4], be[7], be[6], be[8], be[9], be[10], be[11], be[12], be[13], be[14],
        be[15],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_codes_are_those_of_the_ctl_code_macro() {
        assert_eq!(GET_VERSION, 0x0012_6000);
        assert_eq!(LIST_CALLOUTS, 0x0012_6004);
        assert_eq!(GET_STATISTICS, 0x0012_6008);
    }

    #[test]
    fn guid_bytes_are_in_memory_order() {
        assert_eq!(
            guid_bytes(0x00112233_4455_6677_8899_aabbccddeeff),
            [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]
        );
    }

    #[test]
    fn a_callout_entry_names_its_callout() {
        let entry = CalloutEntry { key: [0; 16], id: 258, layer: 50, role: 2, reserved: 0 };
        let callout = Callout { role: Role::Block, layer: Layer::AleAuthConnectV6 };
        assert_eq!(entry.callout(), Some(callout));
        assert_eq!(CalloutEntry { role: 9, ..entry }.callout(), None);
        assert_eq!(CalloutEntry { layer: 49, ..entry }.callout(), None);
    }
}
