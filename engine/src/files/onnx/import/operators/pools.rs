//! Pools, and the windows that they share with convolutions.

use crate::Layer;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::{Axis, View};
use crate::graph::pool::{FixedWindow, Pool, PoolKind, Window};

/// The largest stride, dilation or padding that is read.
const MOST: i64 = 1 << 16;

/// How windows lie on an image, `[height, width]`.
pub(super) struct Sides {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Padding in front of the first row and column.
    pub front: [usize; 2],
    /// Padding behind the last row and column.
    pub behind: [usize; 2],
    /// The number of windows.
    pub out: [usize; 2],
}

/// The windows of `node`, of size `kernel` on an image of `size`, around which another node has put `padding`
/// `[top, left, bottom, right]`.
pub(super) fn sides(
    node: &OnnxNode,
    kernel: [usize; 2],
    size: [usize; 2],
    padding: [usize; 4],
) -> Result<Sides, String> {
    if let Some(shape) = node.ints("kernel_shape")?.filter(|shape| **shape != kernel.map(|k| k as i64)) {
        return Err(format!("has a kernel of {kernel:?}, not {shape:?}"));
    }
    let (stride, dilation) = (pair(node, "strides", 1)?, pair(node, "dilations", 1)?);
    if stride.contains(&0) || dilation.contains(&0) || kernel.contains(&0) {
        return Err("has a kernel, stride or dilation of 0".into());
    }
    let size = [0, 1].map(|axis| size[axis] + padding[axis] + padding[axis + 2]);
    let span = [0, 1].map(|axis| dilation[axis].saturating_mul(kernel[axis] - 1).saturating_add(1));
    let mut pads = [0usize; 4];
    match node.text("auto_pad")?.unwrap_or("NOTSET") {
        "NOTSET" => {
            if let Some(found) = node.ints("pads")? {
                pads = list(found, "pads")?;
            }
        }
        "VALID" => {}
        same @ ("SAME_UPPER" | "SAME_LOWER") => {
            for axis in [0, 1] {
                let reach = (size[axis].div_ceil(stride[axis]) - 1).saturating_mul(stride[axis]);
                let total = reach.saturating_add(span[axis]).saturating_sub(size[axis]);
                let front = if same == "SAME_UPPER" { total / 2 } else { total.div_ceil(2) };
                (pads[axis], pads[axis + 2]) = (front, total - front);
            }
        }
        other => return Err(format!("has the auto_pad `{other}`, which is not understood")),
    }
    let mut out = [0; 2];
    for axis in [0, 1] {
        let padded = size[axis] + pads[axis] + pads[axis + 2];
        let steps = padded.checked_sub(span[axis]).ok_or("has a window that does not fit its image")?;
        out[axis] = steps / stride[axis] + 1;
    }
    let front = [0, 1].map(|axis| pads[axis] + padding[axis]);
    let mut behind = [2, 3].map(|axis| pads[axis] + padding[axis]);
    for axis in [0, 1] {
        // Padding that no window reaches may be counted in, so that it is the same on both sides.
        let inner = size[axis] - padding[axis] - padding[axis + 2];
        let even = (inner + 2 * front[axis]).checked_sub(span[axis]).map(|steps| steps / stride[axis] + 1);
        if even == Some(out[axis]) && behind[axis] < front[axis] {
            behind[axis] = front[axis];
        }
    }
    Ok(Sides { kernel, stride, dilation, front, behind, out })
}

/// The attribute `name`, a number for each of height and width.
pub(super) fn pair(node: &OnnxNode, name: &str, default: usize) -> Result<[usize; 2], String> {
    node.ints(name)?.map_or(Ok([default; 2]), |found| list(found, name))
}

fn list<const N: usize>(found: &[i64], name: &str) -> Result<[usize; N], String> {
    let fits = found.len() == N && found.iter().all(|value| (0..=MOST).contains(value));
    let values = || std::array::from_fn(|i| found[i] as usize);
    fits.then(values).ok_or_else(|| format!("has {name} {found:?}, expected {N} numbers from 0 to {MOST}"))
}

/// `MaxPool` and `AveragePool`.
pub(super) fn window<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[
        "auto_pad",
        "ceil_mode",
        "count_include_pad",
        "dilations",
        "kernel_shape",
        "pads",
        "storage_order",
        "strides",
    ])?;
    node.one_output()?;
    let kind = if node.op == "MaxPool" { PoolKind::Max } else { PoolKind::Average };
    let view = match kind {
        PoolKind::Max => importer.computed(node, 0)?,
        PoolKind::Average => importer.padded(node, 0)?,
    };
    if !view.is_channels_first() {
        return Err(format!("pools {:?}, expected images [N, C, H, W]", view.dims()));
    }
    let kernel = node.ints("kernel_shape")?.ok_or("has no kernel_shape")?;
    let size = [view.size[0], view.size[1]];
    let sides = sides(node, list(kernel, "kernel_shape")?, size, view.padding)?;
    if sides.dilation != [1; 2] {
        return Err("pools with a dilation, which no layer does".into());
    }
    let ceil = node.int("ceil_mode")? == Some(1);
    let counts = node.int("count_include_pad")? == Some(1);
    let window = fixed(kind, &view, &sides, ceil, counts)?;
    pushed(importer, node, &view, Pool { kind, window: Window::Fixed(window) })
}

