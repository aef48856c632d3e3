//! The command line.

#![forbid(unsafe_code)]

mod binding;
mod clock;
mod commands;
mod digest;
mod evaluation;
mod explore;
mod history;
mod images;
mod keeping;
mod other_images;
mod output_file;
mod pipeline;
mod plots;
mod preflight;
mod progress;
mod range;
mod report_files;
mod rescue;
mod run_directory;
mod selftest;
mod signals;
mod stage_error;
mod synthesis;
mod tables;
mod training;
mod trial;
mod zeros;

use lopper_engine::Error;
// The modules above refer to them as `crate::recipe` and so on.
use lopper::{certify, details, findings, latency, machine, recipe, report};
use std::process::ExitCode;

fn main() -> ExitCode {
    signals::survive_file_size_limit();
    // An invalid command line exits here with status 2.
    let cli = commands::Cli::from_command_line();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Stopped) => {
            // The status that a shell reports for a command killed by a signal.
            let (signal, name) = signals::received().unwrap_or_default();
            progress::note(format_args!("lopper: stopped by {name}"));
            ExitCode::from(128u8.wrapping_add(signal as u8))
        }
        Err(error) => {
            progress::note(format_args!("lopper: {error}"));
            ExitCode::FAILURE
        }
    }
}
