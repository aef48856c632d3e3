//! The operations of a [`Tape`](crate::tape::Tape), one family a file. Each checks the shapes it is given,
//! computes its value, and leaves a record that knows the way back.

mod activation;
mod arithmetic;
mod batch_norm;
mod channels;
mod conv2d;
mod dropout;
mod linear;
mod loss;
mod pool;
mod reshape;
mod softmax;

pub(crate) use batch_norm::move_running;
pub use batch_norm::{BatchStats, Tail};

use crate::tape::Var;
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::{cpu, cuda};

/// The sum of the rows of `x` `[…, c]`, in single precision.
fn sum_rows(device: &Device, x: &Tensor, c: usize) -> Result<Tensor> {
    let mut sums = Tensor::empty(device, &[c])?;
    match device {
        Device::Cpu(cpu) => cpu::sum_rows(cpu, x.len() / c, c, x.data(), sums.data_mut()),
        Device::Cuda(gpu) => cuda::sum_rows(gpu, x.len() / c, c, x.on(gpu)?, sums.on_mut(gpu)?)?,
    }
    Ok(sums)
}

/// An error where `a` and `b` differ in shape.
fn same_shape(op: &'static str, a: &[usize], b: &[usize]) -> Result<()> {
    match a == b {
        true => Ok(()),
        false => Err(Error::shape(op, format!("{a:?} and {b:?} differ"))),
    }
}

/// An error where `v`, called `name`, is not a vector of `len` elements.
fn vector(op: &'static str, name: &str, v: &[usize], len: usize) -> Result<()> {
    match v == [len] {
        true => Ok(()),
        false => Err(Error::shape(op, format!("expected {name} [{len}], found {v:?}"))),
    }
}

/// The two sizes of a matrix, or an error.
fn matrix(op: &'static str, x: &Var) -> Result<[usize; 2]> {
    let shape = x.shape();
    shape.try_into().map_err(|_| Error::shape(op, format!("expected two axes, found {shape:?}")))
}

/// Rows and length of the last axis of `x`, or an error where it has no axis or the last one is empty.
fn rows(op: &'static str, x: &Var) -> Result<(usize, usize)> {
    match x.shape() {
        [.., 0] => Err(Error::shape(op, format!("{:?} has no element along its last axis", x.shape()))),
        [outer @ .., last] => Ok((outer.iter().product(), *last)),
        [] => Err(Error::shape(op, "expected at least one axis, found a single number")),
    }
}
