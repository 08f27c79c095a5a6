//! `KUSER_SHARED_DATA`: a page at a fixed kernel address, which code built for Windows reads inline: the tick count for its
//! stack cookie, the time, the system's version.
//!
//! Nothing can be mapped at a kernel address of this process, so a load from there faults, and is carried out here.

use core::time::Duration;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::fault::ENCODED;

/// Where every x64 Windows has it ("KUSER_SHARED_DATA", ntddk.h).
const BASE: u64 = 0xFFFF_F780_0000_0000;
const SIZE: u64 = 0x1000;

/// Units of 100 nanoseconds from 1601 to 1970.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;
/// Length of a clock tick in units of 100 nanoseconds: 15.625 ms.
const TICK: u64 = 156_250;

/// Units of 100 nanoseconds that a clock has counted. Async-signal-safe.
fn clock(which: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call.
    unsafe { libc::clock_gettime(which, &raw mut now) };
    let since = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
    (since.as_nanos() / 100) as u64
}

/// The page's bytes from `offset` on.
fn load(offset: u64) -> u64 {
    // A `KSYSTEM_TIME` is the low 32 bits, then the high ones twice.
    let time = |value: u64, at: u64| if at == 0 { value } else { value >> 32 | (value >> 32) << 32 };
    let ticks = clock(libc::CLOCK_MONOTONIC) / TICK;
    match offset {
        // TickCountLowDeprecated, TickCountMultiplier.
        0x0 => ticks & 0xFFFF_FFFF | 0x0FA0_0000 << 32,
        0x4 => 0x0FA0_0000,
        // InterruptTime.
        0x8 | 0xC => time(clock(libc::CLOCK_MONOTONIC), offset - 0x8),
        // SystemTime.
        0x14 | 0x18 => time(clock(libc::CLOCK_REALTIME) + UNIX_EPOCH, offset - 0x14),
        // NtBuildNumber, NtProductType (workstation).
        0x260 => 26100 | 1 << 32,
        0x264 => 1,
        // NtMajorVersion, NtMinorVersion.
        0x26C => 10,
        // TickCount.
        0x320 | 0x324 => time(ticks, offset - 0x320),
        // Their second high halves.
        0x10 | 0x1C | 0x328 => load(offset - 4),
        _ => 0,
    }
}

/// Makes the decoder's tables, which must not be done in a signal handler.
pub(crate) fn prepare() {
    let _ = Decoder::with_ip(64, &[0x90], 0, DecoderOptions::NONE).decode();
}

/// Carries out the load at `rip` from the page, if that is what faulted. Runs in the signal handler: no allocation, no lock.
pub(crate) fn emulate(registers: &mut [i64; 23], address: u64) -> bool {
    let Some(offset) = address.checked_sub(BASE).filter(|offset| *offset < SIZE) else { return false };
    let rip = registers[libc::REG_RIP as usize] as u64;
    /// Longest instruction.
    const LONGEST: usize = 15;
    // SAFETY: the processor has just fetched this instruction from a loaded image, whose last section is followed by its
    // guard; an instruction that ends earlier is decoded from its own bytes.
    let code = unsafe { core::slice::from_raw_parts(rip as *const u8, LONGEST) };
    let instruction = Decoder::with_ip(64, code, rip, DecoderOptions::NONE).decode();
    let done = if instruction.op_count() == 2 { carry_out(&instruction, load(offset), registers) } else { None };
    if done.is_some() {
        registers[libc::REG_RIP as usize] = instruction.next_ip() as i64;
    }
    done.is_some()
}

