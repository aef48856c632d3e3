//! Where kernels run.

use crate::{Error, Result};
use kernels::cpu::Cpu;

/// A place that kernels run on. Each operation matches it once (there is no backend trait).
#[derive(Clone, Debug)]
pub enum Device {
    /// The CPU, with an instruction set and a pool of threads.
    Cpu(Cpu),
}

impl Device {
    /// The device called `name` (`cpu` or `cuda`), with `threads` workers (one per core where `None`).
    pub fn open(name: &str, threads: Option<usize>) -> Result<Self> {
        match name {
            "cpu" => {
                let cpu = Cpu::try_detect().map_err(|e| Error::invalid(e.to_string()))?;
                Ok(Self::Cpu(match threads {
                    Some(0) => return Err(Error::invalid("threads: expected at least 1, found 0")),
                    Some(n) => cpu.threads(n),
                    None => cpu,
                }))
            }
            "cuda" => Err(Error::invalid("device cuda: this version of lopper has kernels for the CPU only; use --device cpu")),
            other => Err(Error::invalid(format!("device {other}: expected cpu or cuda"))),
        }
    }

    /// The CPU with the best instruction set it has and one thread per core.
    pub fn cpu() -> Self {
        Self::Cpu(Cpu::detect())
    }

    /// The CPU behind this device.
    pub fn as_cpu(&self) -> &Cpu {
        let Self::Cpu(cpu) = self;
        cpu
    }
}
