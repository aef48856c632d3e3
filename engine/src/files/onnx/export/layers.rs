//! Each layer as ONNX's nodes.

use super::convs::write_conv;
use super::document::{Document, Value};
use super::norms::{group_norm, layer_norm, prelu};
use super::options::OnnxOptions;
use super::resizes::{dilate, resize};
use super::{activations, compact, pools, softmax};
use crate::files::pytorch_layout::{Layout, feature_orders, gathered_positions, inverse};
use crate::graph::layer::{BatchNorm, Conv2d, Linear};
use crate::{Graph, Layer, Node, NodeId, Result, Tensor};

/// The writer of a graph's layers.
pub(super) struct Layers<'g, 'd> {
    graph: &'g Graph,
    shapes: &'g [Vec<usize>],
    options: &'g OnnxOptions,
    document: &'d mut Document,
    /// For every node whose features are in another order in ONNX, our feature at each of ONNX's positions.
    orders: Vec<Option<Vec<usize>>>,
}

impl<'g, 'd> Layers<'g, 'd> {
    pub fn new(
        graph: &'g Graph,
        shapes: &'g [Vec<usize>],
        options: &'g OnnxOptions,
        document: &'d mut Document,
    ) -> Result<Self> {
        Ok(Self { graph, shapes, options, document, orders: feature_orders(graph)? })
    }

    /// Writes every layer, and returns the name of the network's output.
    pub fn write(mut self) -> Result<String> {
        for id in 1..self.graph.nodes().len() {
            self.layer(id).map_err(|e| e.in_node(&self.graph.nodes()[id].name))?;
        }
        let (output, document) = (self.graph.output(), self.document);
        let name = self.graph.nodes()[output].name.clone();
        Ok(match &self.orders[output] {
            None => name,
            Some(order) => {
                let order: Vec<i64> = inverse(order).into_iter().map(|i| i as i64).collect();
                let order = document.ints(&format!("{name}.order"), &order);
                let axis = [("axis", Value::Int(1))];
                document.step("Gather", &[&name, &order], &format!("{name}.ordered"), &axis)
            }
        })
    }

    fn layer(&mut self, id: NodeId) -> Result<()> {
        let graph = self.graph;
        let Node { name, layer, inputs } = &graph.nodes()[id];
        let inputs: Vec<&str> = inputs.iter().map(|&i| graph.nodes()[i].name.as_str()).collect();
        let x = inputs.first().copied().unwrap_or_default();
        let shape = |of: NodeId| self.shapes[graph.nodes()[id].inputs[of]].as_slice();
        let opset = self.options.opset;
        let document = &mut *self.document;
        match layer {
            Layer::Input { .. } => {}
            Layer::Conv2d(conv) => conv2d(document, conv, x, name),
            Layer::CompactConv2d(conv) => {
                compact::write(document, conv, self.options.compact, shape(0), [x, name])?;
            }
            Layer::Linear(linear) => self.linear(linear, id),
            Layer::BatchNorm(bn) => self.batch_norm(bn, id),
            Layer::LayerNorm(norm) => {
                let order = self.orders[graph.nodes()[id].inputs[0]].as_deref();
                layer_norm(document, norm, (opset, shape(0), order), [x, name]);
            }
            Layer::GroupNorm(norm) => group_norm(document, norm, opset, shape(0), [x, name]),
            Layer::Activation(function) => activations::write(document, *function, opset, [x, name]),
            Layer::Softmax { log } => softmax::write(document, *log, opset, shape(0), [x, name]),
            Layer::PRelu(slopes) => {
                let order = self.orders[graph.nodes()[id].inputs[0]].as_deref();
                prelu(document, slopes, (shape(0), order), [x, name]);
            }
            Layer::Pool(pool) => pools::write(document, *pool, opset, shape(0), [x, name])?,
            Layer::Flatten => document.node("Flatten", &[x], name, &[("axis", Value::Int(1))]),
            Layer::Dropout { p } if opset < 12 => {
                document.node("Dropout", &[x], name, &[("ratio", Value::Float(*p))]);
            }
            Layer::Dropout { p } => {
                let ratio = document.float(&format!("{name}.ratio"), *p);
                document.node("Dropout", &[x, &ratio], name, &[]);
            }
            Layer::Add if inputs.len() > 2 => document.node("Sum", &inputs, name, &[]),
            Layer::Add => document.node("Add", &inputs, name, &[]),
            Layer::Multiply => multiply(document, opset, [shape(0), shape(1)], [x, inputs[1], name]),
            Layer::Concat => document.node("Concat", &inputs, name, &[("axis", Value::Int(1))]),
            Layer::Gather { channels } => {
                let order = self.orders[graph.nodes()[id].inputs[0]].as_deref();
                gather(document, &gathered_positions(channels, order), x, name);
            }
            Layer::Resize(sampled) => resize(document, sampled, opset, shape(0), [x, name])?,
            Layer::Dilate { stride } => dilate(document, *stride, shape(0), [x, name]),
            Layer::PadShortcut { stride, before, after } => {
                pad_shortcut(document, *stride, [*before, *after], x, name);
            }
        }
        Ok(())
    }

