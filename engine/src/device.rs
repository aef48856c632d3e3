//! Where kernels run.

use crate::{Error, Result};
use kernels::cpu::{Cpu, MAX_THREADS};

/// A place that kernels run on. Each operation matches it once (there is no backend trait).
#[derive(Clone, Debug)]
pub enum Device {
    /// The CPU, with an instruction set and a pool of threads.
    Cpu(Cpu),
}

impl Device {
    /// The device called `name` (`cpu` or `cuda`), with `threads` workers (one per core where `None`). An error where
    /// there is none, or their number is not in `1..=256`.
    pub fn open(name: &str, threads: Option<usize>) -> Result<Self> {
        match name {
            "cpu" => {
                let cpu = Cpu::try_detect().map_err(|e| Error::invalid(e.to_string()))?;
                Ok(Self::Cpu(match threads {
                    Some(n) if !(1..=MAX_THREADS).contains(&n) => {
                        return Err(Error::invalid(format!(
                            "threads: expected 1 to {MAX_THREADS}, found {n}"
                        )));
                    }
                    Some(n) => cpu.threads(n),
                    None => cpu,
                }))
            }
            "cuda" => Err(Error::invalid(
                "device cuda: this version of lopper has kernels for the CPU only; use --device cpu",
            )),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_is_named() {
        for (name, threads, expected) in [
            ("cpu", Some(0), "threads: expected 1 to 256, found 0"),
            ("cpu", Some(257), "threads: expected 1 to 256, found 257"),
            ("cuda", None, "device cuda: "),
            ("gpu", None, "device gpu: expected cpu or cuda"),
        ] {
            let message = Device::open(name, threads).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
