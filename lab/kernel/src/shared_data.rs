//! `KUSER_SHARED_DATA`: a page at a fixed kernel address, which code built for Windows reads inline: the tick count for its
//! stack cookie, the time, the system's version.
//!
//! Nothing can be mapped at a kernel address of this process. So each lab has a page with that content elsewhere, which is brought up
//! to date about once a millisecond, or by the schedule that keeps the lab's time; and where code has an address in Windows' page as
//! an immediate operand (`mov r64, imm64`, and the load of the accumulator from a 64-bit address), the lab's page is put in when the
//! image is loaded ([`redirect`]). Loads that come by the address in another way fault, and are carried out here ([`emulate`]).

use core::sync::atomic::{AtomicU32, Ordering};

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::fault::ENCODED;

/// Where every x64 Windows has it ("KUSER_SHARED_DATA", ntddk.h).
const BASE: u64 = 0xFFFF_F780_0000_0000;
const SIZE: u64 = 0x1000;

// Fields that the lab fills in; a `KSYSTEM_TIME` is the low 32 bits, then the high ones twice.
const TICK_COUNT_MULTIPLIER: usize = 0x4;
const INTERRUPT_TIME: usize = 0x8;
const SYSTEM_TIME: usize = 0x14;
const NT_BUILD_NUMBER: usize = 0x260;
const NT_PRODUCT_TYPE: usize = 0x264;
const NT_MAJOR_VERSION: usize = 0x26C;
const TICK_COUNT: usize = 0x320;

/// One lab's page: written through one mapping, read by images through another, which they cannot write through.
pub(crate) struct SharedData {
    writable: *mut libc::c_void,
    readable: *mut libc::c_void,
}

// SAFETY: the page is written with single stores, and read by images and with volatile loads.
unsafe impl Send for SharedData {}
// SAFETY: as above.
unsafe impl Sync for SharedData {}

