//! Exported functions. Each is reached through a stub that has its name and notes who calls, as in the lab.

use crate::thread;

/// One exported name.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    pub name: &'static str,
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

        $crate::export::Export { name: NAME }
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
