//! Device memory: typed buffers, and a pool that keeps freed blocks for later buffers of the same size.
//!
//! All work runs on one stream, so a buffer can be reused as soon as its last use is submitted: the next use comes
//! later on the same stream.

use super::Cuda;
use super::error::{CudaError, Result, check};
use super::free_blocks::FreeBlocks;
use crate::params::Dtype;
use cudarc::driver::sys::{self, CUresult};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// `len` elements in device memory. Its block returns to the device's pool with the last buffer that shares it.
pub struct DeviceBuffer {
    block: Arc<Block>,
    /// The first element's offset in bytes from the block's start.
    offset: usize,
    dtype: Dtype,
    len: usize,
}

/// An owned block of device memory.
struct Block {
    cuda: Cuda,
    address: u64,
    bytes: usize,
}

impl DeviceBuffer {
    /// The element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the buffer has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The `len` elements from `start` on, in the same memory: a write to one buffer shows in the other. Lets many
    /// values share one block; the owner makes sure that none is overwritten while it is needed.
    pub fn slice(&self, start: usize, len: usize) -> Self {
        assert!(start + len <= self.len, "{len} elements from {start} of {}", self.len);
        let offset = self.offset + start * self.dtype.bytes();
        Self { block: self.block.clone(), offset, dtype: self.dtype, len }
    }

    /// The device that holds it.
    pub fn cuda(&self) -> &Cuda {
        &self.block.cuda
    }

    /// Whether the buffer lies in the memory of `cuda`'s device.
    pub fn is_on(&self, cuda: &Cuda) -> bool {
        self.block.cuda.same_device(cuda)
    }

    /// The device address.
    pub(in crate::cuda) fn address(&self) -> u64 {
        self.block.address + self.offset as u64
    }

    /// The size of the elements in bytes.
    pub fn bytes(&self) -> usize {
        self.len * self.dtype.bytes()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.cuda.take_back(self.address, self.bytes);
        }
    }
}

impl std::fmt::Debug for DeviceBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceBuffer {{ {:?} × {} }}", self.dtype, self.len)
    }
}

/// Block sizes are multiples of this many bytes.
const GRAIN: usize = 512;

impl Cuda {
    /// Allocates `len` elements of unspecified value.
    ///
    /// # Errors
    /// If the device's memory does not suffice.
    pub fn buffer(&self, dtype: Dtype, len: usize) -> Result<DeviceBuffer> {
        let wanted = len * dtype.bytes();
        // The emulator guards the end of every allocation, so its blocks have the exact size.
        let bytes = if self.is_emulated() { wanted } else { wanted.next_multiple_of(GRAIN) };
        let address = if bytes == 0 { 0 } else { self.block(bytes)? };
        let block = Arc::new(Block { cuda: self.clone(), address, bytes });
        Ok(DeviceBuffer { block, offset: 0, dtype, len })
    }

    /// Allocates `len` elements whose bytes are all 0, which is zero in every type.
    pub fn zeros(&self, dtype: Dtype, len: usize) -> Result<DeviceBuffer> {
        let mut buffer = self.buffer(dtype, len)?;
        self.clear(&mut buffer)?;
        Ok(buffer)
    }