impl SharedData {
    pub fn new() -> SharedData {
        const PAGE: usize = SIZE as usize;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping.
        let writable =
            unsafe { libc::mmap(core::ptr::null_mut(), PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        assert!(writable != libc::MAP_FAILED, "no memory for a page");
        // SAFETY: of a shared mapping, an old size of zero makes a second mapping of the same memory (mremap(2)).
        let readable = unsafe { libc::mremap(writable, 0, PAGE, libc::MREMAP_MAYMOVE) };
        assert!(readable != libc::MAP_FAILED, "no address space for a page");
        // SAFETY: the mapping just made.
        let result = unsafe { libc::mprotect(readable, PAGE, libc::PROT_READ) };
        assert!(result == 0, "mprotect of an own page failed");
        let page = SharedData { writable, readable };
        page.set(TICK_COUNT_MULTIPLIER, 0x0FA0_0000);
        page.set(NT_BUILD_NUMBER, 26100);
        // Workstation.
        page.set(NT_PRODUCT_TYPE, 1);
        page.set(NT_MAJOR_VERSION, 10);
        page
    }

    fn set(&self, offset: usize, value: u32) {
        let at = self.writable as usize + offset;
        // SAFETY: a field in the page; every field is aligned to four bytes.
        let field = unsafe { &*(at as *const AtomicU32) };
        field.store(value, Ordering::Relaxed);
    }

    fn set_time(&self, offset: usize, value: u64) {
        let at = self.writable as usize + offset;
        self.set(offset + 8, (value >> 32) as u32);
        // The low and the high part in one store, as Windows writes them: code for x64 reads them in one load. None of these fields
        // crosses a cache line, so the store is seen whole.
        // SAFETY: eight bytes in the page.
        unsafe { core::arch::asm!("mov [{}], {}", in(reg) at, in(reg) value, options(nostack, preserves_flags)) };
    }

    /// What the clock interrupt updates. Async-signal-safe.
    pub fn set_times(&self, interrupt_time: u64, system_time: u64, ticks: u64) {
        self.set(0, ticks as u32);
        self.set_time(INTERRUPT_TIME, interrupt_time);
        self.set_time(SYSTEM_TIME, system_time);
        self.set_time(TICK_COUNT, ticks);
    }

    /// The page's bytes from `offset` on; what lies behind the page is zero.
    fn load(&self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        for (byte, at) in bytes.iter_mut().zip(offset..SIZE) {
            let at = (self.readable as u64 + at) as *const u8;
            // SAFETY: in the page.
            *byte = unsafe { at.read_volatile() };
        }
        u64::from_le_bytes(bytes)
    }
}

impl Drop for SharedData {
    fn drop(&mut self) {
        for mapping in [self.writable, self.readable] {
            // SAFETY: made by `new`; the images that were redirected to it are gone with the lab.
            unsafe { libc::munmap(mapping, SIZE as usize) };
        }
    }
}

/// Puts the lab's page in place of Windows' wherever `code` has an address in it as an immediate operand; returns how often.
///
/// The six upper bytes of such an address and the opcode before it are looked for as they are: that they occur by chance has a
/// probability of 2^-60 a byte of code.
pub(crate) fn redirect(code: &mut [u8], data: &SharedData) -> usize {
    let upper: [u8; 6] = core::array::from_fn(|byte| (BASE >> (16 + 8 * byte)) as u8);
    let mut redirected = 0;
    for at in 2..code.len().saturating_sub(7) {
        if code[at + 2..at + 8] != upper {
            continue;
        }
        // REX.W [B] B8+r; or A0, A1: the load of the accumulator, whatever its width.
        let immediate = code[at - 2] & 0xFE == 0x48 && code[at - 1] & 0xF8 == 0xB8;
        let load = code[at - 1] & 0xFE == 0xA0;
        let offset = u64::from(code[at]) | u64::from(code[at + 1]) << 8;
        if (immediate || load) && offset < SIZE {
            code[at..at + 8].copy_from_slice(&(data.readable as u64 + offset).to_le_bytes());
            redirected += 1;
        }
    }
    redirected
}

/// Makes the decoder's tables, which must not be done in a signal handler.
pub(crate) fn prepare() {
    let _ = Decoder::with_ip(64, &[0x90], 0, DecoderOptions::NONE).decode();
}

/// Carries out the load at `rip` from the page, if that is what faulted. Runs in the signal handler: no allocation, no lock.
pub(crate) fn emulate(registers: &mut [i64; 23], address: u64, data: &SharedData) -> bool {
    let Some(offset) = address.checked_sub(BASE).filter(|offset| *offset < SIZE) else { return false };
    let rip = registers[libc::REG_RIP as usize] as u64;
    /// Longest instruction.
    const LONGEST: usize = 15;
    // SAFETY: the processor has just fetched this instruction from a loaded image, whose last section is followed by its
    // guard; an instruction that ends earlier is decoded from its own bytes.
    let code = unsafe { core::slice::from_raw_parts(rip as *const u8, LONGEST) };
    let instruction = Decoder::with_ip(64, code, rip, DecoderOptions::NONE).decode();
    let done = if instruction.op_count() == 2 { carry_out(&instruction, data.load(offset), registers) } else { None };
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
        let data = SharedData::new();
        data.set_times(1, 2, 3);
        let done = emulate(&mut registers, address, &data);
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
    fn addresses_in_instructions_lead_to_the_labs_page() {
        let data = SharedData::new();
        data.set_times(1 << 40 | 5, 2, 3);
        let own = data.readable as u64;
        for (opcode, offset) in
            [(&[0x48, 0xB8][..], 0x14), (&[0x49, 0xBF], 0), (&[0x48, 0xA1], 0x320), (&[0x90, 0xA0], 8)]
        {
            let code = |address: u64| [opcode, &address.to_le_bytes(), &[0xC3]].concat();
            let mut redirected = code(BASE + offset);
            assert_eq!(redirect(&mut redirected, &data), 1);
            assert_eq!(redirected, code(own + offset));
        }
        // Not an instruction that loads; not in the page.
        for bytes in [[&[0x90, 0x90][..], &BASE.to_le_bytes()], [&[0x48, 0xB8], &(BASE + SIZE).to_le_bytes()]] {
            let mut code = bytes.concat();
            assert_eq!(redirect(&mut code, &data), 0);
            assert_eq!(code, bytes.concat());
        }
        // SAFETY: eight bytes in the page.
        let loaded = unsafe { ((own + INTERRUPT_TIME as u64) as *const u64).read_volatile() };
        assert_eq!(loaded, 1 << 40 | 5);
        assert_eq!(data.load(INTERRUPT_TIME as u64 + 4), 256 | 256 << 32);
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
