//! A GPU: its driver handles, and the stream that runs all its work.

use super::error::{CudaError, Result, check};
use super::free_blocks::FreeBlocks;
use super::modules::Modules;
use super::{emulator, library};
use crate::params::Dtype;
use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdevice_attribute, CUstream};
use std::sync::{Arc, Mutex};

/// A device, a stream of work on it, and its kernels. Clones share all three.
#[derive(Clone)]
pub struct Cuda {
    inner: Arc<Inner>,
    precision: Dtype,
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
    pub(super) free_blocks: Mutex<FreeBlocks>,
}

// SAFETY: driver handles, which any thread may use once it has made the context current (`Cuda::bind`).
unsafe impl Send for Inner {}
// SAFETY: as above; mutable state is behind locks.
unsafe impl Sync for Inner {}

/// The oldest supported architecture: Ampere, which has `cp.async` and bf16 tensor cores.
const LEAST: (i32, i32) = (8, 0);

impl Cuda {
    /// Opens the GPU number `index`, from 0, in the driver's order, which `CUDA_VISIBLE_DEVICES` changes.
    ///
    /// # Errors
    /// If the driver or the GPU is missing, or the GPU is older than `sm_80`; the error says which.
    pub fn open(index: usize) -> Result<Self> {
        library::require_driver()?;
        Self::device(index, false)
    }

    /// Emulates CUDA on the CPU: every kernel runs, slowly, with its memory accesses checked. A process uses either a
    /// GPU or the emulator, not both.
    ///
    /// # Errors
    /// If there is no C++ compiler.
    pub fn on_cpu() -> Result<Self> {
        emulator::load_driver()?;
        library::require_driver()?;
        Self::device(0, true)
    }

    fn device(index: usize, emulated: bool) -> Result<Self> {
        let missing = |what: &str, e: CudaError| CudaError::Missing(format!("{what}: {e}"));
        // SAFETY: the driver's library is present; this is the first driver call.
        check("cuInit", unsafe { sys::cuInit(0) })
            .map_err(|e| missing("the NVIDIA driver does not start", e))?;
        let (mut count, mut device) = (0, 0);
        // SAFETY: writes one int.
        check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
        if count == 0 {
            return Err(CudaError::Missing("no CUDA device: the driver finds none".into()));
        }
        let ordinal = match i32::try_from(index) {
            Ok(ordinal) if ordinal < count => ordinal,
            _ => {
                return Err(CudaError::Missing(format!(
                    "no CUDA device {index}: the driver finds {count}, numbered from 0"
                )));
            }
        };
        // SAFETY: writes one handle; the device exists, since `ordinal` is below `count`.
        check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, ordinal) })?;
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
        // Hopper's own instructions (wgmma, setmaxnreg) are only in its architecture-specific instruction set.
        let suffix = if (major, minor) == (9, 0) { "a" } else { "" };
        let (mut context, mut stream) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: writes one handle, which `Inner` releases.
        check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, device) })?;
        // SAFETY: the context was just retained; `Inner` destroys the stream.
        let made = unsafe {
            check("cuCtxSetCurrent", sys::cuCtxSetCurrent(context))
                .and_then(|()| check("cuStreamCreate", sys::cuStreamCreate(&mut stream, NON_BLOCKING)))
        };
        if let Err(error) = made {
            // SAFETY: retained once, above.
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
            free_blocks: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner), precision: Dtype::default() })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The architecture that kernels are compiled for, such as `sm_90a`.
    pub fn arch(&self) -> &str {
        &self.inner.arch
    }

    /// The number of multiprocessors.
    pub fn multiprocessors(&self) -> usize {
        self.inner.multiprocessors
    }

    /// Whether the CPU emulates this device.
    pub fn is_emulated(&self) -> bool {
        self.inner.emulated
    }

    /// The device's free and total memory, in bytes.
    pub fn memory(&self) -> Result<(usize, usize)> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers.
        check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok((free, total))
    }

    /// Waits for all submitted work and reports its errors.
    pub fn synchronize(&self) -> Result<()> {
        self.bind()?;
        // SAFETY: the stream exists.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.stream()) })
    }

    /// The precision of matrix products.
    pub fn precision(&self) -> Dtype {
        self.precision
    }

    /// The same device with another precision of matrix products, one of [`Dtype::PRECISIONS`].
    pub fn with_precision(self, precision: Dtype) -> Self {
        assert!(Dtype::PRECISIONS.contains(&precision), "products are not computed in {precision}");
        Self { precision, ..self }
    }

    /// Whether both share one device and stream.
    pub fn same_device(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Makes the device's context current on this thread.
    pub(in crate::cuda) fn bind(&self) -> Result<()> {
        // SAFETY: the context is retained for as long as `self` lives.
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
    // SAFETY: writes at most the number of bytes passed as its length.
    let code = unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast(), name.len() as i32, device) };
    check("cuDeviceGetName", code)?;
    let name = std::ffi::CStr::from_bytes_until_nul(&name).unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

impl Drop for Inner {
    fn drop(&mut self) {
        let pool =
            std::mem::take(self.free_blocks.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner));
        // SAFETY: nothing uses the device any more: each buffer, graph and timer holds a clone of the `Cuda`. On a
        // device that has failed these calls fail too, and the driver frees its memory when the process ends.
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