/// Carries out an instruction whose operand in memory is `loaded`.
fn carry_out(instruction: &Instruction, loaded: u64, registers: &mut [i64; 23]) -> Option<()> {
    let from = instruction.memory_size().size();
    if from > 8 {
        return None;
    }
    let unused = 64 - 8 * from as u32;
    let loaded = loaded << unused >> unused;
    match (instruction.op0_kind(), instruction.op1_kind()) {
        (OpKind::Register, OpKind::Memory) => {
            let target = instruction.op0_register();
            let value = match instruction.mnemonic() {
                Mnemonic::Mov | Mnemonic::Movzx => loaded,
                Mnemonic::Movsx | Mnemonic::Movsxd => ((loaded << unused) as i64 >> unused) as u64,
                operation => {
                    let (value, flags) = arithmetic(operation, read(registers, target)?, loaded, from)?;
                    set_flags(registers, flags);
                    if operation == Mnemonic::Cmp {
                        return Some(());
                    }
                    value
                }
            };
            write(registers, target, value)
        }
        // What is compared with the page; nothing may be written to it.
        (OpKind::Memory, other) if matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test) => {
            let right = match other {
                OpKind::Register => read(registers, instruction.op1_register())?,
                _ => instruction.try_immediate(1).ok()?,
            };
            let (_, flags) = arithmetic(instruction.mnemonic(), loaded, right, from)?;
            set_flags(registers, flags);
            Some(())
        }
        _ => None,
    }
}

fn place(register: Register) -> Option<usize> {
    let has_a_place =
        register.is_gpr() && !matches!(register, Register::AH | Register::BH | Register::CH | Register::DH);
    has_a_place.then(|| ENCODED[register.full_register().number()] as usize)
}

fn read(registers: &[i64; 23], register: Register) -> Option<u64> {
    let unused = 64 - 8 * register.size() as u32;
    Some((registers[place(register)?] as u64) << unused >> unused)
}

fn write(registers: &mut [i64; 23], target: Register, value: u64) -> Option<()> {
    let register = &mut registers[place(target)?];
    *register = match target.size() {
        // What is written to half a register clears the other half; smaller parts leave the rest alone.
        8 => value as i64,
        4 => value as u32 as i64,
        2 => *register & !0xFFFF | i64::from(value as u16),
        _ => *register & !0xFF | i64::from(value as u8),
    };
    Some(())
}

fn set_flags(registers: &mut [i64; 23], flags: u64) {
    /// Carry, parity, adjust, zero, sign, overflow.
    const ARITHMETIC: i64 = 0x8D5;
    let place = &mut registers[libc::REG_EFL as usize];
    *place = *place & !ARITHMETIC | flags as i64 & ARITHMETIC;
}

