//! Plan on a GPU: weights are uploaded once in the precision that multiplies them, all values share one block, and the
//! whole run is recorded as one CUDA graph, so that a small batch does not wait for launches.
//!
//! ```text
//!   images, f32 ─► as stored ─► call ─► call ─► … ─► output, f32
//!   └ written ┘  └──────────────── one graph ──────────────┘└ read
//! ```

use super::amount::{Amount, Class};
use super::chosen::Chosen;
use super::lower::Op;
use super::places::{Place, Places};
use super::work::{Convolution, FullyConnected, Plain, Softmax, Work};
use crate::graph::layer::BatchNorm;
use crate::{Error, Param, Result, Tensor};
use lopper_kernels::cuda::{
    self, Cuda, CudaError, CudaGraph, DeviceBuffer, Epilogue, GatherList, PackedConv2d, Timer,
};
use lopper_kernels::params::{Activation, Dtype};
use lopper_kernels::shapes;
use std::time::Duration;

/// Alignment of values in bytes: that of allocations, which suits every vector load.
pub(super) const ALIGNMENT: usize = 256;

/// Recorded calls of a plan, and the buffers that they work on.
pub(super) struct Runner {
    /// Dropped first, because its replays use the buffers.
    graph: CudaGraph,
    gpu: Cuda,
    input: [usize; 4],
    images: Border,
    calls: Vec<Call>,
    output: Border,
    arena_bytes: usize,
    /// Output on the host, for the caller.
    host: Vec<f32>,
}

impl Runner {
    /// Uploads the weights of `works`, one for each of `ops`, runs the operations once, and records them, for images of
    /// shape `input`.
    ///
    /// # Errors
    /// If the device runs out of memory or a kernel fails; the error names the node.
    pub fn new(gpu: &Cuda, input: [usize; 4], ops: &[Op], works: &[Work], places: &Places) -> Result<Self> {
        let dtype = places.dtype;
        let of_images = |e| of_plan(input, e);
        let arena = gpu.buffer(dtype, places.bytes / dtype.bytes()).map_err(of_images)?;
        let images = gpu.zeros(dtype, places.images).and_then(|images| Border::new(gpu, images));
        let mut images = images.map_err(of_images)?;
        let slice = |place: Place| match place {
            Place::Images => images.stored.slice(0, places.images),
            Place::Arena(range) => arena.slice(range.start / dtype.bytes(), range.len() / dtype.bytes()),
        };
        let in_node = |op: &Op, e| {
            let what = || format!("{} of {:?}", op.node.layer.kind(), op.x);
            Error::from(e).of_operation(what).in_node(&op.node.name)
        };
        let call = |(op, work)| Call::new(gpu, op, work, |v| slice(places.of(v))).map_err(|e| in_node(op, e));
        let mut calls = ops.iter().zip(works).map(call).collect::<Result<Vec<Call>>>()?;
        let last = ops.last().expect("one operation writes the output").output;
        let mut output = Border::new(gpu, slice(places.of(last))).map_err(of_images)?;
        // After this run, every kernel is compiled and the pool holds the buffers they borrow: the graph allocates
        // nothing.
        for (op, call) in ops.iter().zip(&mut calls) {
            call.run(gpu).and_then(|()| gpu.synchronize()).map_err(|e| in_node(op, e))?;
        }
        output.widen(gpu).and_then(|()| images.narrow(gpu)).map_err(of_images)?;
        let recorded = gpu.record(|| {
            images.narrow(gpu)?;
            calls.iter_mut().try_for_each(|call| call.run(gpu))?;
            output.widen(gpu)
        });
        let graph = recorded.map_err(of_images)?;
        let host = vec![0.0; output.single.len()];
        Ok(Self { graph, gpu: gpu.clone(), input, images, calls, output, arena_bytes: arena.bytes(), host })
    }

    /// Returns the kernel of each call.
    pub fn chosen(&self) -> impl Iterator<Item = Chosen> {
        self.calls.iter().map(|call| call.chosen(self.gpu.precision()))
    }

    /// Returns the bytes of the arena, and of all other buffers: those that the graph's kernels borrow, and those at
    /// both ends of a run.
    pub fn memory(&self) -> [usize; 2] {
        let ends = self.images.stored.bytes() + self.images.beside() + self.output.beside();
        [self.arena_bytes, self.graph.borrowed_bytes() + ends]
    }

