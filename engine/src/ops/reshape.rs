//! The same elements under another shape: free both ways.

use crate::tape::{Backward, Tape, Var};
use crate::{Device, Error, Result, Tensor};

impl Tape {
    /// The elements of `x` under `shape`, which holds as many.
    pub fn reshape(&mut self, x: &Var, shape: &[usize]) -> Result<Var> {
        let y = x.value().reshape(shape)?;
        Ok(self.record(&[x], y, Reshape { shape: x.shape().to_vec() }))
    }

    /// `[N, …] → [N, product of the rest]`.
    pub fn flatten(&mut self, x: &Var) -> Result<Var> {
        match x.shape() {
            [n, rest @ ..] => self.reshape(x, &[*n, rest.iter().product()]),
            [] => Err(Error::shape("flatten", "expected at least one axis, found a single number")),
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
