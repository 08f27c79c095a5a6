//! The run-time library: strings, GUIDs, numbers, versions.

use core::cmp::Ordering;
use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::export::{Export, exports};
use crate::inject;
use crate::irql::require_irql;
use crate::nt::{AnsiString, NtStatus, PASSIVE_LEVEL, UnicodeString};
use crate::ntos::debug::c_string;
use crate::ntos::dispatch::bad_parameter;
use crate::ptr::{Ptr, field};
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    RtlInitUnicodeString,
    RtlInitUnicodeStringEx,
    RtlInitAnsiString,
    RtlInitString,
    RtlInitUTF8String,
    RtlCopyUnicodeString,
    RtlCopyString,
    RtlAppendUnicodeToString,
    RtlAppendUnicodeStringToString,
    RtlAppendStringToString,
    RtlCompareUnicodeString,
    RtlCompareUnicodeStrings,
    RtlEqualUnicodeString,
    RtlCompareString,
    RtlEqualString,
    RtlPrefixUnicodeString,
    RtlPrefixString,
    RtlSuffixUnicodeString,
    RtlHashUnicodeString,
    RtlUpcaseUnicodeChar,
    RtlDowncaseUnicodeChar,
    RtlUpcaseUnicodeString,
    RtlDowncaseUnicodeString,
    RtlUpperChar,
    RtlUpperString,
    RtlDuplicateUnicodeString,
    RtlFreeUnicodeString,
    RtlFreeAnsiString,
    RtlFreeUTF8String,
    RtlCreateUnicodeString,
    RtlAnsiStringToUnicodeString,
    RtlUnicodeStringToAnsiString,
    RtlUnicodeStringToUTF8String,
    RtlUTF8StringToUnicodeString,
    RtlUnicodeToUTF8N,
    RtlUTF8ToUnicodeN,
    RtlUnicodeToMultiByteN,
    RtlMultiByteToUnicodeN,
    RtlIntegerToUnicodeString,
    RtlInt64ToUnicodeString,
    RtlUnicodeStringToInteger,
    RtlCharToInteger,
    RtlStringFromGUID,
    RtlGUIDFromString,
    RtlRandom,
    RtlRandomEx,
    ExUuidCreate,
    RtlIpv4AddressToStringW,
    RtlIpv4AddressToStringA,
    RtlIpv6AddressToStringW,
    RtlIpv6AddressToStringA,
    RtlIpv4AddressToStringExW,
    RtlIpv6AddressToStringExW,
    RtlIpv4StringToAddressW,
    RtlIpv4StringToAddressA,
    RtlIpv6StringToAddressW,
    RtlIpv6StringToAddressA,
    RtlComputeCrc32,
    RtlUlongByteSwap,
    RtlUlonglongByteSwap,
    RtlUshortByteSwap,
    RtlFindMessage,
    RtlNtStatusToDosError,
    RtlNtStatusToDosErrorNoTeb,
    RtlInitializeBitMap,
    RtlSetBits,
    RtlClearBits,
    RtlSetBit,
    RtlClearBit,
    RtlTestBit,
    RtlClearAllBits,
    RtlSetAllBits,
    RtlAreBitsClear,
    RtlAreBitsSet,
    RtlFindClearBits,
    RtlFindClearBitsAndSet,
    RtlNumberOfSetBits,
    bare RtlCaptureContext,
    RtlCaptureStackBackTrace,
    RtlWalkFrameChain,
    RtlGetCallersAddress,
    RtlAssert,
    RtlRaiseException,
    ExRaiseStatus,
    ExRaiseAccessViolation,
    ExRaiseDatatypeMisalignment,
    bare strlen,
    bare strnlen,
    strcpy,
    strncpy,
    strcat,
    strncat,
    bare strcmp,
    bare strncmp,
    _stricmp,
    _strnicmp,
    strchr,
    strrchr,
    strstr,
    strcpy_s,
    strcat_s,
    strncpy_s,
    bare wcslen,
    bare wcsnlen,
    wcscpy,
    wcsncpy,
    wcscat,
    wcsncat,
    bare wcscmp,
    bare wcsncmp,
    _wcsicmp,
    _wcsnicmp,
    wcschr,
    wcsrchr,
    wcsstr,
    wcscpy_s,
    wcscat_s,
    wcsncpy_s,
    _wcsupr,
    _wcslwr,
    _strupr,
    _strlwr,
    toupper,
    tolower,
    towupper,
    towlower,
    isdigit,
    isspace,
    isxdigit,
    isalpha,
    isupper,
    islower,
    isprint,
    atoi,
    atol,
    _wtoi,
    _wtol,
    strtol,
    strtoul,
    wcstol,
    wcstoul,
    wcstombs,
    mbstowcs,
    rand,
    srand,
    qsort,
    bsearch,
    abs,
];

/// Windows' tables map one unit to one, and only letters that map back: not the long s, nor the micro sign.
fn upper(unit: u16) -> u16 {
    // Greek letters with an iota below, which the library's mapping sets beside them.
    let with_iota = if (0x1f80..0x2000).contains(&unit) { Some([unit + 8, unit + 9]) } else { None };
    one(unit, char::to_uppercase)
        .into_iter()
        .chain(with_iota.into_iter().flatten())
        .find(|upper| one(*upper, char::to_lowercase) == Some(unit))
        .unwrap_or(unit)
}

fn lower(unit: u16) -> u16 {
    one(unit, char::to_lowercase).filter(|lower| upper(*lower) == unit).unwrap_or(unit)
}

/// What a mapping makes of a unit, if it is one unit again.
fn one<M: Iterator<Item = char>>(unit: u16, mapping: impl Fn(char) -> M) -> Option<u16> {
    let mut mapped = mapping(char::from_u32(u32::from(unit))?);
    let first = u16::try_from(u32::from(mapped.next()?)).ok()?;
    mapped.next().is_none().then_some(first)
}

const LONGEST: usize = 32766;

extern "win64" fn RtlInitUnicodeString(target: Ptr<UnicodeString>, source: Ptr<u16>) {
    let length = if source.is_null() { 0 } else { c_string(source, LONGEST).len() as u16 * 2 };
    target.write(UnicodeString {
        Length: length,
        MaximumLength: if source.is_null() { 0 } else { length + 2 },
        Buffer: source,
    });
}

extern "win64" fn RtlInitUnicodeStringEx(target: Ptr<UnicodeString>, source: Ptr<u16>) -> NtStatus {
    if !source.is_null() && c_string(source, LONGEST + 1).len() > LONGEST {
        return NtStatus::NAME_TOO_LONG;
    }
    RtlInitUnicodeString(target, source);
    NtStatus::SUCCESS
}

extern "win64" fn RtlInitAnsiString(target: Ptr<AnsiString>, source: Ptr<u8>) {
    const LONGEST: usize = 65534;
    let length = if source.is_null() { 0 } else { c_string(source, LONGEST).len() as u16 };
    target.write(AnsiString {
        Length: length,
        MaximumLength: if source.is_null() { 0 } else { length + 1 },
        Buffer: source,
    });
}

extern "win64" fn RtlInitString(target: Ptr<AnsiString>, source: Ptr<u8>) {
    RtlInitAnsiString(target, source);
}

extern "win64" fn RtlInitUTF8String(target: Ptr<AnsiString>, source: Ptr<u8>) {
    RtlInitAnsiString(target, source);
}

/// Stores units into a counted string, with a terminator if there is room.
fn store(target: Ptr<UnicodeString>, units: &[u16]) {
    let string = target.read();
    let fits = units.len().min(usize::from(string.MaximumLength / 2));
    string.Buffer.copy_from(&units[..fits]);
    if fits < usize::from(string.MaximumLength / 2) {
        string.Buffer.at(fits).copy_from(&[0]);
    }
    field!(target, Length).write(fits as u16 * 2);
}

extern "win64" fn RtlCopyUnicodeString(target: Ptr<UnicodeString>, source: Ptr<UnicodeString>) {
    let units = if source.is_null() { Vec::new() } else { source.read().units() };
    store(target, &units);
}

