//! Times on the device: matrix products, convolutions, and whole networks. The emulator runs a small one of each, to
//! test the timing code itself.

mod conv2d;
mod networks;
mod sparse;

pub use conv2d::cases as conv2d;
pub use networks::cases as networks;
pub use sparse::cases as sparse;

use super::case::Case;
use super::grades::Grade;
use super::line::Timing;
use super::rig::Rig;
use super::rig::random;
use lopper_engine::Result;
use lopper_kernels::cuda::{self, DeviceBuffer, Timer};
use lopper_kernels::params::{Dtype, Trans};
use lopper_kernels::shapes::Matmul;
use std::time::{Duration, Instant};

/// Grades to time, each in all of its precisions.
const GRADES: [Grade; 3] = [Grade::Simt, Grade::Mma, Grade::Wgmma];

/// Time spent on one kernel, after its first two runs.
const TIME: Duration = Duration::from_millis(50);

/// Returns the median of several samples. Each makes enough calls of `work` that the timer's resolution does not
/// matter; one call does `macs` multiply-accumulates.
fn time(rig: &Rig, macs: u64, mut work: impl FnMut() -> cuda::Result<()>) -> Result<Timing> {
    let mut timer = Timer::new(&rig.gpu)?;
    timer.time(&mut work)?;
    let once = timer.time(&mut work)?;
    let calls =
        if rig.large { (2e-3 / once.as_secs_f64().max(1e-6)).ceil().clamp(1.0, 100.0) as u32 } else { 1 };
    let least = if rig.large { 5 } else { 1 };
    let (mut samples, start) = (Vec::new(), Instant::now());
    while samples.len() < least || rig.large && start.elapsed() < TIME {
        let sample = timer.time(|| (0..calls).try_for_each(|_| work()))?;
        samples.push(1e3 * sample.as_secs_f64() / f64::from(calls));
    }
    samples.sort_by(f64::total_cmp);
    let median_ms = samples[samples.len() / 2];
    let rate = 2e-9 * macs as f64 / median_ms;
    Ok(Timing { median_ms, runs: samples.len(), rate, unit: "TFLOP/s".into() })
}

/// Returns `len` elements on the device without exploitable structure: a block of random numbers, repeated.
fn noise(rig: &Rig, dtype: Dtype, len: usize) -> Result<DeviceBuffer> {
    const BLOCK: usize = 1 << 20;
    let block = rig.put(dtype, &random(len as u64, len.min(BLOCK)))?;
    let buffer = rig.gpu.buffer(dtype, len)?;
    for start in (0..len).step_by(BLOCK) {
        let count = BLOCK.min(len - start);
        rig.gpu.copy(&block.slice(0, count), &mut buffer.slice(start, count))?;
    }
    Ok(buffer)
}

/// Times square products with every grade.
pub fn gemm(rig: &Rig) -> Result<Vec<Case>> {
    let size = if rig.large { 4096 } else { 64 };
    let of = |(grade, precision): (Grade, Dtype)| {
        let how = format!("{}, {}", grade.name(), precision.name());
        Case::time(format!("gemm {size}³"), how, move |rig| {
            let dtype = precision.storage();
            let (a, b) = (noise(rig, dtype, size * size)?, noise(rig, dtype, size * size)?);
            let mut c = rig.gpu.buffer(dtype, size * size)?;
            // The product of a linear layer, and the only one that wgmma supports.
            let g = Matmul::new([Trans::No, Trans::Yes], [size; 3]);
            let gpu = rig.gpu(precision);
            time(rig, (size as u64).pow(3), || grade.gemm(&gpu, &g, &a, &b, false, &mut c))
        })
    };
    let there = |grade: &Grade| *grade != Grade::Wgmma || rig.gpu.arch() == "sm_90a";
    let grades = GRADES.into_iter().filter(there);
    Ok(grades.flat_map(|grade| grade.precisions().iter().map(move |&p| (grade, p))).map(of).collect())
}
