//! Resizing.

use crate::files::onnx::import::array::Array;
use crate::files::onnx::import::importer::Importer;
use crate::files::onnx::import::model::OnnxNode;
use crate::files::onnx::import::value::Value;
use crate::files::onnx::import::view::View;
use crate::graph::layer::{Coordinates, Layer, Resize, ResizeSize, Rounding, Sampling};

/// `Resize` of the pixels, nearest or linear.
pub(super) fn resize<'a>(importer: &mut Importer<'_, 'a>, node: &OnnxNode<'a>) -> Result<Value, String> {
    node.only(&[
        "antialias",
        "axes",
        "coordinate_transformation_mode",
        "cubic_coeff_a",
        "exclude_outside",
        "extrapolation_value",
        "keep_aspect_ratio_policy",
        "mode",
        "nearest_mode",
    ])?;
    for (name, expected) in [("antialias", 0), ("exclude_outside", 0)] {
        if node.int(name)?.is_some_and(|value| value != expected) {
            return Err(format!("resizes with `{name}`, which no layer does"));
        }
    }
    let view = importer.computed(node, 0)?;
    if !view.is_channels_first() {
        return Err(format!("resizes {:?}, expected images [N, C, H, W]", view.dims()));
    }
    let (size, out) = size(importer, node, &view)?;
    let (coordinates, pytorch) = match node.text("coordinate_transformation_mode")?.unwrap_or("half_pixel") {
        "half_pixel" => (Coordinates::HalfPixel, false),
        "pytorch_half_pixel" => (Coordinates::HalfPixel, true),
        "asymmetric" => (Coordinates::Asymmetric, false),
        "align_corners" => (Coordinates::AlignCorners, false),
        other => return Err(format!("resizes by the coordinates `{other}`, which no layer does")),
    };
    // PyTorch reads the first pixel where there is one, not the middle.
    if pytorch && (0..2).any(|axis| out[axis] == 1 && view.size[axis] > 1) {
        return Err("resizes an axis to one pixel by `pytorch_half_pixel`, which no layer does".into());
    }
    let sampling = match node.text("mode")?.unwrap_or("nearest") {
        "nearest" => {
            let rounding = match node.text("nearest_mode")?.unwrap_or("round_prefer_floor") {
                "round_prefer_floor" => Rounding::HalfDown,
                "round_prefer_ceil" => Rounding::HalfUp,
                "floor" => Rounding::Floor,
                "ceil" => Rounding::Ceil,
                other => return Err(format!("rounds by `{other}`, which is not understood")),
            };
            Sampling::Nearest(coordinates, rounding)
        }
        "linear" => Sampling::Bilinear(coordinates),
        other => return Err(format!("resizes by the mode `{other}`, which no layer does")),
    };
    let layer = Layer::Resize(Resize { sampling, size });
    layer.check().map_err(|e| e.to_string())?;
    let id = importer.push(node, layer, &[view.node]);
    Ok(Value::Computed(View::image(id, [out[0], out[1], view.size[2]])))
}

/// The size of the output as a layer has it, and in pixels.
fn size<'a>(
    importer: &mut Importer<'_, 'a>,
    node: &OnnxNode<'a>,
    view: &View,
) -> Result<(ResizeSize, [usize; 2]), String> {
    let axes: Vec<i64> = node.ints("axes")?.map_or_else(|| vec![0, 1, 2, 3], <[i64]>::to_vec);
    let axes: Vec<i64> = axes.into_iter().map(|axis| if axis < 0 { axis + 4 } else { axis }).collect();
    let given = |array: Option<Array>| array.filter(|array| !array.dims().contains(&0));
    if let Some(sizes) = given(importer.constant(node, 3)?) {
        let sizes = sizes.ints("its sizes")?;
        let of = |axis: i64| axes.iter().position(|&found| found == axis).and_then(|i| sizes.get(i));
        let same = [(0, Some(importer.batch)), (1, None)].into_iter().all(|(axis, batch)| {
            of(axis).is_none_or(|&found| match batch {
                Some(batch) => found == batch,
                None => found.plain() == Some(view.size[2] as i64),
            })
        });
        let out = [2, 3].map(|axis| match of(axis) {
            Some(size) => size.plain().and_then(|size| usize::try_from(size).ok()),
            None => Some(view.size[axis as usize - 2]),
        });
        return match (same && sizes.len() == axes.len(), out) {
            (true, [Some(h), Some(w)]) => by_policy(node, view, [h, w], &axes),
            _ => Err("resizes the batch or the channels".into()),
        };
    }
    let scales = given(importer.constant(node, 2)?).ok_or("has neither scales nor sizes")?;
    let scales = scales.floats("its scales")?;
    let of = |axis: i64| {
        let at = axes.iter().position(|&found| found == axis);
        at.map_or(Some(1.0), |i| scales.data().get(i).map(|&scale| f64::from(scale)))
    };
    let [Some(batch), Some(channels), Some(rows), Some(columns)] = [0, 1, 2, 3].map(of) else {
        return Err(format!("has {} scales for the axes {axes:?}", scales.len()));
    };
    if [batch, channels] != [1.0; 2] {
        return Err("resizes the batch or the channels".into());
    }
    by_scale(view, [rows, columns])
}

/// The size `out`, or one of the image's proportions inside it or around it.
fn by_policy(
    node: &OnnxNode,
    view: &View,
    out: [usize; 2],
    axes: &[i64],
) -> Result<(ResizeSize, [usize; 2]), String> {
    let ratio = |axis: usize| out[axis] as f64 / view.size[axis] as f64;
    let pixels = matches!(axes, [2, 3] | [3, 2]);
    match node.text("keep_aspect_ratio_policy")?.unwrap_or("stretch") {
        "stretch" => Ok((ResizeSize::Fixed(out), out)),
        "not_larger" if pixels => by_scale(view, [ratio(0).min(ratio(1)); 2]),
        "not_smaller" if pixels => by_scale(view, [ratio(0).max(ratio(1)); 2]),
        other => {
            Err(format!("keeps the aspect ratio of the axes {axes:?} by `{other}`, which no layer does"))
        }
    }
}

/// The size of the image `view` times `scale`.
fn by_scale(view: &View, scale: [f64; 2]) -> Result<(ResizeSize, [usize; 2]), String> {
    let out = [0, 1].map(|axis| (view.size[axis] as f64 * scale[axis] + 1e-4).floor());
    // A scale that gives no whole number of pixels moves them by another factor than the sizes say.
    let exact = |axis: usize| (out[axis] - view.size[axis] as f64 * scale[axis]).abs() < 1e-3;
    if !(exact(0) && exact(1)) || out.iter().any(|&out| !(1.0..=65_536.0).contains(&out)) {
        return Err(format!("scales {:?} by {scale:?}, which gives no whole number of pixels", view.size));
    }
    let out = out.map(|out| out as usize);
    Ok(match scale.iter().all(|scale| scale.fract() == 0.0) {
        true => (ResizeSize::Times(scale.map(|scale| scale as usize)), out),
        false => (ResizeSize::Fixed(out), out),
    })
}
