//! Convolutions.

use super::pools::{Sides, pair, sides};
use crate::Tensor;
use crate::files::onnx::import::edges::Padded;
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
    let Padded { weight, padding, extra_padding } =
        importer.padded_conv(weight.permute(&[0, 2, 3, 1]), [front, behind], dilation)?;
    let conv = Conv2d { weight, bias, stride, padding, extra_padding, dilation, groups };
    let layer = Layer::Conv2d(conv);
    layer.check().map_err(|e| e.to_string())?;
    let [h, w, c] = view.size;
    let shape = layer.output_shape(&[&[1, h, w, c]]).map_err(|e| e.to_string())?;
    let id = importer.push(node, layer, &[view.node]);
    Ok(Value::Computed(View::image(id, [shape[1], shape[2], shape[3]])))
}

/// The attributes of `ConvTranspose`.
struct Transposed {
    stride: [usize; 2],
    dilation: [usize; 2],
    /// The padding of the convolution in front of the image and behind it: what the padding of the transposed one leaves of
    /// the kernel's reach.
    front: [usize; 2],
    behind: [usize; 2],
    /// Whether pixels are cut off the output's edges, or added.
    cuts: bool,
}

impl Transposed {
    /// Of a kernel of size `kernel` on an image of `size`.
    fn read(node: &OnnxNode, kernel: [usize; 2], size: [usize; 2]) -> Result<Self, String> {
        if node.ints("kernel_shape")?.is_some_and(|shape| *shape != kernel.map(|k| k as i64)) {
            return Err(format!("has a kernel of {kernel:?}, not the one it says"));
        }
        let (stride, dilation) = (pair(node, "strides", 1)?, pair(node, "dilations", 1)?);
        let (pads, further) = (pads(node)?, pair(node, "output_padding", 0)?);
        if stride.contains(&0) || dilation.contains(&0) {
            return Err("has a stride or dilation of 0".into());
        }
        let reach = [0, 1].map(|axis| dilation[axis].saturating_mul(kernel[axis] - 1));
        // The output without padding, of an image with zeros between its pixels.
        let natural = [0, 1].map(|axis| stride[axis].saturating_mul(size[axis] - 1) + reach[axis] + 1);
        let (pads, further) = match output_size(node, [size, stride])? {
            None => (pads, further),
            Some((out, lower)) => fitted(natural, further, out, lower),
        };
        let front = [0, 1].map(|axis| reach[axis].checked_sub(pads[axis]));
        let behind = [0, 1].map(|axis| (reach[axis] + further[axis]).checked_sub(pads[axis + 2]));
        let ([Some(top), Some(left)], [Some(bottom), Some(right)]) = (front, behind) else {
            return Err(format!("cuts {pads:?} off a kernel that reaches {reach:?}, which no layer does"));
        };
        let cuts = further != [0; 2] || pads != [0; 4];
        Ok(Self { stride, dilation, front: [top, left], behind: [bottom, right], cuts })
    }
}

/// The size of the output of a transposed convolution of an image of `size` by `stride`, where the file says it instead of
/// pads, and whether more is cut off in front than behind.
fn output_size(
    node: &OnnxNode,
    [size, stride]: [[usize; 2]; 2],
) -> Result<Option<([usize; 2], bool)>, String> {
    let (same, lower) = match node.text("auto_pad")?.unwrap_or("NOTSET") {
        "NOTSET" => (false, true),
        "VALID" => return Ok(None),
        "SAME_UPPER" => (true, false),
        "SAME_LOWER" => (true, true),
        other => return Err(format!("has the auto_pad `{other}`, which is not understood")),
    };
    Ok(match node.ints("output_shape")? {
        Some(_) => Some((pair(node, "output_shape", 0)?, lower)),
        None => same.then(|| ([0, 1].map(|axis| size[axis].saturating_mul(stride[axis])), lower)),
    })
}

/// The pads, and the pixels added behind, with which an output has the size `out` instead of `natural`. The rest of an odd
/// number of pixels is cut off in front if `lower`.
fn fitted(
    natural: [usize; 2],
    further: [usize; 2],
    out: [usize; 2],
    lower: bool,
) -> ([usize; 4], [usize; 2]) {
    let (mut pads, mut added) = ([0; 4], [0; 2]);
    for axis in [0, 1] {
        let all = natural[axis] + further[axis];
        let cut = all.saturating_sub(out[axis]);
        pads[axis] = if lower { cut.div_ceil(2) } else { cut / 2 };
        pads[axis + 2] = cut - pads[axis];
        added[axis] = further[axis] + out[axis].saturating_sub(all);
    }
    (pads, added)
}

/// `ConvTranspose`: zeros between the pixels, and a convolution with the kernel turned by half a circle. The weight is
/// `[C, O / groups, KH, KW]`.
pub(super) fn transposed<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[
        "auto_pad",
        "dilations",
        "group",
        "kernel_shape",
        "output_padding",
        "output_shape",
        "pads",
        "strides",
    ])?;
    let view = importer.computed(node, 0)?;
    let weight = importer.weights(node, 1)?;
    if weight.shape().len() != 4 || !view.is_channels_first() || weight.is_empty() {
        let (found, shape) = (weight.shape(), view.dims());
        return Err(format!(
            "convolves {shape:?} by a weight of shape {found:?}, expected images [N, C, H, W]"
        ));
    }
    let [h, w, c] = view.size;
    let Transposed { stride, dilation, front, behind, cuts } =
        Transposed::read(node, [weight.dim(2), weight.dim(3)], [h, w])?;
    let groups = usize::try_from(node.int("group")?.unwrap_or(1)).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or("has less than one group")?;
    if weight.dim(0) != c || !c.is_multiple_of(groups) {
        return Err(format!("has a weight of {} channels in {groups} groups for {c}", weight.dim(0)));
    }
    let dilate = Layer::Dilate { stride };
    dilate.check().map_err(|e| e.to_string())?;
    let shape = dilate.output_shape(&[&[1, h, w, c]]).map_err(|e| e.to_string())?;
    if !cuts && node.input(2).is_none() && is_identity(&weight, groups) {
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
    let Padded { weight, padding, extra_padding } =
        importer.padded_conv(turned(&weight, groups), [front, behind], dilation)?;
    let conv = Conv2d { weight, bias, stride: [1; 2], padding, extra_padding, dilation, groups };
    let conv = Layer::Conv2d(conv);
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