    /// Returns the network's output for `images`.
    pub fn run(&mut self, images: &[f32]) -> Result<&[f32]> {
        let Self { graph, gpu, images: Border { single, .. }, output, host, .. } = self;
        let written = gpu.write(single, images).and_then(|()| graph.replay());
        written.and_then(|()| gpu.read(&output.single, host)).map_err(|e| of_plan(self.input, e))?;
        Ok(&self.host)
    }

    /// Returns how long each call takes on the device, launched individually.
    pub fn run_timed(&mut self, images: &[f32]) -> Result<Vec<Duration>> {
        self.time_calls(images).map_err(|e| of_plan(self.input, e))
    }

    fn time_calls(&mut self, images: &[f32]) -> cuda::Result<Vec<Duration>> {
        let Self { gpu, calls, .. } = self;
        gpu.write(&mut self.images.single, images)?;
        self.images.narrow(gpu)?;
        let mut timer = Timer::new(gpu)?;
        calls.iter_mut().map(|call| timer.time(|| call.run(gpu))).collect()
    }
}

/// Wraps an error that belongs to a plan for images of shape `input`, but to none of its layers.
fn of_plan(input: [usize; 4], error: CudaError) -> Error {
    Error::from(error).of_operation(|| format!("plan of {input:?}"))
}

/// Values that come from or go to the host, both in single precision and as the plan stores them; the two share memory
/// if the plan stores single precision.
struct Border {
    single: DeviceBuffer,
    stored: DeviceBuffer,
}

impl Border {
    fn new(gpu: &Cuda, stored: DeviceBuffer) -> cuda::Result<Self> {
        let single = match stored.dtype() {
            Dtype::F32 => stored.slice(0, stored.len()),
            _ => gpu.zeros(Dtype::F32, stored.len())?,
        };
        Ok(Self { single, stored })
    }

    /// Returns the bytes that it holds besides the stored values.
    fn beside(&self) -> usize {
        if self.stored.dtype() == Dtype::F32 { 0 } else { self.single.bytes() }
    }

    fn narrow(&mut self, gpu: &Cuda) -> cuda::Result<()> {
        match self.stored.dtype() {
            Dtype::F32 => Ok(()),
            _ => cuda::convert(gpu, &self.single, &mut self.stored),
        }
    }

    fn widen(&mut self, gpu: &Cuda) -> cuda::Result<()> {
        match self.stored.dtype() {
            Dtype::F32 => Ok(()),
            _ => cuda::convert(gpu, &self.stored, &mut self.single),
        }
    }
}

/// One kernel call with its data in fixed places.
struct Call {
    kernel: Kernel,
    inputs: Vec<DeviceBuffer>,
    bias: Option<DeviceBuffer>,
    residual: Option<DeviceBuffer>,
    activation: Activation,
    output: DeviceBuffer,
}

impl Call {
    /// Creates the call of `op`; `at` returns the buffer of a value.
    fn new(gpu: &Cuda, op: &Op, work: &Work, at: impl Fn(usize) -> DeviceBuffer) -> cuda::Result<Self> {
        Ok(Self {
            kernel: Kernel::new(gpu, work)?,
            inputs: op.inputs.iter().map(|&v| at(v)).collect(),
            bias: work.bias().map(|bias| gpu.upload(bias.data())).transpose()?,
            residual: op.residual.map(&at),
            activation: op.activation,
            output: at(op.output),
        })
    }

    fn run(&mut self, gpu: &Cuda) -> cuda::Result<()> {
        let (bias, residual) = (self.bias.as_ref(), self.residual.as_ref());
        let end = Epilogue { bias, residual, activation: self.activation };
        self.kernel.run(gpu, &self.inputs, &end, &mut self.output)
    }

    fn chosen(&self, precision: Dtype) -> Chosen {
        let (kernel, products, weight_bytes) = match &self.kernel {
            Kernel::Conv2d(g, w) => (w.kernel(precision), Some(w.products(g)), w.bytes()),
            // Dead rows that `masked_linear` leaves in are computed too.
            Kernel::Linear(g, w) => (cuda::product_kernel(precision), Some(g.macs()), w.bytes()),
            Kernel::BatchNorm(norm) => {
                ("batch_norm", None, norm.channels.iter().map(DeviceBuffer::bytes).sum())
            }
            Kernel::LayerNorm(_, affine) => {
                ("layer_norm", None, affine.iter().map(DeviceBuffer::bytes).sum())
            }
            Kernel::GroupNorm(_, affine) => {
                ("group_norm", None, affine.iter().map(DeviceBuffer::bytes).sum())
            }
            Kernel::PRelu(slope) => ("prelu", None, slope.bytes()),
            Kernel::Gather(list) => ("gather", None, list.bytes()),
            Kernel::Plain(plain) => (plain.name(), None, 0),
        };
        let bias = self.bias.as_ref().map_or(0, DeviceBuffer::bytes);
        let class = match &self.kernel {
            Kernel::Conv2d(..) => Class::Direct,
            Kernel::Linear(..) => Class::Linear,
            Kernel::BatchNorm(_)
            | Kernel::LayerNorm(..)
            | Kernel::GroupNorm(..)
            | Kernel::PRelu(_)
            | Kernel::Gather(_)
            | Kernel::Plain(_) => Class::Elementwise,
        };
        let estimate = products.map(|products| Amount { class, units: products as f64 });
        Chosen { kernel, why: None, products, estimate, weight_bytes: weight_bytes + bias }
    }
}

