//! A graph as an ONNX file.

mod activations;
mod compact;
mod constant;
mod convs;
mod document;
mod export;
mod external;
mod layers;
mod model;
mod norms;
mod options;
mod pools;
mod resizes;
mod softmax;
#[cfg(test)]
mod tests;

pub use export::{Exported, Writer, export};
pub(in crate::files::onnx) use model::INFO;
pub use options::{Batch, CompactForm, Images, MAX_OPSET, MIN_OPSET, OnnxOptions};
