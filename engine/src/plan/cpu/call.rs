//! One call of a kernel, whose data have fixed places in the arena.

use super::kernel::Kernel;
use crate::plan::lower::Op;
use crate::plan::places::{Place, Places};
use bytemuck::{cast_slice, cast_slice_mut};
use lopper_kernels::cpu::Cpu;
use lopper_kernels::params::Activation;
use std::ops::Range;

/// Alignment of values, in bytes: a cache line.
pub(in crate::plan) const ALIGNMENT: usize = 64;

/// A kernel call with data at fixed places in the arena.
pub(super) struct Call {
    pub kernel: Kernel,
    inputs: Vec<Place>,
    residual: Option<Place>,
    activation: Activation,
    /// The bytes of the arena that the kernel writes.
    pub output: Range<usize>,
}

impl Call {
    pub fn new(op: &Op, kernel: Kernel, places: &Places) -> Self {
        let inputs = op.inputs.iter().map(|&v| places.of(v)).collect();
        let residual = op.residual.map(|v| places.of(v));
        Self { kernel, inputs, residual, activation: op.activation, output: places.written(op.output) }
    }

    /// Computes its output in the arena.
    pub fn run(&self, cpu: &Cpu, images: &[f32], arena: &mut [u8]) {
        let (values, y) = Values::around(images, arena, &self.output);
        self.write(cpu, &values, y);
    }

    /// Its first input.
    pub fn input<'a>(&self, values: &Values<'a>) -> &'a [f32] {
        values.at(&self.inputs[0])
    }

    /// The activation that ends it.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Computes its output from `values`.
    pub fn write(&self, cpu: &Cpu, values: &Values, y: &mut [f32]) {
        let residual = self.residual.as_ref().map(|place| values.at(place));
        let input = |i: usize| values.at(&self.inputs[i]);
        self.kernel.run(cpu, input, self.inputs.len(), residual, self.activation, y);
    }
}

/// The values that a call reads: those in the arena before and after its output.
pub(super) struct Values<'a> {
    images: &'a [f32],
    before: &'a [u8],
    after: &'a [u8],
    /// The offset of `after` in the arena.
    start: usize,
}

impl<'a> Values<'a> {
    /// The values around `output`, and the output.
    pub fn around(images: &'a [f32], arena: &'a mut [u8], output: &Range<usize>) -> (Self, &'a mut [f32]) {
        let (before, rest) = arena.split_at_mut(output.start);
        let (y, after) = rest.split_at_mut(output.len());
        (Self { images, before, after, start: output.end }, cast_slice_mut(y))
    }

    /// All values of the arena.
    pub fn all(images: &'a [f32], arena: &'a [u8]) -> Self {
        Self { images, before: arena, after: &[], start: arena.len() }
    }

    /// The value at `place`. In the arena, the inputs of a call never overlap its output: each lies entirely before or
    /// after it.
    pub fn at(&self, place: &Place) -> &'a [f32] {
        match place {
            Place::Images => self.images,
            Place::Arena(range) if range.end <= self.before.len() => cast_slice(&self.before[range.clone()]),
            Place::Arena(range) => cast_slice(&self.after[range.start - self.start..][..range.len()]),
        }
    }
}