/// Kernel with all its arguments except the data and the epilogue.
enum Kernel {
    Conv2d(shapes::Conv2d, PackedConv2d),
    Linear(shapes::Linear, DeviceBuffer),
    BatchNorm(Norm),
    /// A layer norm, with γ and β.
    LayerNorm(shapes::LayerNorm, [DeviceBuffer; 2]),
    /// A group norm, with γ and β.
    GroupNorm(shapes::GroupNorm, [DeviceBuffer; 2]),
    PRelu(DeviceBuffer),
    Gather(GatherList),
    Plain(Plain),
}

/// A linear layer whose mask leaves out rows, as a masked convolution of images of one pixel. Returns `None` for few
/// rows of the batch, which are bound by reading the weight, and for weights into which a pool was folded on the
/// device.
fn masked_linear(
    gpu: &Cuda,
    linear: &FullyConnected,
) -> cuda::Result<Option<(shapes::Conv2d, PackedConv2d)>> {
    let FullyConnected { g, linear, pool, pattern } = linear;
    if !pattern.has_dead_filters() || pool.is_some() || g.n <= cuda::simt::FEW_ROWS {
        return Ok(None);
    }
    let g = g.over_images();
    let packed = PackedConv2d::masked(gpu, &g, linear.weight.value().data(), pattern)?;
    Ok(Some((g, packed)))
}

/// Batch norm with fixed statistics.
struct Norm {
    rows: usize,
    /// Mean, variance, γ and β of each channel.
    channels: [DeviceBuffer; 4],
    eps: f32,
}

impl Kernel {
    /// Creates the kernel of `work`, with its weights in device memory.
    fn new(gpu: &Cuda, work: &Work) -> cuda::Result<Self> {
        Ok(match work {
            Work::Conv2d(conv) => Self::Conv2d(conv.g, packed_conv2d(gpu, conv)?),
            Work::Linear(linear) => match masked_linear(gpu, linear)? {
                Some((g, packed)) => Self::Conv2d(g, packed),
                None => Self::Linear(linear.g, linear_weight(gpu, linear)?),
            },
            Work::BatchNorm(rows, bn) => Self::BatchNorm(Norm::new(gpu, *rows, bn)?),
            Work::LayerNorm(g, norm) => Self::LayerNorm(*g, uploaded(gpu, [&norm.weight, &norm.bias])?),
            Work::GroupNorm(g, norm) => Self::GroupNorm(*g, uploaded(gpu, [&norm.weight, &norm.bias])?),
            Work::PRelu(prelu) => Self::PRelu(gpu.upload(prelu.weight.value().data())?),
            Work::Plain(Plain::Gather(gather)) => {
                let dtype = gpu.precision().storage();
                Self::Gather(GatherList::new(gpu, gather.width(), gather.channels(), dtype)?)
            }
            Work::Plain(plain) => Self::Plain(plain.clone()),
        })
    }

    /// Runs on `inputs`, and applies `end` if the kernel has an epilogue.
    fn run(
        &self,
        gpu: &Cuda,
        inputs: &[DeviceBuffer],
        end: &Epilogue,
        y: &mut DeviceBuffer,
    ) -> cuda::Result<()> {
        let x = &inputs[0];
        match self {
            Self::Conv2d(g, w) => cuda::conv2d_forward_packed(gpu, g, x, w, end, y),
            Self::Linear(g, w) => cuda::linear_forward(gpu, g, x, w, end, y),
            Self::BatchNorm(norm) => norm.run(gpu, x, end, y),
            Self::LayerNorm(g, affine) => cuda::layer_norm_forward(gpu, g, x, affine.each_ref(), y),
            Self::GroupNorm(g, affine) => cuda::group_norm_forward(gpu, g, x, affine.each_ref(), y),
            Self::PRelu(slope) => cuda::prelu_forward(gpu, slope.len(), x, slope, y),
            Self::Gather(list) => cuda::gather_forward(gpu, list, x, y),
            Self::Plain(plain) => plain.run_on(gpu, inputs, y),
        }
    }
}

