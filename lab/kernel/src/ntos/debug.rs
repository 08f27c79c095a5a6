//! `DbgPrint` and its kin, bug checks, and C's formatted printing.

use crate::export::{Export, exports};
use crate::nt::{AnsiString, NtStatus, UnicodeString};
use crate::ptr::Ptr;
use crate::report;
use crate::thread;

pub(crate) const EXPORTS: &[Export] = exports![
    DbgPrint,
    DbgPrintEx,
    vDbgPrintEx,
    vDbgPrintExWithPrefix,
    DbgPrintReturnControlC,
    DbgBreakPoint,
    DbgBreakPointWithStatus,
    DbgQueryDebugFilterState,
    DbgSetDebugFilterState,
    KeBugCheck,
    KeBugCheckEx,
    KeRegisterBugCheckCallback,
    KeDeregisterBugCheckCallback,
    KeRegisterBugCheckReasonCallback,
    KeDeregisterBugCheckReasonCallback,
    KdRefreshDebuggerNotPresent,
    data KdDebuggerEnabled,
    data KdDebuggerNotPresent,
    sprintf,
    swprintf,
    _snprintf,
    _snwprintf,
    sprintf_s,
    swprintf_s,
    _snprintf_s,
    _snwprintf_s,
    vsprintf,
    vswprintf,
    _vsnprintf,
    _vsnwprintf,
    vsprintf_s,
    vswprintf_s,
    _vsnprintf_s,
    _vsnwprintf_s,
];

static KdDebuggerEnabled: u8 = 0;
static KdDebuggerNotPresent: u8 = 1;

/// A `va_list` of the Windows x64 convention: each argument in eight bytes, one after the other.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct VaList(Ptr<u64>);

impl VaList {
    fn next(&mut self) -> u64 {
        let value = self.0.read_unaligned();
        self.0 = self.0.at(1);
        value
    }
}

/// Code units of a format string: narrow or wide.
trait Unit: Copy {
    fn wide(self) -> u16;
}

impl Unit for u8 {
    fn wide(self) -> u16 {
        u16::from(self)
    }
}

impl Unit for u16 {
    fn wide(self) -> u16 {
        self
    }
}

/// Reads a string up to its terminator.
pub(crate) fn c_string<T: Copy + Default + PartialEq>(text: Ptr<T>, most: usize) -> Vec<T> {
    let mut units = Vec::new();
    for index in 0..most {
        let unit = text.at(index).read_unaligned();
        if unit == T::default() {
            break;
        }
        units.push(unit);
    }
    units
}

