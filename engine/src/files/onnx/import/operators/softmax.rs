//! Softmax over channels, or over all values of an image.

use crate::Layer;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::{Axis, View};

/// `Softmax` and `LogSoftmax`. The last one of a classifier is left out: its logits have the same order.
pub(super) fn import<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["axis"])?;
    let view = importer.computed(node, 0)?;
    let axes = axes(importer, node, &view)?;
    let whole = axes == view.long(&[Axis::H, Axis::W, Axis::C]);
    let last = view.axes.len() == 1 && whole && importer.is_output(node.outputs[0]);
    if last && view.node != 0 {
        let note = format!("`{}` ({}) is left out: the network gives logits", node.label(), node.op);
        importer.notes.push(note);
        return Ok(Value::Computed(view));
    }
    let layer = Layer::Softmax { log: node.op == "LogSoftmax" };
    if !view.flat && axes == view.long(&[Axis::C]) {
        let id = importer.push(node, layer, &[view.node]);
        return Ok(Value::Computed(view.at(id)));
    }
    if whole {
        // A sum over all of them does not depend on their order.
        let vector = importer.vector(&view);
        let id = importer.push(node, layer, &[vector]);
        return Ok(Value::Computed(View { flat: true, ..view.at(id) }));
    }
    Err("is not taken over the channels, or over all values of an image".into())
}

/// Our axes that the softmax of `view` is taken over, in our order.
fn axes<'a>(importer: &Importer<'_, 'a>, node: &OnnxNode<'a>, view: &View) -> Result<Vec<Axis>, String> {
    // Before version 13, all axes from the given one on were one.
    let joined = importer.opset < 13;
    let rank = view.axes.len() + 1;
    let axis = node.int("axis")?.unwrap_or(if joined { 1 } else { -1 });
    let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    let first = match usize::try_from(from_front) {
        Ok(first) if (1..rank).contains(&first) => first,
        _ => return Err(format!("is taken over axis {axis} of {rank}, expected one behind the batch")),
    };
    let end = if joined { rank } else { first + 1 };
    let mut axes: Vec<Axis> = view.axes[first - 1..end - 1].concat();
    axes.sort_unstable();
    Ok(axes)
}