extern "win64" fn RtlCopyString(target: Ptr<AnsiString>, source: Ptr<AnsiString>) {
    let bytes = if source.is_null() { Vec::new() } else { ansi(source) };
    let string = target.read();
    let fits = bytes.len().min(usize::from(string.MaximumLength));
    string.Buffer.copy_from(&bytes[..fits]);
    field!(target, Length).write(fits as u16);
}

fn append(target: Ptr<UnicodeString>, more: &[u16]) -> NtStatus {
    let string = target.read();
    if usize::from(string.Length) + more.len() * 2 > usize::from(string.MaximumLength) {
        return NtStatus::BUFFER_TOO_SMALL;
    }
    let mut units = string.units();
    units.extend_from_slice(more);
    store(target, &units);
    NtStatus::SUCCESS
}

extern "win64" fn RtlAppendUnicodeToString(target: Ptr<UnicodeString>, source: Ptr<u16>) -> NtStatus {
    append(target, &if source.is_null() { Vec::new() } else { c_string(source, LONGEST) })
}

extern "win64" fn RtlAppendUnicodeStringToString(target: Ptr<UnicodeString>, source: Ptr<UnicodeString>) -> NtStatus {
    append(target, &source.read().units())
}

extern "win64" fn RtlAppendStringToString(target: Ptr<AnsiString>, source: Ptr<AnsiString>) -> NtStatus {
    let string = target.read();
    let more = ansi(source);
    if usize::from(string.Length) + more.len() > usize::from(string.MaximumLength) {
        return NtStatus::BUFFER_TOO_SMALL;
    }
    string.Buffer.at(usize::from(string.Length)).copy_from(&more);
    field!(target, Length).write(string.Length + more.len() as u16);
    NtStatus::SUCCESS
}

fn order(a: &[u16], b: &[u16], ignore_case: u8) -> i32 {
    let fold = |unit: &u16| if ignore_case != 0 { upper(*unit) } else { *unit };
    match a.iter().map(fold).cmp(b.iter().map(fold)) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
}

extern "win64" fn RtlCompareUnicodeString(a: Ptr<UnicodeString>, b: Ptr<UnicodeString>, ignore_case: u8) -> i32 {
    require_irql(PASSIVE_LEVEL);
    order(&a.read().units(), &b.read().units(), ignore_case)
}

extern "win64" fn RtlCompareUnicodeStrings(
    a: Ptr<u16>,
    a_length: u64,
    b: Ptr<u16>,
    b_length: u64,
    ignore_case: u8,
) -> i32 {
    order(&a.to_vec(a_length as usize), &b.to_vec(b_length as usize), ignore_case)
}

extern "win64" fn RtlEqualUnicodeString(a: Ptr<UnicodeString>, b: Ptr<UnicodeString>, ignore_case: u8) -> u8 {
    require_irql(PASSIVE_LEVEL);
    u8::from(order(&a.read().units(), &b.read().units(), ignore_case) == 0)
}

fn ansi(string: Ptr<AnsiString>) -> Vec<u8> {
    let string = string.read();
    string.Buffer.to_vec(usize::from(string.Length))
}

fn narrow_order(a: &[u8], b: &[u8], ignore_case: bool) -> i32 {
    let fold = |byte: &u8| if ignore_case { byte.to_ascii_uppercase() } else { *byte };
    match a.iter().map(fold).cmp(b.iter().map(fold)) {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    }
}

extern "win64" fn RtlCompareString(a: Ptr<AnsiString>, b: Ptr<AnsiString>, ignore_case: u8) -> i32 {
    narrow_order(&ansi(a), &ansi(b), ignore_case != 0)
}

extern "win64" fn RtlEqualString(a: Ptr<AnsiString>, b: Ptr<AnsiString>, ignore_case: u8) -> u8 {
    u8::from(RtlCompareString(a, b, ignore_case) == 0)
}

extern "win64" fn RtlPrefixUnicodeString(a: Ptr<UnicodeString>, b: Ptr<UnicodeString>, ignore_case: u8) -> u8 {
    require_irql(PASSIVE_LEVEL);
    let (a, b) = (a.read().units(), b.read().units());
    u8::from(b.len() >= a.len() && order(&a, &b[..a.len()], ignore_case) == 0)
}

extern "win64" fn RtlPrefixString(a: Ptr<AnsiString>, b: Ptr<AnsiString>, ignore_case: u8) -> u8 {
    let (a, b) = (ansi(a), ansi(b));
    u8::from(b.len() >= a.len() && narrow_order(&a, &b[..a.len()], ignore_case != 0) == 0)
}

extern "win64" fn RtlSuffixUnicodeString(a: Ptr<UnicodeString>, b: Ptr<UnicodeString>, ignore_case: u8) -> u8 {
    let (a, b) = (a.read().units(), b.read().units());
    u8::from(b.len() >= a.len() && order(&a, &b[b.len() - a.len()..], ignore_case) == 0)
}

extern "win64" fn RtlHashUnicodeString(
    string: Ptr<UnicodeString>,
    ignore_case: u8,
    algorithm: u32,
    hash: Ptr<u32>,
) -> NtStatus {
    const DEFAULT: u32 = 0;
    const X65599: u32 = 1;
    if string.is_null() || hash.is_null() || !matches!(algorithm, DEFAULT | X65599) {
        return NtStatus::INVALID_PARAMETER;
    }
    let fold = |unit: u16| if ignore_case != 0 { upper(unit) } else { unit };
    let value = string
        .read()
        .units()
        .into_iter()
        .fold(0u32, |hash, unit| hash.wrapping_mul(65599).wrapping_add(u32::from(fold(unit))));
    hash.write(value);
    NtStatus::SUCCESS
}

extern "win64" fn RtlUpcaseUnicodeChar(unit: u16) -> u16 {
    upper(unit)
}

extern "win64" fn RtlDowncaseUnicodeChar(unit: u16) -> u16 {
    lower(unit)
}

/// Pool for a string that the caller frees with `RtlFreeUnicodeString`.
fn string_buffer(bytes: usize) -> Ptr<u8> {
    if inject::faulted().is_some() {
        return Ptr::NULL;
    }
    thread::current().pool.allocate(bytes.max(2), u32::from_le_bytes(*b"Strg"), true, true)
}

/// Gives a string with a terminator, which needs room too.
pub(crate) fn give(target: Ptr<UnicodeString>, units: &[u16], allocate: bool) -> NtStatus {
    give_with(target, units, allocate, 1)
}

