//! The method `forward` of a module of PyTorch.

use super::names::{Term, variables};
use super::resizes::{dilated, resized, size};
use crate::files::pytorch_layout::{feature_orders, gathered_positions, inverse};
use crate::graph::layer::Activation;
use crate::graph::pool::{Pool, PoolKind, Window};
use crate::{Graph, Layer, Result};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The method's text.
pub(super) fn forward(
    graph: &Graph,
    shapes: &[Vec<usize>],
    paths: &BTreeMap<String, Vec<String>>,
    terms: &[Option<Term>],
) -> Result<String> {
    let (orders, variables) = (feature_orders(graph)?, variables(graph));
    let input = &variables[0];
    let mut text = format!("\n    def forward(self, {input}):\n");
    for (id, node) in graph.nodes().iter().enumerate().skip(1) {
        let inputs: Vec<&str> = node.inputs.iter().map(|&i| variables[i].as_str()).collect();
        let module = paths.get(&node.name).map_or(String::new(), |path| access(path));
        let shapes: Vec<&[usize]> = node.inputs.iter().map(|&i| shapes[i].as_slice()).collect();
        let order = orders[node.inputs[0]].as_deref();
        let mut value = expression(&node.layer, (&inputs, order), &module, &shapes);
        if let Some((path, _)) = &terms[id] {
            value = format!("{}({value})", access(path));
        }
        let variable = &variables[id];
        if value != *variable {
            let _ = writeln!(text, "        {variable} = {value}");
        }
    }
    let output = graph.output();
    let value = &variables[output];
    let _ = match &orders[output] {
        None => writeln!(text, "        return {value}"),
        Some(order) => writeln!(text, "        return {value}[:, {:?}]", inverse(order)),
    };
    Ok(text)
}

/// The module at `path`.
fn access(path: &[String]) -> String {
    let (first, rest) = path.split_first().expect("a path has a first part");
    rest.iter().fold(format!("self.{first}"), |text, part| format!("{text}[\"{part}\"]"))
}

/// The value of `layer`, whose module is `module`, if it has one; its inputs have `shapes`, and the features of the first
/// one have the order `order`.
fn expression(
    layer: &Layer,
    (inputs, order): (&[&str], Option<&[usize]>),
    module: &str,
    shapes: &[&[usize]],
) -> String {
    let (x, shape) = (inputs.first().copied().unwrap_or_default(), shapes[0]);
    match layer {
        Layer::Conv2d(conv) if conv.extra_padding != [0; 2] => {
            let [bottom, right] = conv.extra_padding;
            format!("{module}(F.pad({x}, (0, {right}, 0, {bottom})))")
        }
        Layer::Conv2d(_) | Layer::CompactConv2d(_) | Layer::Linear(_) | Layer::BatchNorm(_) => {
            format!("{module}({x})")
        }
        Layer::LayerNorm(_) | Layer::GroupNorm(_) | Layer::PRelu(_) => format!("{module}({x})"),
        Layer::Activation(activation) => activated(*activation, x),
        Layer::Softmax { log: false } => format!("F.softmax({x}, 1)"),
        Layer::Softmax { log: true } => format!("F.log_softmax({x}, 1)"),
        Layer::Pool(pool) => pooled(*pool, x),
        Layer::Flatten if shape.len() == 2 => x.into(),
        Layer::Flatten => format!("{x}.flatten(1)"),
        Layer::Dropout { p } => format!("F.dropout({x}, {p:?}, self.training)"),
        Layer::Add => inputs.join(" + "),
        Layer::Multiply if shapes[0].len() > shapes[1].len() => {
            format!("{x} * {}[:, :, None, None]", inputs[1])
        }
        Layer::Multiply => inputs.join(" * "),
        Layer::Gather { channels } => gathered(&gathered_positions(channels, order), x),
        Layer::Resize(resize) => resized(resize, shape, x),
        Layer::Dilate { stride } => dilated(*stride, shape, x),
        Layer::Concat => format!("torch.cat([{}], 1)", inputs.join(", ")),
        Layer::PadShortcut { stride, before, after } => {
            let pixels = match stride {
                1 => x.to_string(),
                stride => format!("{x}[:, :, ::{stride}, ::{stride}]"),
            };
            match (before, after) {
                (0, 0) => pixels,
                _ => format!("F.pad({pixels}, (0, 0, 0, 0, {before}, {after}))"),
            }
        }
        Layer::Input { .. } => x.into(),
    }
}

fn activated(activation: Activation, x: &str) -> String {
    match activation {
        Activation::None => x.into(),
        Activation::Relu => format!("F.relu({x})"),
        Activation::Relu6 => format!("F.relu6({x})"),
        Activation::Clamp { low, high } => format!("{x}.clamp({low:?}, {high:?})"),
        Activation::Sigmoid => format!("torch.sigmoid({x})"),
        Activation::Silu => format!("F.silu({x})"),
        Activation::HardSigmoid => format!("F.hardsigmoid({x})"),
        Activation::HardSwish => format!("F.hardswish({x})"),
        Activation::Tanh => format!("torch.tanh({x})"),
        Activation::Elu { alpha } => format!("F.elu({x}, {alpha:?})"),
        Activation::LeakyRelu { slope } => format!("F.leaky_relu({x}, {slope:?})"),
        Activation::Gelu => format!("F.gelu({x})"),
        Activation::GeluTanh => format!("F.gelu({x}, approximate=\"tanh\")"),
    }
}

/// Channels in any order. Neighboring ones are a slice.
fn gathered(channels: &[usize], x: &str) -> String {
    let (first, end) = (channels[0], channels[0] + channels.len());
    match channels.iter().copied().eq(first..end) {
        true => format!("{x}[:, {first}:{end}]"),
        false => format!("{x}[:, {channels:?}]"),
    }
}

fn pooled(pool: Pool, x: &str) -> String {
    let kind = if pool.kind == PoolKind::Max { "max" } else { "avg" };
    match pool.window {
        Window::Global => format!("F.adaptive_{kind}_pool2d({x}, 1)"),
        Window::Adaptive(out) => format!("F.adaptive_{kind}_pool2d({x}, {})", size(out)),
        Window::Fixed(window) => {
            let mut text = format!("F.{kind}_pool2d({x}, {}, {}", size(window.kernel), size(window.stride));
            if window.padding != [0; 2] {
                let _ = write!(text, ", {}", size(window.padding));
            }
            if window.ceil_mode {
                text += ", ceil_mode=True";
            }
            if pool.kind == PoolKind::Average && !window.count_include_pad {
                text += ", count_include_pad=False";
            }
            text + ")"
        }
    }
}