    /// Sets every element to 0.
    pub fn clear(&self, buffer: &mut DeviceBuffer) -> Result<()> {
        let bytes = buffer.bytes();
        if bytes == 0 {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: the elements take `bytes` bytes of a block that this buffer owns.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(buffer.address(), 0, bytes, self.stream()) })
    }

    /// Copies `values` to a new f32 buffer.
    pub fn upload(&self, values: &[f32]) -> Result<DeviceBuffer> {
        self.upload_bytes(Dtype::F32, values.len(), bytemuck::cast_slice(values))
    }

    /// Copies `values` to a new u32 buffer.
    pub fn upload_u32(&self, values: &[u32]) -> Result<DeviceBuffer> {
        self.upload_bytes(Dtype::U32, values.len(), bytemuck::cast_slice(values))
    }

    fn upload_bytes(&self, dtype: Dtype, len: usize, bytes: &[u8]) -> Result<DeviceBuffer> {
        let buffer = self.buffer(dtype, len)?;
        if bytes.is_empty() {
            return Ok(buffer);
        }
        self.bind()?;
        // SAFETY: both hold `bytes.len()` bytes; host memory is pageable, so the call returns once it has been read.
        let code = unsafe {
            sys::cuMemcpyHtoDAsync_v2(buffer.address(), bytes.as_ptr().cast(), bytes.len(), self.stream())
        };
        check("cuMemcpyHtoDAsync", code).map(|()| buffer)
    }

    /// Overwrites the elements of `buffer`, f32s of the same number, with `values`.
    pub fn write(&self, buffer: &mut DeviceBuffer, values: &[f32]) -> Result<()> {
        assert_eq!(
            (buffer.dtype, buffer.len),
            (Dtype::F32, values.len()),
            "an f32 buffer of the same length"
        );
        if values.is_empty() {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: both hold the same number of f32s (asserted); host memory is pageable, so the call returns once it
        // has been read.
        let code = unsafe {
            sys::cuMemcpyHtoDAsync_v2(
                buffer.address(),
                values.as_ptr().cast(),
                4 * values.len(),
                self.stream(),
            )
        };
        check("cuMemcpyHtoDAsync", code)
    }

    /// Reads the elements of `buffer`, stored as f32, after all earlier work has run.
    pub fn read(&self, buffer: &DeviceBuffer, values: &mut [f32]) -> Result<()> {
        assert_eq!(
            (buffer.dtype, buffer.len),
            (Dtype::F32, values.len()),
            "an f32 buffer of the same length"
        );
        if values.is_empty() {
            return self.synchronize();
        }
        self.bind()?;
        // SAFETY: both hold the same number of f32s (asserted), and the host's live until the stream is synchronized.
        let code = unsafe {
            sys::cuMemcpyDtoHAsync_v2(
                values.as_mut_ptr().cast(),
                buffer.address(),
                4 * values.len(),
                self.stream(),
            )
        };
        check("cuMemcpyDtoHAsync", code)?;
        self.synchronize()
    }

    /// Returns the elements of `buffer`, stored as f32, after all earlier work has run.
    pub fn download(&self, buffer: &DeviceBuffer) -> Result<Vec<f32>> {
        let mut values = vec![0.0; buffer.len];
        self.read(buffer, &mut values).map(|()| values)
    }

    /// Copies `buffer` to a new buffer on the device.
    pub fn duplicate(&self, buffer: &DeviceBuffer) -> Result<DeviceBuffer> {
        let mut copy = self.buffer(buffer.dtype, buffer.len)?;
        self.copy(buffer, &mut copy)?;
        Ok(copy)
    }

    /// Copies the elements of `from` to `to`, of the same type and length.
    pub fn copy(&self, from: &DeviceBuffer, to: &mut DeviceBuffer) -> Result<()> {
        assert_eq!((from.dtype, from.len), (to.dtype, to.len), "buffers of the same type and length");
        let bytes = from.bytes();
        if bytes == 0 {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: both blocks hold `bytes` bytes (asserted).
        check("cuMemcpyDtoDAsync", unsafe {
            sys::cuMemcpyDtoDAsync_v2(to.address(), from.address(), bytes, self.stream())
        })
    }

    /// Frees the pool's unused blocks.
    pub fn trim(&self) {
        let pool = FreeBlocks { free: std::mem::take(&mut self.free_blocks().free), recorded: None };
        if self.bind().is_ok() {
            for address in pool.addresses() {
                // SAFETY: the pool owned the block; its work was submitted earlier, and freeing waits for it.
                unsafe { sys::cuMemFree_v2(address) };
            }
        }
    }

    fn block(&self, bytes: usize) -> Result<u64> {
        if let Some(address) = self.free_blocks().take(bytes) {
            return Ok(address);
        }
        self.bind()?;
        let mut address = 0;
        // SAFETY: writes one address.
        let mut allocate = || unsafe { sys::cuMemAlloc_v2(&mut address, bytes) };
        let mut code = allocate();
        if code == CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            // Freeing the blocks kept for other sizes may make room.
            self.trim();
            code = allocate();
        }
        match code {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let (free, total) = self.memory()?;
                let device = self.name().to_string();
                Err(CudaError::OutOfMemory { device, wanted: bytes, free, total })
            }
            code => check("cuMemAlloc", code).map(|()| address),
        }
    }

    fn take_back(&self, address: u64, bytes: usize) {
        let mut pool = self.free_blocks();
        if let Some(recorded) = &mut pool.recorded {
            recorded.entry(bytes).or_default().push(address);
        } else if self.is_emulated() {
            // SAFETY: the last buffer of the block is gone, and the emulator has run all submitted work.
            unsafe { sys::cuMemFree_v2(address) };
        } else {
            pool.free.entry(bytes).or_default().push(address);
        }
    }

    /// Starts keeping returned blocks for the work being recorded.
    pub(in crate::cuda) fn start_borrowing(&self) {
        self.free_blocks().recorded = Some(BTreeMap::new());
    }

    /// The blocks kept since [`Cuda::start_borrowing`], as buffers, so that they return to the pool when the graph
    /// that uses them is dropped.
    pub(in crate::cuda) fn stop_borrowing(&self) -> Vec<DeviceBuffer> {
        let recorded = self.free_blocks().recorded.take().unwrap_or_default();
        let all = recorded.into_iter().flat_map(|(bytes, list)| list.into_iter().map(move |a| (a, bytes)));
        let buffer = |(address, bytes)| DeviceBuffer {
            block: Arc::new(Block { cuda: self.clone(), address, bytes }),
            offset: 0,
            dtype: Dtype::U32,
            len: bytes / Dtype::U32.bytes(),
        };
        all.map(buffer).collect()
    }

    fn free_blocks(&self) -> std::sync::MutexGuard<'_, FreeBlocks> {
        // A panic elsewhere cannot leave a list of addresses broken.
        self.inner().free_blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
