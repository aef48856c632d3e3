//! The kernel of an operation, with its weights packed.

use super::lower::{MAX_PARTS, Op};
use crate::layer::{BatchNorm, CompactConv2d, Conv2d, Linear};
use crate::shape::{adaptive_geometry, shortcut_geometry};
use crate::{Layer, Param, Result, Tensor};
use kernels::buffer::Buffer;
use kernels::cpu::{
    self, Choice, Cpu, Epilogue, PackedCompact, PackedConv2d, PackedLinear, PackedMasked, Packing,
};
use kernels::params::{Activation, Storage};
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

/// How a plan packs weights.
#[derive(Clone, Copy)]
pub(super) struct Packer<'a> {
    pub cpu: &'a Cpu,
    pub conv2d: Packing,
    pub linear: Storage,
}

impl Packer<'_> {
    /// Chooses the kernel of `op` and packs its weights. `lens` are the floats of each input.
    pub fn kernel(&self, op: &Op, lens: &[usize]) -> Result<Kernel> {
        Ok(match &op.node.layer {
            Layer::Conv2d(conv) => self.conv2d(conv, conv.geometry(&op.x)?),
            Layer::CompactConv2d(compact) => self.compact(compact, compact.geometry(&op.x)?),
            Layer::Linear(linear) => self.linear(linear, &op.x, op.pool)?,
            Layer::BatchNorm(bn) => self.batch_norm(bn, &op.x),
            Layer::Relu => Kernel::Relu,
            Layer::Relu6 => Kernel::Relu6,
            Layer::MaxPool(pool) => Kernel::MaxPool(pool.geometry(&op.x)?),
            Layer::AvgPool(pool) => Kernel::AvgPool(pool.geometry(&op.x)?),
            Layer::AdaptiveAvgPool(size) => Kernel::AdaptiveAvgPool(adaptive_geometry(&op.x, *size)?),
            Layer::AdaptiveMaxPool(size) => Kernel::AdaptiveMaxPool(adaptive_geometry(&op.x, *size)?),
            Layer::Add => Kernel::Add,
            Layer::PadShortcut { stride, before, after } => {
                Kernel::PadShortcut(shortcut_geometry(&op.x, *stride, *before, *after)?)
            }
            // What computes nothing is here only where its output must be a copy of the images.
            Layer::Concat | Layer::Input { .. } | Layer::Flatten | Layer::Dropout { .. } => {
                let rows = op.shape.iter().rev().skip(1).product();
                Kernel::Concat(rows, lens.iter().map(|len| len / rows).collect())
            }
        })
    }

    fn conv2d(&self, conv: &Conv2d, g: shapes::Conv2d) -> Kernel {
        let bias = conv.bias.as_ref().map(|b| b.value().clone());
        let weight = conv.weight.value().data();
        match live_filters(&conv.weight) {
            // A depthwise kernel is bound by reading the image, dead channels and all.
            Some(live) if !g.is_depthwise() => {
                Kernel::Masked(g, PackedMasked::with(self.cpu, &g, weight, &live, self.conv2d), bias)
            }
            _ => Kernel::Conv2d(g, PackedConv2d::with(self.cpu, &g, weight, self.conv2d), bias),
        }
    }

    fn compact(&self, compact: &CompactConv2d, g: shapes::Conv2d) -> Kernel {
        let weight = compact.conv.weight.value().data();
        let packed = PackedCompact::with(self.cpu, &g, &compact.index(), weight, &compact.fill, self.conv2d);
        Kernel::Compact(g, packed, compact.outer_bias())
    }

    /// With a pool, the weight is the one that reads the map itself: `w · pool(x) = (poolᵀ wᵀ)ᵀ x`, and poolᵀ is the
    /// pool's input gradient.
    fn linear(&self, linear: &Linear, x: &[usize], pool: Option<[usize; 2]>) -> Result<Kernel> {
        let bias = linear.bias.as_ref().map(|b| b.value().clone());
        let weight = linear.weight.value().data();
        let Some(size) = pool else {
            let g = linear.geometry(x)?;
            return Ok(Kernel::Linear(g, PackedLinear::stored(self.cpu, &g, weight, self.linear), bias));
        };
        let rows = AdaptivePool2d { n: linear.out_features(), ..adaptive_geometry(x, size)? };
        let g = shapes::Linear { n: x[0], inputs: rows.x_len() / rows.n, outputs: rows.n };
        if [rows.h, rows.w] == size {
            return Ok(Kernel::Linear(g, PackedLinear::stored(self.cpu, &g, weight, self.linear), bias));
        }
        let mut pooling = Buffer::zeros(rows.x_len());
        cpu::adaptive_avg_pool2d_input_grad(self.cpu, &rows, weight, &mut pooling);
        Ok(Kernel::Linear(g, PackedLinear::stored(self.cpu, &g, &pooling, self.linear), bias))
    }

    /// With its statistics fixed, a batch norm is `scale · x + shift`: a depthwise convolution with 1×1 windows,
    /// which brings the epilogue with it.
    fn batch_norm(&self, bn: &BatchNorm, x: &[usize]) -> Kernel {
        let (scale, shift): (Vec<f32>, Vec<f32>) = bn.affine().into_iter().unzip();
        let c = scale.len();
        let rows = x.iter().product::<usize>() / c;
        let g = shapes::Conv2d { groups: c, ..shapes::Conv2d::square([1, 1, rows, c], c, 1, 1, 0) };
        Kernel::Conv2d(g, PackedConv2d::new(self.cpu, &g, &scale), Some(Tensor::from_fn(&[c], |i| shift[i])))
    }
}

impl Kernel {
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

    /// Why this kernel, where there was a choice.
    pub fn choice(&self) -> Option<&Choice> {
        match self {
            // A batch norm's convolution is no choice.
            Self::Conv2d(g, w, _) => (!g.is_depthwise()).then(|| w.choice()),
            Self::Masked(_, w, _) => Some(w.choice()),
            Self::Compact(_, w, _) => Some(w.choice()),
            _ => None,
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

    /// Multiply-accumulates that the kernel takes to do so: Winograd's takes fewer.
    pub fn products(&self, layer: &Layer) -> u64 {
        match self {
            Self::Conv2d(g, w, _) if matches!(layer, Layer::Conv2d(_)) => w.products(g),
            Self::Masked(g, w, _) => w.products(g),
            Self::Compact(g, w, _) => w.products(g),
            _ => self.macs(layer),
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
