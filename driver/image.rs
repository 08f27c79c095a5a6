//! The driver images that the build script of this package made: through the WDK on Windows, through `xwdk` elsewhere.

/// Where `postern.sys` is.
pub const POSTERN_SYS_PATH: &str = env!("POSTERN_SYS");

/// The bytes of `postern.sys`, the KMDF driver.
pub const POSTERN_SYS: &[u8] = include_bytes!(env!("POSTERN_SYS"));

/// Where `postern_wdm.sys` is.
pub const POSTERN_WDM_SYS_PATH: &str = env!("POSTERN_WDM_SYS");

/// The bytes of `postern_wdm.sys`, the WDM driver.
pub const POSTERN_WDM_SYS: &[u8] = include_bytes!(env!("POSTERN_WDM_SYS"));

/// The images, by the names of their files.
pub const IMAGES: [(&str, &[u8]); 2] = [("postern.sys", POSTERN_SYS), ("postern_wdm.sys", POSTERN_WDM_SYS)];
