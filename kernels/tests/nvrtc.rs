//! Every kernel compiles to machine code for the architectures that it is written for, spills no register, and has
//! nothing in it that the assembler warns to be slow.
//!
//! NVRTC needs no GPU. Where it is not installed the test says so; with `LOPPER_REQUIRE_CUDA=1` that is a failure.

use lopper_kernels::cuda::source::{MODULES, Source};
use lopper_kernels::cuda::{CudaError, nvrtc};
use rayon::prelude::*;
use std::io::Write;

#[test]
fn what_does_not_compile_is_named_with_its_line() {
    let broken =
        Source { name: "broken.cu", text: "extern \"C\" __global__ void broken() {\n  int x = y;\n}" };
    for (source, arch, words) in [
        (broken, "sm_90", ["broken.cu", "sm_90", "(2)", "\"y\" is undefined"]),
        (MODULES[0], "sm_1", ["sm_1"; 4]),
    ] {
        match nvrtc::compile(&source, arch) {
            Err(CudaError::Missing(why)) => return skip(&why),
            Err(error) => {
                let message = error.to_string();
                assert!(words.iter().all(|word| message.contains(word)), "{message}");
            }
            Ok(_) => panic!("{} compiles for {arch}", source.name),
        }
    }
}

/// Says that NVRTC is missing, where that is no failure.
fn skip(why: &str) {
    assert!(std::env::var_os("LOPPER_REQUIRE_CUDA").is_none(), "{why}");
    // Past the harness, which keeps the output of tests that pass.
    writeln!(std::io::stderr(), "SKIPPED: {why}").ok();
}

#[test]
fn every_kernel_compiles_and_none_spills_or_waits() {
    let every = MODULES.iter().flat_map(|module| ["sm_80", "sm_90", "sm_90a"].map(|arch| (module, arch)));
    let every: Vec<_> = every.collect();
    // NVRTC takes seconds for each, and any number of threads.
    let cubins: Result<Vec<_>, CudaError> =
        every.par_iter().map(|(module, arch)| nvrtc::compile(module, arch)).collect();
    let cubins = match cubins {
        Err(CudaError::Missing(why)) => return skip(&why),
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
