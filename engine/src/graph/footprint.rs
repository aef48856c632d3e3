//! Memory estimates for graph runs, computed only from shapes: checked before a pass, an evaluation or a training.

use crate::graph::layer::Conv2d;
use crate::graph::pool::{Pool, PoolKind};
use crate::memory::{self, bytes_of};
use crate::{Device, Graph, Layer, Node, Result};
use lopper_kernels::cpu::{self, Algorithm, Cpu, Footprint, Packing, Weights};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::shapes;

/// Maximum number of buffers that a training kernel borrows from the device at the same time.
const BORROWED: u64 = 3;

/// Maximum number of partial sums of a weight gradient.
const PARTIAL_SUMS: u64 = 8;

impl Graph {
    /// Checks that a pass over images of shape `input` `[N, H, W, C]` without a tape fits in memory. A GPU does its own
    /// accounting. The error names the layer that needs the most.
    pub fn require_inference(&self, input: [usize; 4], device: &Device) -> Result<()> {
        let Device::Cpu(cpu) = device else { return Ok(()) };
        let run = Run::new(self, input, cpu, 1)?;
        let bytes = kept(run.alive()).saturating_add(run.scratch);
        memory::require(format_args!("the values of a pass over images {input:?}, {}", run.largest()), bytes)
    }

    /// Checks that training steps on images of shape `input` `[N, H, W, C]` fit in memory, with an optimizer that keeps
    /// `moments` numbers for each weight. Otherwise like [`Graph::require_inference`].
    pub fn require_training(&self, input: [usize; 4], moments: usize, device: &Device) -> Result<()> {
        let Device::Cpu(cpu) = device else { return Ok(()) };
        let run = Run::new(self, input, cpu, PARTIAL_SUMS)?;
        let params = self.params().filter(|(_, param)| param.trainable);
        let params =
            params.map(|(_, param)| bytes_of::<f32>([param.value().len()])).fold(0, u64::saturating_add);
        // All forward values, the values alive between layers in the backward pass, and the parameter gradients.
        let step = run.sum().saturating_add(run.alive()).saturating_add(params);
        let moments = params.saturating_mul(moments as u64);
        let bytes = kept(step).saturating_add(moments).saturating_add(run.scratch);
        memory::require(
            format_args!("the values of a training step on images {input:?}, {}", run.largest()),
            bytes,
        )
    }
}

/// The bytes held by a device that lends out up to `lent` at a time: it keeps up to half as many again for reuse.
fn kept(lent: u64) -> u64 {
    lent.saturating_add(lent / 2)
}

/// The sizes of a graph's values, in order.
struct Run<'a> {
    graph: &'a Graph,
    values: Vec<u64>,
    /// Scratch bytes of the kernels.
    scratch: u64,
}

impl<'a> Run<'a> {
    fn new(graph: &'a Graph, input: [usize; 4], cpu: &Cpu, weights: u64) -> Result<Self> {
        graph.check()?;
        let shapes = graph.shapes(input)?;
        let values = shapes.iter().map(|shape| bytes_of::<f32>(shape.iter().copied())).collect();
        let mut scratch = Scratch { weights, ..Scratch::default() };
        for node in graph.nodes() {
            let x = node.inputs.first().map_or(&[][..], |&x| shapes[x].as_slice());
            scratch.take_in(cpu, node, x).map_err(|e| e.in_node(&node.name))?;
        }
        Ok(Self { graph, values, scratch: scratch.bytes() })
    }

    /// The sum of all values. Max pooling and dropout save as much again as they compute. A batch norm saves its input.
    fn sum(&self) -> u64 {
        let remembered = |(node, &bytes): (&Node, &u64)| match node.layer {
            Layer::Pool(Pool { kind: PoolKind::Max, .. }) | Layer::Dropout { .. } => bytes.saturating_mul(2),
            _ => bytes,
        };
        self.graph.nodes().iter().zip(&self.values).map(remembered).fold(0, u64::saturating_add)
    }

