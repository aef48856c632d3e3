//! Networks as ONNX files: written for ONNX Runtime, and read back.

mod cases;
mod hostile;
mod round_trips;
mod runtime;
mod torch;

#[path = "../support/mod.rs"]
mod support;
