//! Detours that a stub of an import may take (see [`crate::export`]): before the import, and when it has returned.

/// Makes the routines of a detour. A stub jumps to the first, with the import's function in r11; that calls
/// `before(return_slot, arguments)`, where the import's return address stands and where the first four arguments were put, and goes on
/// to the function. If `before` has replaced the return address by the second routine's, that calls `after(returned)`, which returns
/// the address at which the image goes on. All that may hold an argument or a result is kept.
macro_rules! detour {
    ($import:ident, $returned:ident, $before:ident, $after:ident) => {
        core::arch::global_asm!(
            concat!(".globl ", stringify!($import)),
            concat!(".globl ", stringify!($returned)),
            concat!(stringify!($import), ":"),
            "sub rsp, 0x88",
            "mov [rsp + 0x20], rcx",
            "mov [rsp + 0x28], rdx",
            "mov [rsp + 0x30], r8",
            "mov [rsp + 0x38], r9",
            "mov [rsp + 0x40], r11",
            "movups [rsp + 0x48], xmm0",
            "movups [rsp + 0x58], xmm1",
            "movups [rsp + 0x68], xmm2",
            "movups [rsp + 0x78], xmm3",
            "lea rcx, [rsp + 0x88]",
            "lea rdx, [rsp + 0x20]",
            "call {before}",
            "mov rcx, [rsp + 0x20]",
            "mov rdx, [rsp + 0x28]",
            "mov r8, [rsp + 0x30]",
            "mov r9, [rsp + 0x38]",
            "mov r11, [rsp + 0x40]",
            "movups xmm0, [rsp + 0x48]",
            "movups xmm1, [rsp + 0x58]",
            "movups xmm2, [rsp + 0x68]",
            "movups xmm3, [rsp + 0x78]",
            "add rsp, 0x88",
            "jmp r11",
            concat!(stringify!($returned), ":"),
            // Room for the return address, then what the function returned.
            "sub rsp, 8",
            "push rax",
            "sub rsp, 0x30",
            "movups [rsp + 0x20], xmm0",
            "mov rcx, rax",
            "call {after}",
            "mov [rsp + 0x38], rax",
            "movups xmm0, [rsp + 0x20]",
            "add rsp, 0x30",
            "pop rax",
            "ret",
            before = sym $before,
            after = sym $after,
        );

        unsafe extern "C" {
            pub(crate) fn $import();
            fn $returned();
        }
    };
}
pub(crate) use detour;
