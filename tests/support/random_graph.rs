//! Random valid networks for property tests of rewrites and plans.
//!
//! [`networks`] is a proptest strategy over [`RandomNet`], a small readable description that shrinks block by
//! block; [`RandomNet::graph`] builds it and [`RandomNet::images`] gives it something to look at:
//!
//! ```text
//! image ─ block ─ block ─ … ─ pool? ─ flatten ─ hidden ─ … ─ logits
//!
//! unit      conv, dense, grouped or depthwise, with batch norm and activation in any order
//! residual  ─┬─ unit ─ conv ─ bn? ─ add ─ act?     shortcut: identity, 1×1 projection or zero-padded channels
//!            └──── shortcut ────────┘
//! fork      ─ conv ─┬─ bn ─ act ─ join              or from behind the bn: what folding must not break
//!                   └───────────────┘
//! branches  ─┬─ unit ─ concat ─
//!            ├─ unit ──┤
//!            └─────────┘
//! ```

use engine::layer::Pool;
use engine::{Graph, Layer, NodeId, Tensor};
use models::builder::{Builder, Conv};
use models::init;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// A network to build. Where a window does not fit the image that is left, it is padded or left out.
#[derive(Clone, Debug)]
pub struct RandomNet {
    /// `[H, W, C]`.
    pub image: [usize; 3],
    /// The layers over images.
    pub blocks: Vec<Block>,
    /// The layers over vectors.
    pub head: Head,
    /// Of weights, statistics and images.
    pub seed: u64,
}

/// A few layers over images.
#[derive(Clone, Debug)]
pub enum Block {
    /// A convolution and its company.
    Unit(Unit),
    /// Two convolutions beside a shortcut, summed.
    Residual { first: Unit, norm: bool, shortcut: Shortcut, after: Option<Activation> },
    /// Convolution, batch norm and activation, an earlier one of which is read a second time at the end.
    Fork { unit: Unit, tap: Tap, join: Join },
    /// Units side by side, and perhaps what they read.
    Branches { units: Vec<Unit>, input_too: bool },
    /// A pooling window.
    Pool { max: bool, pool: Pool },
    /// A batch norm that no convolution feeds.
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
    /// With a border of zeros, so that stride 1 keeps the size.
    pub padded: bool,
    pub grouping: Grouping,
    pub bias: bool,
    pub order: Order,
    pub activation: Activation,
}

/// Which channels a filter reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Grouping {
    Dense,
    /// The largest number of groups up to 4 that divides the channels.
    Grouped,
    /// One channel a filter, one or (where it stays narrow) two filters a channel.
    Depthwise,
}

/// What stands beside a convolution, and where.
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
pub enum Activation {
    Relu,
    Relu6,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shortcut {
    Identity,
    Projection { norm: bool },
    Pad { before: usize, after: usize },
}

/// The output that a [`Block::Fork`] reads twice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tap {
    Conv,
    Norm,
    /// Both, which makes the join one of three.
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
    /// Mean and maximum side by side.
    Both,
}

/// A hidden linear layer and its company.
#[derive(Clone, Debug)]
pub struct Hidden {
    pub width: usize,
    pub bias: bool,
    /// A batch norm over the vector, before the activation or behind it.
    pub norm: Option<bool>,
    pub activation: Option<Activation>,
    pub dropout: bool,
}

