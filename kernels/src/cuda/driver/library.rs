//! Finds the driver and the compiler before cudarc loads them, because cudarc panics if they are missing.

use super::error::{CudaError, Result};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs};

/// Loads `path` for the lifetime of the process: later loads of its SONAME resolve to it.
pub(super) fn preload(path: &Path) -> Result<()> {
    // SAFETY: the initializers of NVIDIA's libraries and of the emulator have no preconditions.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    let library = library.map_err(|e| CudaError::Missing(format!("{}: {e}", path.display())))?;
    std::mem::forget(library);
    Ok(())
}

/// Returns an error if the driver's library is missing.
pub(super) fn require_driver() -> Result<()> {
    // SAFETY: opens and closes the library.
    match unsafe { cudarc::driver::sys::is_culib_present() } {
        true => Ok(()),
        false => Err(CudaError::Missing(
            "no NVIDIA driver: libcuda.so.1 was not found; use --device cpu, or --device cuda-on-cpu to try the \
             kernels without a GPU"
                .into(),
        )),
    }
}

/// Loads NVRTC, once. If it is missing, the error lists the places searched.
pub(super) fn load_nvrtc() -> Result<()> {
    static LOADED: OnceLock<Result<()>> = OnceLock::new();
    LOADED.get_or_init(find_nvrtc).clone()
}

fn find_nvrtc() -> Result<()> {
    // NVRTC loads its built-in functions from a second library by name, so that one is loaded first.
    for folder in nvrtc_folders() {
        if let (Some(builtins), Some(nvrtc)) =
            (newest(&folder, "libnvrtc-builtins.so"), newest(&folder, "libnvrtc.so"))
            && preload(&builtins).and_then(|()| preload(&nvrtc)).is_ok()
        {
            break;
        }
    }
    // SAFETY: opens and closes the library.
    match unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        true => Ok(()),
        false => Err(CudaError::Missing(
            "no NVRTC, CUDA's run-time compiler: libnvrtc.so was not found in $LOPPER_NVRTC, $CUDA_HOME/lib64, \
             /usr/local/cuda*/lib64, a Python environment or on the library path; install the CUDA toolkit, or \
             `pip install nvidia-cuda-nvrtc` and set $LOPPER_NVRTC to its folder nvidia/cu13/lib"
                .into(),
        )),
    }
}

/// The folders that may hold NVRTC, the most explicit first.
fn nvrtc_folders() -> Vec<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let mut folders: Vec<PathBuf> = set("LOPPER_NVRTC").into_iter().collect();
    folders.extend(["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(set).map(|home| home.join("lib64")));
    let mut toolkits = children("/usr/local", "cuda");
    toolkits.reverse(); // newest version first
    folders.extend(toolkits.into_iter().map(|toolkit| toolkit.join("lib64")));
    // Python environments: the active one, the system's, and those whose `bin` folder is on the path.
    let prefixes = set("VIRTUAL_ENV").into_iter().chain(["/usr".into(), "/usr/local".into()]);
    let on_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let on_path = on_path.unwrap_or_default().into_iter().filter_map(|bin| Some(bin.parent()?.to_path_buf()));
    for prefix in prefixes.chain(on_path) {
        for python in children(prefix.join("lib"), "python3") {
            for packages in ["site-packages", "dist-packages"] {
                for toolkit in ["cu13", "cuda_nvrtc"] {
                    folders.push(python.join(packages).join("nvidia").join(toolkit).join("lib"));
                }
            }
        }
    }
    folders
}

/// The entries of `folder` whose names begin with `prefix`, sorted.
fn children(folder: impl AsRef<Path>, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    let mut paths: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The last file in `folder` whose name begins with `prefix`, not counting variants (`.alt`).
fn newest(folder: &Path, prefix: &str) -> Option<PathBuf> {
    children(folder, prefix).into_iter().rfind(|path| !path.to_string_lossy().contains(".alt."))
}