    /// The peak size if each value is freed after its last reader.
    fn alive(&self) -> u64 {
        let mut last_reader: Vec<usize> = (0..self.values.len()).collect();
        for (id, node) in self.graph.nodes().iter().enumerate() {
            node.inputs.iter().for_each(|&input| last_reader[input] = id);
        }
        let (mut alive, mut most) = (0u64, 0);
        let mut freed = vec![0u64; self.values.len()];
        for (id, &bytes) in self.values.iter().enumerate() {
            alive = alive.saturating_add(bytes);
            most = most.max(alive);
            freed[last_reader[id]] = freed[last_reader[id]].saturating_add(bytes);
            if id != self.graph.output() {
                alive = alive.saturating_sub(freed[id]);
            }
        }
        most
    }

    /// The name of the layer with the largest value, as part of a message.
    fn largest(&self) -> String {
        let largest = self.graph.nodes().iter().zip(&self.values).max_by_key(|(_, bytes)| **bytes);
        largest.map_or(String::new(), |(node, _)| format!("the largest that of layer `{}`,", node.name))
    }
}

/// The scratch memory of the kernels over a whole run.
#[derive(Default)]
struct Scratch {
    borrowed: u64,
    workspaces: u64,
    /// How many buffers of a weight's length a kernel borrows as one.
    weights: u64,
}

impl Scratch {
    fn take_in(&mut self, cpu: &Cpu, node: &Node, x: &[usize]) -> Result<()> {
        match &node.layer {
            Layer::Conv2d(conv) => self.conv(cpu, conv, &conv.geometry(x)?),
            Layer::CompactConv2d(compact) => {
                let packing = Packing::Fastest(Weights::Memory);
                self.add(&Footprint::compact(cpu, &compact.geometry(x)?, &compact.index(), packing));
            }
            Layer::GroupNorm(norm) => {
                let floats = cpu::group_norm_buffer(&norm.geometry(x)?);
                self.borrowed = self.borrowed.max(bytes_of::<f32>([floats]));
            }
            Layer::Linear(linear) if linear.weight.pattern().is_some() => {
                // A step copies the live rows and columns, and packs them.
                let images = linear.geometry(x)?.over_images();
                let copies =
                    [images.w_len(), images.y_len(), images.x_len()].map(|len| bytes_of::<f32>([len]));
                self.borrowed = self.borrowed.max(copies.into_iter().fold(0, u64::saturating_add));
                let dense = Pattern::dense(images.filters_shape());
                self.add(&Footprint::new(cpu, &images, &dense, Packing::By(Algorithm::Direct)));
            }
            Layer::Linear(_)
            | Layer::Input { .. }
            | Layer::BatchNorm(_)
            | Layer::LayerNorm(_)
            | Layer::Activation(_)
            | Layer::PRelu(_)
            | Layer::Softmax { .. }
            | Layer::Pool(_)
            | Layer::Flatten
            | Layer::Dropout { .. }
            | Layer::Add
            | Layer::Multiply
            | Layer::Concat
            | Layer::Gather { .. }
            | Layer::Resize(_)
            | Layer::Dilate { .. }
            | Layer::PadShortcut { .. } => {}
        }
        Ok(())
    }

    /// Accounts for both algorithms, since either may run, forward or backward; weights are packed for each call.
    fn conv(&mut self, cpu: &Cpu, conv: &Conv2d, g: &shapes::Conv2d) {
        let dense = Pattern::dense(g.filters_shape());
        for packing in [Packing::By(Algorithm::Direct), Packing::By(Algorithm::Winograd4)] {
            self.add(&Footprint::new(cpu, g, &dense, packing));
        }
        let weight = bytes_of::<f32>([conv.weight.value().len()]);
        self.borrowed = self.borrowed.max(weight.saturating_mul(self.weights));
        if let Some(pattern) = conv.weight.pattern() {
            // Gradients copy the live channels of the weight, of the output and of the input, or list nonzero weights.
            let copies = [g.w_len(), g.y_len(), g.x_len()].map(|len| bytes_of::<f32>([len]));
            self.borrowed = self.borrowed.max(copies.into_iter().fold(0, u64::saturating_add));
            self.add(&Footprint::new(cpu, g, pattern, Packing::By(Algorithm::RowLanes)));
        }
    }

    fn add(&mut self, needs: &Footprint) {
        self.borrowed = self.borrowed.max(needs.borrowed).max(needs.packed);
        self.workspaces = self.workspaces.max(needs.workspaces);
    }

    fn bytes(&self) -> u64 {
        self.borrowed.saturating_mul(BORROWED).saturating_add(self.workspaces)
    }
}
