//! Contiguous array of numbers with a shape, shared until written, on the host, on a device or on both.

use crate::tensor::storage::Storage;
use crate::{Device, Error, Result};
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer};
use lopper_kernels::params::Dtype;
use std::sync::Arc;

/// Contiguous array. Cloning shares the data; writing copies shared data first.
/// Images are `[N, H, W, C]`, convolution weights `[O, KH, KW, C / groups]`, linear weights `[OUT, IN]`.
///
/// The elements are f32 on the host. An operation on a GPU uploads them if they are not there yet, and leaves its
/// result there, possibly as bf16 or f16; [`Tensor::data`] fetches them. A tensor is thus a value, independent of its
/// location.
#[derive(Clone)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Arc<Storage>,
}

impl Tensor {
    /// Creates a tensor of zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self::on_host(shape.to_vec(), Buffer::zeros(shape.iter().product()))
    }

    /// Creates a tensor of unspecified values, for an operation on `device` to write: it may reuse another tensor's
    /// memory. Returns an error if the device is out of memory.
    pub fn empty(device: &Device, shape: &[usize]) -> Result<Self> {
        Self::of_type(device, Dtype::F32, shape)
    }

    /// Like [`Tensor::empty`], with the GPU element type of `x`.
    pub(crate) fn like(device: &Device, x: &Self, shape: &[usize]) -> Result<Self> {
        Self::of_type(device, x.data.dtype(), shape)
    }

    /// Like [`Tensor::empty`], with elements of `dtype` on a GPU.
    pub(crate) fn of_type(device: &Device, dtype: Dtype, shape: &[usize]) -> Result<Self> {
        let len = shape.iter().product();
        let data = match device {
            Device::Cpu(cpu) => Storage::host(cpu.buffer(len)),
            Device::Cuda(gpu) => Storage::device(gpu.buffer(dtype, len)?),
        };
        Ok(Self { shape: shape.to_vec(), data: Arc::new(data) })
    }

    fn on_host(shape: Vec<usize>, buffer: Buffer) -> Self {
        Self { shape, data: Arc::new(Storage::host(buffer)) }
    }

    /// Creates a tensor filled with `value`.
    pub fn full(shape: &[usize], value: f32) -> Self {
        let mut tensor = Self::zeros(shape);
        tensor.data_mut().fill(value);
        tensor
    }

    /// Creates a tensor of `values` in row-major order. Returns an error if their number does not match the shape.
    pub fn from_vec(shape: &[usize], values: Vec<f32>) -> Result<Self> {
        Self::from_slice(shape, &values)
    }

    /// Copies `values` in row-major order. Returns an error if their number does not match the shape.
    pub fn from_slice(shape: &[usize], values: &[f32]) -> Result<Self> {
        if volume(shape) != Some(values.len()) {
            return Err(Error::shape(
                "tensor",
                format!("shape {shape:?} does not hold {} values", values.len()),
            ));
        }
        Ok(Self::on_host(shape.to_vec(), Buffer::from_slice(values)))
    }

    /// Creates a tensor without axes that holds one value.
    pub fn scalar(value: f32) -> Self {
        Self::full(&[], value)
    }

    /// Creates a tensor whose value at each row-major position is `f(position)`.
    pub fn from_fn(shape: &[usize], mut f: impl FnMut(usize) -> f32) -> Self {
        let mut tensor = Self::zeros(shape);
        tensor.data_mut().iter_mut().enumerate().for_each(|(i, value)| *value = f(i));
        tensor
    }

    /// Returns the length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the length of `axis`.
    pub fn dim(&self, axis: usize) -> usize {
        self.shape[axis]
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Returns the elements in row-major order, and fetches them first if they are only on a GPU. If fetching fails,
    /// they are NaN and the device's next operation reports the error; [`Tensor::fetch`] reports it immediately.
    pub fn data(&self) -> &[f32] {
        self.data.values()
    }

    /// Fetches the elements if they are only on a GPU, so that [`Tensor::data`] finds them on the host.
    pub fn fetch(&self) -> Result<()> {
        self.data.fetch()
    }

    /// Returns the elements for writing, copied first if another tensor shares them.
    pub fn data_mut(&mut self) -> &mut [f32] {
        self.data.values();
        Arc::make_mut(&mut self.data).values_mut()
    }

    /// Converts to `dtype` on a GPU. On the CPU, or if the type already matches, returns the tensor itself.
    pub(crate) fn cast(&self, device: &Device, dtype: Dtype) -> Result<Self> {
        let Device::Cuda(gpu) = device else { return Ok(self.clone()) };
        let values = self.data.on(gpu)?;
        if values.dtype() == dtype {
            return Ok(self.clone());
        }
        let mut cast = gpu.buffer(dtype, self.len())?;
        cuda::convert(gpu, values, &mut cast)?;
        Ok(Self { shape: self.shape.clone(), data: Arc::new(Storage::device(cast)) })
    }

    /// Returns the values as `device` multiplies matrices: [`Tensor::cast`] to its precision.
    pub(crate) fn as_factor(&self, device: &Device) -> Result<Self> {
        match device {
            Device::Cpu(_) => Ok(self.clone()),
            Device::Cuda(gpu) => self.cast(device, gpu.precision().storage()),
        }
    }

    /// Returns the values in single precision.
    pub(crate) fn as_single(&self, device: &Device) -> Result<Self> {
        self.cast(device, Dtype::F32)
    }

    /// Returns the values with the element type of `other`.
    pub(crate) fn as_stored(&self, device: &Device, other: &Self) -> Result<Self> {
        self.cast(device, other.data.dtype())
    }

    /// Returns the elements on a GPU, uploaded first if needed.
    pub(crate) fn on(&self, gpu: &Cuda) -> Result<&DeviceBuffer> {
        self.data.on(gpu)
    }

    /// Returns the elements on a GPU for writing, copied first if another tensor shares them.
    pub(crate) fn on_mut(&mut self, gpu: &Cuda) -> Result<&mut DeviceBuffer> {
        if Arc::get_mut(&mut self.data).is_none() {
            self.data = Arc::new(Storage::device(gpu.duplicate(self.data.on(gpu)?)?));
        }
        Arc::get_mut(&mut self.data).expect("just made").on_mut(gpu)
    }

    /// Returns the only element of a one-element tensor.
    pub fn item(&self) -> Result<f32> {
        self.fetch()?;
        match self.data() {
            [value] => Ok(*value),
            _ => Err(Error::shape("item", format!("expected one element, found shape {:?}", self.shape))),
        }
    }

    /// Returns the same data with another shape of equal size.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if volume(shape) != Some(self.len()) {
            return Err(Error::shape("reshape", format!("cannot reshape {:?} to {shape:?}", self.shape)));
        }
        Ok(Self { shape: shape.to_vec(), data: self.data.clone() })
    }

    /// Selects the slices `keep` of `axis`, in that order.
    ///
    /// # Panics
    /// If `axis` or an index is out of range; callers must check them.
    pub fn select(&self, axis: usize, keep: &[usize]) -> Self {
        let inner: usize = self.shape[axis + 1..].iter().product();
        let (outer, len): (usize, usize) = (self.shape[..axis].iter().product(), self.shape[axis]);
        let mut shape = self.shape.clone();
        shape[axis] = keep.len();
        let mut values = Vec::with_capacity(outer * keep.len() * inner);
        for o in 0..outer {
            for &k in keep {
                values.extend_from_slice(&self.data()[(o * len + k) * inner..][..inner]);
            }
        }
        Self::on_host(shape, Buffer::from_slice(&values))
    }

    /// Reorders the axes: axis `i` of the result is axis `axes[i]` of this tensor.
    ///
    /// # Panics
    /// If `axes` is not a permutation of this tensor's axes.
    pub fn permute(&self, axes: &[usize]) -> Self {
        let is_permutation = axes.len() == self.shape.len() && (0..axes.len()).all(|a| axes.contains(&a));
        assert!(is_permutation, "{axes:?} is not a permutation of the axes of {:?}", self.shape);
        let mut strides = vec![1; axes.len()];
        for axis in (0..axes.len().saturating_sub(1)).rev() {
            strides[axis] = strides[axis + 1] * self.shape[axis + 1];
        }
        let shape: Vec<usize> = axes.iter().map(|&a| self.shape[a]).collect();
        let (values, mut index) = (self.data(), vec![0; axes.len()]);
        let mut at = 0;
        Self::from_fn(&shape, |_| {
            let value = values[at];
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                at += strides[axes[axis]];
                if index[axis] < shape[axis] {
                    break;
                }
                at -= index[axis] * strides[axes[axis]];
                index[axis] = 0;
            }
            value
        })
    }

    /// Returns whether both have the same shape and the same bits.
    pub fn same_bits(&self, other: &Self) -> bool {
        self.shape == other.shape
            && self.data().iter().zip(other.data()).all(|(a, b)| a.to_bits() == b.to_bits())
    }

    /// Returns the largest absolute difference of two tensors of equal shape, or NaN if either contains NaN.
    pub fn max_difference(&self, other: &Self) -> Result<f32> {
        if self.shape != other.shape {
            return Err(Error::shape(
                "difference",
                format!("{:?} and {:?} differ in shape", self.shape, other.shape),
            ));
        }
        let differences = self.data().iter().zip(other.data()).map(|(a, b)| (a - b).abs());
        Ok(differences.fold(0.0, |max, d| if d > max || d.is_nan() { d } else { max }))
    }
}

