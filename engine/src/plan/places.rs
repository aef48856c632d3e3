//! Location of each value of a list of operations.

use super::arena::{self, Lifetime};
use super::layouts::Layouts;
use super::lower::{IMAGES, Op, Value};
use super::spans::Span;
use lopper_kernels::params::Dtype;
use std::ops::Range;

/// Location of a value.
pub(super) enum Place {
    /// The value that all operations are computed from: the images, or a part of the value that a span reads.
    Images,
    /// A range of bytes.
    Arena(Range<usize>),
}

/// Location and size of each value of a list of operations.
pub(super) struct Places {
    /// The value that all operations are computed from.
    pub source: Value,
    /// Ranges of bytes in the arena, by value; the range of the source is empty.
    ranges: Vec<Range<usize>>,
    /// Element type of all values.
    pub dtype: Dtype,
    /// Number of elements of the source.
    pub images: usize,
    /// Number of bytes of the whole arena.
    pub bytes: usize,
}

impl Places {
    /// Places the values of `ops`, in these layouts, on images of shape `input`, all of type `dtype`, each at a multiple
    /// of `alignment` bytes.
    pub fn new(ops: &[Op], layouts: &Layouts, input: [usize; 4], dtype: Dtype, alignment: usize) -> Self {
        let source = Source { value: IMAGES, elements: input.iter().product() };
        let lens = ops.iter().map(|op| layouts.len(op)).collect();
        source.place(ops, lens, |position| position, dtype, alignment)
    }

    /// Places the values of `ops` like [`Places::new`], except those inside `spans`, each of which runs as one step.
    pub fn around(
        ops: &[Op],
        layouts: &Layouts,
        spans: &[Span],
        input: [usize; 4],
        alignment: usize,
    ) -> Self {
        let source = Source { value: IMAGES, elements: input.iter().product() };
        let at = |position: usize| {
            let span = spans.partition_point(|span| span.ops.end <= position);
            spans.get(span).filter(|span| span.ops.contains(&position))
        };
        let len = |(position, op)| {
            let inside = at(position).is_some_and(|span| position + 1 < span.ops.end);
            if inside { 0 } else { layouts.len(op) }
        };
        let lens = ops.iter().enumerate().map(len).collect();
        let time = |position| at(position).map_or(position, |span| span.ops.start);
        source.place(ops, lens, time, Dtype::F32, alignment)
    }

    /// Places the values inside `span`, of `lens` elements, all computed from the value before it. Its last operation writes
    /// elsewhere. The operation at a position of the span runs at the time `time(position)`; operations of the same
    /// time run together.
    pub fn inside(
        span: &Span,
        ops: &[Op],
        mut lens: Vec<usize>,
        time: impl Fn(usize) -> usize,
        alignment: usize,
    ) -> Self {
        let source = span.ops.start.checked_sub(1).map_or(IMAGES, |before| ops[before].output);
        let ops = &ops[span.ops.clone()];
        lens.last_mut().into_iter().for_each(|len| *len = 0);
        Source { value: source, elements: 0 }.place(ops, lens, time, Dtype::F32, alignment)
    }

    /// Returns the location of `value`.
    pub fn of(&self, value: Value) -> Place {
        if value == self.source { Place::Images } else { Place::Arena(self.written(value)) }
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
        if value == self.source { self.images } else { self.ranges[value].len() / self.dtype.bytes() }
    }
}

/// The value that a list of operations is computed from.
struct Source {
    value: Value,
    elements: usize,
}

impl Source {
    /// Places the values of `ops`, of `lens` elements. The operation at a position runs at the time `time(position)`;
    /// operations of the same time run together.
    fn place(
        self,
        ops: &[Op],
        lens: Vec<usize>,
        time: impl Fn(usize) -> usize,
        dtype: Dtype,
        alignment: usize,
    ) -> Places {
        // A value lives from the time at which it is written until its last reader. The last value has no reader.
        let lifetime = |(i, len)| Lifetime { first: time(i), last: time(i), len: dtype.bytes() * len };
        let mut lifetimes: Vec<Lifetime> = lens.into_iter().enumerate().map(lifetime).collect();
        let values = ops.last().map_or(1, |op| op.output + 1);
        let mut position: Vec<Option<usize>> = vec![None; values];
        for (i, op) in ops.iter().enumerate() {
            position[op.output] = Some(i);
            for &read in op.inputs.iter().chain(&op.residual) {
                if let Some(writer) = position[read] {
                    lifetimes[writer].last = time(i);
                }
            }
        }
        let (offsets, bytes) = arena::place(&lifetimes, alignment);
        let range = |i: usize| offsets[i]..offsets[i] + lifetimes[i].len;
        let ranges = position.into_iter().map(|i| i.map_or(0..0, range)).collect();
        Places { source: self.value, ranges, dtype, images: self.elements, bytes }
    }
}
