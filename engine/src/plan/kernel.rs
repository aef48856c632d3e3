//! The kernel of an operation, with its weights packed.

use super::lower::{MAX_PARTS, Op};
use crate::layer::{BatchNorm, CompactConv2d, Conv2d, Linear};
use crate::shape::{adaptive_geometry, shortcut_geometry};
use crate::{Layer, Param, Result, Tensor};
use kernels::buffer::Buffer;
use kernels::cpu::{self, Cpu, Epilogue, PackedCompact, PackedConv2d, PackedLinear, PackedMasked};
use kernels::params::Activation;
use kernels::shapes::{self, AdaptivePool2d, PadShortcut, Pool2d};

/// A kernel and everything that it is told, save the data.
pub(super) enum Kernel {
    Conv2d(shapes::Conv2d, PackedConv2d, Option<Tensor>),
    Masked(shapes::Conv2d, PackedMasked, Option<Tensor>),
    Compact(shapes::Conv2d, PackedCompact, Option<Tensor>),
    Linear(shapes::Linear, PackedLinear, Option<Tensor>),
    MaxPool(Pool2d),
    AvgPool(Pool2d),
    AdaptiveAvgPool(AdaptivePool2d),
    AdaptiveMaxPool(AdaptivePool2d),
    Relu,
    Relu6,
    Add,
    /// Rows, and the channels of each part.
    Concat(usize, Vec<usize>),
    PadShortcut(PadShortcut),
}

impl Kernel {
    /// Chooses the kernel of `op` and packs its weights. `lens` are the floats of each input.
    pub fn new(cpu: &Cpu, op: &Op, lens: &[usize]) -> Result<Self> {
        Ok(match &op.node.layer {
            Layer::Conv2d(conv) => Self::conv2d(cpu, conv, conv.geometry(&op.x)?),
            Layer::CompactConv2d(compact) => Self::compact(cpu, compact, compact.geometry(&op.x)?),
            Layer::Linear(linear) => Self::linear(cpu, linear, &op.x, op.pool)?,
            Layer::BatchNorm(bn) => Self::batch_norm(cpu, bn, &op.x),
            Layer::Relu => Self::Relu,
            Layer::Relu6 => Self::Relu6,
            Layer::MaxPool(pool) => Self::MaxPool(pool.geometry(&op.x)?),
            Layer::AvgPool(pool) => Self::AvgPool(pool.geometry(&op.x)?),
            Layer::AdaptiveAvgPool(size) => Self::AdaptiveAvgPool(adaptive_geometry(&op.x, *size)?),
            Layer::AdaptiveMaxPool(size) => Self::AdaptiveMaxPool(adaptive_geometry(&op.x, *size)?),
            Layer::Add => Self::Add,
            Layer::PadShortcut { stride, before, after } => {
                Self::PadShortcut(shortcut_geometry(&op.x, *stride, *before, *after)?)
            }
            // What computes nothing is here only where its output must be a copy of the images.
            Layer::Concat | Layer::Input { .. } | Layer::Flatten | Layer::Dropout { .. } => {
                let rows = op.shape.iter().rev().skip(1).product();
                Self::Concat(rows, lens.iter().map(|len| len / rows).collect())
            }
        })
    }

    fn conv2d(cpu: &Cpu, conv: &Conv2d, g: shapes::Conv2d) -> Self {
        let bias = conv.bias.as_ref().map(|b| b.value().clone());
        let weight = conv.weight.value().data();
        match live_filters(&conv.weight) {
            // A depthwise kernel is bound by reading the image, dead channels and all.
            Some(live) if !g.is_depthwise() => {
                Self::Masked(g, PackedMasked::new(cpu, &g, weight, &live), bias)
            }
            _ => Self::Conv2d(g, PackedConv2d::new(cpu, &g, weight), bias),
        }
    }

    fn compact(cpu: &Cpu, compact: &CompactConv2d, g: shapes::Conv2d) -> Self {
        let weight = compact.conv.weight.value().data();
        let packed = PackedCompact::new(cpu, &g, &compact.index(), weight, &compact.fill);
        Self::Compact(g, packed, compact.outer_bias())
    }

    /// With a pool, the weight is the one that reads the map itself: `w · pool(x) = (poolᵀ wᵀ)ᵀ x`, and poolᵀ is the
    /// pool's input gradient.
    fn linear(cpu: &Cpu, linear: &Linear, x: &[usize], pool: Option<[usize; 2]>) -> Result<Self> {
        let bias = linear.bias.as_ref().map(|b| b.value().clone());
        let weight = linear.weight.value().data();
        let Some(size) = pool else {
            let g = linear.geometry(x)?;
            return Ok(Self::Linear(g, PackedLinear::new(cpu, &g, weight), bias));
        };
        let rows = AdaptivePool2d { n: linear.out_features(), ..adaptive_geometry(x, size)? };
        let g = shapes::Linear { n: x[0], inputs: rows.x_len() / rows.n, outputs: rows.n };
        if [rows.h, rows.w] == size {
            return Ok(Self::Linear(g, PackedLinear::new(cpu, &g, weight), bias));
        }
        let mut pooling = Buffer::zeros(rows.x_len());
        cpu::adaptive_avg_pool2d_input_grad(cpu, &rows, weight, &mut pooling);
        Ok(Self::Linear(g, PackedLinear::new(cpu, &g, &pooling), bias))
    }

