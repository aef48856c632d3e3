//! The work of a plan as a function of the widths of its layers.
//!
//! ```text
//!   graph ─ lower ─► operations ─► outline: for each operation, its class and its size
//!                                  if node i had width(i) channels
//! ```
//!
//! Planning a network packs its weights. An outline holds shapes only, so that thousands of widths can be compared in the
//! time of one plan. It assumes dense weights, because what masks leave out is not known for widths that do not exist yet;
//! `masked_outline.rs` compares masks at the widths that there are.

use super::amount::{Amount, Class};
use super::lane_images::lane_images;
use super::lower::{Op, lower};
use super::plan::weights_of;
use crate::{Device, Error, Graph, Layer, NodeId, Result};
use lopper_kernels::cpu::{Cpu, DenseTime, Weights};
use lopper_kernels::shapes;

/// The operations of a plan on images of one shape.
#[derive(Clone, Debug)]
pub struct Outline {
    pub(super) cpu: Cpu,
    pub(super) weights: Weights,
    steps: Vec<Sketch>,
    lane_images: Vec<[Option<usize>; 2]>,
}

/// An operation.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    pub kind: Kind,
    /// The node whose width is that of the first input.
    input: NodeId,
    /// The node whose width is that of the output.
    output: NodeId,
    /// The widths of the first input and of the output now.
    pub widths: [usize; 2],
    /// Whether a residual is added.
    pub residual: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A convolution, with the widths that it has now.
    Conv2d(shapes::Conv2d),
    /// A linear layer for `rows` images, which reads `area` pixels of each channel of its input.
    Linear { rows: usize, area: usize },
    /// Anything that reads and writes so many pixels of each channel.
    Pixels { class: Class, read: usize, written: usize },
}

impl Outline {
    /// Outlines the plan of `graph` on images of shape `input` `[N, H, W, C]`.
    ///
    /// # Errors
    /// If the shapes do not fit, or `device` is a GPU, whose times are not estimated.
    pub fn new(graph: &Graph, input: [usize; 4], device: &Device) -> Result<Self> {
        let Device::Cpu(cpu) = device else {
            return Err(Error::invalid("the time of a network is estimated on the CPU only"));
        };
        let shapes = graph.shapes(input)?;
        let pixels = |node: NodeId| shapes[node].iter().rev().skip(1).product::<usize>();
        let width = |node: NodeId| shapes[node].last().copied().unwrap_or(1);
        let ops = lower(graph, input)?;
        let steps = ops.iter().map(|op| Sketch::new(graph, op, (&pixels, &width))).collect::<Result<_>>()?;
        Ok(Self { cpu: cpu.clone(), weights: weights_of(graph), steps, lane_images: lane_images(&ops) })
    }

