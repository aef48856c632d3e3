//! The network's input, and the two ways in which its axes can be meant.

use super::int::Int;
use super::model::OnnxInput;
use super::view::{Axis, View};
use crate::files::onnx::fields::element;

/// The order of an image's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[N, C, H, W]`, or `[N, C, W]`.
    ChannelsFirst,
    /// `[N, H, W, C]`, or `[N, W, C]`.
    ChannelsLast,
}

/// The view of `input` in `layout`, and the number of images. Sides that the file leaves open are `side`.
pub(super) fn input(input: &OnnxInput, layout: Layout, side: Option<usize>) -> Result<(View, Int), String> {
    let name = input.name;
    if ![element::FLOAT, element::FLOAT16, element::DOUBLE, element::UINT8].contains(&input.element) {
        return Err(format!("its input `{name}` has elements of type {}, expected numbers", input.element));
    }
    let known = |dim: &Option<usize>, what: &str| {
        dim.ok_or_else(|| format!("it does not say the {what} of its input `{name}`"))
    };
    let open = "size (--size gives it)";
    let (batch, axes) = input.dims.split_first().ok_or_else(|| format!("its input `{name}` has no axes"))?;
    let batch = batch.map_or(Int::N, |images| Int::of(images as i64));
    let side = |dim: &Option<usize>| known(&dim.or(side), open);
    let view = match (axes, layout) {
        ([], _) => View::image(0, [1, 1, 1]).with_axes(&[]),
        ([features], _) => View::image(0, [1, 1, known(features, "features")?]).with_axes(&[&[Axis::C]]),
        ([c, w], Layout::ChannelsFirst) => {
            View::image(0, [1, side(w)?, known(c, "channels")?]).with_axes(&[&[Axis::C], &[Axis::W]])
        }
        ([w, c], Layout::ChannelsLast) => {
            View::image(0, [1, side(w)?, known(c, "channels")?]).with_axes(&[&[Axis::W], &[Axis::C]])
        }
        ([c, h, w], Layout::ChannelsFirst) => View::image(0, [side(h)?, side(w)?, known(c, "channels")?]),
        ([h, w, c], Layout::ChannelsLast) => {
            let image = View::image(0, [side(h)?, side(w)?, known(c, "channels")?]);
            image.with_axes(&[&[Axis::H], &[Axis::W], &[Axis::C]])
        }
        _ => return Err(format!("its input `{name}` has {} axes, expected an image", input.dims.len())),
    };
    view.bounded().map_err(|e| format!("its input `{name}` has {e}"))?;
    Ok((view, batch))
}
