//! Resizing, and zeros between pixels, as expressions of PyTorch.

use super::forward::size;
use crate::graph::resize::{Coordinates, Resize, ResizeSize, Rounding, Sampling};

/// The value `x` of `shape`, resized. What PyTorch has no mode for is a choice of rows and columns, or a sum of them with
/// their weights.
pub(super) fn resized(resize: &Resize, shape: &[usize], x: &str) -> String {
    let to = match resize.size {
        ResizeSize::Times(times) => format!("scale_factor={}", size(times)),
        ResizeSize::Fixed(to) => format!("size={}", tuple(to)),
    };
    match resize.sampling {
        Sampling::Nearest(Coordinates::Asymmetric, Rounding::Floor) => format!("F.interpolate({x}, {to})"),
        Sampling::Bilinear(Coordinates::HalfPixel) => {
            format!("F.interpolate({x}, {to}, mode=\"bilinear\", align_corners=False)")
        }
        Sampling::Bilinear(Coordinates::AlignCorners) => {
            format!("F.interpolate({x}, {to}, mode=\"bilinear\", align_corners=True)")
        }
        _ => along(resize, shape, 1, &along(resize, shape, 0, x)),
    }
}

/// `x` resized along its rows (`axis` 0) or columns (1).
fn along(resize: &Resize, shape: &[usize], axis: usize, x: &str) -> String {
    let Ok(g) = resize.geometry(shape) else { return x.into() };
    let taps: Vec<[(usize, f32); 2]> = (0..[g.oh, g.ow][axis]).map(|i| g.taps(axis, i)).collect();
    let index = |tap: usize| {
        let rows: Vec<usize> = taps.iter().map(|taps| taps[tap].0).collect();
        if axis == 0 { format!("{x}[:, :, {rows:?}]") } else { format!("{x}[:, :, :, {rows:?}]") }
    };
    if taps.iter().all(|taps| taps[1].1 == 0.0) {
        return index(0);
    }
    let weights = |tap: usize| {
        let weights: Vec<f32> = taps.iter().map(|taps| taps[tap].1).collect();
        let columns = if axis == 0 { "[:, None]" } else { "" };
        format!("torch.tensor({weights:?}){columns}.to({x})")
    };
    format!("({} * {} + {} * {})", index(0), weights(0), index(1), weights(1))
}

/// The value `x` of `shape` with zeros between its pixels.
pub(super) fn dilated(stride: [usize; 2], shape: &[usize], x: &str) -> String {
    let channels = shape[shape.len() - 1];
    format!(
        "F.conv_transpose2d({x}, {x}.new_ones({channels}, 1, 1, 1), stride={}, groups={channels})",
        size(stride)
    )
}

fn tuple([h, w]: [usize; 2]) -> String {
    format!("({h}, {w})")
}
