//! Files: model files, weights of PyTorch, and reading and writing them safely.

mod assignment;
pub mod atomic;
pub(crate) mod compact;
pub(crate) mod decode;
pub mod file;
pub mod forms;
pub mod input;
pub(crate) mod legacy;
pub(crate) mod mask;
pub mod onnx;
pub mod python;
mod pytorch;
pub(crate) mod pytorch_layout;
pub(crate) mod tensor_file;
pub mod torchvision;
mod weights_export;
pub(crate) mod weights_file;