/// The window of ours that computes the same on images of this size.
fn fixed(
    kind: PoolKind,
    view: &View,
    sides: &Sides,
    ceil: bool,
    counts: bool,
) -> Result<FixedWindow, String> {
    let (padded, even) = (view.padding != [0; 4], sides.behind == sides.front);
    let of = |ceil_mode, count_include_pad| FixedWindow {
        kernel: sides.kernel,
        stride: sides.stride,
        padding: sides.front,
        ceil_mode,
        count_include_pad,
    };
    if ceil {
        return match even && !padded {
            true => Ok(of(true, counts)),
            false => Err("rounds up with uneven padding, which no layer does".into()),
        };
    }
    let average = kind == PoolKind::Average;
    if even && (!padded || counts || sides.front == [view.padding[0], view.padding[1]]) {
        return Ok(of(false, counts || padded));
    }
    // The mean of a padded image counts that padding, but not further padding behind it, and neither does rounding up.
    let own = view.padding;
    let behind_only = padded && !counts && own[..2] == own[2..] && sides.front == [own[0], own[1]];
    if average && (counts || padded) && !behind_only {
        return Err("takes the mean of unevenly padded images, which no layer does".into());
    }
    for ceil_mode in [false, true] {
        let window = of(ceil_mode, padded);
        let [h, w, c] = view.size;
        let found = window.geometry(&[1, h, w, c]).ok();
        if found.is_some_and(|g| [g.oh(), g.ow()] == sides.out) {
            return Ok(window);
        }
    }
    Err(format!(
        "pads {:?} in front of the image and {:?} behind, which no layer does",
        sides.front, sides.behind
    ))
}

/// Adds `pool` of the image `view`.
fn pushed<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    view: &View,
    pool: Pool,
) -> Result<Value, String> {
    let [h, w, c] = view.size;
    let layer = Layer::Pool(pool);
    layer.check().map_err(|e| e.to_string())?;
    let shape = layer.output_shape(&[&[1, h, w, c]]).map_err(|e| e.to_string())?;
    let id = importer.push(node, layer, &[view.node]);
    Ok(Value::Computed(View::image(id, [shape[1], shape[2], c])))
}

/// `GlobalMaxPool` and `GlobalAveragePool`.
pub(super) fn global<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[])?;
    let view = importer.computed(node, 0)?;
    if !view.is_channels_first() {
        return Err(format!("pools {:?}, expected images [N, C, H, W]", view.dims()));
    }
    let kind = if node.op == "GlobalMaxPool" { PoolKind::Max } else { PoolKind::Average };
    pushed(importer, node, &view, Pool { kind, window: Window::Global })
}

/// `ReduceMean` and `ReduceMax` over rows, columns or both.
pub(super) fn reduce<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["axes", "keepdims", "noop_with_empty_axes"])?;
    let kind = if node.op == "ReduceMax" { PoolKind::Max } else { PoolKind::Average };
    let axes = match importer.constant(node, 1)? {
        Some(axes) => axes.plain("axes")?,
        None => node.ints("axes")?.map(<[i64]>::to_vec).unwrap_or_default(),
    };
    let keep = node.int("keepdims")?.unwrap_or(1) == 1;
    if let Value::Window(part) = importer.value(node, 0)? {
        let axis = if part.axis == Axis::H { 2 } else { 3 };
        if keep && (axes == [axis] || axes == [axis - 4]) {
            return Ok(Value::Pooled(kind, part));
        }
    }
    if let Some(value) = mean_of_channels(importer, node, &axes, keep)? {
        return Ok(value);
    }
    let view = importer.computed(node, 0)?;
    if view.flat {
        return Err("reduces a vector, which no layer does".into());
    }
    let rank = view.axes.len() as i64 + 1;
    let axes: Vec<i64> = axes.iter().map(|&axis| if axis < 0 { axis + rank } else { axis }).collect();
    if axes.is_empty() || axes.iter().any(|axis| !(1..rank).contains(axis)) {
        return Err("reduces all axes, or the batch".into());
    }
    let is_reduced = |i: usize| axes.contains(&(i as i64 + 1));
    let groups = view.axes.iter().enumerate();
    let reduced: Vec<Axis> =
        groups.filter(|(i, _)| is_reduced(*i)).flat_map(|(_, group)| group.clone()).collect();
    if reduced.contains(&Axis::C) {
        return Err("reduces channels, which no layer does".into());
    }
    let [h, w, c] = view.size;
    let left = |axis, size| if reduced.contains(&axis) { 1 } else { size };
    let out = [left(Axis::H, h), left(Axis::W, w)];
    let window = if out == [1, 1] { Window::Global } else { Window::Adaptive(out) };
    let id = importer.push(node, Layer::Pool(Pool { kind, window }), &[view.node]);
    let kept = view.axes.iter().enumerate().filter(|(i, _)| keep || !is_reduced(*i));
    let axes: Vec<&[Axis]> = kept.map(|(_, group)| group.as_slice()).collect();
    let image = View { node: id, size: [out[0], out[1], c], ..view.clone() };
    Ok(Value::Computed(image.with_axes(&axes)))
}

/// The mean over the channels, if a layer norm begins with it or goes on with it.
fn mean_of_channels<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    axes: &[i64],
    keep: bool,
) -> Result<Option<Value>, String> {
    let (Some((view, formula)), &[axis]) = (importer.formula(node, 0)?, axes) else { return Ok(None) };
    let rank = view.axes.len() as i64 + 1;
    let axis = usize::try_from(if axis < 0 { axis.saturating_add(rank) } else { axis }).unwrap_or(0);
    let channels = view.is_channel_axis(axis) && view.size[2] > 1 && keep && node.op == "ReduceMean";
    let mean = formula.mean().filter(|_| channels);
    Ok(mean.map(|mean| Value::Formula(view, mean, node.label().to_string())))
}