/// γ and β of a norm, in device memory.
fn uploaded(gpu: &Cuda, [gamma, beta]: [&Param; 2]) -> cuda::Result<[DeviceBuffer; 2]> {
    Ok([gpu.upload(gamma.value().data())?, gpu.upload(beta.value().data())?])
}

impl Norm {
    fn new(gpu: &Cuda, rows: usize, bn: &BatchNorm) -> cuda::Result<Self> {
        let upload = |values: &Tensor| gpu.upload(values.data());
        let statistics = [upload(&bn.running_mean)?, upload(&bn.running_var)?];
        let [mean, var] = statistics;
        let channels = [mean, var, upload(bn.weight.value())?, upload(bn.bias.value())?];
        Ok(Self { rows, channels, eps: bn.eps })
    }

    fn run(&self, gpu: &Cuda, x: &DeviceBuffer, end: &Epilogue, y: &mut DeviceBuffer) -> cuda::Result<()> {
        let Self { rows, channels: [mean, var, gamma, beta], eps } = self;
        let g = shapes::BatchNorm { rows: *rows, c: mean.len(), eps: *eps };
        cuda::batch_norm_forward_eval(gpu, &g, x, [mean, var], [gamma, beta], end, y)
    }
}

impl Plain {
    fn run_on(&self, gpu: &Cuda, inputs: &[DeviceBuffer], y: &mut DeviceBuffer) -> cuda::Result<()> {
        let x = &inputs[0];
        match self {
            Self::Pool(pooling) => pooling.run_on(gpu, x, y),
            Self::Activation(activation) => cuda::activation_forward(gpu, *activation, x, y),
            &Self::Softmax(Softmax { rows, channels, log: false }) => {
                cuda::softmax_forward(gpu, rows, channels, x, y)
            }
            &Self::Softmax(Softmax { rows, channels, log: true }) => {
                cuda::log_softmax_forward(gpu, rows, channels, x, y)
            }
            Self::Add => {
                cuda::add_forward(gpu, x, &inputs[1], y)?;
                inputs[2..].iter().try_for_each(|x| cuda::add_assign(gpu, y, x))
            }
            Self::Multiply => cuda::mul_forward(gpu, x, &inputs[1], y),
            Self::Gate(g) => cuda::gate_forward(gpu, g, x, &inputs[1], y),
            Self::Gather(_) => unreachable!("a gathering has a list of its own on the device"),
            Self::Resize(resize) => cuda::resize_forward(gpu, resize.geometry(), x, y),
            Self::Concat(rows, widths) => {
                let parts: Vec<_> = inputs.iter().zip(widths.iter().copied()).collect();
                cuda::concat_forward(gpu, *rows, &parts, y)
            }
            Self::PadShortcut(g) => cuda::pad_shortcut_forward(gpu, g, x, y),
        }
    }
}

/// Converts single-precision `values` to the type in which the device multiplies.
fn factor(gpu: &Cuda, values: DeviceBuffer) -> cuda::Result<DeviceBuffer> {
    match gpu.precision().storage() {
        Dtype::F32 => Ok(values),
        dtype => {
            let mut factor = gpu.buffer(dtype, values.len())?;
            cuda::convert(gpu, &values, &mut factor)?;
            Ok(factor)
        }
    }
}

/// Returns the weights of `conv`, packed.
fn packed_conv2d(gpu: &Cuda, conv: &Convolution) -> cuda::Result<PackedConv2d> {
    let Convolution { g, conv, pattern, compact, .. } = conv;
    let weight = conv.weight.value().data();
    match compact {
        None => PackedConv2d::masked(gpu, g, weight, pattern),
        Some(compact) => PackedConv2d::compact(gpu, g, &compact.index(), weight, &compact.fill),
    }
}

/// Returns the weight of `linear`, with its pool folded into it.
fn linear_weight(gpu: &Cuda, linear: &FullyConnected) -> cuda::Result<DeviceBuffer> {
    let FullyConnected { linear, pool, .. } = linear;
    let weight = gpu.upload(linear.weight.value().data())?;
    let Some(pool) = pool else { return factor(gpu, weight) };
    let mut pooling = gpu.buffer(Dtype::F32, pool.x_len())?;
    cuda::adaptive_avg_pool2d_input_grad(gpu, pool, &weight, &mut pooling)?;
    factor(gpu, pooling)
}
