//! CPU kernels. The vector instructions are chosen at run time, and the threads belong to a private pool.
//!
//! The first argument of every kernel is a [`Cpu`], which selects the instruction set and the threads. Each algorithm
//! is written once, over the vector trait in [`simd`], which `avx512`, `avx2` and `portable` implement. The order of
//! every sum depends only on the shape, so the results are bit-identical for any number of threads.

mod conv2d;
mod device;
mod gemm;
mod lanes;
mod linear;
mod ops;
pub mod simd;

pub use crate::params::{Activation, Adam, CompactIndex, Dtype, Sgd, Trans};
pub use conv2d::{
    Algorithm, Choice, DenseTime, Epilogue, Footprint, ImageTimes, LaneEstimates, MaskedTime, PackedConv2d,
    Packing, Weights, conv2d_compact_rows_at_a_time, conv2d_forward, conv2d_forward_between,
    conv2d_forward_packed, conv2d_forward_rows, conv2d_input_grad, conv2d_lane_images, conv2d_lanes_after,
    conv2d_lanes_extra, conv2d_masked_forward, conv2d_masked_input_grad, conv2d_masked_weight_grad,
    conv2d_rows_at_a_time, conv2d_weight_grad, far_shares,
};
pub use device::device::{Cpu, CpuError, MAX_THREADS};
pub use device::isa::{Isa, UnknownIsa};
pub use gemm::matmul::{gemm, gemv};
pub use lanes::{ImageLayout, ImageLayouts, LaneImages};
pub use linear::{LinearChoice, LinearLayout, PackedLinear, linear_forward_packed};
pub use ops::activation::{activation_forward, activation_input_grad};
pub use ops::batch_norm::{
    PackedBatchNorm, batch_norm_backward, batch_norm_forward_eval, batch_norm_forward_lanes,
    batch_norm_forward_packed, batch_norm_forward_train,
};
pub use ops::channels::{concat_forward, pad_shortcut_forward, pad_shortcut_input_grad, split_channels};
pub use ops::dropout::dropout;
pub use ops::elementwise::{add_assign, add_forward, axpy, mul_forward, scale};
pub use ops::gate::{gate_forward, gate_grad};
pub use ops::gather::{PackedGather, gather_forward, gather_input_grad};
pub use ops::group_norm::{group_norm_backward, group_norm_buffer, group_norm_forward};
pub use ops::layer_norm::{layer_norm_backward, layer_norm_forward};
pub use ops::linear::{
    linear_forward, linear_input_grad, linear_masked_forward, linear_masked_input_grad,
    linear_masked_weight_grad, linear_weight_grad,
};
pub use ops::loss::{
    cross_entropy_forward, cross_entropy_input_grad, kl_divergence_forward, kl_divergence_input_grad,
    mse_forward, mse_input_grad,
};
pub use ops::optim::{adam_step, sgd_step};
pub use ops::pool::{
    adaptive_avg_pool2d_forward, adaptive_avg_pool2d_input_grad, adaptive_max_pool2d_forward,
    adaptive_max_pool2d_input_grad,
};
pub use ops::pool::{avg_pool2d_forward, avg_pool2d_input_grad, max_pool2d_forward, max_pool2d_input_grad};
pub use ops::pool_lanes::{max_pool2d_forward_lanes, max_pool2d_lanes_after};
pub use ops::prelu::{PackedPRelu, prelu_backward, prelu_forward, prelu_forward_packed};
pub use ops::reduce::{sum, sum_rows};
pub use ops::resize::{PackedResize, resize_forward, resize_input_grad};
pub use ops::softmax::{log_softmax_forward, log_softmax_input_grad, softmax_forward, softmax_input_grad};
pub use ops::winners::{
    adaptive_max_pool2d_winners_grad, adaptive_max_pool2d_with_winners, max_pool2d_winners_grad,
    max_pool2d_with_winners,
};
