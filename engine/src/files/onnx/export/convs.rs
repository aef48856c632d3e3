//! Convolutions as ONNX's nodes.

use super::document::{Document, Value};
use crate::Tensor;
use crate::files::pytorch_layout::Layout;
use crate::graph::layer::Conv2d;

/// Writes a convolution like `conv` with another `[weight, bias]`: `[O, KH, KW, C / groups]` and `[O]`, or an empty
/// bias if there is none.
pub(super) fn write_conv(
    document: &mut Document,
    conv: &Conv2d,
    [weight, bias]: [&Tensor; 2],
    x: &str,
    name: &str,
) {
    let kernel = [1, 2].map(|axis| weight.dim(axis) as i64);
    let weight = document.weight(&format!("{name}.weight"), weight, Layout::Convolution);
    let mut inputs = vec![x.to_string(), weight];
    if !bias.is_empty() {
        inputs.push(document.floats(&format!("{name}.bias"), bias));
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let ([p, q], [extra_p, extra_q]) = (conv.padding, conv.extra_padding);
    let attributes = [
        ("kernel_shape", Value::Ints(&kernel)),
        ("strides", Value::Ints(&conv.stride.map(|s| s as i64))),
        ("pads", Value::Ints(&[p, q, p + extra_p, q + extra_q].map(|p| p as i64))),
        ("dilations", Value::Ints(&conv.dilation.map(|d| d as i64))),
        ("group", Value::Int(conv.groups as i64)),
    ];
    document.node("Conv", &inputs, name, &attributes);
}
