//! Compiled kernels on disk, named by a hash of their inputs and written atomically.

use super::error::{CudaError, Result};
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

/// The folder of compiled kernels: `$LOPPER_CACHE`, or `lopper` in `$XDG_CACHE_HOME`, `~/.cache` or the temporary
/// folder.
pub fn folder() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    set("LOPPER_CACHE").unwrap_or_else(|| base().unwrap_or_else(env::temp_dir).join("lopper"))
}

/// The path of the cached file `name`; `make(path)` creates it if it is missing. Two processes may create it at the
/// same time: each writes its own file, and the last to finish replaces the other's.
pub(super) fn file(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = folder();
    let path = folder.join(name);
    if path.exists() {
        return Ok(path);
    }
    let failed = |e: io::Error| CudaError::Missing(format!("cache {}: {e}", path.display()));
    fs::create_dir_all(&folder).map_err(failed)?;
    let unique = format!("{name}.{}.{:?}.new", process::id(), std::thread::current().id());
    let new = folder.join(unique);
    let made = make(&new).and_then(|()| fs::rename(&new, &path).map_err(failed));
    if made.is_err() {
        // Removes a partial file.
        fs::remove_file(&new).ok();
    }
    made.map(|()| path)
}
