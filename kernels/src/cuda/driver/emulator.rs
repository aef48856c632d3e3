//! CUDA on the CPU: the same kernels, compiled by the machine's C++ compiler and run by a small driver.
//!
//! `kernels/cuda/emulator` holds that driver (a `libcuda`) and the header that makes a `.cu` file valid C++. Both are
//! compiled at first use, as NVRTC compiles a GPU's kernels, and cached. A process uses either the emulator or a real
//! driver.

use super::cache;
use super::error::{CudaError, Result};
use super::library::preload;
use super::source::{EMULATOR, HEADERS, Source, fingerprint};
use libloading::os::unix::Library;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

/// Loads the emulator as this process's CUDA driver, once.
///
/// # Errors
/// If there is no C++ compiler, or compilation fails.
pub(super) fn load_driver() -> Result<()> {
    static LOADED: OnceLock<Result<()>> = OnceLock::new();
    let built = || build(&EMULATOR[0], "", &["-Wl,-soname,libcuda.so"], &|| ());
    LOADED.get_or_init(|| preload(&built()?)).clone()
}

/// The bytes of device memory currently allocated.
///
/// # Panics
/// If [`Cuda::on_cpu`](crate::cuda::Cuda::on_cpu) has not been called, as for the other three functions. All four are
/// for tests of device failures, and act on this process's one device.
pub fn allocated() -> usize {
    // SAFETY: the type that `driver.cpp` declares.
    unsafe { hook::<unsafe extern "C" fn() -> usize>(b"emulator_allocated")() }
}

/// Sets the capacity of the device's memory to `bytes`.
pub fn set_capacity(bytes: usize) {
    // SAFETY: the type that `driver.cpp` declares.
    unsafe { hook::<unsafe extern "C" fn(usize)>(b"emulator_capacity")(bytes) }
}

/// Loses the device after `calls` more calls.
pub fn lose_device_after(calls: u32) {
    // SAFETY: the type that `driver.cpp` declares.
    unsafe { hook::<unsafe extern "C" fn(i64)>(b"emulator_lose_device_after")(calls.into()) }
}

/// Makes the device work again.
pub fn recover() {
    // SAFETY: the type that `driver.cpp` declares.
    unsafe { hook::<unsafe extern "C" fn()>(b"emulator_recover")() }
}

/// Looks up function `name` of the emulator's driver.
///
/// # Safety
/// `F` must be its type.
unsafe fn hook<F: Copy>(name: &[u8]) -> F {
    // SAFETY: the caller guarantees the type; the library is never unloaded.
    *unsafe { Library::this().get(name) }.expect("the emulator is this process's driver")
}

/// Builds `module` as a shared library for the emulator's `cuModuleLoadData` and returns its path. `begins` is called
/// before compilation.
pub(super) fn build_module(module: &Source, begins: &dyn Fn()) -> Result<PathBuf> {
    let entries: Vec<String> = module.kernels().iter().map(|k| format!("EMULATOR_KERNEL({k})")).collect();
    let table = format!("\nEMULATOR_MODULE({})\n", entries.join(", "));
    build(module, &table, &["-include", "emulator/emulator.h"], begins)
}

/// The first C++ compiler that runs.
pub(super) fn compiler() -> Option<String> {
    let named = env::var("CXX").ok().filter(|name| !name.is_empty());
    let candidates = named.into_iter().chain(["c++", "g++", "clang++"].map(String::from));
    candidates.into_iter().find(|name| {
        let answer = Command::new(name).arg("--version").output();
        answer.is_ok_and(|answer| answer.status.success())
    })
}

/// No floating-point contraction: a product and a sum are fused only if the source fuses them, on every machine.
const FLAGS: [&str; 12] = [
    "-x",
    "c++",
    "-std=c++17",
    "-O2",
    "-march=native",
    "-fPIC",
    "-shared",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-Wno-unknown-pragmas",
    "-fvisibility=hidden",
    "-D_GNU_SOURCE",
];

/// Compiles `source`, with `more` appended to its text, to a shared library in the cache.
fn build(source: &Source, more: &str, flags: &[&str], begins: &dyn Fn()) -> Result<PathBuf> {
    let compiler = compiler().ok_or_else(|| {
        CudaError::Missing(
            "CUDA on the CPU needs a C++ compiler: none of $CXX, c++, g++ and clang++ runs".into(),
        )
    })?;
    let files = || EMULATOR.iter().chain(HEADERS).chain([source]);
    let parts = files().flat_map(|file| [file.name, file.text]);
    let key = fingerprint(parts.chain([more, &compiler]).chain(FLAGS).chain(flags.iter().copied()));
    let stem = source.name.replace(['/', '.'], "-");
    cache::file(&format!("{stem}-{key:016x}.so"), |library| {
        begins();
        // Sources are written beside the library, so that includes and compiler messages name existing files.
        let folder = library.with_extension("src");
        let result = write_sources(&folder, files(), source, more)
            .and_then(|main| run(&compiler, &folder, &main, flags, library, source));
        fs::remove_dir_all(&folder).ok();
        result
    })
}

fn write_sources<'a>(
    folder: &Path,
    files: impl Iterator<Item = &'a Source>,
    source: &Source,
    more: &str,
) -> Result<PathBuf> {
    let failed = |e: std::io::Error| CudaError::Missing(format!("{}: {e}", folder.display()));
    for file in files {
        let path = folder.join(file.name);
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        fs::write(path, file.text).map_err(failed)?;
    }
    let main = folder.join(source.name);
    fs::write(&main, format!("{}{more}", source.text)).map_err(failed)?;
    Ok(main)
}

fn run(
    compiler: &str,
    folder: &Path,
    main: &Path,
    flags: &[&str],
    library: &Path,
    source: &Source,
) -> Result<()> {
    let failed = |log: String| CudaError::Compile {
        file: source.name.to_string(),
        target: format!("the CPU ({compiler})"),
        log,
    };
    let mut command = Command::new(compiler);
    command.args(FLAGS).args(flags).arg("-I").arg(folder).current_dir(folder);
    let output = command.arg(main).arg("-o").arg(library).output().map_err(|e| failed(e.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_string())),
    }
}
