//! The layers that a graph is made of. The enum is closed: shape inference, cost, channel flow, execution and
//! planning match it exhaustively, so a layer without a pruning rule does not compile.

use crate::shape::{conv2d_geometry, linear_geometry};
use crate::{Error, Param, Result, Tensor};
use lopper_kernels::params::CompactIndex;
use lopper_kernels::shapes;
use serde::{Deserialize, Serialize};

/// What a node computes. Sizes follow from the parameters' shapes; only what cannot be derived is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Layer {
    /// The image, `[N, H, W, channels]`. The first node of a graph, and no other.
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
    /// Batch normalisation over the last axis, of images and of vectors.
    BatchNorm(BatchNorm),
    /// max(0, x).
    Relu,
    /// min(max(0, x), 6).
    Relu6,
    /// Largest value of each window.
    MaxPool(Pool),
    /// Mean of each window.
    AvgPool(Pool),
    /// Mean pooling to a fixed `[height, width]`.
    AdaptiveAvgPool([usize; 2]),
    /// Max pooling to a fixed `[height, width]`.
    AdaptiveMaxPool([usize; 2]),
    /// `[N, H, W, C] → [N, H·W·C]`: feature `(h·W + w)·C + c` is channel `c`.
    Flatten,
    /// Zeroes each value with probability `p` while training, scaling the rest by 1/(1−p).
    Dropout {
        /// The probability.
        p: f32,
    },
    /// The sum of two or more inputs of one shape.
    Add,
    /// Two or more inputs side by side along the last axis.
    Concat,
    /// The residual shortcut without parameters: see [`shapes::PadShortcut`].
    PadShortcut {
        /// Step between the pixels that are kept.
        stride: usize,
        /// Zero channels in front.
        before: usize,
        /// Zero channels behind.
        after: usize,
    },
}

/// A convolution: see [`shapes::Conv2d`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// `[O, KH, KW, C / groups]`.
    pub weight: Param,
    /// `[O]`.
    pub bias: Option<Param>,
    /// Step between windows, `[height, width]`.
    pub stride: [usize; 2],
    /// Zeros on each side.
    pub padding: [usize; 2],
    /// Distance between taps.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl Conv2d {
    /// Filters.
    pub fn out_channels(&self) -> usize {
        self.weight.value().dim(0)
    }

    /// Channels of the image it reads.
    pub fn in_channels(&self) -> usize {
        self.weight.value().dim(3) * self.groups
    }

    /// `[KH, KW]`.
    pub fn kernel(&self) -> [usize; 2] {
        [self.weight.value().dim(1), self.weight.value().dim(2)]
    }

    /// Whether every input channel has filters of its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.in_channels()
    }

    /// Its checked geometry on an input `[N, H, W, C]`.
    pub fn geometry(&self, x: &[usize]) -> Result<shapes::Conv2d> {
        let Self { stride, padding, dilation, groups, .. } = *self;
        conv2d_geometry(x, self.weight.value().shape(), stride, padding, dilation, groups)
    }
}

/// A convolution over the live channels of a wider image, its outer width unchanged: it gathers `inputs`,
/// convolves, and scatters to `outputs`; every other output channel is the constant in `fill`.
/// For inference: it has no gradient.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompactConv2d {
    /// The convolution among live channels, one group: `[outputs, KH, KW, inputs (+ 1 with a carrier)]`.
    pub conv: Conv2d,
    /// Input channels that are read, ascending.
    pub inputs: Vec<u32>,
    /// Output channels that are computed, ascending.
    pub outputs: Vec<u32>,
    /// Channels of the image that it reads.
    pub in_width: usize,
    /// Whether a last gathered channel of ones (inside the image, zero in the padding) carries, exactly,
    /// the effect of dead inputs that are constant but not zero.
    pub carrier: bool,
    /// `[O]`: the value of each output channel that is not computed.
    pub fill: Vec<f32>,
}

impl CompactConv2d {
    /// The geometry of the dense convolution that it stands for, on an input `[N, H, W, C]`.
    pub fn geometry(&self, x: &[usize]) -> Result<shapes::Conv2d> {
        let [n, h, w, c] = image("compact conv2d", x)?;
        if c != self.in_width {
            return Err(Error::shape(
                "compact conv2d",
                format!("expected {} input channels, found {c}", self.in_width),
            ));
        }
        let [kh, kw] = self.conv.kernel();
        let Conv2d { stride, padding, dilation, .. } = self.conv;
        checked(
            "compact conv2d",
            shapes::Conv2d { n, h, w, c, o: self.fill.len(), kh, kw, stride, padding, dilation, groups: 1 },
            shapes::Conv2d::check,
        )
    }

    /// Which channels live, as kernels are told.
    pub fn index(&self) -> CompactIndex {
        CompactIndex { inputs: self.inputs.clone(), outputs: self.outputs.clone(), carrier: self.carrier }
    }

