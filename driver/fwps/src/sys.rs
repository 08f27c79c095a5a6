//! Raw declarations of `fwpkclnt.sys` and of the NT and NDIS types in its signatures, under Microsoft's names.
//!
//! Shapes and values are those of the WDK headers `fwpsk.h`, `fwpmk.h`, `fwptypes.h`, `fwpmtypes.h` and `ndis.h` (x64,
//! `NTDDI_WIN10_CO`, NDIS 6.30); `layout` asserts every size and offset at compile time.
//!
//! The module is used on both sides of the interface: by drivers, which call the functions, and by the lab, which supplies
//! them to an image inside a Linux process. Windows has one calling convention on x64, but Rust calls it `"system"` only on a
//! Windows target; callbacks are therefore declared by [`callback!`](crate::callback), which names it the same way everywhere.
#![allow(non_camel_case_types, non_snake_case, clippy::upper_case_acronyms)]

use core::ffi::c_void;

mod functions;
mod fwp;
mod fwpm;
mod fwps;
mod guids;
mod layers;
mod layout;
mod ndis;
mod status;

pub use functions::*;
pub use fwp::*;
pub use fwpm::*;
pub use fwps::*;
pub use guids::*;
pub use layers::*;
pub use ndis::*;
pub use status::*;

/// Declares a type of function pointer, or defines a function, with the calling convention of Windows' kernel: on x64 that is
/// `"win64"`, whatever the target; elsewhere `"system"`.
///
/// ```
/// fwps::callback! {
///     /// Says nothing.
///     pub unsafe fn notify(_context: *mut core::ffi::c_void, _state: u32) {}
/// }
/// fwps::callback! { pub type Notify = unsafe fn(*mut core::ffi::c_void, u32); }
/// let _: Notify = notify;
/// ```
#[macro_export]
macro_rules! callback {
    ($(#[$meta:meta])* $vis:vis type $name:ident = unsafe fn($($args:tt)*) $(-> $ret:ty)?;) => {
        #[cfg(target_arch = "x86_64")]
        $(#[$meta])*
        $vis type $name = unsafe extern "win64" fn($($args)*) $(-> $ret)?;
        #[cfg(not(target_arch = "x86_64"))]
        $(#[$meta])*
        $vis type $name = unsafe extern "system" fn($($args)*) $(-> $ret)?;
    };
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident<const $index:ident: $ty:ty>($($args:tt)*) $(-> $ret:ty)? $body:block) => {
        #[cfg(target_arch = "x86_64")]
        $(#[$meta])*
        $vis unsafe extern "win64" fn $name<const $index: $ty>($($args)*) $(-> $ret)? $body
        #[cfg(not(target_arch = "x86_64"))]
        $(#[$meta])*
        $vis unsafe extern "system" fn $name<const $index: $ty>($($args)*) $(-> $ret)? $body
    };
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($args:tt)*) $(-> $ret:ty)? $body:block) => {
        #[cfg(target_arch = "x86_64")]
        $(#[$meta])*
        $vis unsafe extern "win64" fn $name($($args)*) $(-> $ret)? $body
        #[cfg(not(target_arch = "x86_64"))]
        $(#[$meta])*
        $vis unsafe extern "system" fn $name($($args)*) $(-> $ret)? $body
    };
}

/// A 128-bit identifier as Windows lays it out: the first three parts little-endian, the rest as written.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GUID {
    pub data1: u32,
    pub data2: u16,
    pub data3: u16,
    pub data4: [u8; 8],
}

impl GUID {
    /// The GUID whose text form, without dashes, is the number in hexadecimal.
    pub const fn from_u128(value: u128) -> Self {
        Self {
            data1: (value >> 96) as u32,
            data2: (value >> 80) as u16,
            data3: (value >> 64) as u16,
            data4: (value as u64).to_be_bytes(),
        }
    }

    /// The inverse of [`GUID::from_u128`].
    pub const fn to_u128(&self) -> u128 {
        (self.data1 as u128) << 96
            | (self.data2 as u128) << 80
            | (self.data3 as u128) << 64
            | u64::from_be_bytes(self.data4) as u128
    }
}

pub type BOOL = i32;
pub type BOOLEAN = u8;
pub type HANDLE = *mut c_void;
pub type NTSTATUS = i32;
/// NUL-terminated UTF-16.
pub type PWSTR = *mut u16;

pub type ADDRESS_FAMILY = u16;
pub const AF_UNSPEC: ADDRESS_FAMILY = 0;
pub const AF_INET: ADDRESS_FAMILY = 2;
pub const AF_INET6: ADDRESS_FAMILY = 23;

/// `sockaddr_storage` (ws2def.h).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SOCKADDR_STORAGE {
    pub ss_family: ADDRESS_FAMILY,
    pub __ss_pad1: [u8; 6],
    pub __ss_align: i64,
    pub __ss_pad2: [u8; 112],
}

/// `SCOPE_ID` (ws2def.h): 28 bits of zone, 4 bits of level.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct SCOPE_ID {
    pub Value: u32,
}
