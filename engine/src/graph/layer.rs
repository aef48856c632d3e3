//! The layers of a graph. The enum is closed: shape inference, cost, channel flow, execution and planning match it
//! exhaustively, so a layer without a pruning rule does not compile.

use crate::graph::geometry::{Conv2dOptions, checked, conv2d_geometry, image, linear_geometry};
use crate::{Error, Param, Result, Tensor};
use lopper_kernels::params::CompactIndex;
use lopper_kernels::shapes;
use serde::{Deserialize, Serialize};

pub use crate::graph::group_norm::GroupNorm;
pub use crate::graph::layer_norm::LayerNorm;
pub use crate::graph::pool::{FixedWindow, Pool, PoolKind, Window};
pub use crate::graph::resize::{Coordinates, Resize, ResizeSize, Rounding, Sampling};
pub use lopper_kernels::params::Activation;

/// The computation of a node. Sizes follow from the parameters' shapes; only other values are stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Layer {
    /// The image, `[N, H, W, channels]`. Only the first node of a graph is an input.
    Input {
        /// Channels of the image.
        channels: usize,
    },
    /// Convolution.
    Conv2d(Conv2d),
    /// Convolution over the live channels of a wider image.
    CompactConv2d(CompactConv2d),
    /// Fully connected: `[N, IN] → [N, OUT]`.
    Linear(Linear),
    /// Batch normalization over the last axis of images or vectors.
    BatchNorm(BatchNorm),
    /// Layer normalization over the last axis of images or vectors.
    LayerNorm(LayerNorm),
    /// Group normalization of images, and instance normalization.
    GroupNorm(GroupNorm),
    /// A function of each value.
    Activation(Activation),
    /// The rectifier with a slope for each channel.
    PRelu(PRelu),
    /// The softmax over the channels of each pixel or vector, `exp(x) / Σ exp(x)`, or its logarithm.
    Softmax {
        /// Whether it is the logarithm.
        log: bool,
    },
    /// The maximum or the mean of each window.
    Pool(Pool),
    /// `[N, H, W, C] → [N, H·W·C]`: feature `(h·W + w)·C + c` is channel `c`.
    Flatten,
    /// Zeroes each value with probability `p` while training, scaling the rest by 1/(1−p).
    Dropout {
        /// The probability.
        p: f32,
    },
    /// The sum of two or more inputs of the same shape.
    Add,
    /// The product of two inputs of the same shape. The second one may also have one pixel, `[N, 1, 1, C]` or `[N, C]`: it
    /// is a gate, a factor for each channel of each image (squeeze-and-excitation, Hu, Shen & Sun 2018).
    Multiply,
    /// The concatenation of two or more inputs along the last axis.
    Concat,
    /// Channels in any order: output channel i is input channel `channels[i]`. A part of the channels, a split, or their
    /// order after a shuffle (Zhang et al. 2018).
    Gather {
        /// The channel of the input for each channel of the output, with repetitions if need be.
        channels: Vec<u32>,
    },
    /// A larger or smaller image.
    Resize(Resize),
    /// Zeros between the pixels, `[N, H, W, C] → [N, (H − 1)·s + 1, (W − 1)·t + 1, C]`: behind it, a convolution is a
    /// transposed one.
    Dilate {
        /// Steps between the pixels of the input, `[height, width]`.
        stride: [usize; 2],
    },
    /// The parameter-free residual shortcut; see [`shapes::PadShortcut`].
    PadShortcut {
        /// Stride between the pixels that are kept.
        stride: usize,
        /// Zero channels before the input's channels.
        before: usize,
        /// Zero channels after the input's channels.
        after: usize,
    },
}

/// A convolution; see [`shapes::Conv2d`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// `[O, KH, KW, C / groups]`.
    pub weight: Param,
    /// `[O]`.
    pub bias: Option<Param>,
    /// Stride between windows, `[height, width]`.
    pub stride: [usize; 2],
    /// Zero padding on each side.
    pub padding: [usize; 2],
    /// Further zeros behind the last row and column, as TensorFlow's `SAME` padding adds them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub extra_padding: [usize; 2],
    /// Distance between taps.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

/// Files name only a padding that exists.
fn is_zero(padding: &[usize; 2]) -> bool {
    *padding == [0; 2]
}

impl Conv2d {
    /// Number of filters.
    pub fn out_channels(&self) -> usize {
        self.weight.value().dim(0)
    }

    /// Number of input channels.
    pub fn in_channels(&self) -> usize {
        self.weight.value().dim(3) * self.groups
    }

    /// `[KH, KW]`.
    pub fn kernel(&self) -> [usize; 2] {
        [self.weight.value().dim(1), self.weight.value().dim(2)]
    }

