//! Devices, on which kernels run.

use crate::{Error, Result};
use lopper_kernels::cpu::{Cpu, MAX_THREADS};
use lopper_kernels::cuda::{Cuda, Dtype};

/// A device that runs kernels. Each operation matches it once (there is no backend trait).
#[derive(Clone, Debug)]
pub enum Device {
    /// The CPU, with an instruction set and a pool of threads.
    Cpu(Cpu),
    /// A GPU, real or emulated.
    Cuda(Cuda),
}

impl Device {
    /// Opens the device `name`: `cpu`, `cuda` (the first GPU), `cuda:1` (the second) or `cuda-on-cpu` (their kernels,
    /// emulated). `threads` is the number of CPU workers; `None` is one per core. Returns an error if there is no such
    /// device, if `threads` is not in `1..=256`, or if the system cannot start them.
    pub fn open(name: &str, threads: Option<usize>) -> Result<Self> {
        match name {
            "cpu" => Ok(Self::Cpu(Self::open_cpu(threads)?)),
            "cuda" => Ok(Self::Cuda(Cuda::open(0)?)),
            "cuda-on-cpu" => Ok(Self::Cuda(Cuda::on_cpu()?)),
            other => match other.strip_prefix("cuda:").and_then(|index| index.parse().ok()) {
                Some(index) => Ok(Self::Cuda(Cuda::open(index)?)),
                None => Err(Error::invalid(format!(
                    "device {other}: expected cpu, cuda, cuda:INDEX (from 0) or cuda-on-cpu"
                ))),
            },
        }
    }

    /// Opens the CPU with `threads` workers; see [`Device::open`].
    pub fn open_cpu(threads: Option<usize>) -> Result<Cpu> {
        let cpu = match threads {
            Some(n) if !(1..=MAX_THREADS).contains(&n) => {
                return Err(Error::invalid(format!("threads: expected 1 to {MAX_THREADS}, found {n}")));
            }
            Some(n) => Cpu::open(n),
            None => Cpu::try_detect(),
        };
        cpu.map_err(|e| Error::invalid(e.to_string()))
    }

    /// This device, with matrix products of `precision`, one of [`Dtype::PRECISIONS`]. Returns an error on the CPU,
    /// which supports only f32.
    pub fn with_precision(self, precision: Dtype) -> Result<Self> {
        match self {
            _ if !Dtype::PRECISIONS.contains(&precision) => {
                Err(Error::invalid(format!("precision {precision}: expected f32, tf32, bf16 or f16")))
            }
            Self::Cuda(gpu) => Ok(Self::Cuda(gpu.with_precision(precision))),
            Self::Cpu(_) if precision == Dtype::F32 => Ok(self),
            Self::Cpu(_) => Err(Error::invalid(format!(
                "precision {precision}: the CPU multiplies in f32; other precisions are for --device cuda"
            ))),
        }
    }

    /// This device in strict mode: it computes every convolution directly, gradients included, and rejects images that
    /// are not finite. This extends [`PlanOptions::strict`](crate::plan::PlanOptions::strict) from a plan to
    /// everything that the device runs. Returns an error on a GPU, where plans may be strict, but graphs do not check
    /// their images.
    pub fn strict(self) -> Result<Self> {
        match self {
            Self::Cpu(cpu) => Ok(Self::Cpu(cpu.strict())),
            Self::Cuda(_) => {
                Err(Error::invalid("strict: selects an algorithm on the CPU; a GPU has only one"))
            }
        }
    }

    /// Whether the device is strict.
    pub fn is_strict(&self) -> bool {
        matches!(self, Self::Cpu(cpu) if cpu.is_strict())
    }

    /// The CPU with its best instruction set and one thread per core.
    pub fn cpu() -> Self {
        Self::Cpu(Cpu::detect())
    }

    /// A description of the hardware: the instruction set and the number of threads, or the GPU and its architecture.
    pub fn hardware(&self) -> String {
        match self {
            Self::Cpu(cpu) if cpu.thread_count() == 1 => format!("{}, 1 thread", cpu.isa()),
            Self::Cpu(cpu) => format!("{}, {} threads", cpu.isa(), cpu.thread_count()),
            Self::Cuda(gpu) => format!("{}, {}", gpu.name(), gpu.arch()),
        }
    }

    /// Runs `f` where calls to the device's operations are fastest: on the CPU, inside the thread pool, so that
    /// operations need not enter it.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        match self {
            Self::Cpu(cpu) => cpu.run(f),
            Self::Cuda(_) => f(),
        }
    }

    /// Waits for all pending work, and reports errors.
    pub fn synchronize(&self) -> Result<()> {
        match self {
            Self::Cpu(_) => Ok(()),
            Self::Cuda(gpu) => Ok(gpu.synchronize()?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_devices_and_thread_counts_are_named() {
        for (name, threads, expected) in [
            ("cpu", Some(0), "threads: expected 1 to 256, found 0"),
            ("cpu", Some(257), "threads: expected 1 to 256, found 257"),
            ("gpu", None, "device gpu: expected cpu, cuda, cuda:INDEX (from 0) or cuda-on-cpu"),
            ("cuda:", None, "device cuda:: expected cpu"),
            ("cuda:-1", None, "device cuda:-1: expected cpu"),
            ("cuda:one", None, "device cuda:one: expected cpu"),
        ] {
            let message = Device::open(name, threads).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
