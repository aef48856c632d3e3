//! Reshaping, which copies nothing in either direction.

use crate::autograd::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};

impl Tape {
    /// Returns the elements of `x` in `shape`, which must hold as many elements.
    pub fn reshape(&mut self, x: &Var, shape: &[usize]) -> Result<Var> {
        let y = x.value().reshape(shape)?;
        Ok(self.record(&[x], y, Reshape { shape: x.shape().to_vec() }))
    }

    /// Flattens all axes after the first: `[N, …] → [N, product of the rest]`.
    pub fn flatten(&mut self, x: &Var) -> Result<Var> {
        match x.shape() {
            [n, rest @ ..] => self.reshape(x, &[*n, rest.iter().product()]),
            [] => Err(Error::shape("flatten", "expected at least one axis, found a scalar")),
        }
    }
}

struct Reshape {
    shape: Vec<usize>,
}

impl Backward for Reshape {
    fn backward(self: Box<Self>, _: &Device, dy: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(dy.reshape(&self.shape)?)])
    }
}
