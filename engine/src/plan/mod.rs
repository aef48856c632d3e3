//! The inference plan: a graph made ready to run on images of one shape.
//!
//! ```text
//!   graph ─ lower ─► operations ─ pack ─► kernels ─ arena ─► calls with fixed places
//!           fuse ReLU and      choose each     lay out every value
//!           residual sums      kernel, pack    in one block
//!                              its weights
//! ```
//!
//! Training runs the graph itself ([`Graph::forward`]); every latency that is reported comes from a plan, which does
//! no work at run time that can be done before, and allocates nothing.

mod arena;
mod kernel;
mod lower;

use crate::{Device, Error, Graph, Result};
use arena::Lifetime;
use kernel::{Kernel, Packer};
use kernels::buffer::Buffer;
use kernels::cpu::{Algorithm, Cpu, Packing, Weights};
use kernels::params::{Activation, Storage};
use lower::{IMAGES, Op, Value};
use std::ops::Range;
use std::time::{Duration, Instant};

/// A network made ready to run on images of one shape.
///
/// # Examples
/// ```
/// use engine::{Device, Graph, Layer, plan::Plan};
/// let mut graph = Graph::new(3);
/// graph.push("relu", Layer::Relu, &[0])?;
/// let mut plan = Plan::new(&graph, [1, 1, 1, 3], &Device::cpu())?;
/// assert_eq!(plan.run(&[-1.0, 0.5, 2.0])?, [0.0, 0.5, 2.0]);
/// # Ok::<(), engine::Error>(())
/// ```
pub struct Plan {
    cpu: Cpu,
    input: [usize; 4],
    output: Vec<usize>,
    calls: Vec<Call>,
    steps: Vec<Step>,
    arena: Buffer,
}

/// What a plan trades for what. By default it is as fast as it can be in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Compute every convolution by the direct algorithm, whose error bound is a quarter of Winograd's, as are its
    /// packed 3×3 weights: the plan then holds each weight once.
    pub direct: bool,
    /// How the weights of linear layers are stored: as bf16, a small batch reads them in half the time.
    pub linear: Storage,
}

/// The most bytes of weights that a plan expects to find in a cache when it runs again: what the last level of a
/// server's processor holds for one of its users.
const CACHED: usize = 48 << 20;

impl PlanOptions {
    fn packer<'a>(&self, cpu: &'a Cpu, graph: &Graph) -> Packer<'a> {
        let bytes: usize = graph.params().map(|(_, param)| 4 * param.value().len()).sum();
        let weights = if bytes <= CACHED { Weights::Cache } else { Weights::Memory };
        let conv2d = if self.direct { Packing::By(Algorithm::Direct) } else { Packing::Fastest(weights) };
        Packer { cpu, conv2d, linear: self.linear }
    }
}

/// What one step of a plan does, for tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The node that it computes.
    pub name: String,
    /// The kind of layer, as it is run.
    pub kind: &'static str,
    /// The kernel that was chosen.
    pub kernel: &'static str,
    /// Why, where there was a choice: what was estimated, or what leaves only one algorithm.
    pub why: Option<String>,
    /// The nodes that are computed with it: a pool before it, its epilogue.
    pub fused: Vec<String>,
    /// Multiply-accumulates that it does, for the whole batch; a filter that is left out does none.
    pub macs: u64,
    /// Multiply-accumulates that the kernel takes for that: Winograd's algorithm takes fewer.
    pub products: u64,
    /// Bytes of its inputs, packed weights and output, each moved once.
    pub bytes: u64,
    /// The shape of its output.
    pub shape: Vec<usize>,
}

/// Bytes that a plan holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanMemory {
    /// Packed weights and biases.
    pub weights: usize,
    /// The block in which all values between the layers live.
    pub arena: usize,
    /// What kernels have borrowed for the length of a call, of all plans on this device so far.
    pub scratch: usize,
}

impl Plan {
    /// Plans `graph` for images `input` `[N, H, W, C]`: in eval mode, weights as they are now.
    ///
    /// # Errors
    /// Where a layer's parameters do not fit together, or it cannot take the shape it is given; the error names it.
    pub fn new(graph: &Graph, input: [usize; 4], device: &Device) -> Result<Self> {
        Self::with(graph, input, device, PlanOptions::default())
    }

    /// Plans like [`Plan::new`], with these trades.
    ///
    /// # Errors
    /// As for [`Plan::new`].
    pub fn with(graph: &Graph, input: [usize; 4], device: &Device, options: PlanOptions) -> Result<Self> {
        let Device::Cpu(cpu) = device else {
            return Err(Error::invalid("plans run on the CPU"));
        };
        if input.contains(&0) {
            return Err(Error::shape("plan", format!("expected images [N, H, W, C], found {input:?}")));
        }
        graph.check_layers()?;
        let ops = lower::lower(graph, input)?;
        let places = Places::new(&ops, input);
        let packer = options.packer(cpu, graph);
        let (mut calls, mut steps) = (Vec::new(), Vec::new());
        for op in &ops {
            let lens: Vec<usize> = op.inputs.iter().map(|&v| places.floats(v)).collect();
            let kernel = packer.kernel(op, &lens).map_err(|e| e.in_node(&op.node.name))?;
            steps.push(places.step(op, &kernel));
            calls.push(places.call(op, kernel));
        }
        let output = graph.shapes(input)?.swap_remove(graph.output());
        Ok(Self { cpu: cpu.clone(), input, output, calls, steps, arena: Buffer::zeros(places.len) })
    }

