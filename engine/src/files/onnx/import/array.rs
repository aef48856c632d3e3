//! Constants: numbers, and integers that describe shapes.

use super::int::Int;
use crate::Tensor;

/// A constant.
#[derive(Clone, Debug)]
pub(super) enum Array {
    /// Numbers.
    Float(Tensor),
    /// Integers.
    Int {
        /// The shape.
        dims: Vec<usize>,
        /// The elements, row by row.
        values: Vec<Int>,
    },
}

impl From<Tensor> for Array {
    fn from(tensor: Tensor) -> Self {
        Self::Float(tensor)
    }
}

impl Array {
    /// A list of integers.
    pub fn list(values: Vec<Int>) -> Self {
        Self::Int { dims: vec![values.len()], values }
    }

    /// The shape.
    pub fn dims(&self) -> &[usize] {
        match self {
            Self::Float(tensor) => tensor.shape(),
            Self::Int { dims, .. } => dims,
        }
    }

    /// The integers, or an error about `what`.
    pub fn ints(&self, what: &str) -> Result<&[Int], String> {
        match self {
            Self::Int { values, .. } => Ok(values),
            Self::Float(_) => Err(format!("{what}: expected integers, found other numbers")),
        }
    }

    /// The integers, none of which depends on the batch.
    pub fn plain(&self, what: &str) -> Result<Vec<i64>, String> {
        let plain: Option<Vec<i64>> = self.ints(what)?.iter().map(|int| int.plain()).collect();
        plain.ok_or_else(|| format!("{what} depends on the number of images"))
    }

    /// The numbers, or an error about `what`.
    pub fn floats(&self, what: &str) -> Result<&Tensor, String> {
        match self {
            Self::Float(tensor) => Ok(tensor),
            Self::Int { .. } => Err(format!("{what}: expected numbers, found integers")),
        }
    }

    /// The only number, or an error about `what`.
    pub fn number(&self, what: &str) -> Result<f32, String> {
        match self {
            Self::Float(tensor) if tensor.len() == 1 => Ok(tensor.data()[0]),
            _ => Err(format!("{what}: expected one number, found a shape of {:?}", self.dims())),
        }
    }

    /// The same elements in another shape.
    pub fn reshaped(&self, dims: &[usize]) -> Result<Self, String> {
        match self {
            Self::Float(tensor) => tensor.reshape(dims).map(Self::Float).map_err(|e| e.to_string()),
            Self::Int { values, .. } if dims.iter().product::<usize>() == values.len() => {
                Ok(Self::Int { dims: dims.to_vec(), values: values.clone() })
            }
            Self::Int { dims: found, .. } => Err(format!("{found:?} cannot become {dims:?}")),
        }
    }
}
