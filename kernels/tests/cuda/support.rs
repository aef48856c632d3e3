//! The device of the tests.

use lopper_kernels::cuda::{Cuda, emulator};
use std::sync::OnceLock;

/// CUDA on the CPU, if it can be had: see [`emulator::for_tests`].
pub fn device() -> Option<&'static Cuda> {
    static DEVICE: OnceLock<Option<Cuda>> = OnceLock::new();
    DEVICE.get_or_init(emulator::for_tests).as_ref()
}
