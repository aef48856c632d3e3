//! Storage of a tensor's elements, on the host and on a GPU.

use crate::{Error, Result};
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer};
use lopper_kernels::params::Dtype;
use std::sync::OnceLock;

/// Elements of a tensor: on the host, on a GPU, or identical on both. At least one of the two is present.
pub(crate) struct Storage {
    host: OnceLock<Buffer>,
    device: OnceLock<DeviceBuffer>,
}

impl Storage {
    /// Creates storage on the host.
    pub fn host(buffer: Buffer) -> Self {
        Self { host: buffer.into(), device: OnceLock::new() }
    }

    /// Creates storage on a GPU.
    pub fn device(buffer: DeviceBuffer) -> Self {
        Self { host: OnceLock::new(), device: buffer.into() }
    }

    pub fn len(&self) -> usize {
        self.host.get().map_or_else(|| self.device.get().map_or(0, DeviceBuffer::len), |host| host.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the element type on the GPU, or f32 if the elements are only on the host.
    pub fn dtype(&self) -> Dtype {
        self.device.get().map_or(Dtype::F32, DeviceBuffer::dtype)
    }

    /// Returns the elements on the host, or NaN if they cannot be fetched.
    pub fn values(&self) -> &[f32] {
        if self.fetch().is_err() {
            return self.host.get_or_init(|| Buffer::from_slice(&vec![f32::NAN; self.len()]));
        }
        self.host.get().expect("just fetched")
    }

    /// Copies the elements to the host if they are only on a GPU.
    pub fn fetch(&self) -> Result<()> {
        if let (None, Some(device)) = (self.host.get(), self.device.get()) {
            let gpu = device.cuda();
            let mut host = Buffer::unspecified(device.len());
            match device.dtype() {
                Dtype::F32 => gpu.read(device, &mut host)?,
                _ => {
                    let mut wide = gpu.buffer(Dtype::F32, device.len())?;
                    cuda::convert(gpu, device, &mut wide)?;
                    gpu.read(&wide, &mut host)?;
                }
            }
            // Another thread may have set the same values first.
            self.host.set(host).ok();
        }
        Ok(())
    }

    /// Returns the elements on the host, where they must already be, for writing; drops a copy on a GPU.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.device.take();
        self.host.get_mut().expect("the caller has fetched them")
    }

    /// Returns the elements on `gpu`, uploaded first if needed.
    pub fn on(&self, gpu: &Cuda) -> Result<&DeviceBuffer> {
        if self.device.get().is_none() {
            self.device.set(gpu.upload(self.values())?).ok();
        }
        let device = self.device.get().expect("just uploaded");
        match device.is_on(gpu) {
            true => Ok(device),
            false => Err(Error::invalid("the tensor is on another GPU: read its data first")),
        }
    }

    /// Returns the elements on `gpu` for writing; drops a copy on the host.
    pub fn on_mut(&mut self, gpu: &Cuda) -> Result<&mut DeviceBuffer> {
        self.on(gpu)?;
        self.host.take();
        Ok(self.device.get_mut().expect("just uploaded"))
    }
}

impl Clone for Storage {
    /// Copies the elements to the host, fetching them first if needed; a GPU copy is not duplicated.
    fn clone(&self) -> Self {
        Self::host(Buffer::from_slice(self.values()))
    }
}