/// Networks of up to six blocks and two hidden linear layers, 1 to 40 channels wide.
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
        |(max, kernel, stride, padding, ceil_mode, count_include_pad)| Block::Pool {
            max,
            pool: Pool { ceil_mode, count_include_pad, ..Pool::square(kernel, stride, padding) },
        },
    );
    prop_oneof![
        6 => unit().prop_map(Block::Unit),
        4 => residual,
        2 => fork,
        2 => branches,
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
    select(vec![Activation::Relu, Activation::Relu, Activation::Relu6])
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

impl RandomNet {
    /// The network, with random weights and statistics.
    pub fn graph(&self) -> Graph {
        let mut net = Builder::new(self.image, None);
        for (i, block) in self.blocks.iter().enumerate() {
            net.within(format!("block{i}"), |net| block.build(net));
        }
        self.head.build(&mut net);
        let mut graph = net.finish().expect("every description builds");
        randomize(&mut graph, self.seed);
        graph.info.arch = "random".into();
        graph.info.input = self.image;
        graph.info.classes = (0..self.head.classes).map(|c| c.to_string()).collect();
        graph
    }

    /// `n` images of normal noise, `[N, H, W, C]`.
    pub fn images(&self, n: usize) -> Tensor {
        let [h, w, c] = self.image;
        init::normal(self.seed, "images", &[n, h, w, c], 1.0)
    }
}

impl Block {
    fn build(&self, net: &mut Builder) {
        let input = net.at();
        match self {
            Self::Unit(unit) => unit.build(net),
            Self::Residual { first, norm, shortcut, after } => {
                residual(net, first, *norm, *shortcut);
                if let Some(after) = after {
                    net.layer("act", after.layer());
                }
            }
            Self::Fork { unit, tap, join } => {
                let conv = net.conv("conv", unit.conv(net)).at();
                let norm = net.batch_norm("norm").at();
                let end = net.layer("act", unit.activation.layer()).at();
                let joined = match tap {
                    Tap::Conv => vec![end, conv],
                    Tap::Norm => vec![norm, end],
                    Tap::Both => vec![conv, end, norm],
                };
                net.join("join", join.layer(), &joined);
            }
            Self::Branches { units, input_too } => {
                let mut ends: Vec<NodeId> = input_too.then_some(input).into_iter().collect();
                for (i, unit) in units.iter().enumerate() {
                    net.go_to(input);
                    // Branches meet, so none of them changes the size; narrow, as their widths add up.
                    let unit = Unit { out: unit.out.div_ceil(3), stride: 1, padded: true, ..unit.clone() };
                    net.within(format!("branch{i}"), |net| unit.build(net));
                    ends.push(net.at());
                }
                if ends.len() > 1 {
                    net.concat("concat", &ends);
                }
            }
            Self::Pool { max, pool } => {
                if pool.geometry(net.shape()).is_ok() {
                    net.layer("pool", if *max { Layer::MaxPool(*pool) } else { Layer::AvgPool(*pool) });
                }
            }
            Self::Norm => drop(net.batch_norm("norm")),
            Self::Dropout => drop(net.dropout("dropout", 0.3)),
        }
    }
}

fn residual(net: &mut Builder, first: &Unit, norm: bool, shortcut: Shortcut) {
    let (input, channels) = (net.at(), net.channels());
    let (stride, out) = match shortcut {
        Shortcut::Identity => (1, channels),
        Shortcut::Projection { .. } => (first.stride, first.out),
        Shortcut::Pad { before, after } => (first.stride, before + channels + after),
    };
    let first = Unit { stride, padded: true, ..first.clone() };
    net.within("first", |net| first.build(net));
    net.conv("second", Conv::same(out, 3));
    let main = if norm { net.batch_norm("norm").at() } else { net.at() };
    net.go_to(input);
    match shortcut {
        Shortcut::Identity => {}
        Shortcut::Projection { norm } => {
            net.conv("projection.conv", Conv::new(out, 1).stride(stride));
            if norm {
                net.batch_norm("projection.norm");
            }
        }
        Shortcut::Pad { before, after } => {
            net.layer("shortcut", Layer::PadShortcut { stride, before, after });
        }
    }
    net.add("add", main);
}

impl Unit {
    /// The convolution that reads what `net` is at: unpadded only where its window fits.
    fn conv(&self, net: &Builder) -> Conv {
        let (channels, &[_, h, w, _]) = (net.channels(), net.shape()) else { unreachable!("images so far") };
        let (groups, out) = match self.grouping {
            Grouping::Dense => (1, self.out),
            Grouping::Grouped => {
                let groups = (1..=4).rev().find(|g| channels % g == 0).unwrap_or(1);
                (groups, self.out.next_multiple_of(groups))
            }
            Grouping::Depthwise if channels <= 20 => (channels, channels * (1 + self.out % 2)),
            Grouping::Depthwise => (channels, channels),
        };
        let reach = self.dilation * (self.kernel - 1);
        let padding = if self.padded || reach >= h.min(w) { reach / 2 } else { 0 };
        Conv {
            padding: [padding; 2],
            dilation: [self.dilation; 2],
            groups,
            bias: self.bias,
            ..Conv::new(out, self.kernel).stride(self.stride)
        }
    }

    fn build(&self, net: &mut Builder) {
        // Batch norm and activation keep the shape: the convolution is the same wherever it stands.
        let (conv, act) = (self.conv(net), self.activation.layer());
        match self.order {
            Order::Conv => net.conv("conv", conv),
            Order::ConvAct => net.conv("conv", conv).layer("act", act),
            Order::ConvNorm => net.conv("conv", conv).batch_norm("norm"),
            Order::ConvNormAct => net.conv("conv", conv).batch_norm("norm").layer("act", act),
            Order::ConvActNorm => net.conv("conv", conv).layer("act", act).batch_norm("norm"),
            Order::NormActConv => net.batch_norm("norm").layer("act", act).conv("conv", conv),
        };
    }
}

impl Head {
    fn build(&self, net: &mut Builder) {
        match self.pool {
            HeadPool::None => {}
            HeadPool::Avg(size) => drop(net.adaptive_avg_pool("pool", size)),
            HeadPool::Max(size) => drop(net.adaptive_max_pool("pool", size)),
            HeadPool::Both => {
                let image = net.at();
                let max = net.adaptive_max_pool("max", 1).at();
                let mean = net.go_to(image).adaptive_avg_pool("mean", 1).at();
                net.concat("pool", &[max, mean]);
            }
        }
        net.flatten("flatten");
        for (i, hidden) in self.hidden.iter().enumerate() {
            net.within(format!("hidden{i}"), |net| hidden.build(net));
        }
        linear(net, "logits", self.classes, self.bias);
    }
}

impl Hidden {
    fn build(&self, net: &mut Builder) {
        linear(net, "linear", self.width, self.bias);
        if self.norm == Some(true) {
            net.batch_norm("norm");
        }
        if let Some(activation) = self.activation {
            net.layer("act", activation.layer());
        }
        if self.norm == Some(false) {
            net.batch_norm("norm");
        }
        if self.dropout {
            net.dropout("dropout", 0.3);
        }
    }
}

fn linear(net: &mut Builder, name: &str, outputs: usize, bias: bool) {
    if bias {
        net.linear(name, outputs)
    } else {
        net.linear_without_bias(name, outputs)
    };
}

impl Activation {
    fn layer(self) -> Layer {
        match self {
            Self::Relu => Layer::Relu,
            Self::Relu6 => Layer::Relu6,
        }
    }
}

impl Join {
    fn layer(self) -> Layer {
        match self {
            Self::Add => Layer::Add,
            Self::Concat => Layer::Concat,
        }
    }
}

/// Draws every weight and statistic of `graph`: scales of either sign and some of zero, variances that are tiny
/// or zero for some channels. Activations stay within a few units, so that absolute errors mean something.
pub fn randomize(graph: &mut Graph, seed: u64) {
    for id in 1..graph.nodes().len() {
        let name = graph.nodes()[id].name.clone();
        let layer = graph.layer_mut(id);
        if let Layer::BatchNorm(bn) = layer {
            randomize_norm(bn, seed, &name);
            continue;
        }
        for (slot, param) in layer.params_mut() {
            let shape = param.value().shape().to_vec();
            let fan_in: usize = shape[1..].iter().product();
            let std = if slot == "weight" { (1.5 / fan_in as f32).sqrt() } else { 0.3 };
            let value = init::normal(seed, &format!("{name}.{slot}"), &shape, std);
            param.set_value(value).expect("of its own shape");
        }
    }
}

fn randomize_norm(bn: &mut engine::layer::BatchNorm, seed: u64, name: &str) {
    let shape = [bn.channels()];
    let draw = |slot: &str, bound| init::uniform(seed, &format!("{name}.{slot}"), &shape, bound);
    let (kind, mut gamma, mut var) = (draw("kind", 1.0), draw("weight", 1.4), draw("running_var", 0.9));
    for ((kind, gamma), var) in kind.data().iter().zip(gamma.data_mut()).zip(var.data_mut()) {
        *var += 1.0;
        match *kind {
            ..-0.9 => *gamma = 0.0,
            // A channel that hardly varies: γ is as small as its standard deviation, so that the scale is not.
            ..-0.8 => {
                *var *= 1e-7;
                *gamma *= (*var + bn.eps).sqrt();
            }
            ..-0.7 => {
                *var = 0.0;
                *gamma *= bn.eps.sqrt();
            }
            _ => {}
        }
    }
    bn.weight.set_value(gamma).expect("of its own shape");
    bn.bias.set_value(draw("bias", 1.0)).expect("of its own shape");
    bn.running_mean = draw("running_mean", 0.8);
    bn.running_var = var;
}

/// The largest difference of two tensors of one shape, as a share of the largest magnitude (of 1 where that is
/// smaller). Infinite where a value is not a finite number.
pub fn relative_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.shape(), b.shape());
    let largest = a.data().iter().fold(1.0_f32, |m, v| m.max(v.abs()));
    let pairs = a.data().iter().zip(b.data());
    pairs.fold(0.0, |worst: f32, (a, b)| {
        let difference = (a - b).abs() / largest;
        if difference.is_finite() { worst.max(difference) } else { f32::INFINITY }
    })
}
