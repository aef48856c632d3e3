//! Builds the graph of a described random network.

use super::values::randomize;
use super::{Block, Grouping, Head, HeadPool, Hidden, Join, Order, RandomNet, Shortcut, Tap, Unit};
use lopper_engine::layer::{Activation, Pool, Window};
use lopper_engine::{Graph, Layer, NodeId, Tensor};
use lopper_models::builder::{Builder, Conv};
use lopper_models::init;

impl RandomNet {
    /// Builds the network, with random weights and statistics.
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

    /// Returns `n` images of normally distributed noise, `[N, H, W, C]`.
    pub fn images(&self, n: usize) -> Tensor {
        let [h, w, c] = self.image;
        init::normal(self.seed, "images", &[n, h, w, c], 1.0)
    }
}

impl Block {
    fn build(&self, net: &mut Builder) {
        match self {
            Self::Unit(unit) => unit.build(net),
            Self::Residual { first, norm, shortcut, after } => {
                residual(net, first, *norm, *shortcut);
                if let Some(after) = after {
                    net.activation("act", *after);
                }
            }
            Self::Fork { unit, tap, join } => {
                let conv = net.conv("conv", unit.conv(net)).at();
                let norm = net.batch_norm("norm").at();
                let end = net.activation("act", unit.activation).at();
                let joined = match tap {
                    Tap::Conv => vec![end, conv],
                    Tap::Norm => vec![norm, end],
                    Tap::Both => vec![conv, end, norm],
                };
                net.join("join", join.layer(), &joined);
            }
            Self::Branches { units, input_too } => branches(net, units, *input_too),
            Self::Squeeze { reduced, gate, vector } => squeeze(net, *reduced, *gate, *vector),
            Self::Product { units } => product(net, units),
            Self::Shuffle { unit, share } => shuffle(net, unit, *share),
            Self::LayerNorm => drop(net.layer_norm("layer_norm", 0.1)),
            Self::GroupNorm(most) => {
                let (channels, pixels) = (net.channels(), net.shape()[1] * net.shape()[2]);
                let divisor = |most: usize| (1..=most).rev().find(|&groups| channels.is_multiple_of(groups));
                let groups = most.and_then(divisor).unwrap_or(channels);
                // A few numbers become nearly constants, which a batch norm behind them would divide by their deviation.
                if pixels * (channels / groups) >= 4 {
                    net.group_norm("group_norm", groups, 0.1);
                }
            }
            Self::Softmax { log } => {
                // The softmax of a single number is a constant, which a batch norm behind it would divide by its deviation.
                if net.channels() > 2 {
                    net.softmax("softmax", *log);
                }
            }
            Self::PRelu => drop(net.prelu("prelu")),
            Self::Resize(resize) => {
                let fits = |side: usize| (3..=8).contains(&side);
                if fits(net.shape()[1]) && fits(net.shape()[2]) {
                    net.resize("resize", *resize);
                }
            }
            Self::Transposed { out, kernel, stride } => {
                if net.shape()[1..3].iter().all(|side| (2..=8).contains(side)) {
                    let extra_padding = [stride - 1; 2];
                    let conv = Conv { extra_padding, padding: [1; 2], ..Conv::new(*out, *kernel).bias() };
                    net.conv_transpose("transposed", conv.stride(*stride));
                }
            }
            Self::Pool(pool) => {
                if pool.geometry(net.shape()).is_ok() {
                    net.pool("pool", *pool);
                }
            }
            Self::Norm => drop(net.batch_norm("norm")),
            Self::Dropout => drop(net.dropout("dropout", 0.3)),
        }
    }
}

fn branches(net: &mut Builder, units: &[Unit], input_too: bool) {
    let input = net.at();
    let mut ends: Vec<NodeId> = input_too.then_some(input).into_iter().collect();
    for (i, unit) in units.iter().enumerate() {
        net.go_to(input);
        // Branches are joined, so none may change the size. They are narrow because their widths add up.
        let unit = Unit { out: unit.out.div_ceil(3), stride: 1, padded: true, ..unit.clone() };
        net.within(format!("branch{i}"), |net| unit.build(net));
        ends.push(net.at());
    }
    if ends.len() > 1 {
        net.concat("concat", &ends);
    }
}

fn product(net: &mut Builder, units: &[Unit; 2]) {
    let input = net.at();
    let [first, second] = units.each_ref().map(|unit| {
        // A depthwise convolution has a width of its own.
        let (out, grouping) = (units[0].out, Grouping::Dense);
        Unit { out, grouping, stride: 1, padded: true, ..unit.clone() }
    });
    net.within("first", |net| first.build(net));
    let gate = net.at();
    net.go_to(input).within("second", |net| second.build(net));
    net.multiply("product", gate);
}

fn squeeze(net: &mut Builder, reduced: usize, gate: Activation, vector: bool) {
    let (input, channels) = (net.at(), net.channels());
    net.pool("squeeze", Pool::average(Window::Global));
    net.conv("reduce", Conv::new(reduced, 1).bias()).relu("relu");
    net.conv("expand", Conv::new(channels, 1).bias()).activation("gate", gate);
    if vector {
        net.flatten("vector");
    }
    let gate = net.at();
    net.go_to(input).multiply("excite", gate);
}

fn shuffle(net: &mut Builder, unit: &Unit, share: usize) {
    let (input, channels) = (net.at(), net.channels());
    if channels < 2 {
        return;
    }
    let parts = net.chunk("split", 2);
    let (first, others) = (parts[0], parts[parts.len() - 1]);
    net.go_to(if share == 3 { input } else { others });
    let unit = Unit { stride: 1, padded: true, grouping: Grouping::Dense, ..unit.clone() };
    let unit = Unit { out: channels.div_ceil(2), ..unit };
    net.within("unit", |net| unit.build(net));
    let end = net.at();
    net.concat("concat", &[first, end]).shuffle("shuffle", 2);
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
    /// Returns the convolution at the current node of `net`, unpadded only if its window fits.
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
            // Where the size may change.
            extra_padding: [usize::from(!self.padded && self.out.is_multiple_of(2)); 2],
            dilation: [self.dilation; 2],
            groups,
            bias: self.bias,
            ..Conv::new(out, self.kernel).stride(self.stride)
        }
    }

    fn build(&self, net: &mut Builder) {
        // Batch norm and activation preserve the shape, so the convolution does not depend on its position.
        let (conv, act) = (self.conv(net), Layer::Activation(self.activation));
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
            net.activation("act", activation);
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

impl Join {
    fn layer(self) -> Layer {
        match self {
            Self::Add => Layer::Add,
            Self::Concat => Layer::Concat,
        }
    }
}
