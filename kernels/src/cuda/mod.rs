//! Kernels on a GPU: launchers with the names of [`crate::cpu`], over the sources in `kernels/cuda`.
//!
//! ```text
//!   .cu text ── NVRTC ──▶ machine code ─┐                  ┌─▶ the driver, a GPU
//!      │                                ├─ cuLaunchKernel ─┤
//!      └─ C++ compiler ─▶ a library ────┘                  └─▶ the emulator, this CPU
//! ```
//!
//! A [`Cuda`] is a device, one stream of work on it, and its compiled kernels. Every function returns once its work
//! is *submitted*; [`Cuda::download`] and [`Cuda::synchronize`] wait. A later call may therefore report a kernel's
//! error; from then on every call on the device fails.

mod driver;
pub mod mma;
mod ops;
pub mod simt;
pub mod wgmma;

pub use crate::params::Dtype;
pub use driver::{Cuda, CudaError, CudaGraph, DeviceBuffer, Result, Timer, cache, emulator, nvrtc, source};
pub use ops::*;
