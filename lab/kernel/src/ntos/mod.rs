//! `ntoskrnl.exe`: the kernel, a file for each of its concerns.

#![allow(non_snake_case, non_upper_case_globals, reason = "functions and fields have the names of wdm.h")]

use crate::export::Export;

pub(crate) mod debug;
pub(crate) mod dispatch;
pub(crate) mod io;
pub(crate) mod memory;
pub(crate) mod object;
pub(crate) mod pool;
pub(crate) mod registry;
pub(crate) mod rtl;
pub(crate) mod security;
pub(crate) mod spin;
pub(crate) mod system;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod version;
pub(crate) mod work;

pub(crate) const TABLES: &[&[Export]] = &[
    debug::EXPORTS,
    dispatch::EXPORTS,
    io::EXPORTS,
    memory::EXPORTS,
    object::EXPORTS,
    pool::EXPORTS,
    registry::EXPORTS,
    rtl::EXPORTS,
    spin::EXPORTS,
    system::EXPORTS,
    table::EXPORTS,
    time::EXPORTS,
    version::EXPORTS,
    work::EXPORTS,
];
