//! The calls of a plan, and the block that holds the values between them.

use super::call::Call;
use super::inside::Inside;
use super::kernel::Packer;
use super::parts::Parts;
use crate::plan::chosen::Chosen;
use crate::plan::layouts::Layouts;
use crate::plan::lower::Op;
use crate::plan::places::Places;
use crate::plan::spans::Span;
use crate::plan::work::Work;
use bytemuck::cast_slice;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::Cpu;
use std::ops::Range;
use std::time::{Duration, Instant};

/// The calls of a plan, and the block that holds all values between them.
pub(in crate::plan) struct Runner {
    cpu: Cpu,
    steps: Vec<Step>,
    arena: Buffer,
    /// The bytes of the arena that hold the network's output.
    output: Range<usize>,
}

/// One or several calls that run as one step.
enum Step {
    Whole(Box<Call>),
    Parts(Parts),
}

/// Where a plan's values are: in its own arena, and in those of the parts of each span.
pub(in crate::plan) struct Placed<'a> {
    pub layouts: &'a Layouts,
    pub spans: &'a [Span],
    pub outside: &'a Places,
    /// One for each span.
    pub inside: &'a [Inside],
}

impl Runner {
    /// Packs the weights of `works`, the work of `ops`.
    pub fn new(packer: &Packer, ops: &[Op], works: &[Work], placed: &Placed) -> Self {
        let kernel = |i: usize| {
            let packer = Packer { conv2d: placed.layouts.packings()[i], ..*packer };
            packer.kernel(&works[i], placed.layouts.around(&ops[i]))
        };
        let mut steps = Vec::new();
        let whole = |ops: &[Op], range: Range<usize>, steps: &mut Vec<Step>| {
            steps.extend(range.map(|i| Step::Whole(Box::new(Call::new(&ops[i], kernel(i), placed.outside)))));
        };
        let mut next = 0;
        for (span, inside) in placed.spans.iter().zip(placed.inside) {
            whole(ops, next..span.ops.start, &mut steps);
            let kernels = span.ops.clone().map(kernel);
            steps.push(Step::Parts(Parts::new(packer.cpu, span, ops, kernels, (placed.outside, inside))));
            next = span.ops.end;
        }
        whole(ops, next..ops.len(), &mut steps);
        let arena = Buffer::unspecified(placed.outside.bytes.div_ceil(size_of::<f32>()));
        let output = ops.last().map_or(0..0, |op| placed.outside.written(op.output));
        Self { cpu: packer.cpu.clone(), steps, arena, output }
    }

    /// The kernel of each call.
    pub fn chosen(&self) -> impl Iterator<Item = Chosen> {
        self.steps.iter().flat_map(|step| match step {
            Step::Whole(call) => vec![call.kernel.chosen(&self.cpu)],
            Step::Parts(parts) => parts.chosen().collect(),
        })
    }

    /// Bytes of the arenas, and scratch bytes that kernels have borrowed from the device so far.
    pub fn memory(&self) -> [usize; 2] {
        let parts = self.steps.iter().map(|step| match step {
            Step::Whole(_) => 0,
            Step::Parts(parts) => parts.bytes(),
        });
        [self.arena.bytes().len() + parts.sum::<usize>(), self.cpu.scratch_bytes()]
    }

    /// The network's output for `images`.
    pub fn run(&mut self, images: &[f32]) -> &[f32] {
        let Self { cpu, steps, arena, .. } = self;
        // All kernels run inside the pool, so that none has to enter it.
        cpu.run(|| {
            steps.iter().for_each(|step| match step {
                Step::Whole(call) => call.run(cpu, images, arena.bytes_mut()),
                Step::Parts(parts) => parts.run(cpu, images, arena.bytes_mut()),
            });
        });
        cast_slice(&self.arena.bytes()[self.output.clone()])
    }

    /// Runs like [`Runner::run`] and returns the duration of each call.
    pub fn run_timed(&mut self, images: &[f32]) -> Vec<Duration> {
        let Self { cpu, steps, arena, .. } = self;
        let mut times = Vec::new();
        cpu.run(|| {
            for step in steps.iter() {
                match step {
                    Step::Whole(call) => {
                        let start = Instant::now();
                        call.run(cpu, images, arena.bytes_mut());
                        times.push(start.elapsed());
                    }
                    Step::Parts(parts) => times.extend(parts.run_timed(cpu, images, arena.bytes_mut())),
                }
            }
        });
        times
    }
}