    /// The shape of its output, `[N, classes]` for a classifier.
    pub fn output_shape(&self) -> &[usize] {
        &self.output
    }

    /// What each step does, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The memory that it holds, and what its kernels have borrowed.
    pub fn memory(&self) -> PlanMemory {
        let weights = self.calls.iter().map(|call| call.kernel.weight_bytes()).sum();
        PlanMemory { weights, arena: 4 * self.arena.len(), scratch: self.cpu.scratch_bytes() }
    }

    /// The network's output for `images`, row-major in the shape that was planned for. An error where their number
    /// is another one.
    pub fn run(&mut self, images: &[f32]) -> Result<&[f32]> {
        self.check(images)?;
        let Self { cpu, calls, arena, .. } = self;
        // In the pool from the first kernel to the last, so that none has to enter it.
        cpu.run(|| calls.iter().for_each(|call| call.run(cpu, images, arena)));
        Ok(self.last_output())
    }

    /// Runs like [`Plan::run`] and tells how long each step took.
    pub fn run_timed(&mut self, images: &[f32]) -> Result<Vec<Duration>> {
        self.check(images)?;
        let Self { cpu, calls, arena, .. } = self;
        let timed = |call: &Call, arena: &mut [f32]| {
            let start = Instant::now();
            call.run(cpu, images, arena);
            start.elapsed()
        };
        Ok(cpu.run(|| calls.iter().map(|call| timed(call, arena)).collect()))
    }

    fn check(&self, images: &[f32]) -> Result<()> {
        let expected: usize = self.input.iter().product();
        match images.len() == expected {
            true => Ok(()),
            false => {
                let (shape, found) = (self.input, images.len());
                Err(Error::shape("plan", format!("expected {expected} values of {shape:?}, found {found}")))
            }
        }
    }

    fn last_output(&self) -> &[f32] {
        self.calls.last().map_or(&[], |call| &self.arena[call.output.clone()])
    }
}

/// One kernel call, its data in fixed places of the arena.
struct Call {
    kernel: Kernel,
    inputs: Vec<Place>,
    residual: Option<Place>,
    activation: Activation,
    output: Range<usize>,
}

/// Where a value is.
enum Place {
    Images,
    Arena(Range<usize>),
}

impl Call {
    fn run(&self, cpu: &Cpu, images: &[f32], arena: &mut [f32]) {
        let (before, rest) = arena.split_at_mut(self.output.start);
        let (y, after) = rest.split_at_mut(self.output.len());
        let (before, after) = (&*before, &*after);
        // The arena keeps what a call reads apart from what it writes: it lies wholly before or after.
        let at = |place: &Place| match place {
            Place::Images => images,
            Place::Arena(range) if range.end <= self.output.start => &before[range.clone()],
            Place::Arena(range) => &after[range.start - self.output.end..][..range.len()],
        };
        let residual = self.residual.as_ref().map(at);
        self.kernel.run(cpu, |i| at(&self.inputs[i]), self.inputs.len(), residual, self.activation, y);
    }
}

/// Where each value of a list of operations is, and how large.
struct Places {
    /// By value; the images have an empty one.
    ranges: Vec<Range<usize>>,
    images: usize,
    /// Floats of the whole arena.
    len: usize,
}

impl Places {
    fn new(ops: &[Op], input: [usize; 4]) -> Self {
        // A value is written at its position in the list and lives until its last reader; the output, which is the
        // last value, has none.
        let mut lifetimes: Vec<Lifetime> =
            ops.iter().enumerate().map(|(i, op)| Lifetime { first: i, last: i, len: op.len() }).collect();
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
        let (offsets, len) = arena::place(&lifetimes);
        let range = |i: usize| offsets[i]..offsets[i] + lifetimes[i].len;
        let ranges = position.into_iter().map(|i| i.map_or(0..0, range)).collect();
        Self { ranges, images: input.iter().product(), len }
    }

    fn of(&self, value: Value) -> Place {
        if value == IMAGES { Place::Images } else { Place::Arena(self.ranges[value].clone()) }
    }

    fn floats(&self, value: Value) -> usize {
        if value == IMAGES { self.images } else { self.ranges[value].len() }
    }

    fn call(&self, op: &Op, kernel: Kernel) -> Call {
        let inputs = op.inputs.iter().map(|&v| self.of(v)).collect();
        let residual = op.residual.map(|v| self.of(v));
        Call { kernel, inputs, residual, activation: op.activation, output: self.ranges[op.output].clone() }
    }

    fn step(&self, op: &Op, kernel: &Kernel) -> Step {
        let read: usize = op.inputs.iter().chain(&op.residual).map(|&v| self.floats(v)).sum();
        Step {
            name: op.node.name.clone(),
            kind: kernel.kind(&op.node.layer),
            kernel: kernel.name(),
            why: kernel.choice().map(ToString::to_string),
            fused: op.fused.iter().map(|node| node.name.clone()).collect(),
            macs: kernel.macs(&op.node.layer),
            products: kernel.products(&op.node.layer),
            bytes: (4 * (read + op.len()) + kernel.weight_bytes()) as u64,
            shape: op.shape.clone(),
        }
    }
}
