//! The CUDA kernels against the reference in double precision, on CUDA on the CPU.

mod batch_norm;
mod channels;
mod conv2d_f32;
mod conv2d_sparse_f32;
mod elementwise;
mod loss;
mod gemm_f32;
mod hopper;
mod memory;
mod optim;
mod pool;
mod support;
#[path = "../support/mod.rs"]
mod tensor_cores;
mod values;
