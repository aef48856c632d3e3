//! Vectors: the trait over which every kernel is written, and the instruction sets that implement it.

pub(in crate::cpu) mod activate;
#[cfg(target_arch = "x86_64")]
pub(in crate::cpu) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(in crate::cpu) mod avx512;
mod moves;
pub(in crate::cpu) mod partial;
pub(in crate::cpu) mod portable;
mod simd;

pub(in crate::cpu) use simd::MAX_LANES;
pub use simd::{Kernel, Simd};
