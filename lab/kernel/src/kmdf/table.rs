//! The table of framework functions that a driver calls through.

use std::sync::OnceLock;

use crate::export::{self, Export, Form, KMDF_TABLE};
use crate::kmdf::names::NAMES;
use crate::kmdf::report::{WDF_VERIFIER_FATAL_ERROR, fatal};

/// A stand-in for every function, so that one that is not there is named when it is called.
pub(super) const MISSING: &[Export] = &{
    let mut table = [Export { name: "", address: missing as *const (), form: Form::Function }; NAMES.len()];
    let mut index = 0;
    while index < NAMES.len() {
        table[index].name = NAMES[index];
        index += 1;
    }
    table
};

extern "win64" fn missing() -> u64 {
    let name = export::current_name();
    let index = NAMES.iter().position(|known| *known == name).unwrap_or(usize::MAX);
    fatal(
        WDF_VERIFIER_FATAL_ERROR,
        index as u64,
        &format!("the driver called {name} (index {index} of the KMDF function table), which the lab does not supply"),
    )
}

/// Addresses in the order of the table; one table serves every driver.
pub(super) fn addresses() -> &'static [u64] {
    static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let exports = export::all();
        NAMES.iter().map(|name| exports.find(KMDF_TABLE, name).expect("every name has at least its stand-in")).collect()
    })
}
