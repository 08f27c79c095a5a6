//! `WDFSTRING`.

#![allow(non_snake_case, reason = "functions have the names of wdfstring.h")]

use std::sync::Mutex;

use crate::export::{Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::kernel::lock;
use crate::kmdf::attributes::{self, Attributes, Rules};
use crate::kmdf::client::{self, Globals};
use crate::kmdf::object::{Body, Typed, find};
use crate::kmdf::report::required;
use crate::nt::{NtStatus, OwnedUnicode, PASSIVE_LEVEL, UnicodeString};
use crate::ptr::Ptr;

pub(super) const FUNCTIONS: &[Export] = exports![WdfStringCreate, WdfStringGetUnicodeString];

struct Text {
    value: Mutex<OwnedUnicode>,
}

impl Body for Text {
    fn type_name(&self) -> &'static str {
        Self::TYPE
    }
    fn is_passive(&self) -> bool {
        true
    }
}

impl Typed for Text {
    const TYPE: &'static str = "WDFSTRING";
}

extern "win64" fn WdfStringCreate(
    globals: Ptr<Globals>,
    text: Ptr<UnicodeString>,
    attributes: Ptr<Attributes>,
    out: Ptr<u64>,
) -> NtStatus {
    let client = client::of(globals);
    required(out, "String").write(0);
    require_irql(PASSIVE_LEVEL);
    let value = text.non_null().map_or_else(String::new, |text| text.read().text());
    let checked = match attributes::check(attributes, Rules::default()) {
        Ok(checked) => checked,
        Err(status) => return status,
    };
    if let Some(status) = inject::faulted() {
        return status;
    }
    let body = Text { value: Mutex::new(OwnedUnicode::new(&value)) };
    let string = attributes::create(&client, &checked, &client.default_parent(), body);
    out.write(string.handle());
    NtStatus::SUCCESS
}

extern "win64" fn WdfStringGetUnicodeString(_globals: Ptr<Globals>, string: u64, out: Ptr<UnicodeString>) {
    require_irql(PASSIVE_LEVEL);
    let string = find::<Text>(string);
    let value = lock(&string.value).value();
    required(out, "UnicodeString").write(value);
}

/// Gives a string object a new value.
pub(super) fn set(string: u64, value: &str) {
    let string = find::<Text>(string);
    *lock(&string.value) = OwnedUnicode::new(value);
}

/// The value of a string object.
pub(super) fn units(string: u64) -> Vec<u16> {
    let string = find::<Text>(string);
    let value = lock(&string.value).value();
    value.units()
}