#[derive(Default)]
struct Directive {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    size: Size,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum Size {
    Char,
    Short,
    #[default]
    Int,
    Long,
    LongLong,
    /// `w`: wide text, whatever the conversion.
    Wide,
}

/// Formats as the kernel's C library does, for the conversions that drivers use.
fn format<T: Unit>(text: &[T], mut arguments: VaList, wide_format: bool) -> Vec<u16> {
    let mut out: Vec<u16> = Vec::new();
    let mut rest = text.iter().map(|unit| unit.wide()).peekable();
    while let Some(unit) = rest.next() {
        if unit != u16::from(b'%') {
            out.push(unit);
            continue;
        }
        let mut directive = Directive::default();
        while let Some(flag) = rest.next_if(|unit| matches!(u8::try_from(*unit), Ok(b'-' | b'+' | b' ' | b'#' | b'0')))
        {
            match flag as u8 {
                b'-' => directive.left = true,
                b'+' => directive.plus = true,
                b' ' => directive.space = true,
                b'#' => directive.alternate = true,
                _ => directive.zero = true,
            }
        }
        if rest.next_if_eq(&u16::from(b'*')).is_some() {
            let width = arguments.next() as i32;
            directive.left |= width < 0;
            directive.width = width.unsigned_abs() as usize;
        } else {
            directive.width = number(&mut rest);
        }
        if rest.next_if_eq(&u16::from(b'.')).is_some() {
            directive.precision = Some(if rest.next_if_eq(&u16::from(b'*')).is_some() {
                (arguments.next() as i32).max(0) as usize
            } else {
                number(&mut rest)
            });
        }
        directive.width = directive.width.min(4096);
        size(&mut rest, &mut directive);
        let Some(conversion) = rest.next() else { break };
        convert(&mut out, conversion, &directive, &mut arguments, wide_format);
    }
    out
}

fn number(rest: &mut core::iter::Peekable<impl Iterator<Item = u16>>) -> usize {
    let mut value = 0usize;
    while let Some(digit) = rest.next_if(|unit| (u16::from(b'0')..=u16::from(b'9')).contains(unit)) {
        value = (value * 10 + usize::from(digit - u16::from(b'0'))).min(1 << 16);
    }
    value
}

fn size(rest: &mut core::iter::Peekable<impl Iterator<Item = u16>>, directive: &mut Directive) {
    while let Some(unit) =
        rest.next_if(|unit| matches!(u8::try_from(*unit), Ok(b'h' | b'l' | b'I' | b'w' | b'z' | b'j' | b't' | b'L')))
    {
        directive.size = match (unit as u8, directive.size) {
            (b'h', Size::Short) => Size::Char,
            (b'h', _) => Size::Short,
            (b'l', Size::Long) => Size::LongLong,
            (b'l', _) => Size::Long,
            (b'w', _) => Size::Wide,
            (b'I', _) => {
                if rest.next_if_eq(&u16::from(b'6')).is_some() {
                    rest.next();
                    Size::LongLong
                } else if rest.next_if_eq(&u16::from(b'3')).is_some() {
                    rest.next();
                    Size::Int
                } else {
                    Size::LongLong
                }
            }
            _ => Size::LongLong,
        };
    }
}

fn convert(out: &mut Vec<u16>, conversion: u16, directive: &Directive, arguments: &mut VaList, wide_format: bool) {
    let wide_text = |opposite: bool| match directive.size {
        Size::Long | Size::Wide => true,
        Size::Short => false,
        _ => wide_format != opposite,
    };
    match u8::try_from(conversion).unwrap_or(b'?') {
        b'%' => out.push(u16::from(b'%')),
        b'c' | b'C' => {
            let unit = arguments.next() as u16;
            let unit = if wide_text(conversion == u16::from(b'C')) { unit } else { unit & 0xff };
            pad(out, &[unit], directive);
        }
        b's' | b'S' => {
            let wide = wide_text(conversion == u16::from(b'S'));
            let text = arguments.next();
            let most = directive.precision.unwrap_or(1 << 16);
            let units = if text == 0 {
                "(null)".encode_utf16().collect()
            } else if wide {
                c_string(Ptr::<u16>::from_address(text), most)
            } else {
                c_string(Ptr::<u8>::from_address(text), most).into_iter().map(u16::from).collect()
            };
            pad(out, &units, directive);
        }
        b'Z' => {
            let text = arguments.next();
            let units = if text == 0 {
                "(null)".encode_utf16().collect()
            } else if directive.size == Size::Wide || directive.size == Size::Long {
                Ptr::<UnicodeString>::from_address(text).read().units()
            } else {
                let ansi = Ptr::<AnsiString>::from_address(text).read();
                ansi.Buffer.to_vec(usize::from(ansi.Length)).into_iter().map(u16::from).collect()
            };
            pad(out, &units, directive);
        }
        b'd' | b'i' => {
            let raw = arguments.next();
            let value = match directive.size {
                Size::Char => i64::from(raw as i8),
                Size::Short => i64::from(raw as i16),
                Size::LongLong => raw as i64,
                _ => i64::from(raw as i32),
            };
            let sign = if value < 0 {
                "-"
            } else if directive.plus {
                "+"
            } else if directive.space {
                " "
            } else {
                ""
            };
            integer(out, sign, &value.unsigned_abs().to_string(), directive);
        }
        kind @ (b'u' | b'x' | b'X' | b'o') => {
            let raw = arguments.next();
            let value = match directive.size {
                Size::Char => raw & 0xff,
                Size::Short => raw & 0xffff,
                Size::LongLong => raw,
                _ => raw & 0xffff_ffff,
            };
            let prefix = match kind {
                b'x' if directive.alternate && value != 0 => "0x",
                b'X' if directive.alternate && value != 0 => "0X",
                b'o' if directive.alternate && value != 0 => "0",
                _ => "",
            };
            let digits = match kind {
                b'u' => value.to_string(),
                b'x' => format!("{value:x}"),
                b'X' => format!("{value:X}"),
                _ => format!("{value:o}"),
            };
            integer(out, prefix, &digits, directive);
        }
        b'p' => {
            let value = arguments.next();
            pad(out, &format!("{value:016X}").encode_utf16().collect::<Vec<_>>(), directive);
        }
        b'e' | b'E' | b'f' | b'F' | b'g' | b'G' => {
            let value = f64::from_bits(arguments.next());
            let text = format!("{value:.*}", directive.precision.unwrap_or(6));
            pad(out, &text.encode_utf16().collect::<Vec<_>>(), directive);
        }
        b'n' => {
            arguments.next();
        }
        _ => out.push(conversion),
    }
}

fn integer(out: &mut Vec<u16>, prefix: &str, digits: &str, directive: &Directive) {
    let mut digits = digits.to_string();
    if directive.precision == Some(0) && digits == "0" {
        digits.clear();
    }
    if let Some(precision) = directive.precision {
        while digits.len() < precision.min(512) {
            digits.insert(0, '0');
        }
    } else if directive.zero && !directive.left {
        while digits.len() + prefix.len() < directive.width {
            digits.insert(0, '0');
        }
    }
    let text: Vec<u16> = prefix.encode_utf16().chain(digits.encode_utf16()).collect();
    pad(out, &text, directive);
}

fn pad(out: &mut Vec<u16>, text: &[u16], directive: &Directive) {
    let missing = directive.width.saturating_sub(text.len());
    let fill = core::iter::repeat_n(u16::from(b' '), missing);
    if directive.left {
        out.extend_from_slice(text);
        out.extend(fill);
    } else {
        out.extend(fill);
        out.extend_from_slice(text);
    }
}

fn format_narrow(text: Ptr<u8>, arguments: VaList) -> Vec<u8> {
    let format_units = c_string(text, 1 << 16);
    format(&format_units, arguments, false).into_iter().map(|unit| u8::try_from(unit).unwrap_or(b'?')).collect()
}

fn format_wide(text: Ptr<u16>, arguments: VaList) -> Vec<u16> {
    format(&c_string(text, 1 << 16), arguments, true)
}

fn print(prefix: Ptr<u8>, text: Ptr<u8>, arguments: VaList) {
    let mut line = String::new();
    if !prefix.is_null() {
        line.push_str(&String::from_utf8_lossy(&c_string(prefix, 512)));
    }
    let units = format(&c_string(text, 1 << 16), arguments, false);
    line.push_str(&String::from_utf16_lossy(&units));
    thread::current().reports.print(&line);
}

/// Makes a function with variable arguments: they are stored behind the fixed ones, where the convention
/// reserves room for them, and the body gets their address as one more parameter, in `$list`.
macro_rules! variadic {
    ($($name:ident($fixed:literal, $list:literal) => $body:ident;)*) => { $(
        #[unsafe(naked)]
        extern "win64" fn $name() {
            core::arch::naked_asm!(
                "mov [rsp + 8], rcx",
                "mov [rsp + 16], rdx",
                "mov [rsp + 24], r8",
                "mov [rsp + 32], r9",
                concat!("lea ", $list, ", [rsp + {offset}]"),
                "jmp {body}",
                offset = const 8 + 8 * $fixed,
                body = sym $body,
            )
        }
    )* };
}

variadic! {
    DbgPrint(1, "rdx") => dbg_print;
    DbgPrintReturnControlC(1, "rdx") => dbg_print;
    DbgPrintEx(3, "r9") => vDbgPrintEx;
    sprintf(2, "r8") => vsprintf;
    swprintf(2, "r8") => vswprintf;
    _snprintf(3, "r9") => _vsnprintf;
    _snwprintf(3, "r9") => _vsnwprintf;
    sprintf_s(3, "r9") => vsprintf_s;
    swprintf_s(3, "r9") => vswprintf_s;
}

// Four fixed parameters: the list is the fifth, which goes on the stack.

#[unsafe(naked)]
extern "win64" fn _snprintf_s() {
    core::arch::naked_asm!(
        "mov [rsp + 32], r9",
        "lea rax, [rsp + 40]",
        "sub rsp, 56",
        "mov [rsp + 32], rax",
        "call {body}",
        "add rsp, 56",
        "ret",
        body = sym _vsnprintf_s,
    )
}

#[unsafe(naked)]
extern "win64" fn _snwprintf_s() {
    core::arch::naked_asm!(
        "mov [rsp + 32], r9",
        "lea rax, [rsp + 40]",
        "sub rsp, 56",
        "mov [rsp + 32], rax",
        "call {body}",
        "add rsp, 56",
        "ret",
        body = sym _vsnwprintf_s,
    )
}

extern "win64" fn dbg_print(text: Ptr<u8>, arguments: VaList) -> NtStatus {
    print(Ptr::NULL, text, arguments);
    NtStatus::SUCCESS
}

extern "win64" fn vDbgPrintEx(_component: u32, _level: u32, text: Ptr<u8>, arguments: VaList) -> NtStatus {
    print(Ptr::NULL, text, arguments);
    NtStatus::SUCCESS
}

extern "win64" fn vDbgPrintExWithPrefix(
    prefix: Ptr<u8>,
    _component: u32,
    _level: u32,
    text: Ptr<u8>,
    arguments: VaList,
) -> NtStatus {
    print(prefix, text, arguments);
    NtStatus::SUCCESS
}

extern "win64" fn DbgBreakPoint() {
    report::bugcheck(
        crate::nt::KMODE_EXCEPTION_NOT_HANDLED,
        [0x8000_0003, 0, 0, 0],
        "DbgBreakPoint, and no debugger is attached",
    );
}

extern "win64" fn DbgBreakPointWithStatus(_status: u32) {
    DbgBreakPoint();
}

extern "win64" fn DbgQueryDebugFilterState(_component: u32, _level: u32) -> NtStatus {
    NtStatus(1)
}

extern "win64" fn DbgSetDebugFilterState(_component: u32, _level: u32, _state: u8) -> NtStatus {
    NtStatus::SUCCESS
}

extern "win64" fn KdRefreshDebuggerNotPresent() -> u8 {
    1
}

extern "win64" fn KeBugCheckEx(code: u32, a: u64, b: u64, c: u64, d: u64) {
    report::bugcheck(code, [a, b, c, d], "the driver asked for it with KeBugCheckEx");
}

extern "win64" fn KeBugCheck(code: u32) {
    report::bugcheck(code, [0; 4], "the driver asked for it with KeBugCheck");
}

// The lab keeps no bug check callbacks: it reports a bug check itself.

extern "win64" fn KeRegisterBugCheckCallback(
    _record: u64,
    _routine: u64,
    _buffer: u64,
    _length: u32,
    _name: u64,
) -> u8 {
    1
}

extern "win64" fn KeDeregisterBugCheckCallback(_record: u64) -> u8 {
    1
}

extern "win64" fn KeRegisterBugCheckReasonCallback(_record: u64, _routine: u64, _reason: u32, _component: u64) -> u8 {
    1
}

extern "win64" fn KeDeregisterBugCheckReasonCallback(_record: u64) -> u8 {
    1
}

/// Copies what fits, as the `_vsn` functions do: no terminator when it fits exactly, -1 when it does not.
fn store_n<T: Copy + Default>(buffer: Ptr<T>, count: u64, units: &[T]) -> i32 {
    if buffer.is_null() && count == 0 {
        // The question how much room it takes.
        return units.len() as i32;
    }
    let fits = (count as usize).min(units.len());
    buffer.copy_from(&units[..fits]);
    if units.len() < count as usize {
        buffer.at(units.len()).copy_from(&[T::default()]);
    }
    if units.len() > count as usize { -1 } else { units.len() as i32 }
}

/// Copies with a terminator always; too long is an empty string and -1, as the `_s` functions do.
fn store_s<T: Copy + Default>(buffer: Ptr<T>, size: u64, most: u64, units: &[T]) -> i32 {
    if size == 0 {
        return -1;
    }
    let wanted = units.len().min(most as usize);
    if wanted as u64 >= size {
        if most == u64::MAX {
            let fits = size as usize - 1;
            buffer.copy_from(&units[..fits]);
            buffer.at(fits).copy_from(&[T::default()]);
        } else {
            buffer.copy_from(&[T::default()]);
        }
        return -1;
    }
    buffer.copy_from(&units[..wanted]);
    buffer.at(wanted).copy_from(&[T::default()]);
    if wanted < units.len() { -1 } else { wanted as i32 }
}

extern "win64" fn vsprintf(buffer: Ptr<u8>, text: Ptr<u8>, arguments: VaList) -> i32 {
    store_n(buffer, u64::MAX, &format_narrow(text, arguments))
}

extern "win64" fn vswprintf(buffer: Ptr<u16>, text: Ptr<u16>, arguments: VaList) -> i32 {
    store_n(buffer, u64::MAX, &format_wide(text, arguments))
}

extern "win64" fn _vsnprintf(buffer: Ptr<u8>, count: u64, text: Ptr<u8>, arguments: VaList) -> i32 {
    store_n(buffer, count, &format_narrow(text, arguments))
}

extern "win64" fn _vsnwprintf(buffer: Ptr<u16>, count: u64, text: Ptr<u16>, arguments: VaList) -> i32 {
    store_n(buffer, count, &format_wide(text, arguments))
}

extern "win64" fn vsprintf_s(buffer: Ptr<u8>, size: u64, text: Ptr<u8>, arguments: VaList) -> i32 {
    store_s(buffer, size, size, &format_narrow(text, arguments))
}

extern "win64" fn vswprintf_s(buffer: Ptr<u16>, size: u64, text: Ptr<u16>, arguments: VaList) -> i32 {
    store_s(buffer, size, size, &format_wide(text, arguments))
}

extern "win64" fn _vsnprintf_s(buffer: Ptr<u8>, size: u64, most: u64, text: Ptr<u8>, arguments: VaList) -> i32 {
    store_s(buffer, size, most, &format_narrow(text, arguments))
}

extern "win64" fn _vsnwprintf_s(buffer: Ptr<u16>, size: u64, most: u64, text: Ptr<u16>, arguments: VaList) -> i32 {
    store_s(buffer, size, most, &format_wide(text, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(text: &str, arguments: &[u64]) -> String {
        let list = VaList(Ptr::new(arguments.as_ptr().cast_mut()));
        String::from_utf16(&format(text.as_bytes(), list, false)).unwrap()
    }

    #[test]
    fn conversions_are_those_of_the_kernel_library() {
        let wide: Vec<u16> = "wide\0".encode_utf16().collect();
        let counted = crate::nt::OwnedUnicode::new("counted");
        let wide = wide.as_ptr() as u64;
        assert_eq!(formatted("%d %u %x", &[-5i64 as u64, 0xFFFF_FFFF, 0xAB]), "-5 4294967295 ab");
        assert_eq!(formatted("%5d|%-5d|%05d", &[42, 42, 42]), "   42|42   |00042");
        assert_eq!(
            formatted("%I64x %llu %lX", &[u64::MAX, u64::MAX, 0xABC]),
            "ffffffffffffffff 18446744073709551615 ABC"
        );
        assert_eq!(formatted("%ws %S %ls", &[wide, wide, wide]), "wide wide wide");
        assert_eq!(
            formatted("%wZ|%.3wZ", &[counted.pointer().address(), counted.pointer().address()]),
            "counted|counted"
        );
        assert_eq!(formatted("%p", &[0x1234]), "0000000000001234");
        assert_eq!(formatted("%s%%%c", &[c"narrow".as_ptr() as u64, u64::from(b'!')]), "narrow%!");
        assert_eq!(formatted("%#x %08.3x", &[255, 15]), "0xff      00f");
        assert_eq!(formatted("%*d", &[4, 7]), "   7");
    }
}
