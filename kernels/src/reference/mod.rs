//! Plain loops: the executable specification.
//!
//! Each function has the same name, argument order and meaning as its counterpart in [`crate::cpu`], without the
//! device, and is generic over [`Float`]: with `f64` it is the tests' oracle. Nothing here is fast.

mod activation;
mod batch_norm;
mod channels;
mod conv2d;
mod dropout;
mod elementwise;
mod gate;
mod group_norm;
mod layer_norm;
mod linear;
mod loss;
mod matmul;
mod optim;
mod pool;
mod prelu;
mod reduce;
mod resize;
mod softmax;
mod sparse_conv2d;

pub use crate::float::Float;
pub use activation::{activation_forward, activation_input_grad};
pub use batch_norm::{
    batch_norm_backward, batch_norm_eval_backward, batch_norm_forward_eval, batch_norm_forward_train,
};
pub use channels::{
    concat_forward, gather_forward, gather_input_grad, pad_shortcut_forward, pad_shortcut_input_grad,
    split_channels,
};
pub use conv2d::{conv2d_epilogue, conv2d_forward, conv2d_input_grad, conv2d_weight_grad};
pub use dropout::{dropout, keeps};
pub use elementwise::{add_assign, add_forward, axpy, mul_forward, scale};
pub use gate::{gate_forward, gate_grad};
pub use group_norm::{group_norm_backward, group_norm_forward};
pub use layer_norm::{layer_norm_backward, layer_norm_forward};
pub use linear::{linear_forward, linear_input_grad, linear_weight_grad};
pub use loss::{
    cross_entropy_forward, cross_entropy_input_grad, kl_divergence_forward, kl_divergence_input_grad,
    mse_forward, mse_input_grad,
};
pub use matmul::{gemm, gemv};
pub use optim::{adam_step, sgd_step};
pub use pool::{
    adaptive_avg_pool2d_forward, adaptive_avg_pool2d_input_grad, adaptive_max_pool2d_forward,
    adaptive_max_pool2d_input_grad,
};
pub use pool::{avg_pool2d_forward, avg_pool2d_input_grad, max_pool2d_forward, max_pool2d_input_grad};
pub use prelu::{prelu_backward, prelu_forward};
pub use reduce::{sum, sum_rows};
pub use resize::{resize_forward, resize_input_grad};
pub use softmax::{log_softmax_forward, log_softmax_input_grad, softmax_forward, softmax_input_grad};
pub use sparse_conv2d::{conv2d_compact_forward, conv2d_masked_forward};
