//! ONNX files: any graph as one, and one as a graph.

mod export;
mod fields;
mod import;
mod wire;

pub use export::{Batch, CompactForm, Exported, Images, MAX_OPSET, MIN_OPSET, OnnxOptions, Writer, export};
pub use import::{ImportOptions, Imported, import};
