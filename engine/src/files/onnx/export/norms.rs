//! Layer and group norms, and slopes of channels, as ONNX's nodes.

use super::document::{Document, Value};
use crate::Tensor;
use crate::graph::layer::{GroupNorm, LayerNorm, PRelu};

/// Writes `norm` of the value `x` of `shape`, whose features have the order `order`, as the value `name`.
///
/// ONNX normalizes the last axes, so images are transposed. Where it has no such operator, or the statistics cover channels
/// that were removed, the formula is written out.
pub(super) fn layer_norm(
    document: &mut Document,
    norm: &LayerNorm,
    (opset, shape, order): (u32, &[usize], Option<&[usize]>),
    [x, name]: [&str; 2],
) {
    let affine = [norm.weight.value(), norm.bias.value()].map(|values| in_order(values, order));
    if opset < 17 || !norm.is_whole() {
        let affine = affine.map(|values| as_channels(&values, shape));
        return Formula { document, norm, opset, name }.write(affine, x);
    }
    let [weight, bias] = [("weight", &affine[0]), ("bias", &affine[1])]
        .map(|(slot, values)| document.floats(&format!("{name}.{slot}"), values));
    let attributes = [("axis", Value::Int(-1)), ("epsilon", Value::Float(norm.eps))];
    if shape.len() == 2 {
        return document.node("LayerNormalization", &[x, &weight, &bias], name, &attributes);
    }
    let last = [("perm", Value::Ints(&[0, 2, 3, 1]))];
    let x = document.step("Transpose", &[x], &format!("{name}.image"), &last);
    let inputs = [x.as_str(), &weight, &bias];
    let y = document.step("LayerNormalization", &inputs, &format!("{name}.normalized"), &attributes);
    document.node("Transpose", &[&y], name, &[("perm", Value::Ints(&[0, 3, 1, 2]))]);
}

/// Writes `norm` of the image `x` of `shape` as the value `name`.
///
/// ONNX normalizes groups with parameters for each channel since version 21. Before, each group becomes a channel, which is
/// normalized as an instance.
pub(super) fn group_norm(
    document: &mut Document,
    norm: &GroupNorm,
    opset: u32,
    shape: &[usize],
    [x, name]: [&str; 2],
) {
    let epsilon = ("epsilon", Value::Float(norm.eps));
    let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
    if opset >= 21 || norm.is_instance_norm() {
        let weight = document.floats(&weight, norm.weight.value());
        let bias = document.floats(&bias, norm.bias.value());
        let inputs = [x, &weight, &bias];
        return match norm.is_instance_norm() {
            true => document.node("InstanceNormalization", &inputs, name, &[epsilon]),
            false => {
                let groups = ("num_groups", Value::Int(norm.groups as i64));
                document.node("GroupNormalization", &inputs, name, &[epsilon, groups]);
            }
        };
    }
    let groups = norm.groups;
    // 0 is the number of images.
    let rows = document.ints(&format!("{name}.groups"), &[0, groups as i64, -1]);
    let rows = document.step("Reshape", &[x, &rows], &format!("{name}.rows"), &[]);
    let ones = document.floats(&format!("{name}.ones"), &Tensor::full(&[groups], 1.0));
    let zeros = document.floats(&format!("{name}.zeros"), &Tensor::zeros(&[groups]));
    let inputs = [rows.as_str(), &ones, &zeros];
    let y = document.step("InstanceNormalization", &inputs, &format!("{name}.normalized"), &[epsilon]);
    let (height, width) = (shape[1] as i64, shape[2] as i64);
    let image = document.ints(&format!("{name}.shape"), &[0, norm.channels() as i64, height, width]);
    let y = document.step("Reshape", &[&y, &image], &format!("{name}.image"), &[]);
    let weight = document.floats(&weight, &as_channels(norm.weight.value(), shape));
    let scaled = document.step("Mul", &[&y, &weight], &format!("{name}.scaled"), &[]);
    let bias = document.floats(&bias, &as_channels(norm.bias.value(), shape));
    document.node("Add", &[&scaled, &bias], name, &[]);
}

