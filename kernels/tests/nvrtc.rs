//! Every kernel compiles to machine code for its target architectures, spills no registers, and triggers no
//! performance warning of the assembler.
//!
//! NVRTC needs no GPU. If it is not installed, the test prints a note and passes; `LOPPER_REQUIRE_CUDA=1` turns that
//! skip into a failure.

use lopper_kernels::cuda::source::{MODULES, Source};
use lopper_kernels::cuda::{CudaError, nvrtc};
use rayon::prelude::*;
use std::io::Write;

#[test]
fn compile_errors_name_the_file_and_line() {
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

/// Reports that NVRTC is missing; fails if CUDA is required.
fn skip(why: &str) {
    assert!(std::env::var_os("LOPPER_REQUIRE_CUDA").is_none(), "{why}");
    // Written directly, because the test harness captures the output of passing tests.
    writeln!(std::io::stderr(), "SKIPPED: {why}").ok();
}

#[test]
fn every_kernel_compiles_without_spills_or_warnings() {
    let every = MODULES.iter().flat_map(|module| ["sm_80", "sm_90", "sm_90a"].map(|arch| (module, arch)));
    let every: Vec<_> = every.collect();
    // NVRTC takes seconds per source and runs on any number of threads.
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
