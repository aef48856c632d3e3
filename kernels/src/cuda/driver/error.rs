//! Errors of a device.

use cudarc::driver::sys::{self, CUresult};
use std::ffi::CStr;

/// An error of the device, its driver or its compiler, with a message the user can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// No usable device: the driver, the compiler or the device is missing or too old.
    #[error("{0}")]
    Missing(String),
    /// The request exceeds the device's free memory.
    #[error("out of memory on {device}: {wanted} bytes requested, {free} of {total} free")]
    OutOfMemory {
        /// The device's name.
        device: String,
        /// Bytes requested.
        wanted: usize,
        /// Bytes free.
        free: usize,
        /// Bytes in total.
        total: usize,
    },
    /// A kernel's source did not compile.
    #[error("{file} does not compile for {target}: {log}")]
    Compile {
        /// The source file.
        file: String,
        /// The target it was compiled for.
        target: String,
        /// The compiler's log.
        log: String,
    },
    /// A driver call failed. After a kernel has failed, every later call on its device fails too.
    #[error("{what}: {name}{detail}")]
    Driver {
        /// The failing call: a kernel or a driver function.
        what: String,
        /// The driver's name for the error.
        name: String,
        /// The driver's description in parentheses, if it differs from the name.
        detail: String,
    },
}

impl CudaError {
    /// Converts the code that the call `what` returned.
    pub(in crate::cuda) fn of(what: &str, code: CUresult) -> Self {
        let text = |get: unsafe fn(CUresult, *mut *const i8) -> CUresult| {
            let mut text = std::ptr::null();
            // SAFETY: the driver points `text` at a static zero-terminated string, or leaves it null.
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

/// Returns an error unless the call `what` succeeded.
pub(in crate::cuda) fn check(what: &str, code: CUresult) -> Result<()> {
    match code {
        CUresult::CUDA_SUCCESS => Ok(()),
        code => Err(CudaError::of(what, code)),
    }
}
