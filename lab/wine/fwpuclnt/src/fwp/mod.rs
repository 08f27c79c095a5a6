//! The lab's code that reads and makes the structures of the management API.
#![allow(dead_code, reason = "files of the lab's, which needs more of them")]

#[path = "../../../../kernel/src/fwp/give.rs"]
pub mod give;
#[path = "../../../../kernel/src/fwp/marshal.rs"]
pub mod marshal;
#[path = "../../../../kernel/src/fwp/raw.rs"]
pub mod raw;

/// Who called: in a program, the program.
struct Owner {
    image: u64,
}

fn owner() -> Owner {
    Owner { image: 0 }
}