fn give_with(target: Ptr<UnicodeString>, units: &[u16], allocate: bool, terminators: usize) -> NtStatus {
    let bytes = (units.len() + terminators) * 2;
    if !allocate {
        if bytes > usize::from(field!(target, MaximumLength).read()) {
            return NtStatus::BUFFER_OVERFLOW;
        }
        store(target, units);
        return NtStatus::SUCCESS;
    }
    let buffer = string_buffer(bytes);
    if buffer.is_null() {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    target.write(UnicodeString { Length: 0, MaximumLength: bytes as u16, Buffer: buffer.cast() });
    store(target, units);
    NtStatus::SUCCESS
}

fn give_narrow(target: Ptr<AnsiString>, bytes: &[u8], allocate: bool) -> NtStatus {
    let mut string = target.read();
    if allocate {
        let buffer = string_buffer(bytes.len() + 1);
        if buffer.is_null() {
            return NtStatus::INSUFFICIENT_RESOURCES;
        }
        string = AnsiString { Length: 0, MaximumLength: bytes.len() as u16 + 1, Buffer: buffer };
    } else if bytes.len() >= usize::from(string.MaximumLength) {
        return NtStatus::BUFFER_OVERFLOW;
    }
    string.Buffer.copy_from(bytes);
    string.Buffer.at(bytes.len()).write(0);
    string.Length = bytes.len() as u16;
    target.write(string);
    NtStatus::SUCCESS
}

extern "win64" fn RtlUpcaseUnicodeString(
    target: Ptr<UnicodeString>,
    source: Ptr<UnicodeString>,
    allocate: u8,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let units: Vec<u16> = source.read().units().into_iter().map(upper).collect();
    give_with(target, &units, allocate != 0, 0)
}

extern "win64" fn RtlDowncaseUnicodeString(
    target: Ptr<UnicodeString>,
    source: Ptr<UnicodeString>,
    allocate: u8,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let units: Vec<u16> = source.read().units().into_iter().map(lower).collect();
    give_with(target, &units, allocate != 0, 0)
}

extern "win64" fn RtlUpperChar(character: u8) -> u8 {
    character.to_ascii_uppercase()
}

extern "win64" fn RtlUpperString(target: Ptr<AnsiString>, source: Ptr<AnsiString>) {
    let upper: Vec<u8> = ansi(source).iter().map(u8::to_ascii_uppercase).collect();
    let string = target.read();
    let fits = upper.len().min(usize::from(string.MaximumLength));
    string.Buffer.copy_from(&upper[..fits]);
    field!(target, Length).write(fits as u16);
}

/// A string without units has a buffer only if both flags ask for one.
extern "win64" fn RtlDuplicateUnicodeString(
    flags: u32,
    source: Ptr<UnicodeString>,
    target: Ptr<UnicodeString>,
) -> NtStatus {
    const NULL_TERMINATE: u32 = 1;
    const ALLOCATE_NULL_STRING: u32 = 2;
    require_irql(PASSIVE_LEVEL);
    if flags > NULL_TERMINATE | ALLOCATE_NULL_STRING || flags == ALLOCATE_NULL_STRING {
        return NtStatus::INVALID_PARAMETER;
    }
    let mut units = source.read().units();
    let length = units.len() as u16 * 2;
    if length == 0 && flags & ALLOCATE_NULL_STRING == 0 {
        target.write(UnicodeString::EMPTY);
        return NtStatus::SUCCESS;
    }
    if flags & NULL_TERMINATE != 0 {
        units.push(0);
    }
    let buffer: Ptr<u16> = string_buffer(units.len() * 2).cast();
    if buffer.is_null() {
        return NtStatus::INSUFFICIENT_RESOURCES;
    }
    buffer.copy_from(&units);
    target.write(UnicodeString { Length: length, MaximumLength: units.len() as u16 * 2, Buffer: buffer });
    NtStatus::SUCCESS
}

extern "win64" fn RtlFreeUnicodeString(string: Ptr<UnicodeString>) {
    require_irql(PASSIVE_LEVEL);
    let buffer = field!(string, Buffer).read();
    if !buffer.is_null() {
        if thread::current().pool.find(buffer.address()).is_none() {
            bad_parameter(
                "a string whose buffer was not allocated",
                "free only strings that an Rtl function allocated",
            );
        } else {
            thread::current().pool.free_system(buffer.cast());
        }
    }
    string.write(UnicodeString::EMPTY);
}

extern "win64" fn RtlFreeAnsiString(string: Ptr<AnsiString>) {
    RtlFreeUnicodeString(string.cast());
}

extern "win64" fn RtlFreeUTF8String(string: Ptr<AnsiString>) {
    RtlFreeUnicodeString(string.cast());
}

extern "win64" fn RtlCreateUnicodeString(target: Ptr<UnicodeString>, source: Ptr<u16>) -> u8 {
    require_irql(PASSIVE_LEVEL);
    u8::from(give(target, &c_string(source, LONGEST), true).is_success())
}

extern "win64" fn RtlAnsiStringToUnicodeString(
    target: Ptr<UnicodeString>,
    source: Ptr<AnsiString>,
    allocate: u8,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let units: Vec<u16> = ansi(source).into_iter().map(u16::from).collect();
    give(target, &units, allocate != 0)
}

extern "win64" fn RtlUnicodeStringToAnsiString(
    target: Ptr<AnsiString>,
    source: Ptr<UnicodeString>,
    allocate: u8,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let bytes: Vec<u8> = source.read().units().into_iter().map(|unit| u8::try_from(unit).unwrap_or(b'?')).collect();
    let status = give_narrow(target, &bytes, allocate != 0);
    let room = usize::from(field!(target, MaximumLength).read());
    if status == NtStatus::BUFFER_OVERFLOW && room != 0 {
        // As much as fits is converted.
        give_narrow(target, &bytes[..room - 1], false);
    }
    status
}

extern "win64" fn RtlUnicodeStringToUTF8String(
    target: Ptr<AnsiString>,
    source: Ptr<UnicodeString>,
    allocate: u8,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    give_narrow(target, source.read().text().as_bytes(), allocate != 0)
}

extern "win64" fn RtlUTF8StringToUnicodeString(
    target: Ptr<UnicodeString>,
    source: Ptr<AnsiString>,
    allocate: u8,
) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let units: Vec<u16> = String::from_utf8_lossy(&ansi(source)).encode_utf16().collect();
    give(target, &units, allocate != 0)
}

fn copy_out(target: Ptr<u8>, most: u32, written: Ptr<u32>, bytes: &[u8]) {
    let fits = bytes.len().min(most as usize);
    target.copy_from(&bytes[..fits]);
    written.write_optional(fits as u32);
}

/// Stores what characters became, one after the other, as far as they fit whole; without a target, only how much that is.
fn store_converted(target: Ptr<u8>, most: u32, written: Ptr<u32>, characters: &[Vec<u8>], lossy: bool) -> NtStatus {
    let mut fits = Vec::new();
    let mut all = true;
    for character in characters {
        all = target.is_null() || fits.len() + character.len() <= most as usize;
        if !all {
            break;
        }
        fits.extend_from_slice(character);
    }
    if !target.is_null() {
        target.copy_from(&fits);
    }
    written.write_optional(fits.len() as u32);
    match (all, lossy) {
        (false, _) => NtStatus::BUFFER_TOO_SMALL,
        (true, true) => NtStatus::SOME_NOT_MAPPED,
        (true, false) => NtStatus::SUCCESS,
    }
}

/// "RtlUnicodeToUTF8N function".
extern "win64" fn RtlUnicodeToUTF8N(
    target: Ptr<u8>,
    most: u32,
    written: Ptr<u32>,
    source: Ptr<u16>,
    bytes: u32,
) -> NtStatus {
    if source.is_null() {
        return NtStatus::INVALID_PARAMETER_4;
    }
    if !bytes.is_multiple_of(2) {
        return NtStatus::INVALID_PARAMETER_5;
    }
    let decoded: Vec<_> = char::decode_utf16(source.to_vec(bytes as usize / 2)).collect();
    let lossy = decoded.iter().any(Result::is_err);
    let encode = |one: Result<char, _>| one.unwrap_or(char::REPLACEMENT_CHARACTER).to_string().into_bytes();
    store_converted(target, most, written, &decoded.into_iter().map(encode).collect::<Vec<_>>(), lossy)
}

/// "RtlUTF8ToUnicodeN function".
extern "win64" fn RtlUTF8ToUnicodeN(
    target: Ptr<u8>,
    most: u32,
    written: Ptr<u32>,
    source: Ptr<u8>,
    bytes: u32,
) -> NtStatus {
    if source.is_null() {
        return NtStatus::INVALID_PARAMETER_4;
    }
    let source = source.to_vec(bytes as usize);
    let text = String::from_utf8_lossy(&source);
    let lossy = matches!(text, std::borrow::Cow::Owned(_));
    let encode = |character: char| {
        let mut units = [0; 2];
        character.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_le_bytes()).collect()
    };
    store_converted(target, most, written, &text.chars().map(encode).collect::<Vec<_>>(), lossy)
}

extern "win64" fn RtlUnicodeToMultiByteN(
    target: Ptr<u8>,
    most: u32,
    written: Ptr<u32>,
    source: Ptr<u16>,
    bytes: u32,
) -> NtStatus {
    let units = source.to_vec(bytes as usize / 2);
    let narrow: Vec<u8> = units.into_iter().map(|unit| u8::try_from(unit).unwrap_or(b'?')).collect();
    copy_out(target, most, written, &narrow);
    NtStatus::SUCCESS
}

extern "win64" fn RtlMultiByteToUnicodeN(
    target: Ptr<u8>,
    most: u32,
    written: Ptr<u32>,
    source: Ptr<u8>,
    bytes: u32,
) -> NtStatus {
    let units: Vec<u8> =
        source.to_vec(bytes as usize).into_iter().flat_map(|byte| u16::from(byte).to_le_bytes()).collect();
    copy_out(target, most, written, &units);
    NtStatus::SUCCESS
}

