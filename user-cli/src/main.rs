//! `postern`: adds and removes filters, loads and unloads the driver, shows state.

use std::process::ExitCode;

fn main() -> ExitCode {
    postern_cli::cli::main()
}
