//! `lopper completions SHELL`.

use super::Common;
use clap::{Args, ValueEnum};
use lopper_engine::{Error, Result};
use serde_json::json;

/// Print a script that completes commands, options and file names in a shell.
#[derive(Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Shells that scripts are written for.
#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    /// Prints the script for `command`, the whole command line.
    pub fn run(&self, mut command: clap::Command, common: &Common) -> Result<()> {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "lopper", &mut script);
        let script = String::from_utf8(script).map_err(|e| Error::invalid(format!("completions: {e}")))?;
        common.print(&json!({ "script": script }), || script.clone())
    }
}
