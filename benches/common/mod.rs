//! What the benchmarks share: the command line, values and layers to work on, checks, timing, and the files of results.
//!
//! A benchmark makes *cases*, checks each result against plain loops in f64, times the ways to compute a case in turn
//! beside the machine's peak, prints a row for each and, with `--csv`, writes all rows under a header that says
//! what was measured where. `report` makes tables and pictures from these files and measures nothing.
#![allow(dead_code, reason = "each benchmark uses a part")]

pub mod check;
pub mod record;
pub mod rows;
pub mod timing;
pub mod ways;
pub mod workload;

use lopper_engine::{Device, Result};
use lopper_kernels::cpu::Cpu;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Options that mean the same in every benchmark.
#[derive(clap::Args)]
pub struct Options {
    /// Time each case for an instant: a test of the benchmark, not of the machine
    #[arg(long)]
    pub quick: bool,
    /// Numbers of threads, separated by commas [default: one a core; whole networks with one thread too]
    #[arg(long, value_delimiter = ',', value_name = "N")]
    pub threads: Vec<usize>,
    /// Write the rows to this file too
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// A backend for each number of threads that was asked for, otherwise for each of `default`, where `None` is one
    /// a core.
    ///
    /// # Errors
    /// Where `LOPPER_ISA` or a number of threads is out of range, or the file of results cannot be written later.
    pub fn cpus(&self, default: &[Option<usize>]) -> Result<Vec<Cpu>> {
        self.csv.iter().try_for_each(lopper_engine::atomic::check)?;
        let open = Device::open_cpu;
        if !self.threads.is_empty() {
            return self.threads.iter().map(|&n| open(Some(n))).collect();
        }
        let mut cpus: Vec<Cpu> = default.iter().map(|&threads| open(threads)).collect::<Result<_>>()?;
        cpus.dedup_by_key(|cpu| cpu.thread_count());
        Ok(cpus)
    }

    /// For how long each way to compute a case is timed.
    pub fn budget(&self) -> Duration {
        Duration::from_millis(if self.quick { 10 } else { 300 })
    }

    /// Writes `rows` to the file that was asked for, if one was.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save(&self, rows: &[impl serde::Serialize]) -> Result<()> {
        let Some(path) = &self.csv else { return Ok(()) };
        let isa = Device::open_cpu(Some(1))?.isa();
        record::write(path, isa, rows)
    }
}

/// The exit status of a benchmark; an error is told on standard error.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", env!("CARGO_CRATE_NAME"));
            ExitCode::FAILURE
        }
    }
}