    /// Whether each input channel has separate filters.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels()
    }

    /// The checked geometry for an input `[N, H, W, C]`.
    pub fn geometry(&self, x: &[usize]) -> Result<shapes::Conv2d> {
        conv2d_geometry(x, self.weight.value().shape(), self.options())
    }

    /// How it reads its image.
    pub fn options(&self) -> Conv2dOptions {
        let Self { stride, padding, extra_padding, dilation, groups, .. } = *self;
        Conv2dOptions { stride, padding, extra_padding, dilation, groups }
    }
}

/// A convolution over the live channels of a wider image, with unchanged outer width. It gathers `inputs`, convolves
/// them, and scatters the result to `outputs`. The other output channels are the constants in `fill`.
/// It has no gradient and is only for inference.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompactConv2d {
    /// The convolution between live channels, in one group: `[outputs, KH, KW, inputs (+ 1 with a carrier)]`.
    pub conv: Conv2d,
    /// Indices of the input channels that are read, ascending.
    pub inputs: Vec<u32>,
    /// Indices of the output channels that are computed, ascending.
    pub outputs: Vec<u32>,
    /// Number of input channels.
    pub in_width: usize,
    /// Whether an additional last channel, of ones inside the image and zeros in the padding, is gathered. It carries
    /// the exact effect of dead inputs that are constant but not zero.
    pub carrier: bool,
    /// The values of the output channels that are not computed, `[O]`.
    pub fill: Vec<f32>,
}

impl CompactConv2d {
    /// The geometry of the equivalent dense convolution for an input `[N, H, W, C]`.
    pub fn geometry(&self, x: &[usize]) -> Result<shapes::Conv2d> {
        let [n, h, w, c] = image("compact conv2d", x)?;
        if c != self.in_width {
            return Err(Error::shape(
                "compact conv2d",
                format!("expected {} input channels, found {c}", self.in_width),
            ));
        }
        let [kh, kw] = self.conv.kernel();
        let (o, groups) = (self.fill.len(), 1);
        let Conv2dOptions { stride, padding, extra_padding, dilation, .. } = self.conv.options();
        let g = shapes::Conv2d { n, h, w, c, o, kh, kw, stride, padding, extra_padding, dilation, groups };
        checked("compact conv2d", g, shapes::Conv2d::check)
    }

    /// The live channels, in the form that kernels take.
    pub fn index(&self) -> CompactIndex {
        CompactIndex { inputs: self.inputs.clone(), outputs: self.outputs.clone(), carrier: self.carrier }
    }

    /// The bias over all `O` output channels, zero for those that are not computed.
    pub fn outer_bias(&self) -> Option<Tensor> {
        let bias = self.conv.bias.as_ref()?;
        let mut outer = Tensor::zeros(&[self.fill.len()]);
        let values = outer.data_mut();
        for (&o, &b) in self.outputs.iter().zip(bias.value().data()) {
            values[o as usize] = b;
        }
        Some(outer)
    }
}

/// A fully connected layer; see [`shapes::Linear`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// `[OUT, IN]`.
    pub weight: Param,
    /// `[OUT]`.
    pub bias: Option<Param>,
}

impl Linear {
    /// Number of output features.
    pub fn out_features(&self) -> usize {
        self.weight.value().dim(0)
    }

    /// Number of input features.
    pub fn in_features(&self) -> usize {
        self.weight.value().dim(1)
    }

    /// The checked geometry for an input `[N, IN]`.
    pub fn geometry(&self, x: &[usize]) -> Result<shapes::Linear> {
        linear_geometry(x, self.weight.value().shape())
    }
}

/// Batch normalization (Ioffe & Szegedy 2015): `γ (x − μ) / √(σ² + ε) + β` for each channel. In training, μ and σ² are
/// the batch's statistics, and the running statistics move toward them: `r ← (1 − momentum)·r + momentum·s`, with the
/// unbiased variance.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchNorm {
    /// γ, `[C]`.
    pub weight: Param,
    /// β, `[C]`.
    pub bias: Param,
    /// `[C]`.
    #[serde(skip)]
    pub running_mean: Tensor,
    /// `[C]`.
    #[serde(skip)]
    pub running_var: Tensor,
    /// Weight of a batch in the running statistics.
    pub momentum: f32,
    /// ε.
    pub eps: f32,
}

impl BatchNorm {
    /// Creates the identity over `channels`: γ = 1, β = 0, mean 0, variance 1, with PyTorch's momentum and ε.
    pub fn new(channels: usize) -> Self {
        Self {
            weight: Param::new(Tensor::full(&[channels], 1.0)),
            bias: Param::new(Tensor::zeros(&[channels])),
            running_mean: Tensor::zeros(&[channels]),
            running_var: Tensor::full(&[channels], 1.0),
            momentum: 0.1,
            eps: 1e-5,
        }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.weight.value().len()
    }

