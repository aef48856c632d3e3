//! The memory that a run of a graph takes, from shapes alone: what is checked before a pass, an evaluation or a training.

use crate::layer::Conv2d;
use crate::memory::{self, bytes_of};
use crate::{Device, Graph, Layer, Node, Result};
use lopper_kernels::cpu::{Algorithm, Cpu, Footprint, Packing, Weights};
use lopper_kernels::shapes;

/// Buffers that a kernel of training borrows of the device at the same time at most.
const BORROWED: u64 = 3;

/// Partial sums of a weight gradient at most.
const PARTIAL_SUMS: u64 = 8;

impl Graph {
    /// Checks that the memory holds a pass over images `input` `[N, H, W, C]` without a tape. A GPU keeps its own account.
    /// An error names the layer that needs most.
    pub fn require_inference(&self, input: [usize; 4], device: &Device) -> Result<()> {
        let Device::Cpu(cpu) = device else { return Ok(()) };
        let run = Run::new(self, input, cpu, 1)?;
        let bytes = kept(run.alive()).saturating_add(run.scratch);
        memory::require(format_args!("the values of a pass over images {input:?}, {}", run.largest()), bytes)
    }

    /// Checks that the memory holds steps of training on images `input` `[N, H, W, C]`, with an optimizer that remembers
    /// `moments` numbers of each parameter. As [`Graph::require_inference`] otherwise.
    pub fn require_training(&self, input: [usize; 4], moments: usize, device: &Device) -> Result<()> {
        let Device::Cpu(cpu) = device else { return Ok(()) };
        let run = Run::new(self, input, cpu, PARTIAL_SUMS)?;
        let params = self.params().filter(|(_, param)| param.trainable);
        let params =
            params.map(|(_, param)| bytes_of::<f32>([param.value().len()])).fold(0, u64::saturating_add);
        // All values forward, those between two layers backward, and the gradients of the parameters.
        let step = run.sum().saturating_add(run.alive()).saturating_add(params);
        let moments = params.saturating_mul(moments as u64);
        let bytes = kept(step).saturating_add(moments).saturating_add(run.scratch);
        memory::require(
            format_args!("the values of a training step on images {input:?}, {}", run.largest()),
            bytes,
        )
    }
}

/// The bytes that a device holds which lends `lent` at one time: it keeps up to half as many for later.
fn kept(lent: u64) -> u64 {
    lent.saturating_add(lent / 2)
}

/// The bytes of a graph's values, in order.
struct Run<'a> {
    graph: &'a Graph,
    values: Vec<u64>,
    /// Of the kernels.
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

    /// All values together. Max pooling and dropout remember as much again as they compute, and a batch norm its input.
    fn sum(&self) -> u64 {
        let remembered = |(node, &bytes): (&Node, &u64)| match node.layer {
            Layer::MaxPool(_) | Layer::AdaptiveMaxPool(_) | Layer::Dropout { .. } => bytes.saturating_mul(2),
            _ => bytes,
        };
        self.graph.nodes().iter().zip(&self.values).map(remembered).fold(0, u64::saturating_add)
    }

    /// The most that is needed at one time where a value is freed after its last reader.
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

    /// The layer with the largest value, in words.
    fn largest(&self) -> String {
        let largest = self.graph.nodes().iter().zip(&self.values).max_by_key(|(_, bytes)| **bytes);
        largest.map_or(String::new(), |(node, _)| format!("most of all that of layer `{}`,", node.name))
    }
}

/// What kernels borrow over a whole run.
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
                let g = compact.geometry(x)?;
                let (c, o) = (compact.inputs.len() + usize::from(compact.carrier), compact.outputs.len());
                let inner = shapes::Conv2d { c: c.max(1), o: o.max(1), ..g };
                self.add(&Footprint::new(cpu, &inner, &[o], Packing::Fastest(Weights::Memory)));
                self.borrowed = self.borrowed.max(bytes_of::<f32>(inner.x_shape()));
            }
            Layer::Linear(_)
            | Layer::Input { .. }
            | Layer::BatchNorm(_)
            | Layer::Relu
            | Layer::Relu6
            | Layer::MaxPool(_)
            | Layer::AvgPool(_)
            | Layer::AdaptiveAvgPool(_)
            | Layer::AdaptiveMaxPool(_)
            | Layer::Flatten
            | Layer::Dropout { .. }
            | Layer::Add
            | Layer::Concat
            | Layer::PadShortcut { .. } => {}
        }
        Ok(())
    }

    /// Either algorithm may be taken, forward or backward; weights are packed for the call.
    fn conv(&mut self, cpu: &Cpu, conv: &Conv2d, g: &shapes::Conv2d) {
        let filters = vec![g.o / g.groups; g.groups];
        for packing in [Packing::By(Algorithm::Direct), Packing::By(Algorithm::Winograd4)] {
            self.add(&Footprint::new(cpu, g, &filters, packing));
        }
        let weight = bytes_of::<f32>([conv.weight.value().len()]);
        self.borrowed = self.borrowed.max(weight.saturating_mul(self.weights));
    }

    fn add(&mut self, needs: &Footprint) {
        self.borrowed = self.borrowed.max(needs.borrowed).max(needs.packed);
        self.workspaces = self.workspaces.max(needs.workspaces);
    }

    fn bytes(&self) -> u64 {
        self.borrowed.saturating_mul(BORROWED).saturating_add(self.workspaces)
    }
}
