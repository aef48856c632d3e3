//! Functions of each value.

use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::graph::layer::{Activation, Layer};

/// A function of each value.
pub(super) fn import<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[])?;
    let view = importer.computed(node, 0)?;
    let activation = match node.op {
        "Relu" => Activation::Relu,
        "Clip" => clip(importer, node)?,
        _ => Activation::Sigmoid,
    };
    activation.check().map_err(|e| e.to_string())?;
    let id = importer.push(node, Layer::Activation(activation), &[view.node]);
    Ok(Value::Computed(view.at(id)))
}

/// Bounds that are not given are those of the type of numbers.
fn clip<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Activation, String> {
    let bound = |array: Option<crate::files::onnx::import::array::Array>, default: f32| match array {
        None => Ok(default),
        Some(array) => array.number("a bound").map(|bound| bound.clamp(f32::MIN, f32::MAX)),
    };
    let low = bound(importer.constant(node, 1)?, f32::MIN)?;
    let high = bound(importer.constant(node, 2)?, f32::MAX)?;
    Ok(match (low, high) {
        (0.0, f32::MAX) => Activation::Relu,
        (0.0, 6.0) => Activation::Relu6,
        // ONNX gives the upper bound where they are in the wrong order.
        (low, high) => Activation::Clamp { low: low.min(high), high },
    })
}

/// The last softmax of a classifier is left out: its logits have the same order.
pub(super) fn softmax<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["axis"])?;
    let view = importer.computed(node, 0)?;
    let last = view.axes.len() == 1 && matches!(node.int("axis")?.unwrap_or(-1), 1 | -1);
    match last && importer.is_output(node.outputs[0]) && view.node != 0 {
        true => {
            importer.notes.push(format!(
                "`{}` ({}) is left out: the network gives logits",
                node.label(),
                node.op
            ));
            Ok(Value::Computed(view))
        }
        false => Err("is not the last of a classifier's nodes; no other softmax is understood".into()),
    }
}
