//! Concatenations, padding, and parts of images.

use super::folding;
use crate::files::onnx::import::array::{self, Array};
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::{Part, Value};
use crate::files::onnx::import::view::{Axis, View};
use crate::graph::NodeId;
use crate::graph::layer::Layer;
use crate::graph::pool::{Pool, PoolKind, Window};
use lopper_kernels::shapes::AdaptivePool2d;
use std::ops::Range;

/// `Concat` of channels, of shapes, or of the windows of an adaptive pool.
pub(super) fn concat<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["axis"])?;
    let axis = node.int("axis")?.ok_or("has no axis")?;
    let mut values = Vec::new();
    for i in 0..node.inputs.len() {
        values.push(importer.value(node, i)?);
    }
    match values.first().ok_or("joins nothing")? {
        Value::Constant(_) => constants(importer, &values, axis).map(Value::Constant),
        Value::Pooled(kind, part) => adaptive(importer, node, *kind, part, (&values, axis)),
        _ => channels(importer, node, axis),
    }
}

/// Joins constants.
fn constants(importer: &mut Importer<'_, '_>, values: &[Value], axis: i64) -> Result<Array, String> {
    let parts: Option<Vec<Array>> = values
        .iter()
        .map(|value| if let Value::Constant(array) = value { Some(array.clone()) } else { None })
        .collect();
    let parts = parts.ok_or("joins constants and values that are computed, which no layer does")?;
    let rank = parts.first().map_or(0, |part| part.dims().len());
    let axis = array::axes(&[axis], rank)?[0];
    folding::joined(importer, &parts, axis)
}

/// Joins channels of images or of vectors.
fn channels<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>, axis: i64) -> Result<Value, String> {
    let mut views = Vec::new();
    for i in 0..node.inputs.len() {
        views.push(importer.computed(node, i)?);
    }
    let first = views[0].clone();
    let axis = if axis < 0 { axis + first.axes.len() as i64 + 1 } else { axis };
    let axis = usize::try_from(axis).unwrap_or(0);
    let others = |view: &View| {
        let mut axes = view.axes.clone();
        (axis > 0 && axis <= axes.len()).then(|| axes.remove(axis - 1))?;
        Some((axes, [view.size[0], view.size[1]]))
    };
    let fit = |view: &View| view.is_channel_axis(axis) && others(view) == others(&first);
    if !views.iter().all(fit) {
        let shapes: Vec<_> = views.iter().map(View::dims).collect();
        return Err(format!(
            "joins {shapes:?} along axis {axis}, which are not channels of images of one size"
        ));
    }
    if let [only] = &views[..] {
        return Ok(Value::Computed(only.clone()));
    }
    let flat = views.iter().any(|view| view.flat);
    let inputs: Vec<NodeId> =
        views.iter().map(|view| if flat { importer.vector(view) } else { view.node }).collect();
    let width = views.iter().map(|view| view.size[2]).sum();
    let id = importer.push(node, Layer::Concat, &inputs);
    let joined = View { node: id, flat, size: [first.size[0], first.size[1], width], ..first.clone() };
    let mut axes: Vec<&[Axis]> = first.axes.iter().map(Vec::as_slice).collect();
    axes[axis - 1] = &[Axis::C];
    Ok(Value::Computed(joined.with_axes(&axes)))
}

/// Joins the windows of an adaptive pool along rows or columns.
fn adaptive<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    kind: PoolKind,
    first: &Part,
    (values, axis): (&[Value], i64),
) -> Result<Value, String> {
    let (view, out) = (&first.of, values.len());
    let [h, w, c] = view.size;
    let (size, position) = if first.axis == Axis::H { (h, 2) } else { (w, 3) };
    let fits = |(i, value): (usize, &Value)| match value {
        Value::Pooled(found, part) => {
            let same = (*found, part.axis, &part.of) == (kind, first.axis, view);
            same && part.range == AdaptivePool2d::window(i, size, out)
        }
        _ => false,
    };
    if ![position, position - 4].contains(&axis) || !values.iter().enumerate().all(fits) {
        return Err("joins windows that are not those of an adaptive pool".into());
    }
    let mut window = if first.axis == Axis::H { [out, w] } else { [h, out] };
    let mut input = view.node;
    // Rows that were pooled just before are pooled together with the columns.
    let maker = &importer.nodes[view.node];
    if let (Axis::W, Layer::Pool(Pool { kind: rows, window: Window::Adaptive([rows_out, columns]) })) =
        (first.axis, &maker.layer)
        && (*rows, *columns) == (kind, w)
    {
        (window, input) = ([*rows_out, out], maker.inputs[0]);
    }
    let id = importer.push(node, Layer::Pool(Pool { kind, window: Window::Adaptive(window) }), &[input]);
    Ok(Value::Computed(View::image(id, [window[0], window[1], c])))
}

