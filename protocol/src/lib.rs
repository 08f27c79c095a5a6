//! The contract between the Postern driver and the programs that talk to it: the keys of its objects, the bits of a
//! filter's context, and the I/O control requests of its device.
//!
//! Both sides use these definitions, so a change here changes [`VERSION`].
#![no_std]

pub mod callout;
pub mod context;
pub mod ioctl;

pub use callout::{CALLOUTS, Callout, Layer, Role};
pub use context::FilterContext;

/// Version of this contract. The major half changes when an old program would misread a new driver.
pub const VERSION: u32 = version(1, 1);

/// Packs a contract version: the major half is in the upper 16 bits.
pub const fn version(major: u16, minor: u16) -> u32 {
    (major as u32) << 16 | minor as u32
}

/// Name of the device in the kernel's object namespace.
pub const DEVICE_NAME: &str = r"\Device\Postern";
/// Name under which user-mode programs open the device.
pub const DEVICE_LINK: &str = r"\DosDevices\Postern";
/// The path a program passes to `CreateFile`.
pub const DEVICE_PATH: &str = r"\\.\Postern";
/// Name of the driver's service.
pub const SERVICE_NAME: &str = "postern";

/// Key of the provider that the driver's own session adds.
pub const DRIVER_PROVIDER: u128 = 0x706f7374_6572_4e00_8000_000000000001;
/// Key of the sublayer that the driver's own session adds.
pub const DRIVER_SUBLAYER: u128 = 0x706f7374_6572_4e00_8000_000000000002;
