//! Where the elements of a tensor are.

use crate::{Error, Result};
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer};
use lopper_kernels::params::Dtype;
use std::sync::OnceLock;

/// The elements of a tensor: on the host, on a GPU, or the same on both. At least one of the two is there.
pub(crate) struct Storage {
    host: OnceLock<Buffer>,
    device: OnceLock<DeviceBuffer>,
}

impl Storage {
    /// On the host.
    pub fn host(buffer: Buffer) -> Self {
        Self { host: buffer.into(), device: OnceLock::new() }
    }

    /// On a GPU.
    pub fn device(buffer: DeviceBuffer) -> Self {
        Self { host: OnceLock::new(), device: buffer.into() }
    }

    pub fn len(&self) -> usize {
        self.host.get().map_or_else(|| self.device.get().map_or(0, DeviceBuffer::len), |host| host.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How they are stored on the GPU; f32 where they are not there.
    pub fn dtype(&self) -> Dtype {
        self.device.get().map_or(Dtype::F32, DeviceBuffer::dtype)
    }

    /// The elements on the host; NaN where they cannot be fetched.
    pub fn values(&self) -> &[f32] {
        if self.fetch().is_err() {
            return self.host.get_or_init(|| Buffer::from_slice(&vec![f32::NAN; self.len()]));
        }
        self.host.get().expect("just fetched")
    }

    /// Brings the elements to the host.
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
            // Another thread may have been faster, with the same values.
            self.host.set(host).ok();
        }
        Ok(())
    }

    /// The elements on the host for writing, once they are there; a copy on a GPU is dropped.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.device.take();
        self.host.get_mut().expect("the caller has fetched them")
    }

    /// The elements on `gpu`; brought there where they are not.
    pub fn on(&self, gpu: &Cuda) -> Result<&DeviceBuffer> {
        if self.device.get().is_none() {
            self.device.set(gpu.upload(self.values())?).ok();
        }
        let device = self.device.get().expect("just uploaded");
        match device.is_on(gpu) {
            true => Ok(device),
            false => Err(Error::invalid("a tensor on another GPU: read its data first")),
        }
    }

    /// The elements on `gpu` for writing; a copy on the host is dropped.
    pub fn on_mut(&mut self, gpu: &Cuda) -> Result<&mut DeviceBuffer> {
        self.on(gpu)?;
        self.host.take();
        Ok(self.device.get_mut().expect("just uploaded"))
    }
}

impl Clone for Storage {
    /// A copy on the host, where the original must be.
    fn clone(&self) -> Self {
        Self::host(Buffer::from_slice(self.values()))
    }
}
