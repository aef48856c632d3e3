//! The modules that a device has loaded.

use cudarc::driver::sys::{self, CUfunction, CUmodule};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The loaded modules, and the kernels requested so far.
#[derive(Default)]
pub(super) struct Modules(Mutex<Loaded>);

#[derive(Default)]
pub(super) struct Loaded {
    pub modules: HashMap<&'static str, CUmodule>,
    pub functions: HashMap<&'static str, CUfunction>,
}

// SAFETY: driver handles, which any thread may use; the maps are behind a lock.
unsafe impl Send for Loaded {}

impl Modules {
    /// Unloads all modules. Their functions must not be used afterwards.
    pub fn unload(&self) {
        let mut loaded = self.lock();
        loaded.functions.clear();
        for (_, module) in loaded.modules.drain() {
            // SAFETY: loaded by `module::function`, and no longer used.
            unsafe { sys::cuModuleUnload(module) };
        }
    }

    /// The modules and kernels, for one thread at a time.
    pub fn lock(&self) -> MutexGuard<'_, Loaded> {
        // A panic elsewhere cannot leave a table of handles broken.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
