//! Operations of a [`Tape`](crate::autograd::tape::Tape), one family per file. Each operation checks its input shapes,
//! computes its value, and records what its backward pass needs.

mod activation;
mod arithmetic;
mod batch_norm;
mod channels;
mod conv2d;
mod dropout;
mod gather;
mod linear;
mod loss;
mod masks;
mod multiply;
mod norms;
mod pool;
mod prelu;
mod reshape;
mod resize;
mod softmax;

pub(crate) use batch_norm::move_running;
pub use batch_norm::{BatchStats, Tail};
pub(crate) use pool::Pooling;

use crate::autograd::tape::Var;
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::{cpu, cuda};

/// Sums the rows of `x` `[…, c]`, in single precision.
fn sum_rows(device: &Device, x: &Tensor, c: usize) -> Result<Tensor> {
    let mut sums = Tensor::empty(device, &[c])?;
    match device {
        Device::Cpu(cpu) => cpu::sum_rows(cpu, x.len() / c, c, x.data(), sums.data_mut()),
        Device::Cuda(gpu) => cuda::sum_rows(gpu, x.len() / c, c, x.on(gpu)?, sums.on_mut(gpu)?)?,
    }
    Ok(sums)
}

/// Returns an error if the shapes `a` and `b` differ.
fn same_shape(op: &'static str, a: &[usize], b: &[usize]) -> Result<()> {
    match a == b {
        true => Ok(()),
        false => Err(Error::shape(op, format!("{a:?} and {b:?} differ"))),
    }
}

/// Returns an error if `v`, called `name`, is not a vector of `len` elements.
fn vector(op: &'static str, name: &str, v: &[usize], len: usize) -> Result<()> {
    match v == [len] {
        true => Ok(()),
        false => Err(Error::shape(op, format!("expected {name} [{len}], found {v:?}"))),
    }
}

/// Returns both sizes of a matrix, or an error.
fn matrix(op: &'static str, x: &Var) -> Result<[usize; 2]> {
    let shape = x.shape();
    shape.try_into().map_err(|_| Error::shape(op, format!("expected two axes, found {shape:?}")))
}

/// Returns the number of rows and the length of the last axis of `x`, or an error if there is no axis or the last one
/// is empty.
fn rows(op: &'static str, x: &Var) -> Result<(usize, usize)> {
    match x.shape() {
        [.., 0] => Err(Error::shape(op, format!("the last axis of {:?} is empty", x.shape()))),
        [outer @ .., last] => Ok((outer.iter().product(), *last)),
        [] => Err(Error::shape(op, "expected at least one axis, found a scalar")),
    }
}
