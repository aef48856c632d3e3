//! Compiled kernels on disk: named by what they were made from, written whole or not at all.

use super::error::{CudaError, Result};
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

/// The folder of compiled kernels: `$LOPPER_CACHE`, else `lopper` in `$XDG_CACHE_HOME`, `~/.cache` or the folder for
/// temporary files.
pub fn folder() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = || set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    set("LOPPER_CACHE").unwrap_or_else(|| base().unwrap_or_else(env::temp_dir).join("lopper"))
}

/// The file `name` in the cache, made by `make(path)` where it is not there yet. Two processes may make it at the
/// same time: each writes a file of its own, and the last to finish names it.
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
        // Whatever is left of it.
        fs::remove_file(&new).ok();
    }
    made.map(|()| path)
}
