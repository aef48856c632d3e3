//! Files: model files, weights in PyTorch's names, and reading and writing them safely.

pub mod atomic;
pub mod file;
pub mod input;
pub(crate) mod legacy;
pub(crate) mod mask;
pub(crate) mod tensor_file;
pub mod torchvision;