    /// The bias over all `O` output channels: that of the live ones, zero elsewhere.
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

/// A fully connected layer: see [`shapes::Linear`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// `[OUT, IN]`.
    pub weight: Param,
    /// `[OUT]`.
    pub bias: Option<Param>,
}

impl Linear {
    /// Output features.
    pub fn out_features(&self) -> usize {
        self.weight.value().dim(0)
    }

    /// Input features.
    pub fn in_features(&self) -> usize {
        self.weight.value().dim(1)
    }

    /// Its checked geometry on an input `[N, IN]`.
    pub fn geometry(&self, x: &[usize]) -> Result<shapes::Linear> {
        linear_geometry(x, self.weight.value().shape())
    }
}

/// Batch normalisation (Ioffe & Szegedy 2015): `γ (x − μ) / √(σ² + ε) + β` for each channel. While training, μ and
/// σ² are the batch's, and the running statistics move towards them: `r ← (1 − momentum)·r + momentum·s`, the
/// variance unbiased.
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
    /// Share of a batch in the running statistics.
    pub momentum: f32,
    /// ε.
    pub eps: f32,
}

impl BatchNorm {
    /// The identity over `channels`: γ = 1, β = 0, mean 0, variance 1, PyTorch's momentum and ε.
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

    /// Channels.
    pub fn channels(&self) -> usize {
        self.weight.value().len()
    }

    /// Scale and shift of each channel with the running statistics: the layer is `scale·x + shift`.
    pub fn affine(&self) -> Vec<(f32, f32)> {
        let (gamma, beta) = (self.weight.value().data(), self.bias.value().data());
        let statistics = self.running_mean.data().iter().zip(self.running_var.data());
        let terms = gamma.iter().zip(beta).zip(statistics);
        terms
            .map(|((&g, &b), (&mean, &var))| {
                // In f64: folding multiplies thousands of weights by this scale.
                let scale = f64::from(g) / (f64::from(var) + f64::from(self.eps)).sqrt();
                (scale as f32, (f64::from(b) - scale * f64::from(mean)) as f32)
            })
            .collect()
    }
}

/// A pooling window: see [`shapes::Pool2d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Window, `[height, width]`.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Border on each side.
    pub padding: [usize; 2],
    /// Round the output size up.
    pub ceil_mode: bool,
    /// Average pooling: divide by the whole window over padding too.
    pub count_include_pad: bool,
}

impl Pool {
    /// A square window.
    pub fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            ceil_mode: false,
            count_include_pad: true,
        }
    }

    /// Its checked geometry on an input `[N, H, W, C]`.
    pub fn geometry(&self, x: &[usize]) -> Result<shapes::Pool2d> {
        let [n, h, w, c] = image("pool", x)?;
        let Self { kernel, stride, padding, ceil_mode, count_include_pad } = *self;
        checked(
            "pool",
            shapes::Pool2d { n, h, w, c, kernel, stride, padding, ceil_mode, count_include_pad },
            shapes::Pool2d::check,
        )
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
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::MaxPool(_) => "max pool",
            Self::AvgPool(_) => "avg pool",
            Self::AdaptiveAvgPool(_) => "adaptive avg pool",
            Self::AdaptiveMaxPool(_) => "adaptive max pool",
            Self::Flatten => "flatten",
            Self::Dropout { .. } => "dropout",
            Self::Add => "add",
            Self::Concat => "concat",
            Self::PadShortcut { .. } => "pad shortcut",
        }
    }

    /// Its parameters by name (`weight`, `bias`), in a fixed order.
    pub fn params(&self) -> Vec<(&'static str, &Param)> {
        let (weight, bias) = match self {
            Self::Conv2d(conv) | Self::CompactConv2d(CompactConv2d { conv, .. }) => {
                (&conv.weight, conv.bias.as_ref())
            }
            Self::Linear(linear) => (&linear.weight, linear.bias.as_ref()),
            Self::BatchNorm(bn) => (&bn.weight, Some(&bn.bias)),
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
            _ => return Vec::new(),
        };
        std::iter::once(("weight", weight)).chain(bias.map(|b| ("bias", b))).collect()
    }

    /// Its statistics by name (`running_mean`, `running_var`): stored in files, not trained.
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

/// The four sizes of an image tensor, or an error of operation `op`.
pub(crate) fn image(op: &'static str, x: &[usize]) -> Result<[usize; 4]> {
    x.try_into().map_err(|_| Error::shape(op, format!("expected an image [N, H, W, C], found {x:?}")))
}

/// `geometry` where `check` accepts it.
pub(crate) fn checked<G>(
    op: &'static str,
    geometry: G,
    check: impl Fn(&G) -> Result<(), shapes::ShapeError>,
) -> Result<G> {
    check(&geometry).map_err(|e| Error::shape(op, e.to_string()))?;
    Ok(geometry)
}
