//! Constants: numbers, and integers that describe shapes.

use super::int::Int;
use crate::Tensor;

/// A constant.
#[derive(Clone, Debug)]
pub(super) enum Array {
    /// Numbers, truth values among them.
    Number(Kind, Tensor),
    /// Integers.
    Int {
        /// The shape.
        dims: Vec<usize>,
        /// The elements, row by row.
        values: Vec<Int>,
    },
}

/// What the numbers of a constant are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Floating-point numbers, in single precision here.
    Float,
    /// Integers of up to 16 bits.
    Small,
    /// Truth values: 0 and 1.
    Bool,
}

impl From<Tensor> for Array {
    fn from(tensor: Tensor) -> Self {
        Self::Number(Kind::Float, tensor)
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
            Self::Number(_, tensor) => tensor.shape(),
            Self::Int { dims, .. } => dims,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Number(_, tensor) => tensor.len(),
            Self::Int { values, .. } => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the elements are, in messages.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Number(Kind::Float, _) => "numbers",
            Self::Number(Kind::Small, _) => "integers of few bits",
            Self::Number(Kind::Bool, _) => "truth values",
            Self::Int { .. } => "integers",
        }
    }

    /// The elements as floating-point numbers.
    pub fn numbers(&self) -> Result<Self, String> {
        Ok(match self {
            Self::Number(_, tensor) => tensor.clone().into(),
            Self::Int { dims, .. } => {
                let values = self.plain("its constant")?.into_iter().map(|value| value as f32).collect();
                Tensor::from_vec(dims, values).map_err(|e| e.to_string())?.into()
            }
        })
    }

    /// The integers, or an error about `what`.
    pub fn ints(&self, what: &str) -> Result<&[Int], String> {
        match self {
            Self::Int { values, .. } => Ok(values),
            Self::Number(..) => Err(format!("{what}: expected integers, found {}", self.what())),
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
            Self::Number(_, tensor) => Ok(tensor),
            Self::Int { .. } => Err(format!("{what}: expected numbers, found integers")),
        }
    }

    /// The only number, or an error about `what`.
    pub fn number(&self, what: &str) -> Result<f32, String> {
        match self {
            Self::Number(_, tensor) if tensor.len() == 1 => Ok(tensor.data()[0]),
            _ => Err(format!("{what}: expected one number, found a shape of {:?}", self.dims())),
        }
    }

    /// The same elements in another shape.
    pub fn reshaped(&self, dims: &[usize]) -> Result<Self, String> {
        match self {
            Self::Number(kind, tensor) => {
                tensor.reshape(dims).map(|tensor| Self::Number(*kind, tensor)).map_err(|e| e.to_string())
            }
            Self::Int { values, .. } if dims.iter().product::<usize>() == values.len() => {
                Ok(Self::Int { dims: dims.to_vec(), values: values.clone() })
            }
            Self::Int { dims: found, .. } => Err(format!("{found:?} cannot become {dims:?}")),
        }
    }
}

/// Axes of `rank`, counted from the front.
pub(super) fn axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let index = |&axis: &i64| {
        let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
        usize::try_from(axis).ok().filter(|&axis| axis < rank)
    };
    let found: Option<Vec<usize>> = axes.iter().map(index).collect();
    found.ok_or_else(|| format!("has axes {axes:?} of {rank}"))
}
