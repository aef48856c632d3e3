//! Writes BENCHMARKS.md and its charts from the results in `docs/benchmarks`, and the figures of the tutorial from the
//! reports in `docs/tutorial`, without measuring anything.
//!
//!     cargo bench --bench report

mod common;
mod document;

use clap::Parser;
use std::path::Path;
use std::process::ExitCode;

/// Writes BENCHMARKS.md and docs/benchmarks/*.svg from docs/benchmarks/*.csv, and docs/tutorial/*.md.
#[derive(Parser)]
struct Arguments {
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    Arguments::parse();
    common::exit(run())
}

fn run() -> lopper_engine::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, text) in document::files(root)? {
        lopper_engine::atomic::write(root.join(&name), |file| file.write_all(text.as_bytes()))?;
        println!("wrote {name}");
    }
    Ok(())
}
