//! Networks as plain values: nodes, layers, parameters, and what follows from shapes alone.

pub mod certificate;
pub(crate) mod check;
pub mod cost;
pub(crate) mod footprint;
pub mod geometry;
pub mod graph;
pub mod group_norm;
mod index;
pub mod info;
pub mod layer;
pub mod layer_norm;
mod node;
pub mod param;
pub mod pool;
pub mod resize;
pub mod rewrite;
pub mod rounding;
mod shape;

pub use graph::Graph;
pub use info::Info;
pub use node::{Node, NodeId};
