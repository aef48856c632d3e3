//! CUDA on the CPU: the same kernels, compiled by the machine's C++ compiler over a small driver of our own.
//!
//! `kernels/cuda/emulator` holds the driver (a `libcuda`) and the header that makes C++ of a `.cu` file. Both are
//! compiled at first use, like a device's kernels by NVRTC, and cached. A process uses either it or a real driver.

use super::error::{CudaError, Result};
use super::library::preload;
use super::source::{EMULATOR, HEADERS, Source, fingerprint};
use super::{Cuda, cache};
use libloading::os::unix::Library;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

/// Loads the emulator's driver as this process's CUDA driver, once.
///
/// # Errors
/// Where there is no C++ compiler, or it refuses.
pub(super) fn load_driver() -> Result<()> {
    static LOADED: OnceLock<Result<()>> = OnceLock::new();
    let built = || build(&EMULATOR[0], "", &["-Wl,-soname,libcuda.so"], &|| ());
    LOADED.get_or_init(|| preload(&built()?)).clone()
}

/// Bytes of device memory that are taken at present.
///
/// # Panics
/// As the others of these four, where [`Cuda::on_cpu`] has not been called. They are for tests of
/// what happens when a device fails, and speak of the one device of this process.
pub fn allocated() -> usize {
    // SAFETY: its type, as `driver.cpp` has it.
    unsafe { hook::<unsafe extern "C" fn() -> usize>(b"emulator_allocated")() }
}

/// From now on the device has `bytes` of memory.
pub fn set_capacity(bytes: usize) {
    // SAFETY: its type, as `driver.cpp` has it.
    unsafe { hook::<unsafe extern "C" fn(usize)>(b"emulator_capacity")(bytes) }
}

/// The device is lost after as many more calls.
pub fn lose_device_after(calls: u32) {
    // SAFETY: its type, as `driver.cpp` has it.
    unsafe { hook::<unsafe extern "C" fn(i64)>(b"emulator_lose_device_after")(calls.into()) }
}

/// The device works again.
pub fn recover() {
    // SAFETY: its type, as `driver.cpp` has it.
    unsafe { hook::<unsafe extern "C" fn()>(b"emulator_recover")() }
}

/// The function `name` of the emulator's driver.
///
/// # Safety
/// `F` is its type.
unsafe fn hook<F: Copy>(name: &[u8]) -> F {
    // SAFETY: the caller's; the library is never unloaded.
    *unsafe { Library::this().get(name) }.expect("the emulator is this process's driver")
}

/// The path of `module` as a shared library, for the emulator's `cuModuleLoadData`. `begins` is called before it is compiled.
pub(super) fn build_module(module: &Source, begins: &dyn Fn()) -> Result<PathBuf> {
    let entries: Vec<String> = module.kernels().iter().map(|k| format!("EMULATOR_KERNEL({k})")).collect();
    let table = format!("\nEMULATOR_MODULE({})\n", entries.join(", "));
    build(module, &table, &["-include", "emulator/emulator.h"], begins)
}

/// CUDA on the CPU, for tests: `None`, said on the terminal, where there is no C++ compiler to make it with. With
/// `LOPPER_REQUIRE_CUDA=1` that is a failure.
///
/// # Panics
/// Where the emulator is required and missing, or does not start.
pub fn for_tests() -> Option<Cuda> {
    if compiler().is_none() {
        let why = "CUDA on the CPU needs a C++ compiler, and none was found";
        assert!(env::var_os("LOPPER_REQUIRE_CUDA").is_none(), "{why}");
        // Past the harness, which keeps the output of tests that pass.
        writeln!(std::io::stderr(), "SKIPPED: {why}").ok();
        return None;
    }
    Some(Cuda::on_cpu().expect("the emulator starts"))
}

/// The first C++ compiler that answers.
fn compiler() -> Option<String> {
    let named = env::var("CXX").ok().filter(|name| !name.is_empty());
    let candidates = named.into_iter().chain(["c++", "g++", "clang++"].map(String::from));
    candidates.into_iter().find(|name| {
        let answer = Command::new(name).arg("--version").output();
        answer.is_ok_and(|answer| answer.status.success())
    })
}

/// No contraction: a product and a sum are one operation only where the source says so, on every machine.
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

/// Compiles `source`, with `more` behind its text, to a shared library in the cache.
fn build(source: &Source, more: &str, flags: &[&str], begins: &dyn Fn()) -> Result<PathBuf> {
    let compiler = compiler().ok_or_else(|| {
        CudaError::Missing(
            "CUDA on the CPU needs a C++ compiler: neither $CXX, c++, g++ nor clang++ runs".into(),
        )
    })?;
    let files = || EMULATOR.iter().chain(HEADERS).chain([source]);
    let parts = files().flat_map(|file| [file.name, file.text]);
    let key = fingerprint(parts.chain([more, &compiler]).chain(FLAGS).chain(flags.iter().copied()));
    let stem = source.name.replace(['/', '.'], "-");
    cache::file(&format!("{stem}-{key:016x}.so"), |library| {
        begins();
        // A folder of sources beside it, so that includes and the compiler's messages name files that exist.
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
