//! The command line.

#![forbid(unsafe_code)]

mod commands;
mod latency;
mod picture;
mod pipeline;
mod progress;
mod report;
mod selftest;

use clap::Parser;
// The modules above name it `crate::recipe`.
use lopper::recipe;
use std::process::ExitCode;

fn main() -> ExitCode {
    // A wrong command line ends here, with exit status 2.
    let cli = commands::Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::note(format_args!("lopper: {error}"));
            ExitCode::FAILURE
        }
    }
}
