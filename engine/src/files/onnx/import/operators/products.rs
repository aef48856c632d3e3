//! Matrix products with constants: linear layers.

use crate::Tensor;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::layers::pointwise;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::{Axis, View};
use crate::files::pytorch_layout::inverse;
use crate::graph::layer::{Layer, Linear};

/// `Gemm`: `alpha · A · B + beta · C`, with constant B and C.
pub(super) fn gemm<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["alpha", "beta", "transA", "transB"])?;
    if node.int("transA")?.is_some_and(|transposes| transposes != 0) {
        return Err("transposes the images".into());
    }
    let view = importer.computed(node, 0)?;
    let weight = importer.weights(node, 1)?;
    if weight.shape().len() != 2 {
        return Err(format!("has a weight of shape {:?}, expected a matrix", weight.shape()));
    }
    let weight = match node.int("transB")? {
        Some(0) | None => weight.permute(&[1, 0]),
        Some(_) => weight,
    };
    let scaled = |factor: f32, values: Tensor| match factor {
        1.0 => values,
        factor => Tensor::from_fn(values.shape(), |i| factor * values.data()[i]),
    };
    let bias = match node.input(2) {
        None => None,
        Some(_) => {
            let bias = scaled(node.float("beta")?.unwrap_or(1.0), importer.weights(node, 2)?);
            Some(spread(&bias, weight.dim(0))?)
        }
    };
    let weight = scaled(node.float("alpha")?.unwrap_or(1.0), weight);
    linear(importer, node, &view, weight, bias)
}

/// `MatMul` with a constant matrix: a linear layer, or where the channels are the last of several axes, a convolution of
/// single pixels.
pub(super) fn mat_mul<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[])?;
    let view = importer.computed(node, 0)?;
    let weight = importer.weights(node, 1)?;
    if weight.shape().len() != 2 || weight.is_empty() {
        return Err(format!("multiplies by a constant of shape {:?}, expected a matrix", weight.shape()));
    }
    let weight = weight.permute(&[1, 0]);
    if view.axes.len() == 1 {
        return linear(importer, node, &view, weight, None);
    }
    let ([h, w, c], last) = (view.size, view.axes.len());
    if view.flat || !view.is_channel_axis(last) || weight.dim(1) != c {
        return Err(format!("multiplies {:?} by {} columns", view.dims(), weight.dim(1)));
    }
    let filters = weight.dim(0);
    let weight = weight.reshape(&[filters, 1, 1, c]).map_err(|e| e.to_string())?;
    let conv = Layer::Conv2d(pointwise(importer.param(weight)?, None, 1));
    let image = View { size: [h, w, filters], ..view.at(importer.push(node, conv, &[view.node])) };
    let mut axes: Vec<&[Axis]> = view.axes.iter().map(Vec::as_slice).collect();
    axes[last - 1] = &[Axis::C];
    Ok(Value::Computed(image.with_axes(&axes)))
}

/// A linear layer with `weight` `[OUT, IN]`, whose columns are in ONNX's order.
fn linear<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    view: &View,
    weight: Tensor,
    bias: Option<Tensor>,
) -> Result<Value, String> {
    let [features] = view.dims()[..] else {
        return Err(format!("multiplies {:?}, expected vectors", view.dims()));
    };
    if weight.dim(1) != features || weight.is_empty() {
        return Err(format!("multiplies {features} features by {} columns", weight.dim(1)));
    }
    let weight = match view.order() {
        Some(order) => weight.select(1, &inverse(&order)),
        None => weight,
    };
    let outputs = weight.dim(0);
    let weight = importer.param(weight)?;
    let bias = bias.map(|bias| importer.param(bias)).transpose()?;
    let input = importer.vector(view);
    let id = importer.push(node, Layer::Linear(Linear { weight, bias }), &[input]);
    Ok(Value::Computed(View::vector(id, outputs)))
}

/// The constant `bias` for each of `outputs`.
fn spread(bias: &Tensor, outputs: usize) -> Result<Tensor, String> {
    match (bias.len(), bias.shape()) {
        (1, _) => Ok(Tensor::full(&[outputs], bias.data()[0])),
        (len, [_] | [1, _]) if len == outputs => bias.reshape(&[outputs]).map_err(|e| e.to_string()),
        _ => Err(format!("adds a constant of shape {:?} to {outputs} outputs", bias.shape())),
    }
}
