//! The CUDA kernels against the reference in double precision, on CUDA on the CPU.

mod batch_norm;
mod channels;
mod elementwise;
mod loss;
mod memory;
mod optim;
mod pool;
mod support;
mod values;
