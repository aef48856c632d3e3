//! What can go wrong on a device.

use cudarc::driver::sys::{self, CUresult};
use std::ffi::CStr;

/// An error of the device, its driver or its compiler, in words a user can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// There is no device to work on: the driver, the compiler or the device is missing, or too old.
    #[error("{0}")]
    Missing(String),
    /// The device's memory does not hold what was asked for.
    #[error("out of memory on {device}: {wanted} bytes wanted, {free} of {total} free")]
    OutOfMemory {
        /// The device's name.
        device: String,
        /// Bytes that were wanted.
        wanted: usize,
        /// Bytes that were free.
        free: usize,
        /// Bytes that the device has.
        total: usize,
    },
    /// A kernel's source did not compile.
    #[error("{file} does not compile for {target}: {log}")]
    Compile {
        /// The source file.
        file: String,
        /// What it was compiled for.
        target: String,
        /// What the compiler said.
        log: String,
    },
    /// A call of the driver failed. After a kernel has failed, every later call on its device does.
    #[error("{what}: {name}{detail}")]
    Driver {
        /// What was called: a kernel or a function of the driver.
        what: String,
        /// The driver's name of the error.
        name: String,
        /// What the driver says about it, in brackets, where that is more than its name.
        detail: String,
    },
}

impl CudaError {
    /// The error that the call `what` returned.
    pub(in crate::cuda) fn of(what: &str, code: CUresult) -> Self {
        let text = |get: unsafe fn(CUresult, *mut *const i8) -> CUresult| {
            let mut text = std::ptr::null();
            // SAFETY: the driver sets `text` to a string of its own that ends with a zero and lives on, or leaves it.
            unsafe {
                get(code, &mut text);
                (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        let name = text(sys::cuGetErrorName).unwrap_or_else(|| format!("{code:?}"));
        let detail = text(sys::cuGetErrorString).filter(|detail| *detail != name);
        let detail = detail.map_or(String::new(), |detail| format!(" ({detail})"));
        Self::Driver { what: what.to_string(), name, detail }
    }
}

/// The result of an operation on a device.
pub type Result<T> = std::result::Result<T, CudaError>;

/// An error where the call `what` did not succeed.
pub(in crate::cuda) fn check(what: &str, code: CUresult) -> Result<()> {
    match code {
        CUresult::CUDA_SUCCESS => Ok(()),
        code => Err(CudaError::of(what, code)),
    }
}
