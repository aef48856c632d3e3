//! Softmax over the channels as ONNX's nodes.

use super::document::{Document, Value};

/// Writes the softmax of `x`, whose shape here is `shape`, or its logarithm, as the value `name`. Before version 13, ONNX
/// takes it over all axes from the given one on: the channels of an image become its last axis, and are moved back.
pub(super) fn write(document: &mut Document, log: bool, opset: u32, shape: &[usize], [x, name]: [&str; 2]) {
    let op = if log { "LogSoftmax" } else { "Softmax" };
    if opset >= 13 || shape.len() == 2 {
        return document.node(op, &[x], name, &[("axis", Value::Int(1))]);
    }
    let [last, first] = [[0, 2, 3, 1], [0, 3, 1, 2]];
    let x = document.step("Transpose", &[x], &format!("{name}.pixels"), &[("perm", Value::Ints(&last))]);
    let y = document.step(op, &[&x], &format!("{name}.shares"), &[("axis", Value::Int(3))]);
    document.node("Transpose", &[&y], name, &[("perm", Value::Ints(&first))]);
}
