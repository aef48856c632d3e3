//! A GPU: the handles that the driver gives, and the stream on which all work runs.

use super::error::{CudaError, Result, check};
use super::memory::Pool;
use super::module::Modules;
use super::{emulator, library};
use crate::params::Precision;
use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdevice_attribute, CUstream};
use std::sync::{Arc, Mutex};

/// A device, a stream of work on it, and its kernels. Clones share all three.
#[derive(Clone)]
pub struct Cuda {
    inner: Arc<Inner>,
    precision: Precision,
}

pub(super) struct Inner {
    device: CUdevice,
    context: CUcontext,
    stream: CUstream,
    name: String,
    arch: String,
    multiprocessors: usize,
    emulated: bool,
    pub(super) modules: Modules,
    pub(super) pool: Mutex<Pool>,
}

// SAFETY: handles of the driver, which any thread may use once it has made the context its own (`Cuda::bind`).
unsafe impl Send for Inner {}
// SAFETY: as above; what changes is behind locks.
unsafe impl Sync for Inner {}

/// The oldest architecture that the kernels are written for: Ampere, with `cp.async` and bf16 on its tensor cores.
const LEAST: (i32, i32) = (8, 0);

impl Cuda {
    /// The first GPU.
    ///
    /// # Errors
    /// Where the driver or a GPU is missing, or it is older than `sm_80`; the error says which.
    pub fn open() -> Result<Self> {
        library::require_driver()?;
        Self::first_device(false)
    }

    /// CUDA on the CPU: every kernel runs, slowly, with its memory accesses checked. In a process that has opened a
    /// GPU it is not to be had, nor the other way round.
    ///
    /// # Errors
    /// Where there is no C++ compiler.
    pub fn on_cpu() -> Result<Self> {
        emulator::load_driver()?;
        library::require_driver()?;
        Self::first_device(true)
    }

    fn first_device(emulated: bool) -> Result<Self> {
        let missing = |what: &str, e: CudaError| CudaError::Missing(format!("{what}: {e}"));
        // SAFETY: the driver's library is there; the first call of all.
        check("cuInit", unsafe { sys::cuInit(0) })
            .map_err(|e| missing("the NVIDIA driver does not start", e))?;
        let (mut count, mut device) = (0, 0);
        // SAFETY: each writes one int.
        check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
        if count == 0 {
            return Err(CudaError::Missing("no CUDA device: the driver finds none".into()));
        }
        // SAFETY: writes one handle; device 0 is there.
        check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, 0) })?;
        let attribute = |which: CUdevice_attribute| {
            let mut value = 0;
            // SAFETY: writes one int.
            let code = unsafe { sys::cuDeviceGetAttribute(&mut value, which, device) };
            check("cuDeviceGetAttribute", code).map(|()| value)
        };
        let major = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let multiprocessors = attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let name = device_name(device)?;
        if (major, minor) < LEAST {
            return Err(CudaError::Missing(format!(
                "{name} is sm_{major}{minor}: lopper's kernels need sm_{}{} (Ampere) or newer",
                LEAST.0, LEAST.1
            )));
        }
        // Hopper's own instructions (wgmma, setmaxnreg) are in its architecture-specific set alone.
        let suffix = if (major, minor) == (9, 0) { "a" } else { "" };
        let (mut context, mut stream) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: writes one handle, which `Inner` releases.
        check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, device) })?;
        // SAFETY: the context just retained; a stream of its own, which `Inner` destroys.
        let made = unsafe {
            check("cuCtxSetCurrent", sys::cuCtxSetCurrent(context))
                .and_then(|()| check("cuStreamCreate", sys::cuStreamCreate(&mut stream, NON_BLOCKING)))
        };
        if let Err(error) = made {
            // SAFETY: retained above, once.
            unsafe { sys::cuDevicePrimaryCtxRelease_v2(device) };
            return Err(error);
        }
        let inner = Inner {
            device,
            context,
            stream,
            name,
            arch: format!("sm_{major}{minor}{suffix}"),
            multiprocessors: multiprocessors as usize,
            emulated,
            modules: Modules::default(),
            pool: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner), precision: Precision::default() })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What its kernels are compiled for, such as `sm_90a`.
    pub fn arch(&self) -> &str {
        &self.inner.arch
    }

    /// Its multiprocessors.
    pub fn multiprocessors(&self) -> usize {
        self.inner.multiprocessors
    }

    /// Whether it is the CPU.
    pub fn is_emulated(&self) -> bool {
        self.inner.emulated
    }

    /// Bytes of its memory that are free, and all of them.
    pub fn memory(&self) -> Result<(usize, usize)> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers.
        check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok((free, total))
    }

    /// Waits for all that was submitted, and reports what failed.
    pub fn synchronize(&self) -> Result<()> {
        self.bind()?;
        // SAFETY: a stream that exists.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.stream()) })
    }

    /// The precision of its matrix products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same device, with another precision of matrix products.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Whether both are one device and stream.
    pub fn same_device(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Makes the device's context this thread's.
    pub(in crate::cuda) fn bind(&self) -> Result<()> {
        // SAFETY: a context that is retained as long as `self`.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.inner.context) })
    }

    pub(super) fn stream(&self) -> CUstream {
        self.inner.stream
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }
}

/// `CU_STREAM_NON_BLOCKING`: a stream that does not wait for the context's default one.
const NON_BLOCKING: u32 = 1;

fn device_name(device: CUdevice) -> Result<String> {
    let mut name = [0u8; 256];
    // SAFETY: writes at most as many bytes as it is told there are.
    let code = unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as i32, device) };
    check("cuDeviceGetName", code)?;
    let name = std::ffi::CStr::from_bytes_until_nul(&name).unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

impl Drop for Inner {
    fn drop(&mut self) {
        let pool = std::mem::take(self.pool.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner));
        // SAFETY: nothing uses the device any more: each buffer, graph and timer holds a clone of the `Cuda`. On a
        // device that has failed these calls fail too, and the driver frees its memory with the process.
        unsafe {
            sys::cuCtxSetCurrent(self.context);
            sys::cuStreamSynchronize(self.stream);
            pool.addresses().for_each(|address| {
                sys::cuMemFree_v2(address);
            });
            self.modules.unload();
            sys::cuStreamDestroy_v2(self.stream);
            sys::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cuda {{ {} {} }}", self.name(), self.arch())
    }
}
