//! The engine that compression is built on: tensors, a tape for gradients, graphs as plain values, the training loop,
//! the inference plan and model files.

#![forbid(unsafe_code)]

pub mod atomic;
mod check;
pub mod cost;
pub mod data;
pub mod device;
pub mod error;
pub mod exec;
pub mod file;
mod footprint;
mod fusion;
pub mod geometry;
pub mod graph;
mod graph_index;
pub mod input;
pub mod layer;
mod legacy;
pub mod memory;
mod node;
pub mod number;
pub mod ops;
pub mod param;
pub mod plan;
pub mod pool;
pub mod profile;
pub mod rewrite;
mod shape;
mod storage;
pub mod tape;
pub mod tensor;
mod tensor_file;
pub mod torchvision;
pub mod train;

pub use device::Device;
pub use error::{Error, Result};
pub use exec::{ParamGradients, Pass};
pub use graph::{Graph, Info};
pub use layer::Layer;
pub use node::{Node, NodeId};
pub use param::Param;
pub use tape::{Gradients, Mode, Tape, Var};
pub use tensor::Tensor;