impl Default for Tensor {
    /// Creates an empty tensor, a placeholder for a parameter until its values are read.
    fn default() -> Self {
        Self::zeros(&[0])
    }
}

/// Returns the number of elements of `shape`, or `None` on overflow: the shape may come from a file or a caller.
fn volume(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.data()[..self.len().min(8)];
        write!(f, "Tensor{:?} {shown:?}{}", self.shape, if self.len() > 8 { "…" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permute_moves_every_axis() {
        let t = Tensor::from_fn(&[2, 3, 4], |i| i as f32);
        let p = t.permute(&[2, 0, 1]);
        assert_eq!(p.shape(), [4, 2, 3]);
        for (a, b, c) in (0..2).flat_map(|a| (0..3).flat_map(move |b| (0..4).map(move |c| (a, b, c)))) {
            assert_eq!(p.data()[(c * 2 + a) * 3 + b], t.data()[(a * 3 + b) * 4 + c]);
        }
        assert!(p.permute(&[1, 2, 0]).same_bits(&t));
    }

    #[test]
    fn a_shape_whose_size_overflows_is_rejected() {
        // Their products wrap around to 0 and to 4.
        for shape in [[1 << 63, 2], [(1 << 62) + 1, 4]] {
            assert!(Tensor::zeros(&[0]).reshape(&shape).is_err());
            assert!(Tensor::zeros(&[4]).reshape(&shape).is_err());
            assert!(Tensor::from_vec(&shape, vec![0.0; 4]).is_err());
        }
    }

    #[test]
    fn select_keeps_order() {
        let t = Tensor::from_fn(&[2, 3], |i| i as f32);
        assert_eq!(t.select(1, &[2, 0]).data(), [2.0, 0.0, 5.0, 3.0]);
        assert_eq!(t.select(0, &[1]).data(), [3.0, 4.0, 5.0]);
    }

    #[test]
    fn writing_a_shared_tensor_leaves_the_other_unchanged() {
        let a = Tensor::zeros(&[3]);
        let mut b = a.clone();
        b.data_mut()[0] = 1.0;
        assert_eq!(a.data(), [0.0; 3]);
    }

    #[test]
    fn a_difference_with_nan_is_nan() {
        let a = Tensor::from_vec(&[2], vec![f32::NAN, 1.0]).unwrap();
        assert!(a.max_difference(&Tensor::zeros(&[2])).unwrap().is_nan());
    }
}
