//! What the lab supplies to images: exported functions and data of kernel modules, by module and name.
//!
//! A function is handed out as a small stub that notes the caller's return address and the function's
//! number in the thread's page, then jumps on. So every report knows which call it is about and where it
//! came from, for two stores a call. A thread under a schedule takes the way past that instead of straight on, and so does every
//! thread while calls are recorded.
//!
//! An import is an `extern "win64"` function with the exported name, listed in its module's table:
//!
//! ```ignore
//! pub(crate) const EXPORTS: &[Export] = exports![FwpsFlowAbort0];
//!
//! extern "win64" fn FwpsFlowAbort0(flow: u64) -> NtStatus {
//!     irql::require_irql(DISPATCH_LEVEL);           // contract
//!     if let Some(status) = inject::faulted() {     // injected faults
//!         return status;
//!     }
//!     thread::current().fwp.abort(flow)             // the kernel that this thread is in
//! }
//! ```
//!
//! It takes pointers as [`crate::ptr::Ptr`], reads all of the driver's memory before it takes a lock of the
//! lab, and holds no lock when it calls into an image or reports a bug check.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, OnceLock};

use crate::call;
use crate::kernel::lock_of_process;
use crate::report::{self, Finding, Kind};
use crate::schedule::postern_lab_scheduled_import;
use crate::thread::{self, PAGE_BATON, PAGE_CALLER, PAGE_IMPORT, PAGE_TRACED};
use crate::trace::postern_lab_traced_import;

/// How an export is handed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Through a stub that notes the caller.
    Function,
    /// As it is: for functions that check nothing and must be as fast as on Windows.
    Bare,
    /// A variable; the import is its address.
    Data,
}

/// One exported name.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    pub name: &'static str,
    pub address: *const (),
    pub form: Form,
}

// SAFETY: an address of a function or of a static.
unsafe impl Sync for Export {}
// SAFETY: as above.
unsafe impl Send for Export {}

/// A table of exports whose Rust names are the exported names: `exports![KeSetEvent, bare RtlFoo, data Bar]`.
macro_rules! exports {
    (@form) => { $crate::export::Form::Function };
    (@one $name:ident) => {
        $crate::export::Export {
            name: stringify!($name),
            address: $name as *const (),
            form: $crate::export::Form::Function,
        }
    };
    (@one bare $name:ident) => {
        $crate::export::Export {
            name: stringify!($name),
            address: $name as *const (),
            form: $crate::export::Form::Bare,
        }
    };
    (@one data $name:ident) => {
        $crate::export::Export {
            name: stringify!($name),
            address: (&raw const $name).cast(),
            form: $crate::export::Form::Data,
        }
    };
    ($($($word:ident)+),* $(,)?) => {
        &[$($crate::export::exports!(@one $($word)+)),*]
    };
}
pub(crate) use exports;

/// A kernel module and everything it exports.
pub struct Module {
    pub name: &'static str,
    pub tables: &'static [&'static [Export]],
}

/// Modules whose exports are one namespace: drivers built at different times name either.
const KERNEL_MODULES: [&str; 2] = ["ntoskrnl.exe", "hal.dll"];

/// Name under which the functions of the KMDF table are kept; no image imports from it.
pub(crate) const KMDF_TABLE: &str = "<kmdf>";

const STUB: usize = 112;

pub(crate) struct Exports {
    /// By lower-case module and name.
    by_name: HashMap<(String, &'static str), u64>,
    names: Vec<&'static str>,
    /// Functions that are handed out as they are.
    bare: HashSet<u64>,
}

impl Exports {
    /// The address to put into an import table.
    pub fn find(&self, module: &str, name: &str) -> Option<u64> {
        let module = module.to_ascii_lowercase();
        let found = self.by_name.get(&(module.clone(), name)).copied();
        if found.is_some() || !KERNEL_MODULES.contains(&module.as_str()) {
            return found;
        }
        KERNEL_MODULES.iter().find_map(|module| self.by_name.get(&((*module).to_string(), name)).copied())
    }

    pub fn has_function(&self, name: &str) -> bool {
        self.names.contains(&name)
    }

    /// Whether a function begins at an address that is handed out as it is.
    pub fn is_bare(&self, address: u64) -> bool {
        self.bare.contains(&address)
    }

    pub fn knows_module(&self, module: &str) -> bool {
        let module = module.to_ascii_lowercase();
        crate::modules().iter().any(|known| known.name == module)
    }