    fn linear(&mut self, linear: &Linear, id: NodeId) {
        let Node { name, inputs, .. } = &self.graph.nodes()[id];
        let layout = match &self.orders[inputs[0]] {
            Some(order) => Layout::Columns(order.clone()),
            None => Layout::Same,
        };
        let weight = linear.weight.value();
        let mut names = vec![self.graph.nodes()[inputs[0]].name.clone()];
        names.push(self.document.weight(&format!("{name}.weight"), weight, layout));
        let bias = linear.bias.as_ref().map(|b| self.document.floats(&format!("{name}.bias"), b.value()));
        names.extend(bias);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.document.node("Gemm", &names, name, &[("transB", Value::Int(1))]);
    }

    fn batch_norm(&mut self, bn: &BatchNorm, id: NodeId) {
        let Node { name, inputs, .. } = &self.graph.nodes()[id];
        let order = self.orders[inputs[0]].as_deref();
        let in_order = |values: &Tensor| match order {
            Some(order) => values.select(0, order),
            None => values.clone(),
        };
        let mut names = vec![self.graph.nodes()[inputs[0]].name.clone()];
        for (slot, values) in [
            ("weight", bn.weight.value()),
            ("bias", bn.bias.value()),
            ("running_mean", &bn.running_mean),
            ("running_var", &bn.running_var),
        ] {
            names.push(self.document.floats(&format!("{name}.{slot}"), &in_order(values)));
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // ONNX weighs the earlier statistics.
        let attributes = [("epsilon", Value::Float(bn.eps)), ("momentum", Value::Float(1.0 - bn.momentum))];
        self.document.node("BatchNormalization", &names, name, &attributes);
    }
}

fn conv2d(document: &mut Document, conv: &Conv2d, x: &str, name: &str) {
    let bias = conv.bias.as_ref().map(|bias| bias.value());
    write_conv(document, conv, [conv.weight.value(), bias.unwrap_or(&Tensor::zeros(&[0]))], x, name);
}

/// The product of two values. The vector of a gate of images gets axes for the pixels.
fn multiply(document: &mut Document, opset: u32, [x_shape, gate_shape]: [&[usize]; 2], names: [&str; 3]) {
    let [x, gate, name] = names;
    if x_shape.len() == gate_shape.len() {
        return document.node("Mul", &[x, gate], name, &[]);
    }
    let pixels = format!("{name}.gate");
    let gate = match opset {
        ..13 => document.step("Unsqueeze", &[gate], &pixels, &[("axes", Value::Ints(&[2, 3]))]),
        _ => {
            let axes = document.ints(&format!("{name}.axes"), &[2, 3]);
            document.step("Unsqueeze", &[gate, &axes], &pixels, &[])
        }
    };
    document.node("Mul", &[x, &gate], name, &[]);
}

/// Channels in any order. Neighboring ones are a slice.
fn gather(document: &mut Document, channels: &[usize], x: &str, name: &str) {
    let (first, end) = (channels[0], channels[0] + channels.len());
    if channels.iter().copied().eq(first..end) {
        let [start, end, axes] = [("start", first as i64), ("end", end as i64), ("axes", 1)]
            .map(|(what, value)| document.ints(&format!("{name}.{what}"), &[value]));
        return document.node("Slice", &[x, &start, &end, &axes], name, &[]);
    }
    let channels: Vec<i64> = channels.iter().map(|&channel| channel as i64).collect();
    let channels = document.ints(&format!("{name}.channels"), &channels);
    document.node("Gather", &[x, &channels], name, &[("axis", Value::Int(1))]);
}

/// Every `stride`-th pixel, and zero channels before and after.
fn pad_shortcut(document: &mut Document, stride: usize, [before, after]: [usize; 2], x: &str, name: &str) {
    let mut x = x.to_string();
    let pads = before + after > 0;
    if stride > 1 {
        let list = |values: [i64; 2], what: &str, document: &mut Document| {
            document.ints(&format!("{name}.{what}"), &values)
        };
        let starts = list([0; 2], "starts", document);
        let ends = list([i64::from(i32::MAX); 2], "ends", document);
        let axes = list([2, 3], "axes", document);
        let steps = list([stride as i64; 2], "steps", document);
        let inputs = [x.as_str(), &starts, &ends, &axes, &steps];
        match pads {
            true => x = document.step("Slice", &inputs, &format!("{name}.pixels"), &[]),
            false => return document.node("Slice", &inputs, name, &[]),
        }
    }
    if pads {
        let pads = [0, before, 0, 0, 0, after, 0, 0].map(|p| p as i64);
        let pads = document.ints(&format!("{name}.pads"), &pads);
        return document.node("Pad", &[&x, &pads], name, &[]);
    }
    document.node("Identity", &[&x], name, &[]);
}
