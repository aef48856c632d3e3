//! Graphs as format 1 of model files and checkpoints spells them: each activation and each pool is a layer of its own.

use crate::graph::layer::{BatchNorm, CompactConv2d, Conv2d, Linear};
use crate::graph::pool::{FixedWindow, Pool, Window};
use crate::{Graph, Info, Layer, Node, NodeId};
use lopper_kernels::params::Activation;
use serde::Deserialize;

/// A graph of format 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Graph1 {
    nodes: Vec<Node1>,
    info: Info,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node1 {
    name: String,
    layer: Layer1,
    inputs: Vec<NodeId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum Layer1 {
    Input { channels: usize },
    Conv2d(Conv2d),
    CompactConv2d(CompactConv2d),
    Linear(Linear),
    BatchNorm(BatchNorm),
    Relu,
    Relu6,
    MaxPool(FixedWindow),
    AvgPool(FixedWindow),
    AdaptiveAvgPool([usize; 2]),
    AdaptiveMaxPool([usize; 2]),
    Flatten,
    Dropout { p: f32 },
    Add,
    Concat,
    PadShortcut { stride: usize, before: usize, after: usize },
}

impl From<Graph1> for Graph {
    fn from(graph: Graph1) -> Self {
        let node = |Node1 { name, layer, inputs }| Node { name, layer: Layer::from(layer), inputs };
        Self::of_nodes(graph.nodes.into_iter().map(node).collect(), graph.info)
    }
}

impl From<Layer1> for Layer {
    fn from(layer: Layer1) -> Self {
        match layer {
            Layer1::Input { channels } => Self::Input { channels },
            Layer1::Conv2d(conv) => Self::Conv2d(conv),
            Layer1::CompactConv2d(compact) => Self::CompactConv2d(compact),
            Layer1::Linear(linear) => Self::Linear(linear),
            Layer1::BatchNorm(bn) => Self::BatchNorm(bn),
            Layer1::Relu => Self::Activation(Activation::Relu),
            Layer1::Relu6 => Self::Activation(Activation::Relu6),
            Layer1::MaxPool(window) => Self::Pool(Pool::max(window)),
            Layer1::AvgPool(window) => Self::Pool(Pool::average(window)),
            Layer1::AdaptiveAvgPool(size) => Self::Pool(Pool::average(Window::Adaptive(size))),
            Layer1::AdaptiveMaxPool(size) => Self::Pool(Pool::max(Window::Adaptive(size))),
            Layer1::Flatten => Self::Flatten,
            Layer1::Dropout { p } => Self::Dropout { p },
            Layer1::Add => Self::Add,
            Layer1::Concat => Self::Concat,
            Layer1::PadShortcut { stride, before, after } => Self::PadShortcut { stride, before, after },
        }
    }
}
