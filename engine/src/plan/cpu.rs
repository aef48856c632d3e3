//! Plans on the CPU: kernels with packed weights, called one after another.

use super::chosen::Chosen;
use super::layouts::Layouts;
use super::lower::{MAX_PARTS, Op};
use super::places::{Place, Places};
use super::work::{Convolution, FullyConnected, Plain, Work};
use crate::Tensor;
use crate::graph::layer::BatchNorm;
use bytemuck::{cast_slice, cast_slice_mut};
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{
    self, Cpu, Epilogue, ImageLayout, ImageLayouts, PackedBatchNorm, PackedConv2d, PackedLinear, Packing,
};
use lopper_kernels::params::{Activation, Dtype};
use lopper_kernels::shapes;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Alignment of values, in bytes: a cache line.
pub(super) const ALIGNMENT: usize = 64;

/// The calls of a plan, and the block that holds all values between them.
pub(super) struct Runner {
    cpu: Cpu,
    calls: Vec<Call>,
    arena: Buffer,
}

impl Runner {
    /// Packs the weights of `works`, the work of `ops`.
    pub fn new(packer: &Packer, ops: &[Op], works: &[Work], (layouts, places): (&Layouts, &Places)) -> Self {
        let calls = ops.iter().zip(works).zip(layouts.packings()).map(|((op, work), &conv2d)| {
            let packer = Packer { conv2d, ..*packer };
            Call::new(op, packer.kernel(work, layouts.around(op)), places)
        });
        let arena = Buffer::unspecified(places.bytes.div_ceil(size_of::<f32>()));
        Self { cpu: packer.cpu.clone(), calls: calls.collect(), arena }
    }

    /// The kernel of each call.
    pub fn chosen(&self) -> impl Iterator<Item = Chosen> {
        self.calls.iter().map(|call| call.kernel.chosen(&self.cpu))
    }

    /// Bytes of the arena, and scratch bytes that kernels have borrowed from the device so far.
    pub fn memory(&self) -> [usize; 2] {
        [self.arena.bytes().len(), self.cpu.scratch_bytes()]
    }

    /// The network's output for `images`.
    pub fn run(&mut self, images: &[f32]) -> &[f32] {
        let Self { cpu, calls, arena } = self;
        // All kernels run inside the pool, so that none has to enter it.
        cpu.run(|| calls.iter().for_each(|call| call.run(cpu, images, arena.bytes_mut())));
        self.calls.last().map_or(&[], |call| cast_slice(&self.arena.bytes()[call.output.clone()]))
    }

    /// Runs like [`Runner::run`] and returns the duration of each call.
    pub fn run_timed(&mut self, images: &[f32]) -> Vec<Duration> {
        let Self { cpu, calls, arena } = self;
        let timed = |call: &Call, arena: &mut Buffer| {
            let start = Instant::now();
            call.run(cpu, images, arena.bytes_mut());
            start.elapsed()
        };
        cpu.run(|| calls.iter().map(|call| timed(call, arena)).collect())
    }
}

/// A kernel call with data at fixed places in the arena.
struct Call {
    kernel: Kernel,
    inputs: Vec<Place>,
    residual: Option<Place>,
    activation: Activation,
    /// The bytes of the arena that the kernel writes.
    output: Range<usize>,
}

impl Call {
    fn new(op: &Op, kernel: Kernel, places: &Places) -> Self {
        let inputs = op.inputs.iter().map(|&v| places.of(v)).collect();
        let residual = op.residual.map(|v| places.of(v));
        Self { kernel, inputs, residual, activation: op.activation, output: places.written(op.output) }
    }

    fn run(&self, cpu: &Cpu, images: &[f32], arena: &mut [u8]) {
        let (before, rest) = arena.split_at_mut(self.output.start);
        let (y, after) = rest.split_at_mut(self.output.len());
        let (before, after) = (&*before, &*after);
        // In the arena, the inputs of a call never overlap its output: each lies entirely before or after it.
        let at = |place: &Place| match place {
            Place::Images => images,
            Place::Arena(range) if range.end <= self.output.start => cast_slice(&before[range.clone()]),
            Place::Arena(range) => cast_slice(&after[range.start - self.output.end..][..range.len()]),
        };
        let residual = self.residual.as_ref().map(at);
        self.kernel.run(
            cpu,
            |i| at(&self.inputs[i]),
            self.inputs.len(),
            residual,
            self.activation,
            cast_slice_mut(y),
        );
    }
}

/// A kernel with all its arguments except the data.
enum Kernel {
    /// A convolution, with the layouts of its images.
    Conv2d(shapes::Conv2d, Box<PackedConv2d>, Option<Tensor>, ImageLayouts),
    Linear(shapes::Linear, PackedLinear, Option<Tensor>),
    /// A batch norm, with the layout of its input and its output.
    BatchNorm(PackedBatchNorm, ImageLayout),
    Plain(Plain),
}

/// The settings by which a plan packs weights.
#[derive(Clone, Copy)]
pub(super) struct Packer<'a> {
    pub cpu: &'a Cpu,
    pub conv2d: Packing,
    pub linear: Dtype,
}

