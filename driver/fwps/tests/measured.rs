//! Every constant and key of `fwps::sys` against what was measured over the WDK's headers.

use serde_json::{Map, Value};

const SOURCES: [&str; 5] = [
    include_str!("../src/sys/fwp.rs"),
    include_str!("../src/sys/fwpm.rs"),
    include_str!("../src/sys/fwps.rs"),
    include_str!("../src/sys/layers.rs"),
    include_str!("../src/sys/status.rs"),
];

/// In the headers of the newest Windows, or of another header than the measured ones.
fn is_known_elsewhere(name: &str) -> bool {
    name.starts_with("STATUS_") || name.starts_with("RPC_")
}

fn measured(json: &str) -> Map<String, Value> {
    let file: Value = serde_json::from_str(json).expect("measured facts are JSON");
    file["data"].as_object().expect("`data` is an object").clone()
}

/// `pub const NAME: TYPE = EXPRESSION;` as (NAME, EXPRESSION), whatever the line breaks.
fn declared(source: &str) -> impl Iterator<Item = (&str, &str)> {
    source.split("pub const ").skip(1).filter_map(|rest| {
        let (declaration, _) = rest.split_once(';')?;
        let (name, rest) = declaration.split_once(':')?;
        let (_, expression) = rest.split_once('=')?;
        Some((name.trim(), expression.trim()))
    })
}

fn number(expression: &str) -> i128 {
    let digits = expression.split_once("_u32").map_or(expression, |(digits, _)| digits).replace('_', "");
    let unsigned = match digits.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16),
        None => digits.parse(),
    }
    .unwrap_or_else(|_| panic!("{expression} is not a number"));
    // NTSTATUS values are signed, and measured so.
    if expression.ends_with("NTSTATUS") { i128::from(unsigned as u32 as i32) } else { unsigned }
}

#[test]
fn every_constant_has_the_value_of_the_headers() {
    let facts = measured(include_str!("data/wdk-facts/constants.json"));
    let mut compared = 0;
    for (name, expression) in SOURCES.iter().flat_map(|source| declared(source)) {
        match facts.get(name).and_then(Value::as_i64) {
            Some(value) => {
                let expected = i128::from(value);
                let got = number(expression);
                // Flags with the top bit set were measured as signed `int`.
                assert!(got == expected || got == i128::from(value as u32), "{name} is {expected:#x}, not {got:#x}");
                compared += 1;
            }
            None => assert!(is_known_elsewhere(name), "{name} was not measured"),
        }
    }
    assert!(compared > 1000, "compared {compared} constants only");
}

#[test]
fn every_key_is_the_key_of_the_headers() {
    let facts = measured(include_str!("data/wdk-facts/guids.json"));
    let mut compared = 0;
    for (name, expression) in declared(include_str!("../src/sys/guids.rs")) {
        let hex: String = expression.chars().skip_while(|&c| c != 'x').filter(char::is_ascii_hexdigit).collect();
        let key: String = facts
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{name} was not measured"))
            .chars()
            .filter(char::is_ascii_hexdigit)
            .collect();
        assert_eq!(hex, key, "{name}");
        compared += 1;
    }
    assert!(compared > 200, "compared {compared} keys only");
}

#[test]
fn a_guid_is_laid_out_as_windows_does() {
    use fwps::sys::GUID;
    let key = GUID::from_u128(0xc38d57d1_05a7_4c33_904f_7fbceee60e82);
    assert_eq!((key.data1, key.data2, key.data3), (0xc38d57d1, 0x05a7, 0x4c33));
    assert_eq!(key.data4, [0x90, 0x4f, 0x7f, 0xbc, 0xee, 0xe6, 0x0e, 0x82]);
    assert_eq!(key.to_u128(), 0xc38d57d1_05a7_4c33_904f_7fbceee60e82);
}