    /// The scale and shift of each channel under the running statistics: the layer is `scale·x + shift`.
    pub fn affine(&self) -> Vec<(f32, f32)> {
        let (gamma, beta) = (self.weight.value().data(), self.bias.value().data());
        let statistics = self.running_mean.data().iter().zip(self.running_var.data());
        let terms = gamma.iter().zip(beta).zip(statistics);
        terms
            .map(|((&g, &b), (&mean, &var))| {
                // In f64, because folding multiplies thousands of weights by this scale.
                let scale = f64::from(g) / (f64::from(var) + f64::from(self.eps)).sqrt();
                (scale as f32, (f64::from(b) - scale * f64::from(mean)) as f32)
            })
            .collect()
    }
}

/// The rectifier with a learned slope for negative inputs (He et al. 2015): `x` where it is positive, otherwise `w·x`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PRelu {
    /// The slope of each channel, `[C]`.
    pub weight: Param,
}

impl PRelu {
    /// Creates `channels` slopes of PyTorch's default, ¼.
    pub fn new(channels: usize) -> Self {
        Self { weight: Param::new(Tensor::full(&[channels], 0.25)) }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.weight.value().len()
    }
}

impl Layer {
    /// The kind of layer, for tables and messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Conv2d(conv) if conv.groups > 1 => "grouped conv2d",
            Self::Conv2d(_) => "conv2d",
            Self::CompactConv2d(_) => "compact conv2d",
            Self::Linear(_) => "linear",
            Self::BatchNorm(_) => "batch norm",
            Self::LayerNorm(_) => "layer norm",
            Self::GroupNorm(norm) if norm.is_instance_norm() => "instance norm",
            Self::GroupNorm(_) => "group norm",
            Self::PRelu(_) => "prelu",
            Self::Activation(activation) => activation.name(),
            Self::Softmax { log: false } => "softmax",
            Self::Softmax { log: true } => "log softmax",
            Self::Pool(pool) => pool.name(),
            Self::Flatten => "flatten",
            Self::Dropout { .. } => "dropout",
            Self::Add => "add",
            Self::Multiply => "multiply",
            Self::Concat => "concat",
            Self::Gather { .. } => "gather",
            Self::Resize(_) => "resize",
            Self::Dilate { .. } => "dilate",
            Self::PadShortcut { .. } => "pad shortcut",
        }
    }

    /// The parameters by name (`weight`, `bias`), in a fixed order.
    pub fn params(&self) -> Vec<(&'static str, &Param)> {
        let (weight, bias) = match self {
            Self::Conv2d(conv) | Self::CompactConv2d(CompactConv2d { conv, .. }) => {
                (&conv.weight, conv.bias.as_ref())
            }
            Self::Linear(linear) => (&linear.weight, linear.bias.as_ref()),
            Self::BatchNorm(bn) => (&bn.weight, Some(&bn.bias)),
            Self::LayerNorm(norm) => (&norm.weight, Some(&norm.bias)),
            Self::GroupNorm(norm) => (&norm.weight, Some(&norm.bias)),
            Self::PRelu(prelu) => (&prelu.weight, None),
            _ => return Vec::new(),
        };
        std::iter::once(("weight", weight)).chain(bias.map(|b| ("bias", b))).collect()
    }

    /// [`Layer::params`], for writing.
    pub fn params_mut(&mut self) -> Vec<(&'static str, &mut Param)> {
        let (weight, bias) = match self {
            Self::Conv2d(conv) | Self::CompactConv2d(CompactConv2d { conv, .. }) => {
                (&mut conv.weight, conv.bias.as_mut())
            }
            Self::Linear(linear) => (&mut linear.weight, linear.bias.as_mut()),
            Self::BatchNorm(bn) => (&mut bn.weight, Some(&mut bn.bias)),
            Self::LayerNorm(norm) => (&mut norm.weight, Some(&mut norm.bias)),
            Self::GroupNorm(norm) => (&mut norm.weight, Some(&mut norm.bias)),
            Self::PRelu(prelu) => (&mut prelu.weight, None),
            _ => return Vec::new(),
        };
        std::iter::once(("weight", weight)).chain(bias.map(|b| ("bias", b))).collect()
    }

    /// The running statistics by name (`running_mean`, `running_var`), which are stored in files but not trained.
    pub fn buffers(&self) -> Vec<(&'static str, &Tensor)> {
        match self {
            Self::BatchNorm(bn) => vec![("running_mean", &bn.running_mean), ("running_var", &bn.running_var)],
            _ => Vec::new(),
        }
    }

    /// [`Layer::buffers`], for writing.
    pub fn buffers_mut(&mut self) -> Vec<(&'static str, &mut Tensor)> {
        match self {
            Self::BatchNorm(bn) => {
                vec![("running_mean", &mut bn.running_mean), ("running_var", &mut bn.running_var)]
            }
            _ => Vec::new(),
        }
    }
}
