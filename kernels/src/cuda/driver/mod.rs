//! The device itself: driver, memory, compiler, launches, recordings and the emulator. Operations are elsewhere.

pub mod cache;
mod device;
pub mod emulator;
mod error;
mod free_blocks;
mod graph;
pub(in crate::cuda) mod launch;
mod library;
mod memory;
mod module;
mod modules;
pub mod nvrtc;
pub mod source;
mod testing;
mod timer;

pub use device::Cuda;
pub(in crate::cuda) use error::check;
pub use error::{CudaError, Result};
pub use graph::CudaGraph;
pub use memory::DeviceBuffer;
pub use timer::Timer;
