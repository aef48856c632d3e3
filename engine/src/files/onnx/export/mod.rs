//! A graph as an ONNX file.

mod activations;
mod compact;
mod convs;
mod document;
mod export;
mod layers;
mod norms;
mod options;
mod pools;
mod resizes;
mod softmax;

pub(in crate::files::onnx) use export::INFO;
pub use export::{Exported, export};
pub use options::{Batch, CompactForm, Images, MAX_OPSET, MIN_OPSET, OnnxOptions};