    fn build() -> Exports {
        let modules = crate::modules();
        let functions: usize = modules.iter().flat_map(|module| module.tables.iter()).map(|table| table.len()).sum();
        let size = (functions * STUB).next_multiple_of(4096);
        // SAFETY: a fresh private mapping.
        let stubs = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert!(stubs != libc::MAP_FAILED, "no memory for the import stubs");
        // SAFETY: the mapping just made, which nothing else knows yet.
        let code = unsafe { core::slice::from_raw_parts_mut(stubs.cast::<u8>(), size) };
        let mut exports = Exports { by_name: HashMap::new(), names: Vec::new(), bare: HashSet::new() };
        for module in modules {
            for export in module.tables.iter().flat_map(|table| table.iter()) {
                let number = exports.names.len();
                exports.names.push(export.name);
                let address = if export.form == Form::Function {
                    let at = number * STUB;
                    write_stub(&mut code[at..at + STUB], number as u32, export.address as u64);
                    stubs as u64 + at as u64
                } else {
                    export.address as u64
                };
                if export.form == Form::Bare {
                    exports.bare.insert(address);
                }
                exports.by_name.insert((module.name.to_string(), export.name), address);
            }
        }
        // SAFETY: the whole mapping; `code` is not used any more.
        let result = unsafe { libc::mprotect(stubs, size, libc::PROT_READ | libc::PROT_EXEC) };
        assert!(result == 0, "cannot make the import stubs executable");
        exports
    }
}

fn write_stub(stub: &mut [u8], number: u32, target: u64) {
    let mut code = Vec::with_capacity(STUB);
    // mov r10, [rsp]: the caller's return address; r10 is neither an argument nor preserved.
    code.extend([0x4c, 0x8b, 0x14, 0x24]);
    // mov gs:[caller], r10
    code.extend([0x65, 0x4c, 0x89, 0x14, 0x25]);
    code.extend((PAGE_CALLER as u32).to_le_bytes());
    // mov dword ptr gs:[import], number
    code.extend([0x65, 0xc7, 0x04, 0x25]);
    code.extend((PAGE_IMPORT as u32).to_le_bytes());
    code.extend(number.to_le_bytes());
    // cmp qword ptr gs:[baton], 0; jne to the second jump
    code.extend([0x65, 0x48, 0x83, 0x3c, 0x25]);
    code.extend((PAGE_BATON as u32).to_le_bytes());
    code.extend([0, 0x75, 29]);
    // mov r11, gs:[traced]; cmp byte ptr [r11], 0; jne to the third jump
    code.extend([0x65, 0x4c, 0x8b, 0x1c, 0x25]);
    code.extend((PAGE_TRACED as u32).to_le_bytes());
    code.extend([0x41, 0x80, 0x3b, 0, 0x75, 35]);
    // jmp [rip]
    code.extend([0xff, 0x25, 0, 0, 0, 0]);
    code.extend(target.to_le_bytes());
    // Twice mov r11, [target]; jmp [rip]
    for (target, then) in [
        (-15i32, postern_lab_scheduled_import as *const () as u64),
        (-36, postern_lab_traced_import as *const () as u64),
    ] {
        code.extend([0x4c, 0x8b, 0x1d]);
        code.extend(target.to_le_bytes());
        code.extend([0xff, 0x25, 0, 0, 0, 0]);
        code.extend(then.to_le_bytes());
    }
    stub[..code.len()].copy_from_slice(&code);
}

/// An address for an import that the lab does not supply: a call of it stops the lab, with its name.
pub(crate) fn stand_in(label: &str) -> u64 {
    static STAND_INS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
    let mut stand_ins = lock_of_process(&STAND_INS);
    if let Some(address) = stand_ins.get(label) {
        return *address;
    }
    let name: &'static str = Box::leak(label.to_owned().into_boxed_str());
    let name: &'static &'static str = Box::leak(Box::new(name));
    const PAGE: usize = 4096;
    // SAFETY: a fresh private mapping.
    let page = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert!(page != libc::MAP_FAILED, "no memory for an import's stand-in");
    // As the stubs; then mov rcx, name; jmp [rip].
    let mut code = vec![0x4c, 0x8b, 0x14, 0x24, 0x65, 0x4c, 0x89, 0x14, 0x25];
    code.extend((PAGE_CALLER as u32).to_le_bytes());
    code.extend([0x65, 0xc7, 0x04, 0x25]);
    code.extend((PAGE_IMPORT as u32).to_le_bytes());
    code.extend(u32::MAX.to_le_bytes());
    code.extend([0x48, 0xb9]);
    code.extend((core::ptr::from_ref(name) as u64).to_le_bytes());
    code.extend([0xff, 0x25, 0, 0, 0, 0]);
    code.extend((not_supplied as *const () as u64).to_le_bytes());
    // SAFETY: the mapping just made, which nothing else knows yet, and which is longer than the code.
    unsafe { core::ptr::copy_nonoverlapping(code.as_ptr(), page.cast::<u8>(), code.len()) };
    // SAFETY: the whole mapping.
    let result = unsafe { libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC) };
    assert!(result == 0, "cannot make an import's stand-in executable");
    stand_ins.insert(label.to_owned(), page as u64);
    page as u64
}

extern "win64" fn not_supplied(name: &'static &'static str) -> ! {
    report::violation(Finding {
        kind: Kind::Contract,
        what: format!("the driver called {name}, which the lab does not supply"),
        remedy: "none: the driver cannot be tried further here".into(),
    });
    report::stop();
    report::leave(call::LEAVE_STOPPED)
}

/// All exports; built once a process.
pub(crate) fn all() -> &'static Exports {
    static ALL: OnceLock<Exports> = OnceLock::new();
    ALL.get_or_init(Exports::build)
}

/// Names of the functions and variables that a module exports.
pub fn exported_names(module: &str) -> Vec<&'static str> {
    let modules = crate::modules().iter().filter(|known| known.name == module);
    modules.flat_map(|module| module.tables).flat_map(|table| table.iter()).map(|export| export.name).collect()
}

/// Name of the import that this thread called last and is in.
pub fn current_name() -> &'static str {
    name(thread::page().import.get())
}

/// Name of the import with a number, as stubs note it.
pub(crate) fn name(number: u32) -> &'static str {
    all().names.get(number as usize).copied().unwrap_or("an unknown import")
}
