//! What an operation computes, the same on every device: the geometry of its kernel, and the layer that has its weights.

use super::lower::Op;
use crate::layer::{BatchNorm, CompactConv2d, Conv2d, Linear};
use crate::shape::{adaptive_geometry, shortcut_geometry};
use crate::{Layer, Param, Result, Tensor};
use lopper_kernels::shapes::{self, AdaptivePool2d, PadShortcut, Pool2d};

/// What an operation computes. Those with weights take an epilogue; a device packs or uploads them.
pub(super) enum Work<'g> {
    Conv2d(shapes::Conv2d, &'g Conv2d),
    /// With the filters that its mask keeps some of.
    Masked(shapes::Conv2d, &'g Conv2d, Vec<bool>),
    Compact(shapes::Conv2d, &'g CompactConv2d),
    /// With the pool that its weight takes over: from the map to the layer's inputs, a filter an image.
    Linear(shapes::Linear, &'g Linear, Option<AdaptivePool2d>),
    /// With the number of rows that it normalises.
    BatchNorm(usize, &'g BatchNorm),
    Plain(Plain),
}

/// An operation without weights.
#[derive(Clone)]
pub(super) enum Plain {
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

impl<'g> Work<'g> {
    /// What `op` computes. `lens` are the elements of each input. An error where its layer does not take such inputs.
    pub fn of(op: &Op<'g>, lens: &[usize]) -> Result<Self> {
        let plain = match &op.node.layer {
            Layer::Conv2d(conv) => return Ok(Self::conv2d(conv, conv.geometry(&op.x)?)),
            Layer::CompactConv2d(compact) => return Ok(Self::Compact(compact.geometry(&op.x)?, compact)),
            Layer::Linear(linear) => return Self::linear(linear, &op.x, op.pool),
            Layer::BatchNorm(bn) => return Ok(Self::BatchNorm(op.len() / bn.channels(), bn)),
            Layer::Relu => Plain::Relu,
            Layer::Relu6 => Plain::Relu6,
            Layer::MaxPool(pool) => Plain::MaxPool(pool.geometry(&op.x)?),
            Layer::AvgPool(pool) => Plain::AvgPool(pool.geometry(&op.x)?),
            Layer::AdaptiveAvgPool(size) => Plain::AdaptiveAvgPool(adaptive_geometry(&op.x, *size)?),
            Layer::AdaptiveMaxPool(size) => Plain::AdaptiveMaxPool(adaptive_geometry(&op.x, *size)?),
            Layer::Add => Plain::Add,
            Layer::PadShortcut { stride, before, after } => {
                Plain::PadShortcut(shortcut_geometry(&op.x, *stride, *before, *after)?)
            }
            // What computes nothing is here only where its output must be a copy of the images.
            Layer::Concat | Layer::Input { .. } | Layer::Flatten | Layer::Dropout { .. } => {
                let rows = op.shape.iter().rev().skip(1).product();
                Plain::Concat(rows, lens.iter().map(|len| len / rows).collect())
            }
        };
        Ok(Self::Plain(plain))
    }

    fn conv2d(conv: &'g Conv2d, g: shapes::Conv2d) -> Self {
        match live_filters(&conv.weight) {
            // A depthwise kernel is bound by reading the image, dead channels and all.
            Some(live) if !g.is_depthwise() => Self::Masked(g, conv, live),
            _ => Self::Conv2d(g, conv),
        }
    }

    /// With a pool, the weight is the one that reads the map itself: `w · pool(x) = (poolᵀ wᵀ)ᵀ x`, and poolᵀ is the
    /// pool's input gradient.
    fn linear(linear: &'g Linear, x: &[usize], pool: Option<[usize; 2]>) -> Result<Self> {
        let Some(size) = pool else { return Ok(Self::Linear(linear.geometry(x)?, linear, None)) };
        let rows = AdaptivePool2d { n: linear.out_features(), ..adaptive_geometry(x, size)? };
        let g = shapes::Linear { n: x[0], inputs: rows.x_len() / rows.n, outputs: rows.n };
        Ok(Self::Linear(g, linear, ([rows.h, rows.w] != size).then_some(rows)))
    }

    /// The bias of each output channel. (A batch norm's is among its parameters.)
    pub fn bias(&self) -> Option<Tensor> {
        let bias = match self {
            Self::Conv2d(_, conv) | Self::Masked(_, conv, _) => &conv.bias,
            Self::Compact(_, compact) => return compact.outer_bias(),
            Self::Linear(_, linear, _) => &linear.bias,
            Self::BatchNorm(..) | Self::Plain(_) => &None,
        };
        bias.as_ref().map(|bias| bias.value().clone())
    }

    /// The kind of `layer`, as it is run.
    pub fn kind(&self, layer: &Layer) -> &'static str {
        if matches!(self, Self::Masked(..)) { "masked conv2d" } else { layer.kind() }
    }

    /// Multiply-accumulates that it does: a filter that is left out does none, and only convolutions and linear layers
    /// count.
    pub fn macs(&self) -> u64 {
        match self {
            Self::Conv2d(g, _) => g.macs(),
            Self::Masked(g, _, live) => {
                g.macs() / g.o as u64 * live.iter().filter(|&&live| live).count() as u64
            }
            Self::Compact(g, compact) => (g.y_len() / g.o * compact.conv.weight.value().len()) as u64,
            Self::Linear(g, ..) => g.macs(),
            Self::BatchNorm(..) | Self::Plain(_) => 0,
        }
    }
}

impl Plain {
    /// The name of the kernel.
    pub fn name(&self) -> &'static str {
        match self {
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
}

/// Which filters the mask of a convolution's weight keeps some of; `None` where it keeps some of every one.
fn live_filters(weight: &Param) -> Option<Vec<bool>> {
    let mask = weight.mask()?;
    let filters = mask.data().chunks_exact(mask.len() / mask.dim(0));
    let live: Vec<bool> = filters.map(|filter| filter.contains(&1.0)).collect();
    live.contains(&false).then_some(live)
}