    /// The same operations as a part of `network`, whose size decides where a plan expects its weights.
    pub fn within(self, network: &Graph) -> Self {
        Self { weights: weights_of(network), ..self }
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether the network computes nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The nodes whose widths the work of operation `step` depends on: those of its input and its output.
    pub fn nodes(&self, step: usize) -> [NodeId; 2] {
        let Sketch { input, output, .. } = self.steps[step];
        [input, output]
    }

    /// The images that the convolution `step` reads and writes, numbered, if they can stay in row lanes: each does where all
    /// convolutions that have it compute in row lanes. None for pixels, and for operations of other kinds.
    pub fn lane_images(&self, step: usize) -> [Option<usize>; 2] {
        self.lane_images[step]
    }

    pub(super) fn sketch(&self, step: usize) -> &Sketch {
        &self.steps[step]
    }

    /// The work of operation `step` if the nodes have the widths `width`, each at least 1. Depends on shapes and the
    /// instruction set only.
    pub fn amount(&self, step: usize, width: impl Fn(NodeId) -> usize) -> Amount {
        let Sketch { input, output, .. } = self.steps[step];
        self.amount_of(step, [width(input).max(1), width(output).max(1)])
    }

    /// The work of operation `step` with `c` input and `o` output channels.
    pub(super) fn amount_of(&self, step: usize, [c, o]: [usize; 2]) -> Amount {
        let (cpu, weights) = (&self.cpu, self.weights);
        let sketch = &self.steps[step];
        match &sketch.kind {
            Kind::Conv2d(g) => {
                let mut amount = convolution(cpu, weights, g, [c, o]);
                if sketch.residual {
                    amount.units += (g.n * g.oh() * g.ow() * o) as f64;
                }
                amount
            }
            Kind::Linear { rows, area } => Amount::of_linear(cpu, [*rows, area * c, o]),
            Kind::Pixels { class, read, written } => {
                let residual = if sketch.residual { *written } else { 0 };
                let floats = read * c + (written + residual) * o;
                Amount { class: *class, units: floats as f64 }
            }
        }
    }
}

impl Sketch {
    /// The operation `op`, given the pixels and the width of each node.
    fn new(
        graph: &Graph,
        op: &Op,
        (pixels, width): (&impl Fn(NodeId) -> usize, &impl Fn(NodeId) -> usize),
    ) -> Result<Self> {
        let first = op.node.inputs.first().copied().unwrap_or(op.id);
        let moved = |class: Class, input: NodeId| {
            let inputs = op.inputs.len().max(1);
            // A concatenation reads as much as it writes, and so does a gathering; the width of the first input is not that
            // of all.
            match op.node.layer {
                Layer::Concat | Layer::Gather { .. } => {
                    Kind::Pixels { class, read: 0, written: 2 * pixels(op.id) }
                }
                // A gate has few pixels.
                Layer::Multiply => {
                    let read = op.node.inputs.iter().map(|&input| pixels(input)).sum();
                    Kind::Pixels { class, read, written: pixels(op.id) }
                }
                _ => Kind::Pixels { class, read: inputs * pixels(input), written: pixels(op.id) },
            }
        };
        let (kind, input) = match &op.node.layer {
            Layer::Conv2d(conv) => (Kind::Conv2d(conv.geometry(&op.x)?), first),
            Layer::CompactConv2d(compact) => (Kind::Conv2d(compact.geometry(&op.x)?), first),
            Layer::Linear(_) => match op.pool {
                // The pool is folded into the weight, which reads the map before it.
                Some(_) => {
                    let map = graph.nodes()[graph.id(&op.fused[0].name)?].inputs[0];
                    (Kind::Linear { rows: op.x[0], area: op.x[1] * op.x[2] }, map)
                }
                None => (Kind::Linear { rows: op.x[0], area: 1 }, first),
            },
            Layer::BatchNorm(_) => (moved(Class::BatchNorm, first), first),
            // It reads its input once more, for the statistics.
            Layer::GroupNorm(_) => {
                let (read, written) = (2 * pixels(first), pixels(op.id));
                (Kind::Pixels { class: Class::BatchNorm, read, written }, first)
            }
            Layer::Pool(_) => (moved(Class::Pool, first), first),
            Layer::Input { .. }
            | Layer::LayerNorm(_)
            | Layer::Activation(_)
            | Layer::PRelu(_)
            | Layer::Softmax { .. }
            | Layer::Flatten
            | Layer::Dropout { .. }
            | Layer::Add
            | Layer::Multiply
            | Layer::Concat
            | Layer::Gather { .. }
            | Layer::Resize(_)
            | Layer::Dilate { .. }
            | Layer::PadShortcut { .. } => (moved(Class::Elementwise, first), first),
        };
        Ok(Self {
            kind,
            input,
            output: op.id,
            widths: [width(input), width(op.id)],
            residual: op.residual.is_some(),
        })
    }
}

/// The work of the convolution `g` with `c` input and `o` output channels.
fn convolution(cpu: &Cpu, weights: Weights, g: &shapes::Conv2d, [c, o]: [usize; 2]) -> Amount {
    let pixels = g.n * g.oh() * g.ow();
    let floats = (g.n * g.h * g.w * c + pixels * o) as f64;
    let taps = g.kh * g.kw;
    if g.is_depthwise() {
        // Every product reads its own value, so floats count beside them.
        return Amount { class: Class::Depthwise, units: (pixels * o * taps) as f64 + floats };
    }
    if g.groups > 1 {
        return Amount {
            class: Class::Grouped,
            units: (pixels * o * taps * c.div_ceil(g.groups)) as f64 + floats,
        };
    }
    let DenseTime { algorithm, macs } = DenseTime::of(cpu, &shapes::Conv2d { c, o, ..*g }, weights);
    let class = Class::of_convolution(g, algorithm);
    Amount { class, units: macs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::layer::Conv2d;
    use crate::{Param, Tensor};

    fn conv(o: usize, k: usize, c: usize, groups: usize) -> Layer {
        let weight = Param::new(Tensor::zeros(&[o, k, k, c / groups]));
        let padding = [k / 2; 2];
        Layer::Conv2d(Conv2d {
            weight,
            bias: None,
            stride: [1; 2],
            padding,
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups,
        })
    }

    #[test]
    fn operations_have_classes_and_read_the_widths_around_them() {
        let mut g = Graph::new(3);
        let a = g.push("a", conv(8, 3, 3, 1), &[0]).unwrap();
        let b = g.push("b", conv(8, 3, 8, 8), &[a]).unwrap();
        let c = g.push("c", conv(16, 1, 8, 1), &[b]).unwrap();
        let outline = Outline::new(&g, [1, 8, 8, 3], &Device::cpu()).unwrap();
        let widths = [3, 8, 8, 16];
        let at = |step| outline.amount(step, |node| widths[node]);
        assert_eq!((0..3).map(|step| outline.nodes(step)).collect::<Vec<_>>(), [[0, a], [a, b], [b, c]]);
        assert_eq!([1, 2].map(|step| at(step).class), [Class::Depthwise, Class::Pointwise]);
        // 8 channels of 64 pixels, 9 taps each, read once and written once.
        assert_eq!(at(1).units, (8 * 64 * (9 + 2)) as f64);
        let narrow = outline.amount(1, |node| widths[node] / 2);
        assert_eq!(narrow.units, at(1).units / 2.0);
    }

    #[test]
    fn a_narrower_layer_is_never_estimated_slower() {
        let mut g = Graph::new(3);
        let a = g.push("a", conv(64, 3, 3, 1), &[0]).unwrap();
        g.push("b", conv(64, 1, 64, 1), &[a]).unwrap();
        let outline = Outline::new(&g, [1, 14, 14, 3], &Device::cpu()).unwrap();
        let time = |width: usize| -> f64 {
            let width = |node: NodeId| if node == a { width } else { [3, 64, 64][node] };
            (0..2).map(|step| outline.amount(step, width).macs()).sum()
        };
        let times: Vec<f64> = (1..=64).map(time).collect();
        assert!(times.is_sorted(), "{times:?}");
    }
}
