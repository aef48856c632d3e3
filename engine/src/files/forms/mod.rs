//! Weights in files: dense, sparse, or as codes of the values that they share.

mod bitmap;
mod form;
mod huffman;
mod storage;

pub(crate) use form::{codes_bits, in_graph, stored, take};
pub use storage::Storage;
