//! Random valid networks for property tests of rewrites and plans.
//!
//! [`networks`] is a proptest strategy over [`RandomNet`], a small readable description that shrinks block by block.
//! [`RandomNet::graph`] builds the network and [`RandomNet::images`] generates its input:
//!
//! ```text
//! image ─ block ─ block ─ … ─ pool? ─ flatten ─ hidden ─ … ─ logits
//!
//! unit      conv, dense, grouped or depthwise, with batch norm and activation in any order
//! residual  ─┬─ unit ─ conv ─ bn? ─ add ─ act?     shortcut: identity, 1×1 projection or zero-padded channels
//!            └──── shortcut ────────┘
//! fork      ─ conv ─┬─ bn ─ act ─ join              or from after the bn: a case that folding must not break
//!                   └───────────────┘
//! branches  ─┬─ unit ─ concat ─
//!            ├─ unit ──┤
//!            └─────────┘
//! squeeze   ─┬─ mean ─ conv ─ relu ─ conv ─ gate ─ multiply ─      squeeze-and-excitation
//!            └────────────────────────────────────┘
//! shuffle   ─┬─ first channels ───────── concat ─ shuffle ─        as in ShuffleNetV2
//!            └─ others ─ unit ──────────────┘
//! ```
//!
//! and group and layer norms, softmaxes, slopes of channels, products of two units, resized images and transposed convolutions.

mod build;
pub mod values;

use lopper_engine::Tensor;
use lopper_engine::layer::{Activation, Coordinates, FixedWindow, Pool, Resize, ResizeSize, Sampling};
use lopper_kernels::params::ACTIVATIONS;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Network to build. If a window does not fit the remaining image, it is padded or omitted.
#[derive(Clone, Debug)]
pub struct RandomNet {
    /// Size of the images, `[H, W, C]`.
    pub image: [usize; 3],
    /// Layers on images.
    pub blocks: Vec<Block>,
    /// Layers on vectors.
    pub head: Head,
    /// Seed of weights, statistics and images.
    pub seed: u64,
}

/// A few layers on images.
#[derive(Clone, Debug)]
pub enum Block {
    /// Convolution with batch norm and activation.
    Unit(Unit),
    /// Two convolutions and a shortcut, summed.
    Residual { first: Unit, norm: bool, shortcut: Shortcut, after: Option<Activation> },
    /// Convolution, batch norm and activation; an earlier output is read again at the end.
    Fork { unit: Unit, tap: Tap, join: Join },
    /// Parallel units, and possibly their input, concatenated.
    Branches { units: Vec<Unit>, input_too: bool },
    /// A gate from the mean of the image.
    Squeeze { reduced: usize, gate: Activation, vector: bool },
    /// The product of two units of the same input.
    Product { units: [Unit; 2] },
    /// A part of the channels passes, the others go through a unit, and all are shuffled.
    Shuffle { unit: Unit, share: usize },
    /// Layer normalization.
    LayerNorm,
    /// Group normalization, in the largest number of groups up to this that divides the channels, or of each channel, if
    /// groups are not tiny.
    GroupNorm(Option<usize>),
    /// A softmax over the channels, or its logarithm.
    Softmax { log: bool },
    /// A slope for each channel.
    PRelu,
    /// A resizing, if the image stays small.
    Resize(Resize),
    /// A transposed convolution, if the image stays small.
    Transposed { out: usize, kernel: usize, stride: usize },
    /// Pooling window.
    Pool(Pool),
    /// Batch norm that does not follow a convolution.
    Norm,
    /// Dropout, the identity in eval mode.
    Dropout,
}

/// A convolution with batch norm and activation.
#[derive(Clone, Debug)]
pub struct Unit {
    pub out: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Whether a border of zeros is added, so that stride 1 keeps the size.
    pub padded: bool,
    pub grouping: Grouping,
    pub bias: bool,
    pub order: Order,
    pub activation: Activation,
}

/// Channels that a filter reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grouping {
    Dense,
    /// The largest number of groups up to 4 that divides the channels.
    Grouped,
    /// One channel per filter, and one or (if the layer stays narrow) two filters per channel.
    Depthwise,
}

/// Batch norm and activation of a convolution, and their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    Conv,
    ConvAct,
    ConvNorm,
    ConvNormAct,
    ConvActNorm,
    NormActConv,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shortcut {
    Identity,
    Projection { norm: bool },
    Pad { before: usize, after: usize },
}

/// Output that a [`Block::Fork`] reads twice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tap {
    Conv,
    Norm,
    /// Both, so that the join has three inputs.
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Join {
    Add,
    Concat,
}

