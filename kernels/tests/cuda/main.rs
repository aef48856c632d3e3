//! The CUDA kernels against the reference in double precision, on CUDA on the CPU.

mod batch_norm;
mod elementwise;
mod memory;
mod pool;
mod support;
mod values;
