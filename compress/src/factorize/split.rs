//! Layers from factors: what each way of splitting a layer makes of it.
//!
//! ```text
//!   linear    [OUT, IN]        fc.0 [R, IN]            ─ fc.1 [OUT, R] + b
//!   channel   [O, KH, KW, C]   conv.0 [R, KH, KW, C]   ─ conv.1 [O, 1, 1, R] + b
//!   spatial                    conv.0 [R, KH, 1, C]    ─ conv.1 [O, 1, KW, R] + b
//!   tucker                     conv.0 [S, 1, 1, C]     ─ conv.1 [R, KH, KW, S]  ─ conv.2 [O, 1, 1, R] + b
//!   cp                         conv.0 [R, 1, 1, C]     ─ conv.1 [R, KH, 1, 1]   ─ conv.2 [R, 1, KW, 1]  ─ conv.3 [O, 1, 1, R] + b
//!                                                        depthwise                depthwise
//! ```
//!
//! Stride, padding and dilation of an axis go to the factor whose kernel extends along it. Factors before the last have
//! no bias, so that they map the zeros of a padding to zeros: the split is exact at every border.

use super::svd::Svd;
use lopper_engine::layer::{Conv2d, Linear};
use lopper_engine::{Layer, Param, Tensor};

/// A weight seen as a matrix whose rank is reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfolding {
    /// `[OUT, IN]` (Denton et al. 2014; Xue et al. 2013).
    Linear,
    /// `[O, KH·KW·C]` (Zhang et al. 2015, "Accelerating very deep convolutional networks for classification and
    /// detection", section 3.1, for the weight; Denton et al. 2014).
    Channel,
    /// `[O·KW, KH·C]` (Jaderberg et al. 2014, "Speeding up convolutional neural networks with low rank expansions",
    /// scheme 2).
    Spatial,
}

impl Unfolding {
    /// The name in reports; that of linear layers goes without saying.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "",
            Self::Channel => "channel",
            Self::Spatial => "spatial",
        }
    }

    /// `[rows, columns]` of the matrix of a weight of `shape`.
    pub fn sides(self, shape: &[usize]) -> [usize; 2] {
        match (self, shape) {
            (Self::Spatial, &[o, kh, kw, c]) => [o * kw, kh * c],
            (_, &[o, ref rest @ ..]) => [o, rest.iter().product()],
            (_, []) => [0, 0],
        }
    }

    /// The matrix of `weight`.
    pub fn matrix(self, weight: &Tensor) -> Tensor {
        let sides = self.sides(weight.shape());
        let ordered = match self {
            Self::Spatial => weight.permute(&[0, 2, 1, 3]),
            Self::Linear | Self::Channel => weight.clone(),
        };
        ordered.reshape(&sides).expect("as many values")
    }

    /// The layers with the factors `a` `[R, columns]` and `b` `[rows, R]` that replace `layer`.
    pub fn layers(self, layer: &Layer, a: Tensor, b: Tensor) -> Vec<Layer> {
        let rank = a.dim(0);
        let shaped = |tensor: &Tensor, shape: &[usize]| tensor.reshape(shape).expect("as many values");
        match layer {
            Layer::Conv2d(conv) => {
                let ([kh, kw], o, c) = (conv.kernel(), conv.out_channels(), conv.in_channels());
                let (first, second, axes) = match self {
                    Self::Spatial => (
                        shaped(&a, &[rank, kh, 1, c]),
                        shaped(&b, &[o, 1, kw, rank]),
                        [[true, false], [false, true]],
                    ),
                    Self::Linear | Self::Channel => (
                        shaped(&a, &[rank, kh, kw, c]),
                        shaped(&b, &[o, 1, 1, rank]),
                        [[true, true], [false, false]],
                    ),
                };
                vec![factor(conv, first, axes[0], 1), last(conv, factor(conv, second, axes[1], 1))]
            }
            Layer::Linear(linear) => vec![
                Layer::Linear(Linear { weight: param(a, &linear.weight), bias: None }),
                Layer::Linear(Linear { weight: param(b, &linear.weight), bias: linear.bias.clone() }),
            ],
            _ => unreachable!("only convolutions and linear layers are split"),
        }
    }

    /// The layers of the best approximation of this rank.
    pub fn of_rank(self, layer: &Layer, svd: &Svd, rank: usize) -> Vec<Layer> {
        let (a, b) = svd.factors(rank);
        self.layers(layer, a, b)
    }

    /// The layers of this rank with weights of zero, which suffice for counting.
    pub fn outline(self, layer: &Layer, shape: &[usize], rank: usize) -> Vec<Layer> {
        let [rows, columns] = self.sides(shape);
        self.layers(layer, Tensor::zeros(&[rank, columns]), Tensor::zeros(&[rows, rank]))
    }
}

/// The convolution with this `weight` and the stride, padding and dilation of `conv` along the given axes.
pub(super) fn factor(conv: &Conv2d, weight: Tensor, [along_h, along_w]: [bool; 2], groups: usize) -> Layer {
    let pick = |values: [usize; 2], otherwise: usize| {
        [if along_h { values[0] } else { otherwise }, if along_w { values[1] } else { otherwise }]
    };
    Layer::Conv2d(Conv2d {
        weight: param(weight, &conv.weight),
        bias: None,
        stride: pick(conv.stride, 1),
        padding: pick(conv.padding, 0),
        extra_padding: pick(conv.extra_padding, 0),
        dilation: pick(conv.dilation, 1),
        groups,
    })
}

/// The last factor, which has the bias.
pub(super) fn last(conv: &Conv2d, layer: Layer) -> Layer {
    match layer {
        Layer::Conv2d(factor) => Layer::Conv2d(Conv2d { bias: conv.bias.clone(), ..factor }),
        other => other,
    }
}

/// A factor of `whole`, which is frozen if that is.
fn param(value: Tensor, whole: &Param) -> Param {
    let mut param = Param::new(value);
    param.trainable = whole.trainable;
    param
}
