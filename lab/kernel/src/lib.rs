//! Runs Windows kernel images on a machine without Windows.
//!
//! [`Lab`] loads a real `.sys` into this process, supplies its imports, checks each call against its
//! contract, and reports what a driver does wrong. It runs on x86-64 Linux; elsewhere the crate is empty.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod call;
mod clock;
mod condition;
mod detour;
mod driver;
mod export;
mod fault;
mod fwp;
mod image;
mod inject;
mod inside;
mod irql;
mod kernel;
mod kmdf;
mod lab;
mod ndis;
mod nt;
mod ntos;
mod preempt;
mod ptr;
mod report;
mod schedule;
mod shared_data;
mod stack;
mod thread;
mod trace;
mod traffic;

pub use driver::{DriverInfo, LoadError, UnloadError, UnloadReport};
pub use export::exported_names;
pub use fwp::injection::Sent;
pub use fwp::{EngineClient, EngineError, Keeper, RegisteredCallout};
pub use image::{ImageError, QUARANTINED};
pub use inject::{Call, Failure, Fault, Meaning, Occurrences, cannot_fail, failures_of, fallible_functions};
pub use kernel::Config;
pub use lab::Lab;
pub use nt::NtStatus;
pub use ntos::io::{File, PendingIo};
pub use ntos::registry::Parameter;
pub use ntos::security::User;
pub use report::{Kind, Place, Violation};
pub use schedule::{Run, Schedule, Step};
pub use trace::{Circumstance, NamingFilter, TracedCall};
pub use traffic::{Connection, Decision, Direction, Fragment, Outcome, Packet, Traffic};

/// The kernel modules that the lab supplies.
fn modules() -> &'static [export::Module] {
    &[
        export::Module { name: "ntoskrnl.exe", tables: ntos::TABLES },
        export::Module { name: "hal.dll", tables: &[] },
        export::Module { name: "fwpkclnt.sys", tables: fwp::EXPORTS },
        export::Module { name: "wdfldr.sys", tables: &[kmdf::EXPORTS] },
        export::Module { name: export::KMDF_TABLE, tables: kmdf::FUNCTIONS },
        export::Module { name: "ndis.sys", tables: &[ndis::EXPORTS] },
    ]
}
