//! The driver image that the build script of this package made: through the WDK on Windows, through `xwdk` elsewhere.

/// Where `postern.sys` is.
pub const POSTERN_SYS_PATH: &str = env!("POSTERN_SYS");

/// The bytes of `postern.sys`.
pub const POSTERN_SYS: &[u8] = include_bytes!(env!("POSTERN_SYS"));
