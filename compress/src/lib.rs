//! The techniques that make a network smaller: each a folder, each a rewrite of a graph or a callback of its training.

mod names;
pub mod sparsify;

pub use sparsify::SparsifyConfig;
