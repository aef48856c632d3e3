//! Code shared by the benchmarks: the command line, values and layers to work on, checks, timing, and result files.
//!
//! A benchmark makes *cases*, checks each result against plain loops in f64, times the ways to compute a case in turn
//! and alongside the machine's peak, and prints a row for each. With `--csv` it writes all rows under a header that
//! states what was measured where. `report` makes tables and charts from these files and measures nothing.
#![allow(dead_code, reason = "each benchmark uses only some of it")]

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

/// Options with the same meaning in every benchmark.
#[derive(clap::Args)]
pub struct Options {
    /// Time each case only briefly, to test the benchmark rather than the machine
    #[arg(long)]
    pub quick: bool,
    /// Numbers of threads, separated by commas [default: one per core; for whole networks also one thread]
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
    /// Returns a backend for each requested number of threads, or else for each of `default`, where `None` means one
    /// thread per core.
    ///
    /// # Errors
    /// If `LOPPER_ISA` or a number of threads is out of range, or if the result file cannot be written later.
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

    /// Returns the time spent on each way to compute a case.
    pub fn budget(&self) -> Duration {
        Duration::from_millis(if self.quick { 10 } else { 300 })
    }

    /// Writes `rows` to the requested file, if any.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, rows: &[impl serde::Serialize]) -> Result<()> {
        let Some(path) = &self.csv else { return Ok(()) };
        let isa = Device::open_cpu(Some(1))?.isa();
        record::write(path, isa, rows)
    }
}

/// Returns the exit status of a benchmark, and prints an error to standard error.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", env!("CARGO_CRATE_NAME"));
            ExitCode::FAILURE
        }
    }
}
