//! Convolutions.

use super::pools::{Sides, pair, sides};
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::View;
use crate::graph::layer::{Conv2d, Layer};
use crate::{Param, Tensor};

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

/// `ConvTranspose`: zeros between the pixels, and a convolution with the kernel turned by half a circle. The weight is
/// `[C, O / groups, KH, KW]`.
pub(super) fn transposed<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["auto_pad", "dilations", "group", "kernel_shape", "output_padding", "pads", "strides"])?;
    if node.text("auto_pad")?.is_some_and(|pad| pad != "NOTSET" && pad != "VALID") {
        return Err("pads by a rule of its own, which is not understood".into());
    }
    let view = importer.computed(node, 0)?;
    let weight = importer.weights(node, 1)?;
    if weight.shape().len() != 4 || !view.is_channels_first() || weight.is_empty() {
        let (found, shape) = (weight.shape(), view.dims());
        return Err(format!(
            "convolves {shape:?} by a weight of shape {found:?}, expected images [N, C, H, W]"
        ));
    }
    let kernel = [weight.dim(2), weight.dim(3)];
    if node.ints("kernel_shape")?.is_some_and(|shape| *shape != kernel.map(|k| k as i64)) {
        return Err(format!("has a kernel of {kernel:?}, not the one it says"));
    }
    let (stride, dilation) = (pair(node, "strides", 1)?, pair(node, "dilations", 1)?);
    let (pads, further) = (pads(node)?, pair(node, "output_padding", 0)?);
    if stride.contains(&0) || dilation.contains(&0) {
        return Err("has a stride or dilation of 0".into());
    }
    // The padding of the convolution is what the padding of the transposed one leaves of the kernel's reach.
    let reach = [0, 1].map(|axis| dilation[axis].saturating_mul(kernel[axis] - 1));
    let padding = [0, 1].map(|axis| reach[axis].checked_sub(pads[axis]));
    let extra = [0, 1].map(|axis| (pads[axis] + further[axis]).checked_sub(pads[axis + 2]));
    let ([Some(rows), Some(columns)], [Some(bottom), Some(right)]) = (padding, extra) else {
        return Err(format!("cuts {pads:?} off a kernel that reaches {reach:?}, which no layer does"));
    };
    let groups = usize::try_from(node.int("group")?.unwrap_or(1)).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or("has less than one group")?;
    let [h, w, c] = view.size;
    if weight.dim(0) != c || !c.is_multiple_of(groups) {
        return Err(format!("has a weight of {} channels in {groups} groups for {c}", weight.dim(0)));
    }
    let dilate = Layer::Dilate { stride };
    dilate.check().map_err(|e| e.to_string())?;
    let shape = dilate.output_shape(&[&[1, h, w, c]]).map_err(|e| e.to_string())?;
    let is_identity =
        is_identity(&weight, groups) && node.input(2).is_none() && further == [0; 2] && pads == [0; 4];
    if is_identity {
        let id = importer.push_named(node.label(), dilate, &[view.node]);
        return Ok(Value::Computed(View::image(id, [shape[1], shape[2], c])));
    }
    let bias = match node.input(2) {
        Some(_) => {
            let bias = importer.weights(node, 2)?;
            Some(importer.param(bias)?)
        }
        None => None,
    };
    importer.make(weight.len())?;
    let conv = Layer::Conv2d(Conv2d {
        weight: Param::new(turned(&weight, groups)),
        bias,
        stride: [1; 2],
        padding: [rows, columns],
        extra_padding: [bottom, right],
        dilation,
        groups,
    });
    conv.check().map_err(|e| e.to_string())?;
    let input = match stride {
        [1, 1] => view.node,
        _ => importer.push_named(&format!("{}.dilate", node.label()), dilate, &[view.node]),
    };
    let shape = conv.output_shape(&[&shape]).map_err(|e| e.to_string())?;
    let id = importer.push(node, conv, &[input]);
    Ok(Value::Computed(View::image(id, [shape[1], shape[2], shape[3]])))
}

/// The attribute `pads`, `[top, left, bottom, right]`.
fn pads(node: &OnnxNode) -> Result<[usize; 4], String> {
    let Some(found) = node.ints("pads")? else { return Ok([0; 4]) };
    let pad =
        |i: usize| found.get(i).and_then(|&pad| usize::try_from(pad).ok()).filter(|&pad| pad <= 1 << 16);
    match [0, 1, 2, 3].map(pad) {
        [Some(top), Some(left), Some(bottom), Some(right)] if found.len() == 4 => {
            Ok([top, left, bottom, right])
        }
        _ => Err(format!("has pads {found:?}")),
    }
}

/// Whether a transposed convolution with `weight` passes each pixel on as it is.
fn is_identity(weight: &Tensor, groups: usize) -> bool {
    *weight.shape() == [groups, 1, 1, 1] && weight.data().iter().all(|&w| w == 1.0)
}

/// `weight` `[C, O / groups, KH, KW]` of a transposed convolution as that of a convolution, `[O, KH, KW, C / groups]`.
fn turned(weight: &Tensor, groups: usize) -> Tensor {
    let &[c, filters, kh, kw] = weight.shape() else { return weight.clone() };
    let depth = c / groups;
    let value = |i: usize| {
        let (channel, column, row, o) =
            (i % depth, i / depth % kw, i / (depth * kw) % kh, i / (depth * kw * kh));
        let (group, filter) = (o / filters, o % filters);
        let from = ((group * depth + channel) * filters + filter) * kh + (kh - 1 - row);
        weight.data()[from * kw + (kw - 1 - column)]
    };
    Tensor::from_fn(&[filters * groups, kh, kw, depth], value)
}