/// `Pad` with zeros: rows and columns are left to the next layer, channels make a layer.
pub(super) fn pad<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&["mode"])?;
    if node.text("mode")?.is_some_and(|mode| mode != "constant") {
        return Err("pads with other values than zeros".into());
    }
    let view = importer.padded(node, 0)?;
    if !view.is_channels_first() {
        return Err(format!("pads {:?}, expected images [N, C, H, W]", view.dims()));
    }
    if importer.constant(node, 2)?.map_or(Ok(0.0), |value| value.number("its value"))? != 0.0 {
        return Err("pads with other values than zeros".into());
    }
    let pads = importer.constant(node, 1)?.ok_or("has no pads")?.plain("its pads")?;
    let axes = match importer.constant(node, 3)? {
        Some(axes) => axes.plain("its axes")?,
        None => vec![0, 1, 2, 3],
    };
    let mut added = [[0usize; 2]; 4];
    for (i, &axis) in axes.iter().enumerate() {
        let axis = usize::try_from(if axis < 0 { axis + 4 } else { axis }).ok().filter(|&axis| axis < 4);
        let sides =
            [pads.get(i), pads.get(i + axes.len())].map(|pad| pad.and_then(|&p| usize::try_from(p).ok()));
        let ([Some(front), Some(behind)], Some(axis)) = (sides, axis) else {
            return Err(format!("has pads {pads:?} for axes {axes:?}"));
        };
        if front.max(behind) > 1 << 16 {
            return Err(format!("has pads {pads:?}"));
        }
        added[axis] = [front, behind];
    }
    match added {
        [[0, 0], [0, 0], [top, bottom], [left, right]] => {
            let found = view.padding;
            let padding = [found[0] + top, found[1] + left, found[2] + bottom, found[3] + right];
            match padding.iter().all(|&p| p <= 1 << 16) {
                true => Ok(Value::Computed(View { padding, ..view })),
                false => Err(format!("pads up to {padding:?}")),
            }
        }
        [[0, 0], [before, after], [0, 0], [0, 0]] if view.padding == [0; 4] => {
            Ok(shortcut(importer, node, &view, 1, [before, after]))
        }
        _ => Err("pads the batch, or channels and pixels".into()),
    }
}

/// Adds zero channels, or takes every `stride`-th pixel, of the image `view`. Both together are one layer.
fn shortcut<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    view: &View,
    stride: usize,
    [before, after]: [usize; 2],
) -> Value {
    let [h, w, c] = view.size;
    let (mut layer, mut input) = (Layer::PadShortcut { stride, before, after }, view.node);
    let maker = &importer.nodes[view.node];
    if let (1, Layer::PadShortcut { stride, before: 0, after: 0 }) = (stride, &maker.layer) {
        (layer, input) = (Layer::PadShortcut { stride: *stride, before, after }, maker.inputs[0]);
    }
    let id = importer.push(node, layer, &[input]);
    Value::Computed(View::image(id, [h.div_ceil(stride), w.div_ceil(stride), before + c + after]))
}

