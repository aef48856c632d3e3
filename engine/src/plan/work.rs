//! Device-independent work of an operation: the geometry of its kernel, and the layer that has its weights.

use super::lower::Op;
use crate::geometry::{adaptive_geometry, shortcut_geometry};
use crate::layer::{BatchNorm, CompactConv2d, Conv2d, Linear};
use crate::ops::Pooling;
use crate::{Layer, Param, Result, Tensor};
use lopper_kernels::params::Activation;
use lopper_kernels::shapes::{self, AdaptivePool2d, PadShortcut};

/// Work of an operation. Operations with weights take an epilogue; a device packs or uploads the weights.
pub(super) enum Work<'g> {
    Conv2d(shapes::Conv2d, &'g Conv2d),
    /// Convolution whose mask zeroes whole filters; a filter's flag is true if its mask keeps any weight.
    Masked(shapes::Conv2d, &'g Conv2d, Vec<bool>),
    Compact(shapes::Conv2d, &'g CompactConv2d),
    /// Linear layer, with the pool folded into its weight: from the map to the layer's inputs, one filter per image.
    Linear(shapes::Linear, &'g Linear, Option<AdaptivePool2d>),
    /// Batch norm, with the number of rows to normalize.
    BatchNorm(usize, &'g BatchNorm),
    Plain(Plain),
}

/// An operation without weights.
#[derive(Clone)]
pub(super) enum Plain {
    Pool(Pooling),
    Activation(Activation),
    Add,
    /// Number of rows, and the channels of each part.
    Concat(usize, Vec<usize>),
    PadShortcut(PadShortcut),
}

impl<'g> Work<'g> {
    /// Returns the work of `op`, where `lens` are the sizes of its inputs. Returns an error if its layer does not take
    /// such inputs.
    pub fn of(op: &Op<'g>, lens: &[usize]) -> Result<Self> {
        let plain = match &op.node.layer {
            Layer::Conv2d(conv) => return Ok(Self::conv2d(conv, conv.geometry(&op.x)?)),
            Layer::CompactConv2d(compact) => return Ok(Self::Compact(compact.geometry(&op.x)?, compact)),
            Layer::Linear(linear) => return Self::linear(linear, &op.x, op.pool),
            Layer::BatchNorm(bn) => return Ok(Self::BatchNorm(op.len() / bn.channels(), bn)),
            Layer::Activation(activation) => Plain::Activation(*activation),
            Layer::Pool(pool) => Plain::Pool(Pooling::new(pool, &op.x)?),
            Layer::Add => Plain::Add,
            Layer::PadShortcut { stride, before, after } => {
                Plain::PadShortcut(shortcut_geometry(&op.x, *stride, *before, *after)?)
            }
            // Layers that compute nothing appear here only if their output must be a copy of the images.
            Layer::Concat | Layer::Input { .. } | Layer::Flatten | Layer::Dropout { .. } => {
                let rows = op.shape.iter().rev().skip(1).product();
                Plain::Concat(rows, lens.iter().map(|len| len / rows).collect())
            }
        };
        Ok(Self::Plain(plain))
    }

    fn conv2d(conv: &'g Conv2d, g: shapes::Conv2d) -> Self {
        match live_filters(&conv.weight) {
            // A depthwise kernel is bound by reading the image, including dead channels.
            Some(live) if !g.is_depthwise() => Self::Masked(g, conv, live),
            _ => Self::Conv2d(g, conv),
        }
    }

    /// Creates a linear layer. With a pool, the weight is the one that reads the map itself:
    /// `w · pool(x) = (poolᵀ wᵀ)ᵀ x`, and poolᵀ is the pool's input gradient.
    fn linear(linear: &'g Linear, x: &[usize], pool: Option<[usize; 2]>) -> Result<Self> {
        let Some(size) = pool else { return Ok(Self::Linear(linear.geometry(x)?, linear, None)) };
        let rows = AdaptivePool2d { n: linear.out_features(), ..adaptive_geometry(x, size)? };
        let g = shapes::Linear { n: x[0], inputs: rows.x_len() / rows.n, outputs: rows.n };
        Ok(Self::Linear(g, linear, ([rows.h, rows.w] != size).then_some(rows)))
    }

    /// Returns the bias of each output channel. (A batch norm's bias is one of its own parameters.)
    pub fn bias(&self) -> Option<Tensor> {
        let bias = match self {
            Self::Conv2d(_, conv) | Self::Masked(_, conv, _) => &conv.bias,
            Self::Compact(_, compact) => return compact.outer_bias(),
            Self::Linear(_, linear, _) => &linear.bias,
            Self::BatchNorm(..) | Self::Plain(_) => &None,
        };
        bias.as_ref().map(|bias| bias.value().clone())
    }

    /// Returns the kind of `layer`, as executed.
    pub fn kind(&self, layer: &Layer) -> &'static str {
        if matches!(self, Self::Masked(..)) { "masked conv2d" } else { layer.kind() }
    }

    /// Returns the number of multiply-accumulates. Skipped filters do none, and only convolutions and linear layers
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
    /// Returns the name of the kernel.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pool(pooling) => pooling.name(),
            Self::Activation(activation) => activation.name(),
            Self::Add => "add",
            Self::Concat(..) => "concat",
            Self::PadShortcut(_) => "pad_shortcut",
        }
    }
}

/// Returns, for each filter of a convolution, whether the weight's mask keeps any of it; `None` if every filter is live
/// or there is no mask.
fn live_filters(weight: &Param) -> Option<Vec<bool>> {
    let mask = weight.mask()?;
    let filters = mask.data().chunks_exact(mask.len() / mask.dim(0));
    let live: Vec<bool> = filters.map(|filter| filter.contains(&1.0)).collect();
    live.contains(&false).then_some(live)
}
