//! Device-independent work of an operation: the geometry of its kernel, and the layer that has its weights.

use super::lower::Op;
use crate::autograd::ops::Pooling;
use crate::graph::geometry::{adaptive_geometry, dilate_geometry, gate_geometry, shortcut_geometry};
use crate::graph::layer::{BatchNorm, CompactConv2d, Conv2d, GroupNorm, LayerNorm, Linear, PRelu};
use crate::memory::{self, bytes_of};
use crate::{Layer, Result, Tensor};
use lopper_kernels::cpu::{PackedGather, PackedResize};
use lopper_kernels::params::Activation;
use lopper_kernels::pattern::Pattern;
use lopper_kernels::reference;
use lopper_kernels::shapes::{self, AdaptivePool2d, Gate, PadShortcut};
use std::sync::Arc;

/// Work of an operation. Operations with weights take an epilogue; a device packs or uploads the weights.
pub(super) enum Work<'g> {
    Conv2d(Convolution<'g>),
    Linear(FullyConnected<'g>),
    /// Batch norm, with the number of rows to normalize.
    BatchNorm(usize, &'g BatchNorm),
    LayerNorm(shapes::LayerNorm, &'g LayerNorm),
    GroupNorm(shapes::GroupNorm, &'g GroupNorm),
    PRelu(&'g PRelu),
    Plain(Plain),
}

/// A dense, masked or compact convolution.
pub(super) struct Convolution<'g> {
    /// The geometry as the graph sees it; that of a compact convolution has the outer widths.
    pub g: shapes::Conv2d,
    /// The number of images of a call that the algorithm is chosen for: the batch, or a part of it.
    pub images: usize,
    /// The layer that has the weight and the bias.
    pub conv: &'g Conv2d,
    /// The zeros of the weight.
    pub pattern: Arc<Pattern>,
    /// The channels that a compact convolution gathers and scatters.
    pub compact: Option<&'g CompactConv2d>,
}

impl Convolution<'_> {
    /// The geometry that the algorithm is chosen for, and the weights are packed for.
    pub fn part(&self) -> shapes::Conv2d {
        shapes::Conv2d { n: self.images, ..self.g }
    }

    /// The number of such calls in a batch.
    pub fn parts(&self) -> f64 {
        self.g.n as f64 / self.images as f64
    }
}

/// A linear layer.
pub(super) struct FullyConnected<'g> {
    pub g: shapes::Linear,
    pub linear: &'g Linear,
    /// The pool folded into the weight: from the map to the layer's inputs, one filter per image.
    pub pool: Option<AdaptivePool2d>,
    /// The zeros of the weight, after pooling.
    pub pattern: Arc<Pattern>,
}

/// An operation without weights.
#[derive(Clone)]
pub(super) enum Plain {
    Pool(Pooling),
    Activation(Activation),
    Softmax(Softmax),
    Add,
    /// The product of two values of one shape.
    Multiply,
    /// The product of images with a gate.
    Gate(Gate),
    Gather(PackedGather),
    Resize(PackedResize),
    /// Number of rows, and the channels of each part.
    Concat(usize, Vec<usize>),
    PadShortcut(PadShortcut),
}

/// A softmax of each of `rows` rows of `channels` values, or its logarithm.
#[derive(Clone, Copy)]
pub(super) struct Softmax {
    pub rows: usize,
    pub channels: usize,
    pub log: bool,
}

impl<'g> Work<'g> {
    /// Returns the work of `op`, where `lens` are the sizes of its inputs. Returns an error if its layer does not take
    /// such inputs.
    pub fn of(op: &Op<'g>, lens: &[usize]) -> Result<Self> {
        let plain = match &op.node.layer {
            Layer::Conv2d(conv) => return Ok(Self::conv2d(conv, conv.geometry(&op.x)?)),
            Layer::CompactConv2d(compact) => return Ok(Self::compact(compact, compact.geometry(&op.x)?)),
            Layer::Linear(linear) => return Self::linear(linear, &op.x, op.pool),
            Layer::BatchNorm(bn) => return Ok(Self::BatchNorm(op.len() / bn.channels(), bn)),
            Layer::LayerNorm(norm) => return Ok(Self::LayerNorm(norm.geometry(&op.x)?, norm)),
            Layer::GroupNorm(norm) => return Ok(Self::GroupNorm(norm.geometry(&op.x)?, norm)),
            Layer::PRelu(prelu) => return Ok(Self::PRelu(prelu)),
            Layer::Activation(activation) => Plain::Activation(*activation),
            &Layer::Softmax { log } => {
                let channels = op.x[op.x.len() - 1];
                Plain::Softmax(Softmax { rows: op.len() / channels, channels, log })
            }
            Layer::Pool(pool) => Plain::Pool(Pooling::new(pool, &op.x)?),
            Layer::Add => Plain::Add,
            Layer::Multiply if lens[0] == lens[1] => Plain::Multiply,
            Layer::Multiply => {
                let gate = [op.x[0], lens[1] / op.x[0].max(1)];
                Plain::Gate(gate_geometry(&op.x, &gate)?)
            }
            Layer::Gather { channels } => {
                let channels = op.channels.as_ref().unwrap_or(channels);
                Plain::Gather(PackedGather::new(*op.x.last().expect("an input has channels"), channels))
            }
            Layer::Resize(resize) => Plain::Resize(PackedResize::new(&resize.geometry(&op.x)?)),
            Layer::Dilate { stride } => Plain::Resize(PackedResize::new(&dilate_geometry(&op.x, *stride)?)),
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
        // A depthwise kernel is bound by reading the image, including dead channels.
        let masked = conv.weight.pattern().filter(|_| !g.is_depthwise());
        let pattern = or_dense(masked, g.filters_shape());
        Self::Conv2d(Convolution { g, images: g.n, conv, pattern, compact: None })
    }

    fn compact(compact: &'g CompactConv2d, g: shapes::Conv2d) -> Self {
        let conv = &compact.conv;
        let ([kh, kw], live) = (conv.kernel(), conv.weight.value().dim(3));
        let pattern = or_dense(None, [conv.out_channels(), kh * kw, live]);
        Self::Conv2d(Convolution { g, images: g.n, conv, pattern, compact: Some(compact) })
    }

    /// Creates a linear layer. With a pool, the weight is the one that reads the map itself:
    /// `w · pool(x) = (poolᵀ wᵀ)ᵀ x`, and poolᵀ is the pool's input gradient.
    fn linear(linear: &'g Linear, x: &[usize], pool: Option<[usize; 2]>) -> Result<Self> {
        let pattern = or_dense(linear.weight.pattern(), [linear.out_features(), 1, linear.in_features()]);
        let Some(size) = pool else {
            let g = linear.geometry(x)?;
            return Ok(Self::Linear(FullyConnected { g, linear, pool: None, pattern }));
        };
        let rows = AdaptivePool2d { n: linear.out_features(), ..adaptive_geometry(x, size)? };
        let g = shapes::Linear { n: x[0], inputs: rows.x_len() / rows.n, outputs: rows.n };
        if [rows.h, rows.w] == size {
            return Ok(Self::Linear(FullyConnected { g, linear, pool: None, pattern }));
        }
        let pattern = pooled_pattern(linear, &rows, &pattern, [g.outputs, 1, g.inputs])?;
        let pattern = Arc::new(pattern);
        Ok(Self::Linear(FullyConnected { g, linear, pool: Some(rows), pattern }))
    }

    /// Lets the algorithm be chosen for calls of `images` images.
    pub fn choose_for(&mut self, images: usize) {
        if let Self::Conv2d(conv) = self {
            conv.images = images;
        }
    }

    /// Returns the bias of each output channel. (A batch norm's bias is one of its own parameters.)
    pub fn bias(&self) -> Option<Tensor> {
        let bias = match self {
            Self::Conv2d(Convolution { compact: Some(compact), .. }) => return compact.outer_bias(),
            Self::Conv2d(Convolution { conv, .. }) => &conv.bias,
            Self::Linear(FullyConnected { linear, .. }) => &linear.bias,
            Self::BatchNorm(..) | Self::LayerNorm(..) | Self::GroupNorm(..) => &None,
            Self::PRelu(_) | Self::Plain(_) => &None,
        };
        bias.as_ref().map(|bias| bias.value().clone())
    }

    /// Returns the pattern of the weights of a convolution or linear layer.
    pub fn pattern(&self) -> Option<&Pattern> {
        match self {
            Self::Conv2d(Convolution { pattern, .. }) | Self::Linear(FullyConnected { pattern, .. }) => {
                Some(pattern)
            }
            Self::BatchNorm(..) | Self::LayerNorm(..) | Self::GroupNorm(..) => None,
            Self::PRelu(_) | Self::Plain(_) => None,
        }
    }

    /// Returns the geometry of a maximum pool of fixed windows.
    pub fn max_pool(&self) -> Option<&shapes::Pool2d> {
        if let Self::Plain(Plain::Pool(pooling)) = self { pooling.max_of_fixed() } else { None }
    }

    /// Returns the kind of `layer`, as executed.
    pub fn kind(&self, layer: &Layer) -> &'static str {
        match self {
            Self::Conv2d(conv) if conv.pattern.has_dead_filters() => "masked conv2d",
            Self::Linear(linear) if linear.pattern.has_dead_filters() => "masked linear",
            _ => layer.kind(),
        }
    }

    /// Returns the number of multiply-accumulates. Skipped filters do none, and only convolutions and linear layers
    /// count.
    pub fn macs(&self) -> u64 {
        match self {
            Self::Conv2d(Convolution { g, pattern, .. }) => {
                let [_, taps, channels] = pattern.shape();
                (g.y_len() / g.o * pattern.filters().len() * taps * channels) as u64
            }
            Self::Linear(FullyConnected { g, pattern, .. }) => {
                (g.n * g.inputs * pattern.filters().len()) as u64
            }
            Self::BatchNorm(..) | Self::LayerNorm(..) | Self::GroupNorm(..) => 0,
            Self::PRelu(_) | Self::Plain(_) => 0,
        }
    }
}

impl Plain {
    /// The same operation on `images` images of a batch of `batch`.
    pub fn of_images(&self, images: usize, batch: usize) -> Self {
        match self {
            Self::Pool(pooling) => Self::Pool(pooling.of_images(images)),
            Self::Softmax(softmax) => {
                Self::Softmax(Softmax { rows: softmax.rows / batch * images, ..*softmax })
            }
            Self::Concat(rows, widths) => Self::Concat(rows / batch * images, widths.clone()),
            Self::PadShortcut(g) => Self::PadShortcut(PadShortcut { n: images, ..*g }),
            Self::Gate(g) => Self::Gate(Gate { n: images, ..*g }),
            Self::Resize(resize) => Self::Resize(resize.of_images(images)),
            Self::Activation(_) | Self::Add | Self::Multiply | Self::Gather(_) => self.clone(),
        }
    }

    /// Bytes of what the kernel looks up beside its values.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Gather(gather) => gather.bytes(),
            Self::Resize(resize) => resize.bytes(),
            _ => 0,
        }
    }

    /// Returns the name of the kernel.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pool(pooling) => pooling.name(),
            Self::Activation(activation) => activation.name(),
            Self::Softmax(Softmax { log: false, .. }) => "softmax",
            Self::Softmax(Softmax { log: true, .. }) => "log_softmax",
            Self::Add => "add",
            Self::Multiply => "multiply",
            Self::Gate(_) => "gate",
            Self::Gather(_) => "gather",
            Self::Resize(_) => "resize",
            Self::Concat(..) => "concat",
            Self::PadShortcut(_) => "pad_shortcut",
        }
    }
}

