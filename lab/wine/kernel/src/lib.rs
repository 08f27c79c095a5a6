//! `fwpkclnt.sys`, and what drivers import from `ndis.sys` and `wdfldr.sys`, for Wine's kernel: the same filter engine and framework as the
//! lab's, with somebody else's loader, registry, service manager and kernel around them.
//!
//! Wine runs drivers in a process of its own (`winedevice.exe`), so this module is written over Rust's standard library. The files of
//! `lab/kernel/src` that make up the engine's kernel side, the traffic and the framework are compiled here once more, over the few things that they
//! ask of a kernel: `call`, `export`, `image`, `inject`, `irql`, `kernel`, `ntos`, `report`, `schedule`, `thread`. Here these do less than in the lab:
//! nobody catches a fault, no thread can be held, and the IRQL is known only as far as this module has set it.
#![cfg(windows)]
#![allow(dead_code, unused_imports, reason = "of the lab's files, some functions serve the lab alone")]

mod call;
mod control;
mod entry;
mod export;
mod image;
mod inject;
mod irql;
mod kernel;
mod lab;
mod ntos;
mod ntoskrnl;
mod report;
mod requests;
mod schedule;
mod thread;

#[path = "../../../kernel/src/condition.rs"]
mod condition;
#[path = "../../../kernel/src/fwp/mod.rs"]
mod fwp;
#[path = "../../../kernel/src/kmdf/mod.rs"]
mod kmdf;
#[path = "../../../kernel/src/ndis.rs"]
mod ndis;
#[path = "../../../kernel/src/nt.rs"]
mod nt;
#[path = "../../../kernel/src/ptr.rs"]
mod ptr;
#[path = "../../../kernel/src/traffic/mod.rs"]
mod traffic;
