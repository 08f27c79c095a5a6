//! `postern completions`.

use clap::Args;
use clap_complete::Shell;

use crate::failure::{Exit, Result};
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  postern completions bash > ~/.local/share/bash-completion/completions/postern
  postern completions zsh > ~/.zfunc/_postern
  postern completions fish > ~/.config/fish/completions/postern.fish")]
pub struct Arguments {
    shell: Shell,
}

pub fn run(arguments: Arguments, mut command: clap::Command) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "postern", &mut script);
    output::write(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
