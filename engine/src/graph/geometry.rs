//! The checked geometry of operations, from the shapes of their operands.

use crate::{Error, Result};
use lopper_kernels::shapes::{
    AdaptivePool2d, Conv2d, Gate, Linear, PadShortcut, Resize, ResizeMode, ShapeError,
};

/// How a convolution reads its image; the sizes follow from the image and the weight. Pairs are `[height, width]`. By
/// default, windows are next to each other, without padding, dilation or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Step between neighboring windows.
    pub stride: [usize; 2],
    /// Zeros on each side.
    pub padding: [usize; 2],
    /// Further zeros behind the last row and column.
    pub extra_padding: [usize; 2],
    /// Distance between neighboring taps.
    pub dilation: [usize; 2],
    /// Independent groups of channels.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Self { stride: [1; 2], padding: [0; 2], extra_padding: [0; 2], dilation: [1; 2], groups: 1 }
    }
}

/// The checked geometry of a convolution of `x` `[N, H, W, C]` with `w` `[O, KH, KW, C / groups]`.
pub fn conv2d_geometry(x: &[usize], w: &[usize], options: Conv2dOptions) -> Result<Conv2d> {
    let Conv2dOptions { stride, padding, extra_padding, dilation, groups } = options;
    let [n, h, width, c] = image("conv2d", x)?;
    let &[o, kh, kw, depth] = w else {
        return Err(Error::shape(
            "conv2d",
            format!("expected a weight [O, KH, KW, C / groups], found {w:?}"),
        ));
    };
    if depth.checked_mul(groups) != Some(c) {
        return Err(Error::shape(
            "conv2d",
            format!("expected {} input channels, found {c}", depth.saturating_mul(groups)),
        ));
    }
    let g = Conv2d { n, h, w: width, c, o, kh, kw, stride, padding, extra_padding, dilation, groups };
    checked("conv2d", g, Conv2d::check)
}

/// The checked geometry of a linear layer of `x` `[N, IN]` with `w` `[OUT, IN]`.
pub fn linear_geometry(x: &[usize], w: &[usize]) -> Result<Linear> {
    let &[outputs, inputs] = w else {
        return Err(Error::shape("linear", format!("expected a weight [OUT, IN], found {w:?}")));
    };
    match *x {
        [n, found] if found == inputs => checked("linear", Linear { n, inputs, outputs }, Linear::check),
        _ => Err(Error::shape("linear", format!("expected [N, {inputs}], found {x:?}"))),
    }
}

/// The checked geometry of adaptive pooling of `x` to `[height, width]`.
pub fn adaptive_geometry(x: &[usize], [oh, ow]: [usize; 2]) -> Result<AdaptivePool2d> {
    let [n, h, w, c] = image("adaptive pool", x)?;
    checked("adaptive pool", AdaptivePool2d { n, h, w, c, oh, ow }, AdaptivePool2d::check)
}

/// The checked geometry of a parameter-free shortcut of `x`.
pub fn shortcut_geometry(x: &[usize], stride: usize, before: usize, after: usize) -> Result<PadShortcut> {
    let [n, h, w, c] = image("pad shortcut", x)?;
    checked("pad shortcut", PadShortcut { n, h, w, c, stride, before, after }, PadShortcut::check)
}

/// The checked geometry of the product of images `x` with a `gate` `[N, 1, 1, C]` or `[N, C]`.
pub fn gate_geometry(x: &[usize], gate: &[usize]) -> Result<Gate> {
    let found = match (x, gate) {
        (&[n, h, w, c], &[m, 1, 1, d] | &[m, d]) if (n, c) == (m, d) => Gate { n, pixels: h * w, c },
        _ => {
            return Err(Error::shape(
                "multiply",
                format!("{x:?} and {gate:?} differ, and the second is no gate"),
            ));
        }
    };
    checked("multiply", found, Gate::check)
}

/// The shape of `channels` of `x` `[…, C]`.
pub fn gathered(x: &[usize], channels: &[u32]) -> Result<Vec<usize>> {
    let [outer @ .., width] = x else { return Err(Error::shape("gather", "expected at least one axis")) };
    match channels.iter().find(|&&channel| channel as usize >= *width) {
        Some(channel) => {
            Err(Error::shape("gather", format!("expected channels below {width}, found {channel}")))
        }
        None => Ok([outer, &[channels.len()]].concat()),
    }
}

/// The checked geometry of zeros between the pixels of `x`.
pub fn dilate_geometry(x: &[usize], stride: [usize; 2]) -> Result<Resize> {
    let [n, h, w, c] = image("dilate", x)?;
    let [oh, ow] =
        [0, 1].map(|axis| [h, w][axis].saturating_sub(1).saturating_mul(stride[axis]).saturating_add(1));
    checked("dilate", Resize { n, h, w, c, oh, ow, mode: ResizeMode::Stuff(stride) }, Resize::check)
}

/// The four dimensions of an image tensor, or an error of operation `op`.
pub(crate) fn image(op: &'static str, x: &[usize]) -> Result<[usize; 4]> {
    x.try_into().map_err(|_| Error::shape(op, format!("expected an image [N, H, W, C], found {x:?}")))
}

/// Returns `geometry` if `check` accepts it.
pub(crate) fn checked<G>(
    op: &'static str,
    geometry: G,
    check: impl Fn(&G) -> Result<(), ShapeError>,
) -> Result<G> {
    check(&geometry).map_err(|e| Error::shape(op, e.to_string()))?;
    Ok(geometry)
}
