//! Tensors, and the devices on which they live.

pub mod device;
pub(crate) mod storage;
pub mod tensor;
