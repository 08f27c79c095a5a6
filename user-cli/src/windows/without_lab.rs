//! The commands that need a lab. Here they say so, whatever their options.

use std::ffi::OsString;

use clap::Args;

use crate::cli::Context;
use crate::failure::{Exit, Failure, Result};

const NEEDS_LAB: &str = "This command needs a lab, and labs run on Linux.";

#[derive(Debug, Args)]
#[command(after_help = NEEDS_LAB)]
pub struct Arguments {
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    any: Vec<OsString>,
}

pub fn run(_: &Context, _: Arguments) -> Result<Exit> {
    Err(needs_lab())
}

pub fn needs_lab() -> Failure {
    Failure::usage("this command needs a lab, and labs run on Linux")
        .help("here the traffic is real: `postern watch` shows what the driver decides about it")
}

pub mod connect {
    pub use super::{Arguments, run as accept, run as connect};
}

pub mod endure {
    pub use super::{Arguments, run};
}

pub mod replay {
    pub use super::{Arguments, run};
}

pub mod lab {
    use std::ffi::OsString;

    use clap::Subcommand;

    use super::{NEEDS_LAB, needs_lab};
    use crate::cli::Context;
    use crate::failure::{Exit, Result};

    #[derive(Debug, Subcommand)]
    #[command(after_help = NEEDS_LAB)]
    pub enum Command {
        #[command(external_subcommand)]
        Any(Vec<OsString>),
    }

    pub fn run(_: &Context, _: Command) -> Result<Exit> {
        Err(needs_lab())
    }
}