fn digits(mut value: u64, base: u32) -> Option<String> {
    let base = match base {
        0 => 10,
        2 | 8 | 10 | 16 => base,
        _ => return None,
    };
    let mut text = Vec::new();
    loop {
        text.push(char::from_digit((value % u64::from(base)) as u32, base)?.to_ascii_uppercase());
        value /= u64::from(base);
        if value == 0 {
            break;
        }
    }
    Some(text.into_iter().rev().collect())
}

extern "win64" fn RtlInt64ToUnicodeString(value: u64, base: u32, target: Ptr<UnicodeString>) -> NtStatus {
    match digits(value, base) {
        None => NtStatus::INVALID_PARAMETER,
        Some(text) => give(target, &text.encode_utf16().collect::<Vec<_>>(), false),
    }
}

extern "win64" fn RtlIntegerToUnicodeString(value: u32, base: u32, target: Ptr<UnicodeString>) -> NtStatus {
    RtlInt64ToUnicodeString(u64::from(value), base, target)
}

/// A number as `strtol` reads one: whether it is negative, how much it is, and how many characters it took.
struct Number {
    negative: bool,
    magnitude: u64,
    taken: usize,
}

fn parse(text: &str, base: u32) -> Number {
    let mut rest = text.trim_start_matches(|character: char| character.is_ascii_whitespace() || character == '\x0b');
    let negative = rest.starts_with('-');
    rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let is_hexadecimal = rest.starts_with("0x") || rest.starts_with("0X");
    let after_prefix =
        rest.get(2..).filter(|after| is_hexadecimal && after.starts_with(|c: char| c.is_ascii_hexdigit()));
    let base = match (base, after_prefix) {
        (0 | 16, Some(digits)) => {
            rest = digits;
            16
        }
        (0, None) if rest.starts_with('0') => 8,
        (0, None) => 10,
        _ => base.clamp(2, 36),
    };
    let (mut magnitude, mut digits) = (0u64, 0);
    for digit in rest.chars().map_while(|character| character.to_digit(base)) {
        magnitude = magnitude.saturating_mul(u64::from(base)).saturating_add(u64::from(digit));
        digits += 1;
    }
    let taken = if digits == 0 { 0 } else { text.len() - rest.len() + digits };
    Number { negative, magnitude, taken }
}

impl Number {
    fn signed(&self) -> i32 {
        let magnitude = i64::try_from(self.magnitude).unwrap_or(i64::MAX);
        let value = if self.negative { -magnitude } else { magnitude };
        value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
    }

    fn unsigned(&self) -> u32 {
        match u32::try_from(self.magnitude) {
            Err(_) => u32::MAX,
            Ok(value) if self.negative => value.wrapping_neg(),
            Ok(value) => value,
        }
    }
}

/// "RtlUnicodeStringToInteger": only without a base does a prefix count, and only in small letters.
fn integer(units: &[u16], base: u32, value: Ptr<u32>) -> NtStatus {
    let text = String::from_utf16_lossy(units);
    let text = text.trim_start_matches(|character| character <= ' ');
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match (base, text.get(..2)) {
        (0, Some("0b")) => (2, &text[2..]),
        (0, Some("0o")) => (8, &text[2..]),
        (0, Some("0x")) => (16, &text[2..]),
        (0, _) => (10, text),
        (2 | 8 | 10 | 16, _) => (base, text),
        _ => return NtStatus::INVALID_PARAMETER,
    };
    let digits = digits.chars().map_while(|character| character.to_digit(base));
    let number = digits.fold(0u32, |number, digit| number.wrapping_mul(base).wrapping_add(digit));
    value.write(if negative { number.wrapping_neg() } else { number });
    NtStatus::SUCCESS
}

extern "win64" fn RtlUnicodeStringToInteger(source: Ptr<UnicodeString>, base: u32, value: Ptr<u32>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    integer(&source.read().units(), base, value)
}

extern "win64" fn RtlCharToInteger(source: Ptr<u8>, base: u32, value: Ptr<u32>) -> NtStatus {
    let units: Vec<u16> = c_string(source, LONGEST).into_iter().map(u16::from).collect();
    integer(&units, base, value)
}

extern "win64" fn RtlStringFromGUID(guid: Ptr<[u8; 16]>, target: Ptr<UnicodeString>) -> NtStatus {
    require_irql(PASSIVE_LEVEL);
    let text = uuid::Uuid::from_bytes_le(guid.read_unaligned()).braced().to_string().to_uppercase();
    give(target, &text.encode_utf16().collect::<Vec<_>>(), true)
}

extern "win64" fn RtlGUIDFromString(source: Ptr<UnicodeString>, guid: Ptr<[u8; 16]>) -> NtStatus {
    // Other forms that the parser knows have other lengths.
    const LENGTH: usize = "{00000000-0000-0000-0000-000000000000}".len();
    let text = source.read().text();
    match uuid::Uuid::try_parse(&text) {
        Ok(value) if text.len() == LENGTH => {
            guid.copy_from(&[value.to_bytes_le()]);
            NtStatus::SUCCESS
        }
        _ => NtStatus::INVALID_PARAMETER,
    }
}

fn random() -> u64 {
    static STATE: AtomicU64 = AtomicU64::new(0x9E37_79B9_7F4A_7C15);
    let mut value = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, core::sync::atomic::Ordering::Relaxed);
    value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

extern "win64" fn RtlRandomEx(seed: Ptr<u32>) -> u32 {
    let value = (random() ^ u64::from(seed.read())) as u32 & 0x7FFF_FFFF;
    seed.write(value);
    value
}

extern "win64" fn RtlRandom(seed: Ptr<u32>) -> u32 {
    RtlRandomEx(seed)
}

extern "win64" fn ExUuidCreate(uuid: Ptr<[u8; 16]>) -> NtStatus {
    let bits = (u128::from(random()) << 64) | u128::from(random());
    let value = uuid::Builder::from_random_bytes(bits.to_le_bytes()).into_uuid();
    uuid.copy_from(&[value.to_bytes_le()]);
    NtStatus::SUCCESS
}

fn put_wide(target: Ptr<u16>, text: &str) -> Ptr<u16> {
    let units: Vec<u16> = text.encode_utf16().chain([0]).collect();
    target.copy_from(&units);
    target.at(units.len() - 1)
}

fn put_narrow(target: Ptr<u8>, text: &str) -> Ptr<u8> {
    target.copy_from(text.as_bytes());
    target.at(text.len()).write(0);
    target.at(text.len())
}

fn v4(address: Ptr<[u8; 4]>) -> std::net::Ipv4Addr {
    address.read_unaligned().into()
}

fn v6(address: Ptr<[u8; 16]>) -> std::net::Ipv6Addr {
    address.read_unaligned().into()
}

extern "win64" fn RtlIpv4AddressToStringW(address: Ptr<[u8; 4]>, target: Ptr<u16>) -> Ptr<u16> {
    put_wide(target, &v4(address).to_string())
}

extern "win64" fn RtlIpv4AddressToStringA(address: Ptr<[u8; 4]>, target: Ptr<u8>) -> Ptr<u8> {
    put_narrow(target, &v4(address).to_string())
}

/// An address that has one of IPv4 in it ends as one: "RtlIpv6AddressToStringW function", RFC 5214.
fn v6_text(address: Ptr<[u8; 16]>) -> String {
    let address = v6(address);
    let [first @ .., high, low] = address.segments();
    let is_compatible = first == [0; 6] && high != 0;
    let is_isatap = first[4] & !0x200 == 0 && first[5] == 0x5efe;
    if !is_compatible && !is_isatap {
        return address.to_string();
    }
    let [a, b, c, d, e, f] = first;
    let text = std::net::Ipv6Addr::new(a, b, c, d, e, f, 1, 1).to_string();
    let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
    format!("{}{}", text.strip_suffix("1:1").unwrap_or(&text), std::net::Ipv4Addr::new(a, b, c, d))
}

extern "win64" fn RtlIpv6AddressToStringW(address: Ptr<[u8; 16]>, target: Ptr<u16>) -> Ptr<u16> {
    put_wide(target, &v6_text(address))
}

extern "win64" fn RtlIpv6AddressToStringA(address: Ptr<[u8; 16]>, target: Ptr<u8>) -> Ptr<u8> {
    put_narrow(target, &v6_text(address))
}

