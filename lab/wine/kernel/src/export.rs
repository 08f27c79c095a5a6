//! Exported functions. Each is reached through a stub that has its name and notes who calls, as in the lab.

use crate::nt::WDF_VIOLATION;
use crate::report;
use crate::thread;

/// How an export is handed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Through a stub that notes the caller.
    Function,
}

/// One exported name.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    pub name: &'static str,
    pub address: *const (),
    pub form: Form,
}

// SAFETY: an address of a function.
unsafe impl Sync for Export {}
// SAFETY: as above.
unsafe impl Send for Export {}

/// Name under which the functions of the KMDF table are kept.
pub(crate) const KMDF_TABLE: &str = "<kmdf>";

/// The functions that drivers get in a table.
pub(crate) struct Exports;

pub(crate) fn all() -> Exports {
    Exports
}

impl Exports {
    /// The address to put into the table: of a function that is here, else of one that says that it is not.
    pub fn find(&self, _module: &str, name: &str) -> Option<u64> {
        let [stand_ins, here @ ..] = crate::kmdf::FUNCTIONS else { return None };
        if let Some(export) = here.iter().flat_map(|table| table.iter()).find(|export| export.name == name) {
            return Some(export.address as u64);
        }
        stand_ins.iter().any(|export| export.name == name).then_some(not_here as *const () as u64)
    }
}

extern "win64" fn not_here() -> u64 {
    report::bugcheck(
        WDF_VIOLATION,
        [0; 4],
        "the driver called a function of the framework that is not supplied under Wine",
    )
}

/// Notes the call on the calling thread.
pub(crate) extern "win64" fn note(caller: u64, name: &'static &'static str) {
    let page = thread::page();
    page.caller.set(caller);
    page.import.set(name);
}

/// A table of exports whose Rust names are the exported names, and the stubs.
macro_rules! exports {
    (@stub $name:ident) => {{
        static NAME: &str = stringify!($name);

        /// Tail calls the function after [`note`].
        #[unsafe(naked)]
        #[unsafe(export_name = stringify!($name))]
        unsafe extern "win64" fn stub() {
            core::arch::naked_asm!(
                ".seh_proc {stub}",
                "push rcx",
                ".seh_pushreg rcx",
                "push rdx",
                ".seh_pushreg rdx",
                "push r8",
                ".seh_pushreg r8",
                "push r9",
                ".seh_pushreg r9",
                "sub rsp, 0x28",
                ".seh_stackalloc 0x28",
                ".seh_endprologue",
                "mov rcx, [rsp + 0x48]",
                "lea rdx, [rip + {name}]",
                "call {note}",
                "add rsp, 0x28",
                "pop r9",
                "pop r8",
                "pop rdx",
                "pop rcx",
                "jmp {function}",
                ".seh_endproc",
                stub = sym stub,
                name = sym NAME,
                note = sym $crate::export::note,
                function = sym $name,
            )
        }

        $crate::export::Export { name: NAME, address: stub as *const (), form: $crate::export::Form::Function }
    }};
    ($($name:ident),* $(,)?) => {
        &[$($crate::export::exports!(@stub $name)),*]
    };
}
pub(crate) use exports;

/// Name of the import that this thread called last and is in.
pub fn current_name() -> &'static str {
    thread::page().import.get()
}
