//! Resizing a part of an image.
//!
//! Antialiased filters widen with the reduction; the pixels around the part count too, so that a part of a resized image
//! and the resized part are the same.

use super::interpolate::{cubic, interpolate, linear};
use super::resample::{Buffers, resample};
use fast_image_resize as fast;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions};
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

/// Resizes images, with buffers that are reused.
#[derive(Default)]
pub struct Resizer {
    fast: fast::Resizer,
    buffers: Buffers,
}

impl Resizer {
    /// Writes `region` of `image`, resized to `width` × `height` as torchvision does it, to `out`, which is resized to
    /// hold it.
    ///
    /// # Panics
    /// Panics if the region does not lie in the image.
    pub fn resize(
        &mut self,
        image: &RgbImage,
        region: Region,
        size: [u32; 2],
        (filter, antialias): (Filter, bool),
        out: &mut Vec<u8>,
    ) {
        if filter == Filter::Nearest {
            return self.with(ResizeAlg::Nearest, image, region, size, out);
        }
        out.resize(size[0] as usize * size[1] as usize * 3, 0);
        match filter {
            Filter::Bilinear if !antialias => interpolate(image, region, size, linear, out),
            Filter::Bicubic if !antialias => interpolate(image, region, size, cubic, out),
            _ => resample(image, region, size, filter, &mut self.buffers, out),
        }
    }

    /// Resizes by the antialiased bilinear filter, faster than [`Resizer::resize`]. Weights have 16 bits and the vertical
    /// pass comes first, so that many bytes differ by one.
    ///
    /// # Panics
    /// Panics if the region does not lie in the image.
    pub fn resize_fast(&mut self, image: &RgbImage, region: Region, size: [u32; 2], out: &mut Vec<u8>) {
        self.with(ResizeAlg::Convolution(FilterType::Bilinear), image, region, size, out);
    }

    fn with(
        &mut self,
        algorithm: ResizeAlg,
        image: &RgbImage,
        region: Region,
        [width, height]: [u32; 2],
        out: &mut Vec<u8>,
    ) {
        out.resize(width as usize * height as usize * 3, 0);
        let Region { left, top, width: across, height: down } = region;
        let options = ResizeOptions::new().resize_alg(algorithm).crop(left, top, across, down);
        let source = ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8x3);
        let target = Image::from_slice_u8(width, height, out, PixelType::U8x3);
        let (source, mut target) =
            (source.expect("an image holds its pixels"), target.expect("resized above"));
        self.fast.resize(&source, &mut target, &options).expect("a region lies inside its image");
    }
}
