//! The emulator as tests use it.

use super::Cuda;
use super::emulator::compiler;
use std::env;
use std::io::Write;

impl Cuda {
    /// CUDA on the CPU for tests, or `None` with a note on stderr if there is no C++ compiler. `LOPPER_REQUIRE_CUDA=1`
    /// turns that skip into a failure.
    ///
    /// # Panics
    /// If the emulator is required but missing, or does not start.
    pub fn for_tests() -> Option<Self> {
        if compiler().is_none() {
            let why = "CUDA on the CPU needs a C++ compiler, but none was found";
            assert!(env::var_os("LOPPER_REQUIRE_CUDA").is_none(), "{why}");
            // Written directly, because the test harness captures the output of passing tests.
            writeln!(std::io::stderr(), "SKIPPED: {why}").ok();
            return None;
        }
        Some(Self::on_cpu().expect("the emulator should start"))
    }
}