/// Returns the pattern of a linear layer's weight with a pool folded into it, a weight of shape `shape`. A folded
/// weight is a sum over the outputs of the pool that read a pixel, and is zero where all of them meet zeros of
/// `pattern`: where the folded mask, a sum of the same terms without signs, is zero.
fn pooled_pattern(
    linear: &Linear,
    pool: &AdaptivePool2d,
    pattern: &Pattern,
    shape: [usize; 3],
) -> Result<Pattern> {
    let Some(mask) = linear.weight.mask().filter(|_| pattern.zeros_of_live_filters() > 0.0) else {
        // The pool mixes the weights of a row, but never those of two rows.
        return Ok(pattern.of_same_filters(shape));
    };
    memory::require("a linear layer's mask with a pool folded into it", bytes_of::<f32>([pool.x_len()]))?;
    let mut folded = vec![0.0; pool.x_len()];
    reference::adaptive_avg_pool2d_input_grad(pool, mask.data(), &mut folded);
    Ok(Pattern::of(&folded, shape))
}

/// Returns the pattern of a mask, or that of a weight `[O, taps, C/G]` without one.
fn or_dense(masked: Option<&Arc<Pattern>>, shape: [usize; 3]) -> Arc<Pattern> {
    masked.map_or_else(|| Arc::new(Pattern::dense(shape)), Arc::clone)
}
