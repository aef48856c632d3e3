//! The engine that compression is built on: tensors, a tape for gradients, graphs as plain values, the training loop,
//! the inference plan and model files.

#![forbid(unsafe_code)]

pub mod about;
pub mod autograd;
pub mod channels;
pub mod error;
pub mod files;
pub mod graph;
pub mod memory;
pub mod number;
pub mod plan;
pub mod tensor;
pub mod train;

pub use about::About;
pub use autograd::exec::{Known, ParamGradients, Pass};
pub use autograd::tape::{Gradients, Mode, Tape, Var};
pub use autograd::{exec, ops, profile, tape};
pub use error::{Error, Result};
pub use files::{atomic, file, input, onnx, python, torchvision};
pub use graph::layer::Layer;
pub use graph::param::Param;
pub use graph::{
    Graph, Info, Node, NodeId, certificate, cost, geometry, info, layer, param, pool, rewrite, rounding,
};
pub use tensor::device::Device;
pub use tensor::tensor::Tensor;
pub use train::data;

/// The distribution function of the standard normal distribution, in double precision.
pub use lopper_kernels::normal::cdf_double as normal_cdf;
