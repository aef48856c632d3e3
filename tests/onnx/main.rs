//! Networks for other programs: as ONNX files, written for ONNX Runtime and read back, and for PyTorch.

mod by_hand;
mod cases;
mod constants;
mod edges;
mod group_norms;
mod hostile;
mod quantized;
mod removed_channels;
mod round_trips;
mod runtime;
mod same_plan;
mod softmax;
mod state_dicts;
mod torch;

#[path = "../support/mod.rs"]
mod support;
