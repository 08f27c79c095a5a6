//! What is found: its sort, its words, its place.

use core::fmt;

/// The sort of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function called at an IRQL it may not be called at, or an IRQL not restored.
    Irql,
    /// A spin lock taken twice, released unheld, or kept.
    SpinLock,
    /// Pool overrun, used after free, or freed twice.
    Pool,
    /// A stack used after the call that it belonged to had returned.
    Stack,
    /// Something acquired and still held after unload.
    Leak,
    /// A call into an image that has been unloaded, or would be if it were not caught.
    LateCall,
    /// A bad parameter, or a call in a wrong order or state.
    Contract,
    /// The lab stopped as Windows would.
    Bugcheck,
    /// A call into an image had not returned when the lab was given up, or under a schedule nobody can go on.
    Hang,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Irql => "irql",
            Kind::SpinLock => "spin lock",
            Kind::Pool => "pool",
            Kind::Stack => "stack",
            Kind::Leak => "leak",
            Kind::LateCall => "late call",
            Kind::Contract => "contract",
            Kind::Bugcheck => "bug check",
            Kind::Hang => "hang",
        })
    }
}

/// A place in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub image: String,
    pub offset: u64,
    /// Nearest symbol before it and the distance, if the image has symbols.
    pub symbol: Option<(String, u64)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.image, self.offset)?;
        if let Some((name, distance)) = &self.symbol {
            write!(f, " ({name}+{distance:#x})")?;
        }
        Ok(())
    }
}

/// A violation before the lab adds where it happened.
#[derive(Clone, Debug)]
pub struct Finding {
    pub kind: Kind,
    pub what: String,
    pub remedy: String,
}
