//! The device under test.

use lopper_kernels::cuda::Cuda;
use std::sync::OnceLock;

/// CUDA on the CPU, if available: see [`Cuda::for_tests`].
pub fn device() -> Option<&'static Cuda> {
    static DEVICE: OnceLock<Option<Cuda>> = OnceLock::new();
    DEVICE.get_or_init(Cuda::for_tests).as_ref()
}
