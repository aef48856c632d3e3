//! The device of the tests, and moving data to it and back.

use kernels::cuda::{Cuda, emulator};
use std::io::Write;
use std::sync::OnceLock;

/// CUDA on the CPU; `None`, said once on the terminal, where there is no C++ compiler to make it with. With
/// `LOPPER_REQUIRE_CUDA=1` that is a failure.
pub fn device() -> Option<&'static Cuda> {
    static DEVICE: OnceLock<Option<Cuda>> = OnceLock::new();
    let open = || {
        if emulator::compiler().is_none() {
            let why = "the CUDA tests need a C++ compiler, and none was found";
            assert!(std::env::var_os("LOPPER_REQUIRE_CUDA").is_none(), "{why}");
            // Past the harness, which keeps the output of tests that pass.
            writeln!(std::io::stderr(), "SKIPPED: {why}").ok();
            return None;
        }
        Some(Cuda::on_cpu().expect("the emulator starts"))
    };
    DEVICE.get_or_init(open).as_ref()
}
