//! `lopper selftest`.

use super::Common;
use crate::clock::utc;
use crate::output_file::refuse_existing;
use crate::progress::note;
use crate::selftest::{PARTS, Part, Rig, SelftestReport, Supervisor, driver_version, serve};
use clap::Args;
use lopper_engine::{Device, Error, Result, atomic};
use lopper_kernels::cuda::{self, Cuda, CudaError};
use lopper_kernels::params::Dtype;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Check every kernel of a GPU against the CPU, run the demo and the benchmarks there, and write one report.
#[derive(Args)]
pub struct Selftest {
    /// Markdown file for the report
    #[arg(long, default_value = "selftest.md")]
    out: PathBuf,
    /// Overwrite the report if it exists
    #[arg(long)]
    force: bool,
    /// Run only these parts, separated by commas, such as `simt,mma,wgmma`
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Time limit in minutes; checks that do not fit are listed as not run
    #[arg(long, default_value_t = 8.0, value_parser = minutes)]
    minutes: f64,
    /// Run this part in this process and report the result of each line as JSON
    #[arg(long, hide = true)]
    part: Option<String>,
}

/// Longest silence of a part: on a GPU, and on the emulator, which invokes a C++ compiler.
const PATIENCE: [Duration; 2] = [Duration::from_secs(100), Duration::from_secs(600)];

impl Selftest {
    pub fn run(&self, common: &Common) -> Result<()> {
        let start = Instant::now();
        let until = start + Duration::from_secs_f64(60.0 * self.minutes);
        if self.part.is_none() {
            refuse_existing(&self.out, self.force)?;
        }
        let Device::Cuda(gpu) = common.device()? else {
            return Err(Error::invalid(
                "selftest --device cpu: the CPU is the reference that a GPU is compared with; use --device cuda, or \
                 cuda-on-cpu to try the command",
            ));
        };
        let cpu = Device::open_cpu(common.threads)?;
        if let Some(name) = &self.part {
            let large = !gpu.is_emulated();
            return serve(Part::named(name)?, &Rig { gpu, cpu, large, until });
        }
        let parts: Vec<&Part> = match &self.only[..] {
            [] => PARTS.iter().collect(),
            names => names.iter().map(|name| Part::named(name)).collect::<Result<_>>()?,
        };
        atomic::check(&self.out)?;
        require_compiler(&gpu)?;
        let mut report = SelftestReport {
            date: utc(),
            device: gpu.name().to_string(),
            arch: gpu.arch().to_string(),
            emulated: gpu.is_emulated(),
            driver: driver_version(),
            lopper: env!("CARGO_PKG_VERSION"),
            cpu: Device::Cpu(cpu).hardware(),
            memory: gpu.memory()?.1,
            seconds: 0.0,
            parts: Vec::new(),
        };
        // Leaves the device to the processes of the parts.
        drop(gpu);
        let patience = PATIENCE[usize::from(report.emulated)];
        let supervisor = Supervisor { arguments: self.arguments(common), until, patience };
        for part in parts {
            note(format_args!("{}", part.title));
            report.parts.push(supervisor.run(part)?);
        }
        report.seconds = start.elapsed().as_secs_f64();
        self.finish(&report, common)
    }

    /// Writes the report. Returns an error that names the first failures, if any.
    fn finish(&self, report: &SelftestReport, common: &Common) -> Result<()> {
        let text = report.markdown();
        atomic::write(&self.out, |file| file.write_all(text.as_bytes()))?;
        common.print(report, || {
            format!("{} in {:.0} s: {}", report.counts(), report.seconds, self.out.display())
        })?;
        match &report.failures()[..] {
            [] => Ok(()),
            failed => Err(Error::invalid(format!(
                "selftest: {} lines failed, the first: {}; see {}",
                failed.len(),
                failed.iter().take(3).cloned().collect::<Vec<_>>().join("; "),
                self.out.display()
            ))),
        }
    }

    /// Returns the arguments for the process of a part.
    fn arguments(&self, common: &Common) -> Vec<String> {
        let mut arguments = vec!["selftest".into(), "--device".into(), common.device.clone()];
        if let Some(threads) = common.threads {
            arguments.extend(["--threads".into(), threads.to_string()]);
        }
        arguments
    }
}

/// Returns an error if kernels cannot be compiled at all: the user has to fix that first, and a report would not help.
fn require_compiler(gpu: &Cuda) -> Result<()> {
    let tried = gpu.upload(&[1.0]).and_then(|x| {
        let mut y = gpu.buffer(Dtype::Bf16, 1)?;
        cuda::convert(gpu, &x, &mut y)
    });
    match tried {
        Err(error @ CudaError::Missing(_)) => Err(error.into()),
        // The parts report any other failure.
        _ => Ok(()),
    }
}

/// Parses a time in minutes.
fn minutes(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.0..=1e4).contains(&minutes) => Ok(minutes),
        _ => Err("expected a number of minutes, at least 0".into()),
    }
}
