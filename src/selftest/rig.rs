//! Context of all checks and timings: the two devices, and values on both.

use lopper_engine::{Device, Error, Result};
use lopper_kernels::cpu::Cpu;
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer};
use lopper_kernels::params::Dtype;
use std::time::Instant;

/// Floating-point types of a buffer.
pub const FLOATS: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::F16];

/// Device under test, the CPU that serves as reference, and the size and time limits.
pub struct Rig {
    pub gpu: Cuda,
    pub cpu: Cpu,
    /// Whether to use sizes that suit a GPU; otherwise, they suit its emulator.
    pub large: bool,
    /// Deadline.
    pub until: Instant,
}

impl Rig {
    /// Returns the device, set to compute matrix products in `precision`.
    pub fn gpu(&self, precision: Dtype) -> Cuda {
        self.gpu.clone().with_precision(precision)
    }

    /// Returns the same device as an engine device.
    pub fn device(&self, precision: Dtype) -> Device {
        Device::Cuda(self.gpu(precision))
    }

    /// Copies `values` to the device, stored as `dtype`.
    pub fn put(&self, dtype: Dtype, values: &[f32]) -> Result<DeviceBuffer> {
        let wide = self.gpu.upload(values)?;
        if dtype == Dtype::F32 {
            return Ok(wide);
        }
        let mut buffer = self.gpu.buffer(dtype, values.len())?;
        cuda::convert(&self.gpu, &wide, &mut buffer)?;
        Ok(buffer)
    }

    /// Returns the elements of `buffer`.
    pub fn get(&self, buffer: &DeviceBuffer) -> Result<Vec<f32>> {
        if buffer.dtype() == Dtype::F32 {
            return Ok(self.gpu.download(buffer)?);
        }
        let mut wide = self.gpu.buffer(Dtype::F32, buffer.len())?;
        cuda::convert(&self.gpu, buffer, &mut wide)?;
        Ok(self.gpu.download(&wide)?)
    }

    /// Returns what `fill` writes to a new buffer, or an error if a second run gives different bits.
    pub fn twice(
        &self,
        dtype: Dtype,
        len: usize,
        mut fill: impl FnMut(&mut DeviceBuffer) -> cuda::Result<()>,
    ) -> Result<Vec<f32>> {
        let mut run = || {
            let mut buffer = self.gpu.buffer(dtype, len)?;
            fill(&mut buffer)?;
            self.get(&buffer)
        };
        let (first, second) = (run()?, run()?);
        match first.iter().zip(&second).position(|(a, b)| a.to_bits() != b.to_bits()) {
            None => Ok(first),
            Some(i) => Err(Error::invalid(format!(
                "two runs differ: element {i} of {len} is {}, then {}",
                first[i], second[i]
            ))),
        }
    }
}

/// Returns `len` values in −1..1 that depend only on `seed` (SplitMix64).
pub fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95);
    let next = |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(next).collect()
}

/// Rounds `values` as storing them in `dtype` does.
pub fn stored(dtype: Dtype, mut values: Vec<f32>) -> Vec<f32> {
    match dtype {
        Dtype::F32 | Dtype::Tf32 | Dtype::U32 => {}
        Dtype::Bf16 => values.iter_mut().for_each(|v| *v = half::bf16::from_f32(*v).to_f32()),
        Dtype::F16 => values.iter_mut().for_each(|v| *v = half::f16::from_f32(*v).to_f32()),
    }
    values
}

/// Rounds `values` so that products of `precision` use them exactly: the CPU then multiplies the same numbers.
pub fn factors(precision: Dtype, mut values: Vec<f32>) -> Vec<f32> {
    if precision == Dtype::Tf32 {
        // TF32 keeps 10 of the 23 mantissa bits.
        values.iter_mut().for_each(|v| *v = f32::from_bits(v.to_bits() & !0x1fff));
    }
    stored(precision.storage(), values)
}

/// Returns the spacing of numbers just above 1.
pub fn epsilon(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Bf16 => f64::from(half::bf16::EPSILON),
        Dtype::F16 => f64::from(half::f16::EPSILON),
        Dtype::F32 | Dtype::Tf32 | Dtype::U32 => f64::from(f32::EPSILON),
    }
}

/// Returns the error limit of an operation that rounds its result once: one unit in the last place of a 16-bit type,
/// which may round the other way, or a few units of single precision.
pub fn rounding(dtype: Dtype) -> f64 {
    if dtype == Dtype::F32 { 1e-6 } else { epsilon(dtype) }
}
