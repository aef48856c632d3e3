//! Every kernel compiles to machine code for the architectures that it is written for, spills no register, and has
//! nothing in it that the assembler warns to be slow.
//!
//! NVRTC needs no GPU. Where it is not installed the test says so; with `LOPPER_REQUIRE_CUDA=1` that is a failure.

use kernels::cuda::source::MODULES;
use kernels::cuda::{CudaError, nvrtc};
use rayon::prelude::*;
use std::io::Write;

#[test]
fn every_kernel_compiles_and_none_spills_or_waits() {
    let every = MODULES.iter().flat_map(|module| ["sm_80", "sm_90", "sm_90a"].map(|arch| (module, arch)));
    let every: Vec<_> = every.collect();
    // NVRTC takes seconds for each, and any number of threads.
    let cubins: Result<Vec<_>, CudaError> =
        every.par_iter().map(|(module, arch)| nvrtc::compile(module, arch)).collect();
    let cubins = match cubins {
        Err(CudaError::Missing(why)) => {
            assert!(std::env::var_os("LOPPER_REQUIRE_CUDA").is_none(), "{why}");
            // Past the harness, which keeps the output of tests that pass.
            writeln!(std::io::stderr(), "SKIPPED: {why}").ok();
            return;
        }
        cubins => cubins.unwrap_or_else(|e| panic!("{e}")),
    };
    for ((module, arch), cubin) in every.iter().zip(cubins) {
        let kernels: Vec<&str> = cubin.usage.iter().map(|u| u.kernel.as_str()).collect();
        for kernel in module.kernels() {
            assert!(kernels.contains(&kernel), "{}: no machine code for {kernel} on {arch}", module.name);
        }
        assert!(cubin.losses.is_empty(), "{arch} {}: {:?}", module.name, cubin.losses);
        for usage in &cubin.usage {
            assert_eq!((usage.spills, usage.stack), (0, 0), "{arch} {}: {usage:?}", module.name);
        }
    }
}
