//! Options that all commands share.

use super::parsers::{PRECISIONS, dtypes, memory_size};
use crate::progress::note;
use clap::Args;
use lopper_engine::{Device, Error, Result};
use lopper_kernels::cuda::{Cuda, CudaError, cache};
use lopper_kernels::params::Dtype;
use std::sync::Once;

/// Options that all commands share.
#[derive(Args, Clone)]
#[command(next_help_heading = "Options of every command")]
pub struct Common {
    /// Device: cpu, cuda (the first GPU), cuda:1 (the second) and so on, or cuda-on-cpu, which runs the CUDA kernels on
    /// the CPU, slowly, to check them
    #[arg(long, global = true, default_value = "cpu")]
    pub(super) device: String,
    /// Precision of matrix products on a GPU
    #[arg(long, global = true, default_value = "f32", value_parser = dtypes(&PRECISIONS))]
    pub(super) precision: Dtype,
    /// Seed of weights, augmentation and dropout [default: the recipe's, or 0]
    #[arg(long, global = true)]
    pub(super) seed: Option<u64>,
    /// Threads [default: one per core]
    #[arg(long, global = true)]
    pub(super) threads: Option<usize>,
    /// Memory limit, such as 4GB or 512MiB [default: what is available on the machine or in its control group]
    #[arg(long, global = true, value_name = "SIZE", value_parser = memory_size)]
    pub(super) max_memory: Option<u64>,
    /// Compute convolutions directly, so that each output depends only on the pixels in its window, and refuse images
    /// that are not finite
    #[arg(long, global = true)]
    pub(super) strict: bool,
    /// Print one JSON object on standard output
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl Common {
    pub(super) fn device(&self) -> Result<Device> {
        let mut device = Device::open(&self.device, self.threads)?.with_precision(self.precision)?;
        if self.strict {
            device = device.strict()?;
        }
        if let Device::Cuda(gpu) = &device {
            compile(gpu)?;
        }
        Ok(device)
    }

    /// Prints `value` as JSON with `--json`, otherwise the result of `text`.
    pub(super) fn print(&self, value: &impl serde::Serialize, text: impl FnOnce() -> String) -> Result<()> {
        use std::io::Write;
        let json = || serde_json::to_string(value).map_err(|e| Error::invalid(format!("printing JSON: {e}")));
        let mut shown = if self.json { json()? } else { text() };
        if !shown.ends_with('\n') {
            shown.push('\n');
        }
        let mut stdout = std::io::stdout();
        match stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()) {
            // A reader that closes the pipe early (`| head`) is not a failure.
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::file("standard output", e)),
            _ => Ok(()),
        }
    }
}

/// Compiles the kernels for `gpu` and prints a note if that takes time. A kernel that does not compile is an error only
/// when it is used.
fn compile(gpu: &Cuda) -> Result<()> {
    let said = Once::new();
    let say = || {
        let folder = cache::folder();
        note(format!(
            "compiling CUDA kernels for {} once; they are kept in {}",
            gpu.arch(),
            folder.display()
        ));
    };
    match gpu.compile_all(|| said.call_once(say)) {
        Ok(()) | Err(CudaError::Compile { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