impl Packer<'_> {
    /// Chooses the kernel of `work`, whose images have the layouts `around`, and packs its weights.
    fn kernel(&self, work: &Work, around: ImageLayouts) -> Kernel {
        let bias = work.bias();
        match work {
            Work::Conv2d(conv) => Kernel::Conv2d(conv.g, Box::new(self.conv2d(conv)), bias, around),
            Work::Linear(linear) => Kernel::Linear(linear.g, self.linear(linear), bias),
            Work::BatchNorm(_, bn) => Kernel::BatchNorm(batch_norm(bn), around.y),
            Work::Plain(plain) => Kernel::Plain(plain.clone()),
        }
    }

    fn conv2d(&self, conv: &Convolution) -> PackedConv2d {
        let Convolution { g, conv, pattern, compact } = conv;
        let weight = conv.weight.value().data();
        match compact {
            None => PackedConv2d::masked(self.cpu, g, weight, pattern, self.conv2d),
            Some(compact) => {
                PackedConv2d::compact(self.cpu, g, &compact.index(), weight, &compact.fill, self.conv2d)
            }
        }
    }

    fn linear(&self, linear: &FullyConnected) -> PackedLinear {
        let FullyConnected { g, linear, pool, pattern } = linear;
        let weight = linear.weight.value().data();
        let Some(pool) = pool else {
            return PackedLinear::masked(self.cpu, g, weight, pattern, self.linear);
        };
        let mut pooling = Buffer::unspecified(pool.x_len());
        cpu::adaptive_avg_pool2d_input_grad(self.cpu, pool, weight, &mut pooling);
        PackedLinear::masked(self.cpu, g, &pooling, pattern, self.linear)
    }
}

/// The same kernel as the graph's, so that a plan gives the same bits: `(x − mean)` comes first. In the form
/// `scale · x + shift`, a channel with a small variance around a large mean would lose its digits to cancellation.
fn batch_norm(bn: &BatchNorm) -> PackedBatchNorm {
    let [mean, var] = [&bn.running_mean, &bn.running_var].map(Tensor::data);
    let [gamma, beta] = [&bn.weight, &bn.bias].map(|param| param.value().data());
    PackedBatchNorm::new([mean, var], [gamma, beta], bn.eps)
}

impl Kernel {
    /// Runs the kernel on its inputs, with a residual and an activation if the kernel has an epilogue.
    fn run<'a>(
        &'a self,
        cpu: &Cpu,
        input: impl Fn(usize) -> &'a [f32],
        inputs: usize,
        residual: Option<&'a [f32]>,
        activation: Activation,
        y: &mut [f32],
    ) {
        let end = |bias: &'a Option<Tensor>| Epilogue {
            bias: bias.as_ref().map(Tensor::data),
            residual,
            activation,
        };
        let x = input(0);
        match self {
            Self::Conv2d(g, w, bias, around) => {
                cpu::conv2d_forward_between(cpu, g, around, x, w, &end(bias), y);
            }
            Self::BatchNorm(bn, ImageLayout::ChannelsLast) => {
                cpu::batch_norm_forward_packed(cpu, bn, x, &end(&None), y);
            }
            Self::BatchNorm(bn, ImageLayout::RowLanes(images)) => {
                cpu::batch_norm_forward_lanes(cpu, bn, images, x, &end(&None), y);
            }
            Self::Linear(g, w, bias) => cpu::linear_forward_packed(cpu, g, x, w, &end(bias), y),
            Self::Plain(plain) => plain.run(cpu, input, inputs, y),
        }
    }

    fn chosen(&self, cpu: &Cpu) -> Chosen {
        let (kernel, why, products, weight_bytes, bias) = match self {
            Self::Conv2d(g, w, bias, around) => {
                // There is only one algorithm for depthwise convolutions.
                let why = (!g.is_depthwise()).then(|| format!("{}{}", w.choice(), stays(around)));
                (w.kernel(), why, Some(w.products(g)), w.bytes(), bias)
            }
            Self::Linear(g, w, bias) => {
                // A weight without zeros has only one layout.
                let why = w.choice().is_estimated().then(|| w.choice().to_string());
                (w.kernel(), why, Some(w.products(g)), w.bytes(), bias)
            }
            Self::BatchNorm(bn, _) => ("batch_norm", None, None, bn.bytes(), &None),
            Self::Plain(plain) => (plain.name(), None, None, 0, &None),
        };
        let bias = bias.as_ref().map_or(0, |bias| 4 * bias.len());
        let estimate = match self {
            Self::Conv2d(g, w, ..) => Some(w.estimate(cpu, g)),
            Self::Linear(g, w, _) => Some(w.choice().cycles(cpu, g, Dtype::F32)),
            Self::BatchNorm(..) | Self::Plain(_) => None,
        };
        Chosen { kernel, why, products, estimate, weight_bytes: weight_bytes + bias }
    }
}

/// A note on the images that stay in row lanes.
fn stays(around: &ImageLayouts) -> &'static str {
    match [around.x, around.y].map(|layout| layout != ImageLayout::ChannelsLast) {
        [false, false] => "",
        [true, false] => "; reads lanes",
        [false, true] => "; writes lanes",
        [true, true] => "; reads and writes lanes",
    }
}

impl Plain {
    fn run<'a>(&self, cpu: &Cpu, input: impl Fn(usize) -> &'a [f32], inputs: usize, y: &mut [f32]) {
        let x = input(0);
        match self {
            Self::Pool(pooling) => pooling.run(cpu, x, y),
            Self::Activation(activation) => cpu::activation_forward(cpu, *activation, x, y),
            Self::Add => {
                cpu::add_forward(cpu, x, input(1), y);
                (2..inputs).for_each(|i| cpu::add_assign(cpu, y, input(i)));
            }
            Self::Concat(rows, widths) => {
                let mut parts: [(&[f32], usize); MAX_PARTS] = [(&[], 0); MAX_PARTS];
                for (i, (part, &width)) in parts.iter_mut().zip(widths).enumerate() {
                    *part = (input(i), width);
                }
                cpu::concat_forward(cpu, *rows, &parts[..widths.len()], y);
            }
            Self::PadShortcut(g) => cpu::pad_shortcut_forward(cpu, g, x, y),
        }
    }
}