/// Pooling, hidden linear layers and the logits.
#[derive(Clone, Debug)]
pub struct Head {
    pub pool: HeadPool,
    pub hidden: Vec<Hidden>,
    pub bias: bool,
    pub classes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeadPool {
    None,
    Avg(usize),
    Max(usize),
    /// Mean and maximum, concatenated.
    Both,
}

/// Hidden linear layer with normalization, activation and dropout.
#[derive(Clone, Debug)]
pub struct Hidden {
    pub width: usize,
    pub bias: bool,
    /// Batch norm of the vector, before (`true`) or after the activation.
    pub norm: Option<bool>,
    pub activation: Option<Activation>,
    pub dropout: bool,
}

/// Generates networks of up to six blocks and two hidden linear layers, 1 to 40 channels wide.
pub fn networks() -> impl Strategy<Value = RandomNet> {
    let image = (6..=13usize, 6..=13usize, 1..=4usize).prop_map(|(h, w, c)| [h, w, c]);
    let nets = (image, vec(block(), 1..=6), head(), any::<u64>());
    nets.prop_map(|(image, blocks, head, seed)| RandomNet { image, blocks, head, seed })
}

fn block() -> impl Strategy<Value = Block> {
    let shortcut = prop_oneof![
        3 => Just(Shortcut::Identity),
        2 => any::<bool>().prop_map(|norm| Shortcut::Projection { norm }),
        1 => (0..=3usize, 0..=3usize).prop_map(|(before, after)| Shortcut::Pad { before, after }),
    ];
    let residual = (unit(), any::<bool>(), shortcut, option::of(activation()))
        .prop_map(|(first, norm, shortcut, after)| Block::Residual { first, norm, shortcut, after });
    let fork = (unit(), select(vec![Tap::Conv, Tap::Norm, Tap::Both]), select(vec![Join::Add, Join::Concat]))
        .prop_map(|(unit, tap, join)| Block::Fork { unit, tap, join });
    let branches = (vec(unit(), 1..=3), any::<bool>())
        .prop_map(|(units, input_too)| Block::Branches { units, input_too });
    let pool = (any::<bool>(), 2..=3usize, 1..=2usize, 0..=1usize, any::<bool>(), any::<bool>()).prop_map(
        |(max, kernel, stride, padding, ceil_mode, count_include_pad)| {
            let square = FixedWindow::square(kernel, stride, padding);
            let window = FixedWindow { ceil_mode, count_include_pad, ..square };
            Block::Pool(if max { Pool::max(window) } else { Pool::average(window) })
        },
    );
    let gate = select(vec![Activation::Sigmoid, Activation::HardSigmoid, Activation::Relu]);
    let squeeze = (1..=6usize, gate, any::<bool>()).prop_map(|(reduced, gate, vector)| Block::Squeeze {
        reduced,
        gate,
        vector,
    });
    let product = (unit(), unit()).prop_map(|(a, b)| Block::Product { units: [a, b] });
    let shuffle = (unit(), 1..=3usize).prop_map(|(unit, share)| Block::Shuffle { unit, share });
    let sizes = prop_oneof![
        Just(ResizeSize::Times([2, 2])),
        (3..=11usize, 3..=11usize).prop_map(|(h, w)| ResizeSize::Fixed([h, w])),
    ];
    let samplings = select(vec![
        Resize::nearest(2).sampling,
        Sampling::Bilinear(Coordinates::HalfPixel),
        Sampling::Bilinear(Coordinates::AlignCorners),
    ]);
    let resize = (samplings, sizes).prop_map(|(sampling, size)| Block::Resize(Resize { sampling, size }));
    let transposed = (1..=12usize, 2..=4usize, 1..=2usize)
        .prop_map(|(out, kernel, stride)| Block::Transposed { out, kernel, stride });
    let newer = prop_oneof![
        3 => squeeze,
        1 => product,
        2 => shuffle,
        2 => Just(Block::LayerNorm),
        2 => option::of(1..=6usize).prop_map(Block::GroupNorm),
        1 => any::<bool>().prop_map(|log| Block::Softmax { log }),
        1 => Just(Block::PRelu),
        1 => resize,
        1 => transposed,
    ];
    prop_oneof![
        6 => unit().prop_map(Block::Unit),
        4 => residual,
        2 => fork,
        2 => branches,
        5 => newer,
        2 => pool,
        1 => Just(Block::Norm),
        1 => Just(Block::Dropout),
    ]
}

fn unit() -> impl Strategy<Value = Unit> {
    let window = (select(vec![1, 3, 3, 5]), 1..=2usize, select(vec![1, 1, 2]), any::<bool>());
    let grouping = select(vec![Grouping::Dense, Grouping::Dense, Grouping::Grouped, Grouping::Depthwise]);
    let order = select(vec![
        Order::ConvNormAct,
        Order::ConvNormAct,
        Order::ConvActNorm,
        Order::ConvNorm,
        Order::ConvAct,
        Order::NormActConv,
        Order::Conv,
    ]);
    (1..=40usize, window, grouping, any::<bool>(), order, activation()).prop_map(
        |(out, (kernel, stride, dilation, padded), grouping, bias, order, activation)| Unit {
            out,
            kernel,
            stride,
            dilation,
            padded,
            grouping,
            bias,
            order,
            activation,
        },
    )
}

fn activation() -> impl Strategy<Value = Activation> {
    select([&[Activation::Relu; 3][..], &ACTIVATIONS[1..]].concat())
}

fn head() -> impl Strategy<Value = Head> {
    let pool = prop_oneof![
        Just(HeadPool::None),
        (1..=3usize).prop_map(HeadPool::Avg),
        (1..=2usize).prop_map(HeadPool::Max),
        Just(HeadPool::Both),
    ];
    let hidden =
        (1..=24usize, any::<bool>(), option::of(any::<bool>()), option::of(activation()), any::<bool>())
            .prop_map(|(width, bias, norm, activation, dropout)| Hidden {
                width,
                bias,
                norm,
                activation,
                dropout,
            });
    (pool, vec(hidden, 0..=2), any::<bool>(), 2..=6usize).prop_map(|(pool, hidden, bias, classes)| Head {
        pool,
        hidden,
        bias,
        classes,
    })
}

/// Returns the largest difference of two tensors of equal shape, relative to the largest magnitude, which is taken as
/// at least 1. The result is infinite if a value is not finite.
pub fn relative_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape(), b.shape());
    let largest = a.data().iter().fold(1.0_f32, |m, v| m.max(v.abs()));
    let pairs = a.data().iter().zip(b.data());
    pairs.fold(0.0, |worst: f32, (a, b)| {
        let difference = (a - b).abs() / largest;
        if difference.is_finite() { worst.max(difference) } else { f32::INFINITY }
    })
}