fn address_with_port(text: String, target: Ptr<u16>, length: Ptr<u32>) -> NtStatus {
    let needed = text.len() as u32 + 1;
    let room = length.read();
    length.write(needed);
    if needed > room {
        return NtStatus::INVALID_PARAMETER;
    }
    put_wide(target, &text);
    NtStatus::SUCCESS
}

extern "win64" fn RtlIpv4AddressToStringExW(
    address: Ptr<[u8; 4]>,
    port: u16,
    target: Ptr<u16>,
    length: Ptr<u32>,
) -> NtStatus {
    let port = u16::from_be(port);
    let text = if port == 0 { v4(address).to_string() } else { format!("{}:{port}", v4(address)) };
    address_with_port(text, target, length)
}

extern "win64" fn RtlIpv6AddressToStringExW(
    address: Ptr<[u8; 16]>,
    scope: u32,
    port: u16,
    target: Ptr<u16>,
    length: Ptr<u32>,
) -> NtStatus {
    let port = u16::from_be(port);
    let scope = if scope == 0 { String::new() } else { format!("%{scope}") };
    let plain = format!("{}{scope}", v6_text(address));
    address_with_port(if port == 0 { plain } else { format!("[{plain}]:{port}") }, target, length)
}

fn wide_text(source: Ptr<u16>) -> String {
    String::from_utf16_lossy(&c_string(source, LONGEST))
}

fn narrow_text(source: Ptr<u8>) -> String {
    String::from_utf8_lossy(&c_string(source, LONGEST)).into_owned()
}

/// An address in up to four parts, of which the last is as long as it has to be: "RtlIpv4StringToAddressW function". Strictly it is
/// four decimal parts.
fn ipv4(text: &str, strict: bool) -> Option<(std::net::Ipv4Addr, usize)> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let prefixed =
            |prefix: &str| rest.strip_prefix(prefix).filter(|after| after.starts_with(|c: char| c.is_ascii_hexdigit()));
        let (base, digits) = match prefixed("0x").or(prefixed("0X")) {
            Some(after) if !strict => (16, after),
            _ if !strict && rest.len() > 1 && rest.starts_with('0') => (8, rest),
            _ => (10, rest),
        };
        let end = digits.find(|character: char| !character.is_digit(base)).unwrap_or(digits.len());
        if strict && end > 1 && digits.starts_with('0') {
            return None;
        }
        parts.push(u32::from_str_radix(&digits[..end], base).ok()?);
        rest = &digits[end..];
        match rest.strip_prefix('.') {
            Some(_) if parts.len() == 4 => return None,
            Some(after) => rest = after,
            None => break,
        }
    }
    let (last, bytes) = parts.split_last()?;
    let bits = 32 - 8 * bytes.len() as u32;
    let whole = bytes.iter().all(|byte| *byte < 256) && u64::from(*last) < 1 << bits && (!strict || parts.len() == 4);
    let high = bytes.iter().enumerate().fold(0u32, |value, (index, byte)| value | byte << (24 - 8 * index));
    whole.then(|| (std::net::Ipv4Addr::from(high | last), text.len() - rest.len()))
}

fn leading<T: core::str::FromStr>(text: &str, allowed: &str) -> Option<(T, usize)> {
    let end = text.find(|character| !allowed.contains(character)).unwrap_or(text.len());
    (1..=end).rev().find_map(|end| Some((text[..end].parse().ok()?, end)))
}

extern "win64" fn RtlIpv4StringToAddressW(
    source: Ptr<u16>,
    strict: u8,
    end: Ptr<Ptr<u16>>,
    address: Ptr<[u8; 4]>,
) -> NtStatus {
    match ipv4(&wide_text(source), strict != 0) {
        None => NtStatus::INVALID_PARAMETER,
        Some((value, taken)) => {
            address.copy_from(&[value.octets()]);
            end.write_optional(source.at(taken));
            NtStatus::SUCCESS
        }
    }
}

extern "win64" fn RtlIpv4StringToAddressA(
    source: Ptr<u8>,
    strict: u8,
    end: Ptr<Ptr<u8>>,
    address: Ptr<[u8; 4]>,
) -> NtStatus {
    match ipv4(&narrow_text(source), strict != 0) {
        None => NtStatus::INVALID_PARAMETER,
        Some((value, taken)) => {
            address.copy_from(&[value.octets()]);
            end.write_optional(source.at(taken));
            NtStatus::SUCCESS
        }
    }
}

extern "win64" fn RtlIpv6StringToAddressW(source: Ptr<u16>, end: Ptr<Ptr<u16>>, address: Ptr<[u8; 16]>) -> NtStatus {
    match leading::<std::net::Ipv6Addr>(&wide_text(source), "0123456789abcdefABCDEF:.") {
        None => NtStatus::INVALID_PARAMETER,
        Some((value, taken)) => {
            address.copy_from(&[value.octets()]);
            end.write_optional(source.at(taken));
            NtStatus::SUCCESS
        }
    }
}

extern "win64" fn RtlIpv6StringToAddressA(source: Ptr<u8>, end: Ptr<Ptr<u8>>, address: Ptr<[u8; 16]>) -> NtStatus {
    match leading::<std::net::Ipv6Addr>(&narrow_text(source), "0123456789abcdefABCDEF:.") {
        None => NtStatus::INVALID_PARAMETER,
        Some((value, taken)) => {
            address.copy_from(&[value.octets()]);
            end.write_optional(source.at(taken));
            NtStatus::SUCCESS
        }
    }
}

