//! CPU kernels. The vector instructions are chosen at run time, and the threads belong to a private pool.
//!
//! The first argument of every kernel is a [`Cpu`], which selects the instruction set and the threads. Each algorithm
//! is written once, over the vector trait in [`simd`], which `avx512`, `avx2` and `portable` implement. The order of
//! every sum depends only on the shape, so the results are bit-identical for any number of threads.

mod activation;
mod adaptive_pool;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch_norm;
mod channels;
mod columns;
mod conv2d;
mod depthwise;
mod device;
mod dropout;
mod elementwise;
mod isa;
mod lanewise;
mod linear;
mod loss;
mod matmul;
mod optim;
mod panels;
mod peak;
mod pool;
mod portable;
mod reduce;
mod scratch;
mod shared;
mod shelf;
pub mod simd;
mod softmax;
mod tile;
mod tile_kernel;
mod windows;

pub use crate::params::{Activation, Adam, CompactIndex, Dtype, Sgd, Trans};
pub use activation::{activation_forward, activation_input_grad};
pub use adaptive_pool::{
    adaptive_avg_pool2d_forward, adaptive_avg_pool2d_input_grad, adaptive_max_pool2d_forward,
    adaptive_max_pool2d_input_grad,
};
pub use batch_norm::{
    PackedBatchNorm, batch_norm_backward, batch_norm_forward_eval, batch_norm_forward_packed,
    batch_norm_forward_train,
};
pub use channels::{concat_forward, pad_shortcut_forward, pad_shortcut_input_grad, split_channels};
pub use conv2d::{
    Algorithm, Choice, Epilogue, Footprint, PackedConv2d, Packing, Weights, conv2d_forward,
    conv2d_forward_packed, conv2d_input_grad, conv2d_weight_grad,
};
pub use device::{Cpu, CpuError, MAX_THREADS};
pub use dropout::dropout;
pub use elementwise::{add_assign, add_forward, axpy, mul_forward, scale};
pub use isa::{Isa, UnknownIsa};
pub use linear::{
    PackedLinear, linear_forward, linear_forward_packed, linear_input_grad, linear_weight_grad,
};
pub use loss::{
    cross_entropy_forward, cross_entropy_input_grad, kl_divergence_forward, kl_divergence_input_grad,
    mse_forward, mse_input_grad,
};
pub use matmul::{gemm, gemv};
pub use optim::{adam_step, sgd_step};
pub use pool::{avg_pool2d_forward, avg_pool2d_input_grad, max_pool2d_forward, max_pool2d_input_grad};
pub use reduce::{sum, sum_rows};
pub use softmax::{log_softmax_forward, softmax_forward};