    /// With its statistics fixed, a batch norm is `scale · x + shift`: a depthwise convolution with 1×1 windows,
    /// which brings the epilogue with it.
    fn batch_norm(cpu: &Cpu, bn: &BatchNorm, x: &[usize]) -> Self {
        let (scale, shift): (Vec<f32>, Vec<f32>) = bn.affine().into_iter().unzip();
        let c = scale.len();
        let rows = x.iter().product::<usize>() / c;
        let g = shapes::Conv2d { groups: c, ..shapes::Conv2d::square([1, 1, rows, c], c, 1, 1, 0) };
        Self::Conv2d(g, PackedConv2d::new(cpu, &g, &scale), Some(Tensor::from_fn(&[c], |i| shift[i])))
    }

    /// Runs over `inputs`, with a residual and an activation where the kernel has an epilogue.
    pub fn run<'a>(
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
            Self::Conv2d(g, w, bias) => cpu::conv2d_forward_packed(cpu, g, x, w, &end(bias), y),
            Self::Masked(g, w, bias) => cpu::conv2d_masked_forward_packed(cpu, g, x, w, &end(bias), y),
            Self::Compact(g, w, bias) => cpu::conv2d_compact_forward(cpu, g, x, w, &end(bias), y),
            Self::Linear(g, w, bias) => cpu::linear_forward_packed(cpu, g, x, w, &end(bias), y),
            Self::MaxPool(g) => cpu::max_pool2d_forward(cpu, g, x, y),
            Self::AvgPool(g) => cpu::avg_pool2d_forward(cpu, g, x, y),
            Self::AdaptiveAvgPool(g) => cpu::adaptive_avg_pool2d_forward(cpu, g, x, y),
            Self::AdaptiveMaxPool(g) => cpu::adaptive_max_pool2d_forward(cpu, g, x, y),
            Self::Relu => cpu::relu_forward(cpu, x, y),
            Self::Relu6 => cpu::relu6_forward(cpu, x, y),
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

    /// The kind of `layer`, as it is run.
    pub fn kind(&self, layer: &Layer) -> &'static str {
        if matches!(self, Self::Masked(..)) { "masked conv2d" } else { layer.kind() }
    }

    /// The name of the kernel.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv2d(_, w, _) => w.kernel(),
            Self::Masked(_, w, _) => w.kernel(),
            Self::Compact(_, w, _) => w.kernel(),
            Self::Linear(_, w, _) => w.kernel(),
            Self::MaxPool(_) => "max_pool2d",
            Self::AvgPool(_) => "avg_pool2d",
            Self::AdaptiveAvgPool(_) => "adaptive_avg_pool2d",
            Self::AdaptiveMaxPool(_) => "adaptive_max_pool2d",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Add => "add",
            Self::Concat(..) => "concat",
            Self::PadShortcut(_) => "pad_shortcut",
        }
    }

    /// Multiply-accumulates of `layer` that it does: a filter that is left out does none, and only convolutions and
    /// linear layers count.
    pub fn macs(&self, layer: &Layer) -> u64 {
        match (self, layer) {
            (Self::Conv2d(g, ..), Layer::Conv2d(_)) => g.macs(),
            (Self::Masked(g, ..), Layer::Conv2d(conv)) => {
                let live =
                    live_filters(&conv.weight).map_or(g.o, |live| live.into_iter().filter(|&l| l).count());
                g.macs() / g.o as u64 * live as u64
            }
            (Self::Compact(g, ..), Layer::CompactConv2d(compact)) => {
                (g.y_len() / g.o * compact.conv.weight.value().len()) as u64
            }
            (Self::Linear(g, ..), _) => g.macs(),
            _ => 0,
        }
    }

    /// Bytes of its weights as packed, and of its bias.
    pub fn weight_bytes(&self) -> usize {
        let (weight, bias) = match self {
            Self::Conv2d(_, w, bias) => (w.bytes(), bias),
            Self::Masked(_, w, bias) => (w.bytes(), bias),
            Self::Compact(_, w, bias) => (w.bytes(), bias),
            Self::Linear(_, w, bias) => (w.bytes(), bias),
            _ => (0, &None),
        };
        weight + bias.as_ref().map_or(0, |b| 4 * b.len())
    }
}

/// Which filters the mask of a convolution's weight keeps some of; `None` where it keeps some of every one.
fn live_filters(weight: &Param) -> Option<Vec<bool>> {
    let mask = weight.mask()?;
    let filters = mask.data().chunks_exact(mask.len() / mask.dim(0));
    let live: Vec<bool> = filters.map(|filter| filter.contains(&1.0)).collect();
    live.contains(&false).then_some(live)
}
