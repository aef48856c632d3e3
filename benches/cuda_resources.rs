//! Resource usage of the CUDA kernels: registers, spills, shared memory. NVRTC reports it without a GPU.
//!
//!     cargo bench --bench cuda_resources -- [--csv FILE]

mod common;

use clap::Parser;
use common::record;
use common::rows::ResourcesRow;
use lopper_engine::{Device, Error, Result};
use lopper_kernels::cuda::nvrtc::{self, Cubin};
use lopper_kernels::cuda::source::{MODULES, Source};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

/// Resource usage of the CUDA kernels, compiled for each architecture.
#[derive(Parser)]
struct Arguments {
    /// Write the rows to this file too
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    arguments.csv.iter().try_for_each(lopper_engine::atomic::check)?;
    let failed = |error: lopper_kernels::cuda::CudaError| Error::invalid(error.to_string());
    let version = nvrtc::version().map_err(failed)?;
    let mut rows = Vec::new();
    for module in MODULES {
        for (arch, cubin) in compile(module) {
            rows.extend(rows_of(module, arch, &version, &cubin.map_err(failed)?));
        }
    }
    for row in &rows {
        println!(
            "{:7} {:45} {:3} registers, {} bytes spilled, {} of stack, {} shared",
            row.arch, row.kernel, row.registers, row.spill_bytes, row.stack_bytes, row.shared_bytes
        );
    }
    match &arguments.csv {
        Some(path) => record::write(path, Device::open_cpu(Some(1))?.isa(), &rows),
        None => Ok(()),
    }
}

/// Compiles `module` for every architecture, each on its own thread.
fn compile(module: &Source) -> [(&'static str, lopper_kernels::cuda::Result<Cubin>); 3] {
    thread::scope(|scope| {
        ["sm_80", "sm_90", "sm_90a"]
            .map(|arch| (arch, scope.spawn(move || nvrtc::compile(module, arch))))
            .map(|(arch, thread)| (arch, thread.join().expect("the compiler does not panic")))
    })
}

/// Returns a row for each kernel, in source order.
fn rows_of(module: &Source, arch: &str, nvrtc: &str, cubin: &Cubin) -> Vec<ResourcesRow> {
    let usage = |kernel: &str| cubin.usage.iter().find(|usage| usage.kernel == kernel);
    let row = |kernel: &str| {
        usage(kernel).map(|usage| ResourcesRow {
            module: module.name.into(),
            kernel: kernel.into(),
            arch: arch.into(),
            registers: usage.registers,
            spill_bytes: usage.spills,
            stack_bytes: usage.stack,
            shared_bytes: usage.shared,
            nvrtc: nvrtc.into(),
        })
    };
    module.kernels().into_iter().filter_map(row).collect()
}
