//! Weights in files: dense, sparse, or as codes of the values that they share.

mod form;
mod huffman;

pub use form::Storage;
pub(crate) use form::{in_graph, stored, take};
