//! Files of models: ours, and those of PyTorch.

mod model_files;
mod pytorch_files;
mod torchvision_weights;

#[path = "../support/mod.rs"]
mod support;
