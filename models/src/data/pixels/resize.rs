//! Resizing a part of an image.
//!
//! Antialiased filters widen with the reduction, as in Pillow; the pixels around the part count too, so that a part of a
//! resized image and the resized part are the same.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use lopper_engine::info::Filter;

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

/// Writes `region` of `image`, resized to `width` × `height`, to `out`, which is resized to hold it.
///
/// # Panics
/// Panics if the region does not lie in the image.
pub fn resize(
    image: &RgbImage,
    region: Region,
    [width, height]: [u32; 2],
    (filter, antialias): (Filter, bool),
    resizer: &mut Resizer,
    out: &mut Vec<u8>,
) {
    out.resize(width as usize * height as usize * 3, 0);
    let algorithm = match (filter, antialias) {
        (Filter::Nearest, _) => ResizeAlg::Nearest,
        (Filter::Bilinear, true) => ResizeAlg::Convolution(FilterType::Bilinear),
        (Filter::Bilinear, false) => ResizeAlg::Interpolation(FilterType::Bilinear),
        (Filter::Bicubic, true) => ResizeAlg::Convolution(FilterType::CatmullRom),
        (Filter::Lanczos, _) => ResizeAlg::Convolution(FilterType::Lanczos3),
        (Filter::Bicubic, false) => return cubic(image, region, [width, height], out),
    };
    let options =
        ResizeOptions::new().resize_alg(algorithm).crop(region.left, region.top, region.width, region.height);
    let source = ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8x3);
    let target = Image::from_slice_u8(width, height, out, PixelType::U8x3);
    resizer
        .resize(&source.expect("an image holds its pixels"), &mut target.expect("resized above"), &options)
        .expect("a region lies inside its image");
}

/// The cubic convolution of Keys (1981) with a = −¾ over the nearest four pixels of each axis, clamped at the image's
/// border: PyTorch's `interpolate(mode="bicubic")`.
fn cubic(image: &RgbImage, region: Region, [width, height]: [u32; 2], out: &mut [u8]) {
    let columns = taps(region.left, region.width, width, image.width());
    let rows = taps(region.top, region.height, height, image.height());
    let mut out = out.as_chunks_mut::<3>().0.iter_mut();
    for row in &rows {
        for (column, pixel) in columns.iter().zip(&mut out) {
            let mut sum = [0.0; 3];
            for &(y, down) in row {
                for &(x, across) in column {
                    let source = image.get_pixel(x, y).0;
                    (0..3).for_each(|c| sum[c] += down * across * f64::from(source[c]));
                }
            }
            *pixel = sum.map(|value| value.round().clamp(0.0, 255.0) as u8);
        }
    }
}

/// The pixels that each of `count` outputs reads along an axis of `length` pixels, with their weights.
fn taps(start: f64, extent: f64, count: u32, length: u32) -> Vec<[(u32, f64); 4]> {
    const A: f64 = -0.75;
    let weight = |x: f64| {
        let x = x.abs();
        if x <= 1.0 {
            ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
        } else if x < 2.0 {
            ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
        } else {
            0.0
        }
    };
    let taps = |i: u32| {
        let center = start + (f64::from(i) + 0.5) * extent / f64::from(count) - 0.5;
        [-1.0, 0.0, 1.0, 2.0].map(|offset| {
            let at = center.floor() + offset;
            (at.clamp(0.0, f64::from(length) - 1.0) as u32, weight(center - at))
        })
    };
    (0..count).map(taps).collect()
}