/// `Slice` of a list of integers, of channels, of every n-th pixel, of rows or columns that a pool reduces, or of all but a
/// few at the edges.
pub(super) fn slice<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[])?;
    let value = importer.value(node, 0)?;
    let dims: Vec<usize> = match &value {
        Value::Constant(array) => array.dims().to_vec(),
        _ => {
            let batch = importer.batch.plain().and_then(|batch| usize::try_from(batch).ok());
            [&[batch.unwrap_or(usize::MAX)][..], &importer.computed(node, 0)?.dims()].concat()
        }
    };
    let ranges = ranges(importer, node, (&dims, matches!(value, Value::Constant(_))))?;
    if let Value::Constant(array) = &value {
        return folding::sliced(importer, array, &ranges).map(Value::Constant);
    }
    let view = importer.computed(node, 0)?;
    let whole = |&&(axis, start, end, step): &&(usize, usize, usize, usize)| {
        (start, step) != (0, 1) || end != dims[axis]
    };
    let parts: Vec<_> = ranges.iter().filter(whole).copied().collect();
    let full = |axis: usize| dims[axis];
    match parts[..] {
        // A window of an adaptive pool may be the whole image.
        [] if view.is_channels_first() => match ranges[..] {
            [(axis @ (2 | 3), start, end, 1)] => Ok(Value::Window(part(view, axis, start..end))),
            _ => Ok(Value::Computed(view)),
        },
        [] => Ok(Value::Computed(view)),
        [(axis, start, end, step)] if view.is_channel_axis(axis) || view.axes.len() == 1 => {
            let channels = (start..end).step_by(step).collect();
            importer.gathered(node.label(), &view, axis, channels).map(Value::Computed)
        }
        [(2, 0, h, a), (3, 0, w, b)] | [(3, 0, w, b), (2, 0, h, a)]
            if view.is_channels_first() && a == b && [h, w] == [full(2), full(3)] =>
        {
            Ok(shortcut(importer, node, &view, a, [0, 0]))
        }
        [(axis @ (2 | 3), start, end, 1)] if view.is_channels_first() => {
            Ok(Value::Window(part(view, axis, start..end)))
        }
        _ => cut(importer, node, &view, &parts),
    }
}

/// `parts` of the rows and columns of an image, whatever the order of its axes.
fn cut<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    view: &View,
    parts: &[(usize, usize, usize, usize)],
) -> Result<Value, String> {
    let mut cuts = [0; 4];
    for &(axis, start, end, step) in parts {
        let group = axis.checked_sub(1).and_then(|behind| view.axes.get(behind));
        let side = match (group.map(Vec::as_slice), step) {
            (Some([Axis::H]), 1) => 0,
            (Some([Axis::W]), 1) => 1,
            _ => return Err(format!("takes a part of {:?}, which no layer does", view.dims())),
        };
        (cuts[side], cuts[side + 2]) = (start, view.size[side] - end);
    }
    importer.cropped(view, cuts, node.label()).map(Value::Computed)
}

/// The rows or columns `range` of an image.
fn part(of: View, axis: usize, range: Range<usize>) -> Part {
    Part { of, axis: if axis == 2 { Axis::H } else { Axis::W }, range }
}

/// The axis, start, end and step of each part that `node` takes of a value of shape `dims`.
fn ranges<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    (dims, may_be_empty): (&[usize], bool),
) -> Result<Vec<(usize, usize, usize, usize)>, String> {
    let mut list =
        |i: usize, what: &str| importer.constant(node, i)?.map(|array| array.plain(what)).transpose();
    let starts = list(1, "its starts")?.ok_or("has no starts")?;
    let ends = list(2, "its ends")?.ok_or("has no ends")?;
    let axes = list(3, "its axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4, "its steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("has starts, ends, axes and steps of different numbers".into());
    }
    let range = |i: usize| {
        let rank = dims.len() as i64;
        let axis = if axes[i] < 0 { axes[i].checked_add(rank)? } else { axes[i] };
        let axis = usize::try_from(axis).ok().filter(|&axis| axis < dims.len())?;
        let size = i64::try_from(dims[axis]).unwrap_or(i64::MAX);
        let at = |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size) as usize;
        let (start, end) = (at(starts[i]), at(ends[i]).min(dims[axis]));
        let end = if end == i64::MAX as usize { dims[axis] } else { end };
        let step = usize::try_from(steps[i]).ok().filter(|&step| step > 0)?;
        Some((axis, start, end.max(start), step))
    };
    let found: Option<Vec<_>> = (0..starts.len()).map(range).collect();
    // No layer makes nothing, but a list may be empty.
    let found = found.filter(|parts| may_be_empty || parts.iter().all(|(_, start, end, _)| start < end));
    let found =
        found.filter(|parts| (1..parts.len()).all(|i| parts[..i].iter().all(|part| part.0 != parts[i].0)));
    found.ok_or_else(|| format!("takes the parts {starts:?} to {ends:?} of axes {axes:?} by steps {steps:?}"))
}
