//! Modules: the kernels of a source file, compiled for this device and loaded once.

use super::error::{CudaError, Result, check};
use super::modules::Modules;
use super::source::{HEADERS, MODULES, Source, fingerprint};
use super::{Cuda, cache, emulator, nvrtc};
use cudarc::driver::sys::{self, CUfunction, CUmodule};
use rayon::prelude::*;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Returns `kernel` of `source` on `cuda`'s device, compiling and loading it at first use.
pub(super) fn function(
    cuda: &Cuda,
    modules: &Modules,
    source: &Source,
    kernel: &'static str,
) -> Result<CUfunction> {
    let mut loaded = modules.lock();
    if let Some(&function) = loaded.functions.get(kernel) {
        return Ok(function);
    }
    cuda.bind()?;
    let module = match loaded.modules.get(source.name) {
        Some(&module) => module,
        None => {
            let module = load(cuda, source)?;
            loaded.modules.insert(source.name, module);
            module
        }
    };
    let name = CString::new(kernel).expect("a name without a NUL");
    let mut function = std::ptr::null_mut();
    // SAFETY: a loaded module and a zero-terminated name.
    check(kernel, unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) })?;
    loaded.functions.insert(kernel, function);
    Ok(function)
}

fn load(cuda: &Cuda, source: &Source) -> Result<CUmodule> {
    let path = compiled(cuda, source, &|| ())?;
    let mut image = match cuda.is_emulated() {
        // The emulator's driver loads a file by its path.
        true => path.as_os_str().as_bytes().to_vec(),
        false => fs::read(&path).map_err(|e| CudaError::Missing(format!("{}: {e}", path.display())))?,
    };
    image.push(0);
    let mut module = std::ptr::null_mut();
    // SAFETY: a complete image for this device, from its compiler.
    let loaded = check(source.name, unsafe { sys::cuModuleLoadData(&mut module, image.as_ptr().cast()) });
    loaded.map(|()| module).map_err(|error| {
        // Another compiler's output may load, so the cache must not keep this one.
        fs::remove_file(&path).ok();
        let version = driver_version();
        CudaError::Missing(format!(
            "{error}; the driver supports CUDA up to {version}: if NVRTC is newer, install that version of it"
        ))
    })
}

impl Cuda {
    /// Compiles every kernel that is not in the cache, several files at a time; otherwise each is compiled at its
    /// first use. `begins` is called at the start of each compilation.
    ///
    /// # Errors
    /// If the compiler is missing or fails.
    pub fn compile_all(&self, begins: impl Fn() + Sync) -> Result<()> {
        MODULES.par_iter().try_for_each(|source| compiled(self, source, &begins).map(drop))
    }
}

/// The file with the machine code of `source` for this device, compiled if it is missing; `begins` is called first.
fn compiled(cuda: &Cuda, source: &Source, begins: &dyn Fn()) -> Result<PathBuf> {
    match cuda.is_emulated() {
        true => emulator::build_module(source, begins),
        false => cubin(source, cuda.arch(), begins),
    }
}

/// The newest CUDA version that the driver supports, such as `12.4`.
fn driver_version() -> String {
    let mut version = 0;
    // SAFETY: writes one int.
    unsafe { sys::cuDriverGetVersion(&mut version) };
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

fn cubin(source: &Source, arch: &str, begins: &dyn Fn()) -> Result<PathBuf> {
    let parts = HEADERS.iter().chain([source]).flat_map(|file| [file.name, file.text]);
    let name = format!("{}-{arch}-{:016x}.cubin", source.name.replace('.', "-"), fingerprint(parts));
    cache::file(&name, |path| {
        begins();
        let cubin = nvrtc::compile(source, arch)?;
        fs::write(path, cubin.image).map_err(|e| CudaError::Missing(format!("{}: {e}", path.display())))
    })
}
