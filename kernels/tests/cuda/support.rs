//! The device of the tests, and moving data to it and back.

use kernels::cuda::{Cuda, emulator};
use std::io::Write;
use std::sync::OnceLock;

/// CUDA on the CPU; `None`, said once on the terminal, where there is no C++ compiler to make it with.
pub fn device() -> Option<&'static Cuda> {
    static DEVICE: OnceLock<Option<Cuda>> = OnceLock::new();
    let open = || {
        if emulator::compiler().is_none() {
            // Past the harness, which keeps the output of tests that pass.
            writeln!(std::io::stderr(), "SKIPPED: the CUDA tests need a C++ compiler, and none was found")
                .ok();
            return None;
        }
        Some(Cuda::on_cpu().expect("the emulator starts"))
    };
    DEVICE.get_or_init(open).as_ref()
}
