//! Convolutions.

use super::pools::{Sides, sides};
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::View;
use crate::graph::layer::{Conv2d, Layer};

/// `Conv`: the weight is `[O, C / groups, KH, KW]`.
pub(super) fn conv<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"])?;
    let view = importer.padded(node, 0)?;
    let weight = importer.weights(node, 1)?;
    if weight.shape().len() != 4 || !view.is_channels_first() {
        let (rank, shape) = (weight.shape().len(), view.dims());
        return Err(format!("convolves {shape:?} by a weight of {rank} axes, expected images [N, C, H, W]"));
    }
    if weight.is_empty() {
        return Err("has a weight without elements".into());
    }
    let kernel = [weight.dim(2), weight.dim(3)];
    let Sides { stride, dilation, front, behind, .. } =
        sides(node, kernel, [view.size[0], view.size[1]], view.padding)?;
    if [0, 1].iter().any(|&axis| behind[axis] < front[axis]) {
        return Err(format!(
            "pads {front:?} in front of the image and {behind:?} behind, expected at least as much"
        ));
    }
    let groups = node.int("group")?.unwrap_or(1);
    let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or("has less than one group")?;
    let bias = match node.input(2) {
        Some(_) => {
            let bias = importer.weights(node, 2)?;
            Some(importer.param(bias)?)
        }
        None => None,
    };
    let weight = importer.param(weight.permute(&[0, 2, 3, 1]))?;
    let extra_padding = [0, 1].map(|axis| behind[axis] - front[axis]);
    let conv = Conv2d { weight, bias, stride, padding: front, extra_padding, dilation, groups };
    let layer = Layer::Conv2d(conv);
    layer.check().map_err(|e| e.to_string())?;
    let [h, w, c] = view.size;
    let shape = layer.output_shape(&[&[1, h, w, c]]).map_err(|e| e.to_string())?;
    let id = importer.push(node, layer, &[view.node]);
    Ok(Value::Computed(View::image(id, [shape[1], shape[2], shape[3]])))
}