extern "win64" fn RtlComputeCrc32(initial: u32, data: Ptr<u8>, length: u32) -> u32 {
    let mut crc = !initial;
    for byte in data.to_vec(length as usize) {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

extern "win64" fn RtlUlongByteSwap(value: u32) -> u32 {
    value.swap_bytes()
}

extern "win64" fn RtlUlonglongByteSwap(value: u64) -> u64 {
    value.swap_bytes()
}

extern "win64" fn RtlUshortByteSwap(value: u16) -> u16 {
    value.swap_bytes()
}

extern "win64" fn RtlFindMessage(_image: u64, _table: u32, _language: u32, _id: u32, _entry: Ptr<u64>) -> NtStatus {
    NtStatus::NOT_FOUND
}

/// The statuses that drivers use and check for, as "RtlNtStatusToDosError function" and the SDK's winerror.h pair them.
extern "win64" fn RtlNtStatusToDosError(status: NtStatus) -> u32 {
    const ERROR_MR_MID_NOT_FOUND: u32 = 317;
    const FACILITY_WIN32: u32 = 7;
    const FACILITY_NTWIN32: u32 = 0xC007;
    let code = status.0 as u32;
    match code {
        0 => 0,
        0x1 => 731,
        0x102 => 1460,
        0x103 => 997,
        0x107 => 300,
        0x4000_0000 => 698,
        0x4000_0005 => 702,
        0x8000_0005 => 234,
        0x8000_0006 => 18,
        0x8000_0011 => 170,
        0x8000_001A => 259,
        0xC000_0001 => 31,
        0xC000_0002 | 0xC000_0010 => 1,
        0xC000_0003 => 87,
        0xC000_0004 => 24,
        0xC000_0005 => 998,
        0xC000_0008 | 0xC000_0024 => 6,
        0xC000_000D => 87,
        0xC000_000E => 433,
        0xC000_0011 => 38,
        0xC000_0016 => 234,
        0xC000_0017 => 8,
        0xC000_0022 | 0xC000_0056 => 5,
        0xC000_0023 => 122,
        0xC000_0033 => 123,
        0xC000_0034 => 2,
        0xC000_0035 => 183,
        0xC000_003A => 3,
        0xC000_003B => 161,
        0xC000_0043 => 32,
        0xC000_0061 => 1314,
        0xC000_0079 => 1338,
        0xC000_007B => 193,
        0xC000_009A => 1450,
        0xC000_00B5 => 121,
        0xC000_00BB => 50,
        0xC000_00E5 => 1359,
        0xC000_0120 => 995,
        0xC000_0184 => 22,
        0xC000_0206 => 1784,
        0xC000_0225 => 1168,
        _ if code >> 16 == FACILITY_NTWIN32 || code >> 16 == 0x8000 | FACILITY_WIN32 => code & 0xFFFF,
        // WFP's own codes map by number.
        _ if code >> 16 == 0xC022 => 0x8032_0000 | code & 0xFFFF,
        _ => ERROR_MR_MID_NOT_FOUND,
    }
}

extern "win64" fn RtlNtStatusToDosErrorNoTeb(status: NtStatus) -> u32 {
    RtlNtStatusToDosError(status)
}

/// `RTL_BITMAP`.
#[repr(C)]
#[derive(Clone, Copy)]
struct BitMap {
    SizeOfBitMap: u32,
    Buffer: Ptr<u32>,
}

impl BitMap {
    fn get(self, index: u32) -> bool {
        self.Buffer.at(index as usize / 32).read() >> (index % 32) & 1 != 0
    }

    fn set(self, index: u32, value: bool) {
        let word = self.Buffer.at(index as usize / 32);
        let bit = 1 << (index % 32);
        word.write(if value { word.read() | bit } else { word.read() & !bit });
    }

    fn run_of_clear(self, count: u32, hint: u32) -> Option<u32> {
        let last = self.SizeOfBitMap.checked_sub(count).filter(|_| count != 0)?;
        let hint = if hint < self.SizeOfBitMap { hint } else { 0 };
        (hint..=last).chain(0..hint.min(last + 1)).find(|start| (*start..start + count).all(|index| !self.get(index)))
    }
}

fn set_range(map: Ptr<BitMap>, start: u32, count: u32, value: bool) {
    let map = map.read();
    if start.checked_add(count).is_none_or(|end| end > map.SizeOfBitMap) {
        bad_parameter("a range outside of the bitmap", "stay below SizeOfBitMap");
        return;
    }
    (start..start + count).for_each(|index| map.set(index, value));
}

/// Whole words, beyond the bitmap's end too.
fn fill_words(map: Ptr<BitMap>, word: u32) {
    let map = map.read();
    map.Buffer.copy_from(&vec![word; map.SizeOfBitMap.div_ceil(32) as usize]);
}

/// "RtlAreBitsClear routine": false for no bits, and for bits that the map does not have.
fn are_all(map: Ptr<BitMap>, start: u32, count: u32, value: bool) -> u8 {
    let map = map.read();
    let inside = start.checked_add(count).is_some_and(|end| end <= map.SizeOfBitMap);
    u8::from(count != 0 && inside && (start..start + count).all(|index| map.get(index) == value))
}

extern "win64" fn RtlInitializeBitMap(map: Ptr<BitMap>, buffer: Ptr<u32>, size: u32) {
    map.write(BitMap { SizeOfBitMap: size, Buffer: buffer });
}

extern "win64" fn RtlSetBits(map: Ptr<BitMap>, start: u32, count: u32) {
    set_range(map, start, count, true);
}

extern "win64" fn RtlClearBits(map: Ptr<BitMap>, start: u32, count: u32) {
    set_range(map, start, count, false);
}

extern "win64" fn RtlSetBit(map: Ptr<BitMap>, index: u32) {
    set_range(map, index, 1, true);
}

extern "win64" fn RtlClearBit(map: Ptr<BitMap>, index: u32) {
    set_range(map, index, 1, false);
}

extern "win64" fn RtlTestBit(map: Ptr<BitMap>, index: u32) -> u8 {
    u8::from(map.read().get(index))
}

extern "win64" fn RtlClearAllBits(map: Ptr<BitMap>) {
    fill_words(map, 0);
}

extern "win64" fn RtlSetAllBits(map: Ptr<BitMap>) {
    fill_words(map, u32::MAX);
}

extern "win64" fn RtlAreBitsClear(map: Ptr<BitMap>, start: u32, count: u32) -> u8 {
    are_all(map, start, count, false)
}

extern "win64" fn RtlAreBitsSet(map: Ptr<BitMap>, start: u32, count: u32) -> u8 {
    are_all(map, start, count, true)
}

extern "win64" fn RtlFindClearBits(map: Ptr<BitMap>, count: u32, hint: u32) -> u32 {
    map.read().run_of_clear(count, hint).unwrap_or(u32::MAX)
}

extern "win64" fn RtlFindClearBitsAndSet(map: Ptr<BitMap>, count: u32, hint: u32) -> u32 {
    let found = RtlFindClearBits(map, count, hint);
    if found != u32::MAX {
        set_range(map, found, count, true);
    }
    found
}

extern "win64" fn RtlNumberOfSetBits(map: Ptr<BitMap>) -> u32 {
    let map = map.read();
    (0..map.SizeOfBitMap).filter(|index| map.get(*index)).count() as u32
}

/// `CONTEXT` as the caller is when this returns to it: control, integer, segment and floating point registers.
#[unsafe(naked)]
extern "win64" fn RtlCaptureContext() {
    core::arch::naked_asm!(
        "mov [rcx + 0x78], rax",
        "mov [rcx + 0x80], rcx",
        "mov [rcx + 0x88], rdx",
        "mov [rcx + 0x90], rbx",
        "lea rax, [rsp + 8]",
        "mov [rcx + 0x98], rax",
        "mov [rcx + 0xa0], rbp",
        "mov [rcx + 0xa8], rsi",
        "mov [rcx + 0xb0], rdi",
        "mov [rcx + 0xb8], r8",
        "mov [rcx + 0xc0], r9",
        "mov [rcx + 0xc8], r10",
        "mov [rcx + 0xd0], r11",
        "mov [rcx + 0xd8], r12",
        "mov [rcx + 0xe0], r13",
        "mov [rcx + 0xe8], r14",
        "mov [rcx + 0xf0], r15",
        "mov rax, [rsp]",
        "mov [rcx + 0xf8], rax",
        "pushfq",
        "pop rax",
        "mov [rcx + 0x44], eax",
        "mov [rcx + 0x38], cs",
        "mov [rcx + 0x3a], ds",
        "mov [rcx + 0x3c], es",
        "mov [rcx + 0x3e], fs",
        "mov [rcx + 0x40], gs",
        "mov [rcx + 0x42], ss",
        "stmxcsr [rcx + 0x34]",
        "fxsave [rcx + 0x100]",
        // CONTEXT_FULL and CONTEXT_SEGMENTS.
        "mov dword ptr [rcx + 0x30], 0x10000f",
        "mov rax, [rcx + 0x78]",
        "ret",
    )
}

extern "win64" fn RtlCaptureStackBackTrace(_skip: u32, _count: u32, _frames: u64, hash: Ptr<u32>) -> u16 {
    hash.write_optional(0);
    0
}

extern "win64" fn RtlWalkFrameChain(_callers: u64, _count: u32, _flags: u32) -> u32 {
    0
}

extern "win64" fn RtlGetCallersAddress(caller: Ptr<u64>, callers_caller: Ptr<u64>) {
    caller.write(0);
    callers_caller.write(0);
}

extern "win64" fn RtlAssert(failed: Ptr<u8>, file: Ptr<u8>, line: u32, _message: Ptr<u8>) {
    crate::report::bugcheck(
        crate::nt::KMODE_EXCEPTION_NOT_HANDLED,
        [0xC000_0420, u64::from(line), 0, 0],
        &format!("assertion failed: {} at {}:{line}", narrow_text(failed), narrow_text(file)),
    );
}

extern "win64" fn RtlRaiseException(record: Ptr<i32>) {
    crate::ntos::memory::raise(NtStatus(record.read()), "the driver's own reasons");
}

extern "win64" fn ExRaiseStatus(status: NtStatus) {
    crate::ntos::memory::raise(status, "the driver's own reasons");
}

extern "win64" fn ExRaiseAccessViolation() {
    crate::ntos::memory::raise(NtStatus::ACCESS_VIOLATION, "the driver's own reasons");
}

extern "win64" fn ExRaiseDatatypeMisalignment() {
    crate::ntos::memory::raise(NtStatus(0x8000_0002u32 as i32), "the driver's own reasons");
}

// The C library, as far as the kernel exports it.

extern "win64" fn strlen(text: Ptr<u8>) -> u64 {
    length(text, usize::MAX)
}

extern "win64" fn strnlen(text: Ptr<u8>, most: u64) -> u64 {
    length(text, most as usize)
}

extern "win64" fn wcslen(text: Ptr<u16>) -> u64 {
    length(text, usize::MAX)
}

extern "win64" fn wcsnlen(text: Ptr<u16>, most: u64) -> u64 {
    length(text, most as usize)
}

fn length<T: Copy + Default + PartialEq>(text: Ptr<T>, most: usize) -> u64 {
    (0..most).find(|index| text.at(*index).read_unaligned() == T::default()).unwrap_or(most) as u64
}

/// Copies a string with its terminator to the end of another.
fn copy_at<T: Copy + Default + PartialEq>(target: Ptr<T>, at: u64, source: Ptr<T>, most: usize) {
    let units = c_string(source, most.min(1 << 24));
    target.at(at as usize).copy_from(&units);
    target.at(at as usize + units.len()).copy_from(&[T::default()]);
}

/// `strncpy`: pads with terminators, and leaves none when the source is too long.
fn copy_n<T: Copy + Default + PartialEq>(target: Ptr<T>, source: Ptr<T>, count: u64) {
    let mut units = c_string(source, count as usize);
    units.resize(count as usize, T::default());
    target.copy_from(&units);
}

/// The `_s` functions: `ERANGE` (34) and an empty string when it does not fit.
fn copy_s<T: Copy + Default + PartialEq>(target: Ptr<T>, size: u64, at: u64, source: Ptr<T>, most: u64) -> i32 {
    const EINVAL: i32 = 22;
    const ERANGE: i32 = 34;
    if target.is_null() || size == 0 {
        return EINVAL;
    }
    if source.is_null() {
        target.copy_from(&[T::default()]);
        return EINVAL;
    }
    let units = c_string(source, most.min(1 << 24) as usize);
    if at + units.len() as u64 + 1 > size {
        target.copy_from(&[T::default()]);
        return ERANGE;
    }
    target.at(at as usize).copy_from(&units);
    target.at(at as usize + units.len()).copy_from(&[T::default()]);
    0
}

/// The `_s` functions that are told how much to copy, or with `_TRUNCATE` as much as fits: `STRUNCATE` says that it was not all.
fn copy_n_s<T: Copy + Default + PartialEq>(target: Ptr<T>, size: u64, source: Ptr<T>, count: u64) -> i32 {
    const TRUNCATE: u64 = u64::MAX;
    const STRUNCATE: i32 = 80;
    if count != TRUNCATE || size == 0 {
        return copy_s(target, size, 0, source, count);
    }
    let error = copy_s(target, size, 0, source, size - 1);
    let whole = error != 0 || length(source, size as usize) < size;
    if whole { error } else { STRUNCATE }
}

extern "win64" fn strcpy(target: Ptr<u8>, source: Ptr<u8>) -> Ptr<u8> {
    copy_at(target, 0, source, usize::MAX);
    target
}

extern "win64" fn wcscpy(target: Ptr<u16>, source: Ptr<u16>) -> Ptr<u16> {
    copy_at(target, 0, source, usize::MAX);
    target
}

extern "win64" fn strcat(target: Ptr<u8>, source: Ptr<u8>) -> Ptr<u8> {
    copy_at(target, strlen(target), source, usize::MAX);
    target
}

extern "win64" fn wcscat(target: Ptr<u16>, source: Ptr<u16>) -> Ptr<u16> {
    copy_at(target, wcslen(target), source, usize::MAX);
    target
}

extern "win64" fn strncat(target: Ptr<u8>, source: Ptr<u8>, count: u64) -> Ptr<u8> {
    copy_at(target, strlen(target), source, count as usize);
    target
}

extern "win64" fn wcsncat(target: Ptr<u16>, source: Ptr<u16>, count: u64) -> Ptr<u16> {
    copy_at(target, wcslen(target), source, count as usize);
    target
}

extern "win64" fn strncpy(target: Ptr<u8>, source: Ptr<u8>, count: u64) -> Ptr<u8> {
    copy_n(target, source, count);
    target
}

extern "win64" fn wcsncpy(target: Ptr<u16>, source: Ptr<u16>, count: u64) -> Ptr<u16> {
    copy_n(target, source, count);
    target
}

extern "win64" fn strcpy_s(target: Ptr<u8>, size: u64, source: Ptr<u8>) -> i32 {
    copy_s(target, size, 0, source, u64::MAX)
}

extern "win64" fn wcscpy_s(target: Ptr<u16>, size: u64, source: Ptr<u16>) -> i32 {
    copy_s(target, size, 0, source, u64::MAX)
}

extern "win64" fn strcat_s(target: Ptr<u8>, size: u64, source: Ptr<u8>) -> i32 {
    copy_s(target, size, strnlen(target, size), source, u64::MAX)
}

extern "win64" fn wcscat_s(target: Ptr<u16>, size: u64, source: Ptr<u16>) -> i32 {
    copy_s(target, size, wcsnlen(target, size), source, u64::MAX)
}

extern "win64" fn strncpy_s(target: Ptr<u8>, size: u64, source: Ptr<u8>, count: u64) -> i32 {
    copy_n_s(target, size, source, count)
}

extern "win64" fn wcsncpy_s(target: Ptr<u16>, size: u64, source: Ptr<u16>, count: u64) -> i32 {
    copy_n_s(target, size, source, count)
}

fn compare<T: Copy + Default + Ord>(a: Ptr<T>, b: Ptr<T>, most: usize, fold: impl Fn(T) -> T) -> i32 {
    for index in 0..most {
        let (x, y) = (fold(a.at(index).read_unaligned()), fold(b.at(index).read_unaligned()));
        match x.cmp(&y) {
            Ordering::Less => return -1,
            Ordering::Greater => return 1,
            Ordering::Equal if x == T::default() => return 0,
            Ordering::Equal => {}
        }
    }
    0
}

extern "win64" fn strcmp(a: Ptr<u8>, b: Ptr<u8>) -> i32 {
    compare(a, b, usize::MAX, |unit| unit)
}

extern "win64" fn strncmp(a: Ptr<u8>, b: Ptr<u8>, count: u64) -> i32 {
    compare(a, b, count as usize, |unit| unit)
}

extern "win64" fn _stricmp(a: Ptr<u8>, b: Ptr<u8>) -> i32 {
    compare(a, b, usize::MAX, |unit: u8| unit.to_ascii_lowercase())
}

extern "win64" fn _strnicmp(a: Ptr<u8>, b: Ptr<u8>, count: u64) -> i32 {
    compare(a, b, count as usize, |unit: u8| unit.to_ascii_lowercase())
}

extern "win64" fn wcscmp(a: Ptr<u16>, b: Ptr<u16>) -> i32 {
    compare(a, b, usize::MAX, |unit| unit)
}

extern "win64" fn wcsncmp(a: Ptr<u16>, b: Ptr<u16>, count: u64) -> i32 {
    compare(a, b, count as usize, |unit| unit)
}

// The C library is in the C locale, which knows no other letters.

fn ascii_upper(unit: u16) -> u16 {
    u8::try_from(unit).map_or(unit, |byte| u16::from(byte.to_ascii_uppercase()))
}

fn ascii_lower(unit: u16) -> u16 {
    u8::try_from(unit).map_or(unit, |byte| u16::from(byte.to_ascii_lowercase()))
}

extern "win64" fn _wcsicmp(a: Ptr<u16>, b: Ptr<u16>) -> i32 {
    compare(a, b, usize::MAX, ascii_lower)
}

extern "win64" fn _wcsnicmp(a: Ptr<u16>, b: Ptr<u16>, count: u64) -> i32 {
    compare(a, b, count as usize, ascii_lower)
}

fn find_unit<T: Copy + Default + PartialEq>(text: Ptr<T>, wanted: T, last: bool) -> Ptr<T> {
    let mut units = c_string(text, 1 << 24);
    units.push(T::default());
    let found = if last {
        units.iter().rposition(|unit| *unit == wanted)
    } else {
        units.iter().position(|unit| *unit == wanted)
    };
    found.map_or(Ptr::NULL, |index| text.at(index))
}

fn find_text<T: Copy + Default + PartialEq>(text: Ptr<T>, wanted: Ptr<T>) -> Ptr<T> {
    let (text_units, wanted) = (c_string(text, 1 << 24), c_string(wanted, 1 << 24));
    if wanted.is_empty() {
        return text;
    }
    text_units.windows(wanted.len()).position(|window| window == wanted).map_or(Ptr::NULL, |index| text.at(index))
}

extern "win64" fn strchr(text: Ptr<u8>, wanted: i32) -> Ptr<u8> {
    find_unit(text, wanted as u8, false)
}

extern "win64" fn strrchr(text: Ptr<u8>, wanted: i32) -> Ptr<u8> {
    find_unit(text, wanted as u8, true)
}

extern "win64" fn strstr(text: Ptr<u8>, wanted: Ptr<u8>) -> Ptr<u8> {
    find_text(text, wanted)
}

extern "win64" fn wcschr(text: Ptr<u16>, wanted: u16) -> Ptr<u16> {
    find_unit(text, wanted, false)
}

extern "win64" fn wcsrchr(text: Ptr<u16>, wanted: u16) -> Ptr<u16> {
    find_unit(text, wanted, true)
}

extern "win64" fn wcsstr(text: Ptr<u16>, wanted: Ptr<u16>) -> Ptr<u16> {
    find_text(text, wanted)
}

fn map_units<T: Copy + Default + PartialEq>(text: Ptr<T>, by: impl Fn(T) -> T) -> Ptr<T> {
    let units: Vec<T> = c_string(text, 1 << 24).into_iter().map(by).collect();
    text.copy_from(&units);
    text
}

extern "win64" fn _wcsupr(text: Ptr<u16>) -> Ptr<u16> {
    map_units(text, ascii_upper)
}

extern "win64" fn _wcslwr(text: Ptr<u16>) -> Ptr<u16> {
    map_units(text, ascii_lower)
}

extern "win64" fn _strupr(text: Ptr<u8>) -> Ptr<u8> {
    map_units(text, |unit: u8| unit.to_ascii_uppercase())
}

extern "win64" fn _strlwr(text: Ptr<u8>) -> Ptr<u8> {
    map_units(text, |unit: u8| unit.to_ascii_lowercase())
}

extern "win64" fn toupper(character: i32) -> i32 {
    u8::try_from(character).map_or(character, |byte| i32::from(byte.to_ascii_uppercase()))
}

extern "win64" fn tolower(character: i32) -> i32 {
    u8::try_from(character).map_or(character, |byte| i32::from(byte.to_ascii_lowercase()))
}

extern "win64" fn towupper(unit: u16) -> u16 {
    ascii_upper(unit)
}

extern "win64" fn towlower(unit: u16) -> u16 {
    ascii_lower(unit)
}

fn class(character: i32, is: impl Fn(&u8) -> bool) -> i32 {
    u8::try_from(character).map_or(0, |byte| i32::from(is(&byte)))
}

extern "win64" fn isdigit(character: i32) -> i32 {
    class(character, u8::is_ascii_digit)
}

extern "win64" fn isspace(character: i32) -> i32 {
    class(character, |byte| byte.is_ascii_whitespace() || *byte == 0x0b)
}

extern "win64" fn isxdigit(character: i32) -> i32 {
    class(character, u8::is_ascii_hexdigit)
}

extern "win64" fn isalpha(character: i32) -> i32 {
    class(character, u8::is_ascii_alphabetic)
}

extern "win64" fn isupper(character: i32) -> i32 {
    class(character, u8::is_ascii_uppercase)
}

extern "win64" fn islower(character: i32) -> i32 {
    class(character, u8::is_ascii_lowercase)
}

extern "win64" fn isprint(character: i32) -> i32 {
    class(character, |byte| (0x20..0x7f).contains(byte))
}

extern "win64" fn atoi(text: Ptr<u8>) -> i32 {
    parse(&narrow_text(text), 10).signed()
}

extern "win64" fn atol(text: Ptr<u8>) -> i32 {
    atoi(text)
}

extern "win64" fn _wtoi(text: Ptr<u16>) -> i32 {
    parse(&wide_text(text), 10).signed()
}

extern "win64" fn _wtol(text: Ptr<u16>) -> i32 {
    _wtoi(text)
}

extern "win64" fn strtol(text: Ptr<u8>, end: Ptr<Ptr<u8>>, base: i32) -> i32 {
    let number = parse(&narrow_text(text), base as u32);
    end.write_optional(text.at(number.taken));
    number.signed()
}

extern "win64" fn strtoul(text: Ptr<u8>, end: Ptr<Ptr<u8>>, base: i32) -> u32 {
    let number = parse(&narrow_text(text), base as u32);
    end.write_optional(text.at(number.taken));
    number.unsigned()
}

extern "win64" fn wcstol(text: Ptr<u16>, end: Ptr<Ptr<u16>>, base: i32) -> i32 {
    let number = parse(&wide_text(text), base as u32);
    end.write_optional(text.at(number.taken));
    number.signed()
}

extern "win64" fn wcstoul(text: Ptr<u16>, end: Ptr<Ptr<u16>>, base: i32) -> u32 {
    let number = parse(&wide_text(text), base as u32);
    end.write_optional(text.at(number.taken));
    number.unsigned()
}

extern "win64" fn wcstombs(target: Ptr<u8>, source: Ptr<u16>, most: u64) -> u64 {
    let narrow: Vec<u8> =
        c_string(source, LONGEST).into_iter().map(|unit| u8::try_from(unit).unwrap_or(b'?')).collect();
    if target.is_null() {
        return narrow.len() as u64;
    }
    let fits = narrow.len().min(most as usize);
    target.copy_from(&narrow[..fits]);
    if fits < most as usize {
        target.at(fits).write(0);
    }
    fits as u64
}

extern "win64" fn mbstowcs(target: Ptr<u16>, source: Ptr<u8>, most: u64) -> u64 {
    let wide: Vec<u16> = c_string(source, LONGEST).into_iter().map(u16::from).collect();
    if target.is_null() {
        return wide.len() as u64;
    }
    let fits = wide.len().min(most as usize);
    target.copy_from(&wide[..fits]);
    if fits < most as usize {
        target.at(fits).copy_from(&[0]);
    }
    fits as u64
}

static RAND: AtomicU32 = AtomicU32::new(1);

extern "win64" fn srand(seed: u32) {
    RAND.store(seed, core::sync::atomic::Ordering::Relaxed);
}

extern "win64" fn rand() -> i32 {
    let next = RAND.load(core::sync::atomic::Ordering::Relaxed).wrapping_mul(214_013).wrapping_add(2_531_011);
    RAND.store(next, core::sync::atomic::Ordering::Relaxed);
    (next >> 16 & 0x7fff) as i32
}

fn by_callback(compare: u64, a: u64, b: u64) -> i32 {
    let context = crate::call::CallContext { what: "comparison function", object: "qsort or bsearch", at: "" };
    // SAFETY: the driver passed this function for exactly this call.
    let result = unsafe { crate::call::call_image(&context, crate::irql::current(), compare as *const (), (a, b)) };
    match result {
        Ok(value) => value as u32 as i32,
        Err(_) => {
            crate::report::leave_if_stopped();
            0
        }
    }
}

extern "win64" fn qsort(base: Ptr<u8>, count: u64, width: u64, compare: u64) {
    let (count, width) = (count as usize, width as usize);
    let mut elements: Vec<Vec<u8>> = (0..count).map(|index| base.at(index * width).to_vec(width)).collect();
    elements.sort_by(|a, b| by_callback(compare, a.as_ptr() as u64, b.as_ptr() as u64).cmp(&0));
    for (index, element) in elements.iter().enumerate() {
        base.at(index * width).copy_from(element);
    }
}

extern "win64" fn bsearch(key: u64, base: Ptr<u8>, count: u64, width: u64, compare: u64) -> Ptr<u8> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = (low + high) / 2;
        let at = base.at((middle * width) as usize);
        match by_callback(compare, key, at.address()).cmp(&0) {
            Ordering::Equal => return at,
            Ordering::Less => high = middle,
            Ordering::Greater => low = middle + 1,
        }
    }
    Ptr::NULL
}

extern "win64" fn abs(value: i32) -> i32 {
    value.wrapping_abs()
}
