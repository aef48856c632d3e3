//! Location of each value of a list of operations.

use super::arena::{self, Lifetime};
use super::layouts::Layouts;
use super::lower::{IMAGES, Op, Value};
use lopper_kernels::params::Dtype;
use std::ops::Range;

/// Location of a value.
pub(super) enum Place {
    Images,
    /// A range of bytes.
    Arena(Range<usize>),
}

/// Location and size of each value of a list of operations.
pub(super) struct Places {
    /// Ranges of bytes in the arena, by value; the range of the images is empty.
    ranges: Vec<Range<usize>>,
    /// Element type of all values.
    pub dtype: Dtype,
    /// Number of elements of the images.
    pub images: usize,
    /// Number of bytes of the whole arena.
    pub bytes: usize,
}

impl Places {
    /// Places the values of `ops`, in these layouts, on images of shape `input`, all of type `dtype`, each at a multiple
    /// of `alignment` bytes.
    pub fn new(ops: &[Op], layouts: &Layouts, input: [usize; 4], dtype: Dtype, alignment: usize) -> Self {
        // A value is written at its position in the list and lives until its last reader. The output, which is the last
        // value, has no reader.
        let lifetime =
            |(i, op): (usize, &Op)| Lifetime { first: i, last: i, len: dtype.bytes() * layouts.len(op) };
        let mut lifetimes: Vec<Lifetime> = ops.iter().enumerate().map(lifetime).collect();
        let values = ops.last().map_or(1, |op| op.output + 1);
        let mut position: Vec<Option<usize>> = vec![None; values];
        for (i, op) in ops.iter().enumerate() {
            position[op.output] = Some(i);
            for &read in op.inputs.iter().chain(&op.residual) {
                if let Some(writer) = position[read] {
                    lifetimes[writer].last = i;
                }
            }
        }
        let (offsets, bytes) = arena::place(&lifetimes, alignment);
        let range = |i: usize| offsets[i]..offsets[i] + lifetimes[i].len;
        let ranges = position.into_iter().map(|i| i.map_or(0..0, range)).collect();
        Self { ranges, dtype, images: input.iter().product(), bytes }
    }

    /// Returns the location of `value`.
    pub fn of(&self, value: Value) -> Place {
        if value == IMAGES { Place::Images } else { Place::Arena(self.written(value)) }
    }

    /// Returns the bytes of the arena in which an operation writes `value`.
    pub fn written(&self, value: Value) -> Range<usize> {
        self.ranges[value].clone()
    }

    /// Returns the number of elements of each input of `op`.
    pub fn lens(&self, op: &Op) -> Vec<usize> {
        op.inputs.iter().map(|&v| self.elements(v)).collect()
    }

    /// Returns the number of bytes that `op` reads and writes.
    pub fn moved(&self, op: &Op) -> usize {
        let read: usize = op.inputs.iter().chain(&op.residual).map(|&v| self.elements(v)).sum();
        self.dtype.bytes() * (read + op.len())
    }

    fn elements(&self, value: Value) -> usize {
        if value == IMAGES { self.images } else { self.ranges[value].len() / self.dtype.bytes() }
    }
}