/// Writes the slopes `prelu` of the value `x` of `shape`, whose features have the order `order`, as the value `name`.
pub(super) fn prelu(
    document: &mut Document,
    prelu: &PRelu,
    (shape, order): (&[usize], Option<&[usize]>),
    [x, name]: [&str; 2],
) {
    let slopes = as_channels(&in_order(prelu.weight.value(), order), shape);
    let slopes = document.floats(&format!("{name}.weight"), &slopes);
    document.node("PRelu", &[x, &slopes], name, &[]);
}

fn in_order(values: &Tensor, order: Option<&[usize]>) -> Tensor {
    order.map_or_else(|| values.clone(), |order| values.select(0, order))
}

/// `[C]` such that it meets the channels of ONNX's `[N, C, H, W]`, or of vectors.
fn as_channels(values: &Tensor, shape: &[usize]) -> Tensor {
    match shape.len() {
        4 => values.reshape(&[values.len(), 1, 1]).expect("axes of one element change no length"),
        _ => values.clone(),
    }
}

/// A layer norm over ONNX's channels, written out.
struct Formula<'d> {
    document: &'d mut Document,
    norm: &'d LayerNorm,
    opset: u32,
    name: &'d str,
}

impl Formula<'_> {
    /// `(x − mean)/√(var + ε)·weight + bias`.
    fn write(mut self, [weight, bias]: [Tensor; 2], x: &str) {
        let mean = self.mean(x, "mean");
        let mean = self.with_constants(&mean);
        let centered = self.step("Sub", &[x, &mean], "centered");
        let squares = self.step("Mul", &[&centered, &centered], "squares");
        let var = self.mean(&squares, "var");
        let var = self.with_spread(&var, &mean);
        let var = self.with("Add", &var, self.norm.eps.into(), "stable");
        let deviation = self.step("Sqrt", &[&var], "deviation");
        let normalized = self.step("Div", &[&centered, &deviation], "normalized");
        let weight = self.document.floats(&format!("{}.weight", self.name), &weight);
        let scaled = self.step("Mul", &[&normalized, &weight], "scaled");
        let bias = self.document.floats(&format!("{}.bias", self.name), &bias);
        self.document.node("Add", &[&scaled, &bias], self.name, &[]);
    }

    /// The mean of the channels that are part of `x`.
    fn mean(&mut self, x: &str, what: &str) -> String {
        let name = format!("{}.{what}", self.name);
        match self.opset {
            ..18 => self.document.step("ReduceMean", &[x], &name, &[("axes", Value::Ints(&[1]))]),
            _ => {
                let axes = self.document.ints(&format!("{name}.axes"), &[1]);
                self.document.step("ReduceMean", &[x, &axes], &name, &[])
            }
        }
    }

    /// The mean of all channels that the statistics cover, from that of the live ones and the sum of the others.
    fn with_constants(&mut self, mean: &str) -> String {
        if self.norm.is_whole() {
            return mean.to_string();
        }
        let width = self.norm.width as f64;
        let share = self.with("Mul", mean, self.norm.channels() as f64 / width, "share");
        self.with("Add", &share, self.norm.sum / width, "center")
    }

    /// The variance of all channels: the constants' share about `mean` is `(squares − 2·sum·mean + removed·mean²)/width`.
    fn with_spread(&mut self, var: &str, mean: &str) -> String {
        if self.norm.is_whole() {
            return var.to_string();
        }
        let (width, channels) = (self.norm.width as f64, self.norm.channels() as f64);
        let (sum, squares) = (self.norm.sum, self.norm.squares);
        let live = self.with("Mul", var, channels / width, "live");
        let slope = self.with("Mul", mean, (width - channels) / width, "removed");
        let slope = self.with("Add", &slope, -2.0 * sum / width, "slope");
        let bend = self.step("Mul", &[&slope, mean], "bend");
        let constants = self.with("Add", &bend, squares / width, "constants");
        self.step("Add", &[&live, &constants], "spread")
    }

    fn with(&mut self, op: &str, x: &str, number: f64, what: &str) -> String {
        let number = self.document.float(&format!("{}.{what}.by", self.name), number as f32);
        self.step(op, &[x, &number], what)
    }

    fn step(&mut self, op: &str, inputs: &[&str], what: &str) -> String {
        self.document.step(op, inputs, &format!("{}.{what}", self.name), &[])
    }
}
