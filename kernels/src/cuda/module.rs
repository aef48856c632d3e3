//! Modules: a source file's kernels, compiled for this device and loaded, once.

use super::error::{Result, check};
use super::source::{HEADERS, Source, fingerprint};
use super::{Cuda, cache, emulator, nvrtc};
use cudarc::driver::sys::{self, CUfunction, CUmodule};
use std::collections::HashMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};

/// The modules that are loaded, and their kernels so far asked for.
#[derive(Default)]
pub(super) struct Modules(Mutex<Loaded>);

#[derive(Default)]
struct Loaded {
    modules: HashMap<&'static str, CUmodule>,
    functions: HashMap<&'static str, CUfunction>,
}

// SAFETY: handles of the driver, which any thread may use; the maps are behind a lock.
unsafe impl Send for Loaded {}

impl Modules {
    /// Unloads them. Nobody may use a function of theirs after.
    pub fn unload(&self) {
        let mut loaded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.functions.clear();
        for (_, module) in loaded.modules.drain() {
            // SAFETY: loaded by `function` below, and not used any more.
            unsafe { sys::cuModuleUnload(module) };
        }
    }
}

/// `kernel` of `source` on the device of `cuda`: compiled and loaded at first use.
pub(super) fn function(
    cuda: &Cuda,
    modules: &Modules,
    source: &Source,
    kernel: &'static str,
) -> Result<CUfunction> {
    let mut loaded = modules.0.lock().unwrap_or_else(PoisonError::into_inner);
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
    let name = CString::new(kernel).expect("a name without a zero");
    let mut function = std::ptr::null_mut();
    // SAFETY: a loaded module, a name that ends with a zero.
    check(kernel, unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) })?;
    loaded.functions.insert(kernel, function);
    Ok(function)
}

fn load(cuda: &Cuda, source: &Source) -> Result<CUmodule> {
    let mut image = match cuda.is_emulated() {
        // The emulator's driver loads a file by its path.
        true => emulator::build_module(source)?.as_os_str().as_bytes().to_vec(),
        false => cubin(source, cuda.arch())?,
    };
    image.push(0);
    let mut module = std::ptr::null_mut();
    // SAFETY: a whole image for this device, from its compiler.
    check(source.name, unsafe { sys::cuModuleLoadData(&mut module, image.as_ptr().cast()) })?;
    Ok(module)
}

/// The machine code of `source` for `arch`, from the cache where it is there.
fn cubin(source: &Source, arch: &str) -> Result<Vec<u8>> {
    let parts = HEADERS.iter().chain([source]).flat_map(|file| [file.name, file.text]);
    let name = format!("{}-{arch}-{:016x}.cubin", source.name.replace('.', "-"), fingerprint(parts));
    let failed = |e: std::io::Error| super::CudaError::Missing(format!("{name}: {e}"));
    let path = cache::file(&name, |path| {
        let cubin = nvrtc::compile(source, arch)?;
        std::fs::write(path, cubin.image).map_err(failed)
    })?;
    std::fs::read(path).map_err(failed)
}
