//! `ntoskrnl.exe`.

pub(crate) mod pool;
