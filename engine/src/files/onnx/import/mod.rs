//! An ONNX file as a graph.

mod array;
mod edges;
mod external;
mod formula;
mod import;
mod importer;
mod int;
mod layers;
mod layout;
mod model;
mod operators;
mod run;
mod spread;
mod tensor;
mod value;
mod view;

pub use import::{ImportOptions, Imported, import};
