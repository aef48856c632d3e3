//! Where kernels run.

use crate::{Error, Result};
use lopper_kernels::cpu::{Cpu, MAX_THREADS};
use lopper_kernels::cuda::{Cuda, Precision};

/// A place that kernels run on. Each operation matches it once (there is no backend trait).
#[derive(Clone, Debug)]
pub enum Device {
    /// The CPU, with an instruction set and a pool of threads.
    Cpu(Cpu),
    /// A GPU, or the emulation of one.
    Cuda(Cuda),
}

impl Device {
    /// The device called `name`: `cpu`, `cuda` (the first GPU) or `cuda-on-cpu` (its kernels, emulated). `threads` is
    /// the number of the CPU's workers, one per core where `None`. An error where there is no such device, their
    /// number is not in `1..=256`, or the system cannot start them.
    pub fn open(name: &str, threads: Option<usize>) -> Result<Self> {
        match name {
            "cpu" => Ok(Self::Cpu(Self::open_cpu(threads)?)),
            "cuda" => Ok(Self::Cuda(Cuda::open()?)),
            "cuda-on-cpu" => Ok(Self::Cuda(Cuda::on_cpu()?)),
            other => Err(Error::invalid(format!("device {other}: expected cpu, cuda or cuda-on-cpu"))),
        }
    }

    /// The CPU with `threads` workers: see [`Device::open`].
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

    /// This device, with matrix products of `precision`: an error on the CPU, which knows f32 alone.
    pub fn with_precision(self, precision: Precision) -> Result<Self> {
        match self {
            Self::Cuda(gpu) => Ok(Self::Cuda(gpu.with_precision(precision))),
            Self::Cpu(_) if precision == Precision::F32 => Ok(self),
            Self::Cpu(_) => Err(Error::invalid(format!(
                "precision {}: the CPU multiplies in f32; other precisions are for --device cuda",
                precision.name()
            ))),
        }
    }

    /// This device, which computes every convolution directly, gradients too, and refuses images that are not finite: what
    /// [`PlanOptions::strict`](crate::plan::PlanOptions::strict) means for a plan, for all that it runs. An error on a GPU,
    /// whose plans may be strict, but whose graphs do not check their images.
    pub fn strict(self) -> Result<Self> {
        match self {
            Self::Cpu(cpu) => Ok(Self::Cpu(cpu.strict())),
            Self::Cuda(_) => {
                Err(Error::invalid("strict: a choice of algorithm of the CPU; on a GPU there is one alone"))
            }
        }
    }

    /// Whether it is strict.
    pub fn is_strict(&self) -> bool {
        matches!(self, Self::Cpu(cpu) if cpu.is_strict())
    }

    /// The CPU with the best instruction set it has and one thread per core.
    pub fn cpu() -> Self {
        Self::Cpu(Cpu::detect())
    }

    /// What computes, in words: the instruction set and the number of threads, or the GPU and its architecture.
    pub fn hardware(&self) -> String {
        match self {
            Self::Cpu(cpu) if cpu.thread_count() == 1 => format!("{}, 1 thread", cpu.isa()),
            Self::Cpu(cpu) => format!("{}, {} threads", cpu.isa(), cpu.thread_count()),
            Self::Cuda(gpu) => format!("{}, {}", gpu.name(), gpu.arch()),
        }
    }

    /// Runs `f` where the device's operations are fastest to call: inside the CPU's thread pool, so that none has to
    /// enter it.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        match self {
            Self::Cpu(cpu) => cpu.run(f),
            Self::Cuda(_) => f(),
        }
    }

    /// Waits for all that was asked of it, and reports what failed.
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
    fn what_cannot_be_opened_is_named() {
        for (name, threads, expected) in [
            ("cpu", Some(0), "threads: expected 1 to 256, found 0"),
            ("cpu", Some(257), "threads: expected 1 to 256, found 257"),
            ("gpu", None, "device gpu: expected cpu, cuda or cuda-on-cpu"),
        ] {
            let message = Device::open(name, threads).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