/// Result and flags of an operation on four or eight bytes.
fn arithmetic(operation: Mnemonic, left: u64, right: u64, bytes: usize) -> Option<(u64, u64)> {
    macro_rules! run {
        ($($mnemonic:ident: $name:literal)*) => {
            match (operation, bytes) {
                $(
                    (Mnemonic::$mnemonic, 8) => run!(concat!($name, " {0:r}, {1:r}")),
                    (Mnemonic::$mnemonic, 4) => run!(concat!($name, " {0:e}, {1:e}")),
                )*
                _ => return None,
            }
        };
        ($code:expr) => {{
            let (mut value, mut flags) = (left, 0u64);
            // SAFETY: works on registers, and takes the flags over the stack.
            unsafe {
                core::arch::asm!($code, "pushfq", "pop {2}", inout(reg) value, in(reg) right, inlateout(reg) flags);
            }
            (value, flags)
        }};
    }
    Some(run!(Add: "add" Sub: "sub" Cmp: "cmp" And: "and" Or: "or" Xor: "xor" Test: "test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(code: &[u8], address: u64) -> Option<[i64; 23]> {
        let mut bytes = [0x90; 32];
        bytes[..code.len()].copy_from_slice(code);
        let mut registers = [-1i64; 23];
        registers[libc::REG_RIP as usize] = bytes.as_ptr() as i64;
        prepare();
        let done = emulate(&mut registers, address);
        let moved = registers[libc::REG_RIP as usize] - bytes.as_ptr() as i64;
        assert_eq!(moved, if done { code.len() as i64 } else { 0 });
        done.then_some(registers)
    }

    #[test]
    fn loads_of_every_width_are_carried_out() {
        // mov eax, [rcx] clears the upper half; mov r9w, [rcx] and mov dl, [rcx] leave the rest alone.
        assert_eq!(run(&[0x8B, 0x01], BASE + 0x260).unwrap()[libc::REG_RAX as usize], 26100);
        assert_eq!(
            run(&[0x66, 0x44, 0x8B, 0x09], BASE + 0x260).unwrap()[libc::REG_R9 as usize] as u64,
            !0xFFFF | 26100
        );
        assert_eq!(run(&[0x8A, 0x11], BASE + 0x26C).unwrap()[libc::REG_RDX as usize] as u64, !0xFF | 10);
        // movzx eax, byte ptr [rcx]; movsxd rax, dword ptr [rcx].
        assert_eq!(run(&[0x0F, 0xB6, 0x01], BASE + 0x26C).unwrap()[libc::REG_RAX as usize], 10);
        assert_eq!(run(&[0x48, 0x63, 0x01], BASE + 0x260).unwrap()[libc::REG_RAX as usize], 26100);
        // mov rax, [0xFFFFF78000000320]: the tick count, as the stack cookie's initialization reads it.
        let absolute = [&[0x48, 0xA1][..], &(BASE + 0x320).to_le_bytes()].concat();
        assert!(run(&absolute, BASE + 0x320).unwrap()[libc::REG_RAX as usize] > 0);
    }

    #[test]
    fn compilers_fold_loads_into_arithmetic_and_comparisons() {
        const ZERO: i64 = 1 << 6;
        const CARRY: i64 = 1;
        let flags = |registers: [i64; 23]| registers[libc::REG_EFL as usize];
        // Every register is -1. add eax, [rcx]; sub rax, [rcx]; and ax, [rcx] is too narrow.
        let sum = run(&[0x03, 0x01], BASE + 0x26C).unwrap();
        assert_eq!((sum[libc::REG_RAX as usize], flags(sum) & (ZERO | CARRY)), (9, CARRY));
        let difference = run(&[0x48, 0x2B, 0x01], BASE + 0x26C).unwrap();
        assert_eq!((difference[libc::REG_RAX as usize], flags(difference) & (ZERO | CARRY)), (-11, 0));
        assert!(run(&[0x66, 0x23, 0x01], BASE + 0x26C).is_none());
        // cmp dword [rcx], 10; cmp [rcx], rax; cmp rax, [rcx]; test dword [rcx], 5.
        let equal = run(&[0x83, 0x39, 10], BASE + 0x26C).unwrap();
        assert_eq!((equal[libc::REG_RAX as usize], flags(equal) & (ZERO | CARRY)), (-1, ZERO));
        assert_eq!(flags(run(&[0x48, 0x39, 0x01], BASE + 0x26C).unwrap()) & (ZERO | CARRY), CARRY);
        assert_eq!(flags(run(&[0x48, 0x3B, 0x01], BASE + 0x26C).unwrap()) & (ZERO | CARRY), 0);
        assert_eq!(flags(run(&[0xF7, 0x01, 5, 0, 0, 0], BASE + 0x26C).unwrap()) & (ZERO | CARRY), ZERO);
    }

    #[test]
    fn what_is_no_load_from_the_page_stays_a_fault() {
        assert!(run(&[0x8B, 0x01], BASE - 8).is_none());
        assert!(run(&[0x8B, 0x01], BASE + SIZE).is_none());
        // mov [rcx], eax and add [rcx], eax write; imul eax, [rcx] is not carried out.
        assert!(run(&[0x89, 0x01], BASE).is_none());
        assert!(run(&[0x01, 0x01], BASE).is_none());
        assert!(run(&[0x0F, 0xAF, 0x01], BASE).is_none());
    }
}
