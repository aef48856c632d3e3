//! Parts of an image.

/// A box inside an image, in pixels. Its edges need not lie on pixel boundaries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Width, at least a fraction of a pixel.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Region {
    /// The whole of an image.
    pub fn whole(width: u32, height: u32) -> Self {
        Self { left: 0.0, top: 0.0, width: width.into(), height: height.into() }
    }

    /// The centered box of `inner_width` × `inner_height` in an image of `width` × `height`.
    pub fn centered(width: u32, height: u32, inner_width: f64, inner_height: f64) -> Self {
        let (left, top) = ((f64::from(width) - inner_width) / 2.0, (f64::from(height) - inner_height) / 2.0);
        Self { left, top, width: inner_width, height: inner_height }
    }
}
