//! Shapes that are extended to each other, and the room for what is made of them.

use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::tensor::{MOST_INTS, MOST_RANK, count};

/// The shape to which values of `shapes` are extended: aligned at their last axes, of which those of one element repeat.
pub(super) fn together(shapes: &[&[usize]]) -> Result<Vec<usize>, String> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut joined = vec![1; rank];
    for shape in shapes {
        for (found, &dim) in joined[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*found, dim) {
                (1, dim) => *found = dim,
                (_, 1) => {}
                (found, dim) if found == dim => {}
                _ => return Err(format!("combines the shapes {shapes:?}")),
            }
        }
    }
    Ok(joined)
}

/// The number of elements of a constant of shape `dims`, of integers or of other numbers, once there is room for it.
pub(super) fn room(importer: &mut Importer<'_, '_>, dims: &[usize], integers: bool) -> Result<usize, String> {
    if dims.len() > MOST_RANK {
        return Err(format!("makes a constant of {} axes, expected at most {MOST_RANK}", dims.len()));
    }
    match count(dims) {
        Some(len) if integers && len <= MOST_INTS => Ok(len),
        _ if integers => Err(format!("makes integers of shape {dims:?}, more than {MOST_INTS}")),
        Some(len) if importer.make(len).is_ok() => Ok(len),
        _ => Err(format!("makes a constant of shape {dims:?}, far more numbers than the file has")),
    }
}

/// Positions in a value of shape `dims` for those of one that it is extended to.
pub(super) struct Positions {
    /// For each axis of the larger value, from the last on: its size, and the step in the smaller one.
    axes: Vec<[usize; 2]>,
}

impl Positions {
    /// Of a value of shape `dims` that is extended to `all`, as [`together`] found it.
    pub fn of(dims: &[usize], all: &[usize]) -> Self {
        let mut step = 1;
        let mut axis = |(i, &size): (usize, &usize)| {
            let dim = dims.len().checked_sub(i + 1).map_or(1, |axis| dims[axis]);
            let here = if dim == 1 { 0 } else { step };
            step *= dim;
            [size, here]
        };
        Self { axes: all.iter().rev().enumerate().map(&mut axis).collect() }
    }

    /// The position for position `i`.
    pub fn at(&self, mut i: usize) -> usize {
        let mut found = 0;
        for &[size, step] in &self.axes {
            found += i % size * step;
            i /= size;
        }
        found
    }
}
