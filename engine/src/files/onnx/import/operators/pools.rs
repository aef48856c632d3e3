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
    let kernel = list(node.ints("kernel_shape")?.ok_or("has no kernel_shape")?, "kernel_shape")?;
    let of = |view: &View| sides(node, kernel, [view.size[0], view.size[1]], view.padding);
    let rules = Rules {
        kind,
        ceil: node.int("ceil_mode")? == Some(1),
        counts: node.int("count_include_pad")? == Some(1),
    };
    let found = of(&view)?;
    if found.dilation != [1; 2] {
        return Err("pools with a dilation, which no layer does".into());
    }
    match fixed(&rules, &view, &found) {
        Ok(window) => pushed(importer, node, &view, Pool { kind, window: Window::Fixed(window) }),
        // Padding that the window does not have may be layers of its own: of the image first, then the window's.
        Err(_) if view.padding != [0; 4] => {
            let view = importer.with_padding(&view, node.label())?;
            let found = of(&view)?;
            match fixed(&rules, &view, &found) {
                Ok(window) => pushed(importer, node, &view, Pool { kind, window: Window::Fixed(window) }),
                Err(reason) => apart(importer, node, &view, (&rules, &found, reason)),
            }
        }
        Err(reason) => apart(importer, node, &view, (&rules, &found, reason)),
    }
}

/// How a pool treats what is not the image.
struct Rules {
    kind: PoolKind,
    /// Whether the number of windows is rounded up.
    ceil: bool,
    /// Whether a mean counts the padding.
    counts: bool,
}

/// A pool whose padding no window of ours has: a mean that counts it, behind a layer that adds it; or a maximum, of evenly
/// padded windows that start at every pixel, some of which are cut off.
fn apart<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    view: &View,
    (rules, sides, reason): (&Rules, &Sides, String),
) -> Result<Value, String> {
    let &Sides { kernel, stride, front, behind, .. } = sides;
    let even = FixedWindow { kernel, stride, padding: [0; 2], ceil_mode: false, count_include_pad: true };
    let kind = rules.kind;
    if rules.ceil {
        return Err(reason);
    }
    if kind == PoolKind::Average && rules.counts {
        let padding = [front[0], front[1], behind[0], behind[1]];
        let padded = importer.with_padding(&View { padding, ..view.clone() }, node.label())?;
        return pushed(importer, node, &padded, Pool { kind, window: Window::Fixed(even) });
    }
    if kind == PoolKind::Average || [0, 1].iter().any(|&axis| front[axis] != behind[axis] && stride[axis] > 1)
    {
        return Err(reason);
    }
    let padding = [0, 1].map(|axis| front[axis].max(behind[axis]));
    let cut = |found: [usize; 2]| [0, 1].map(|axis| padding[axis] - found[axis]);
    let ([top, left], [bottom, right]) = (cut(front), cut(behind));
    let window = Window::Fixed(FixedWindow { padding, ..even });
    let Value::Computed(all) = pushed(importer, node, view, Pool { kind, window })? else {
        return Err(reason);
    };
    importer.cropped(&all, [top, left, bottom, right], node.label()).map(Value::Computed)
}

/// The window of ours that computes the same on images of this size.
fn fixed(rules: &Rules, view: &View, sides: &Sides) -> Result<FixedWindow, String> {
    let [h, w, c] = view.size;
    let window = evenly(rules, view, sides)?;
    window.geometry(&[1, h, w, c]).map_err(|e| e.to_string())?;
    Ok(window)
}

/// [`fixed`], which may be too much padding for its size.
fn evenly(&Rules { kind, ceil, counts }: &Rules, view: &View, sides: &Sides) -> Result<FixedWindow, String> {
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

/// `ReduceMean` and `ReduceMax` over rows, columns or both, and means over channels.
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
    let rank = view.axes.len() as i64 + 1;
    let axes: Vec<i64> = axes.iter().map(|&axis| if axis < 0 { axis + rank } else { axis }).collect();
    if axes.is_empty() || axes.iter().any(|axis| !(1..rank).contains(axis)) {
        return Err("reduces all axes, or the batch".into());
    }
    let is_reduced = |i: usize| axes.contains(&(i as i64 + 1));
    let groups = view.axes.iter().enumerate();
    let reduced: Vec<Axis> =
        groups.filter(|(i, _)| is_reduced(*i)).flat_map(|(_, group)| group.clone()).collect();
    let over_channels = reduced.contains(&Axis::C);
    if over_channels && kind == PoolKind::Max {
        return Err("takes the maximum of channels, which no layer does".into());
    }
    let [h, w, c] = view.size;
    let left = |axis, size| if reduced.contains(&axis) { 1 } else { size };
    let out = [left(Axis::H, h), left(Axis::W, w)];
    let mut image = view.clone();
    if !over_channels || out != [h, w] {
        if view.flat {
            return Err("reduces a vector, which no layer does".into());
        }
        let window = if out == [1, 1] { Window::Global } else { Window::Adaptive(out) };
        let id = importer.push(node, Layer::Pool(Pool { kind, window }), &[view.node]);
        image = View { size: [out[0], out[1], c], ..view.at(id) };
    }
    if over_channels {
        image = importer.mean_of_channels(&image, [0.0, 1.0], &format!("{}.mean", node.label()))?;
    }
    let kept = view.axes.iter().enumerate().filter(|(i, _)| keep || !is_reduced(*i));
    let axes: Vec<&[Axis]> = kept.map(|(_, group)| group.as_slice()).collect();
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
    // An axis of one element may be any.
    let place = if view.is_channels_first() { 1 } else { rank as usize - 1 };
    let channels = view.is_channel_axis(axis) && (view.size[2] > 1 || axis == place);
    let mean = formula.mean().filter(|_| channels && keep && node.op == "ReduceMean");
    Ok(mean.map(|mean| Value::Formula(view, mean, node.label().to_string())))
}
