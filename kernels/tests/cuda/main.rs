//! The CUDA kernels against the reference in double precision, on the CPU emulator.

mod batch_norm;
#[path = "../support/mod.rs"]
mod bounds;
mod channels;
mod conv2d_f32;
mod conv2d_sparse_f32;
mod device;
mod elementwise;
mod gates;
mod gemm_f32;
mod grades;
mod group_norm;
mod layer_norm;
mod loss;
mod memory;
mod mma;
mod optim;
mod pool;
mod resize;
mod support;
mod values;
mod wgmma;
