//! Resizing a part of an image.
//!
//! Antialiased filters widen with the reduction; the pixels around the part count too, so that a part of a resized image
//! and the resized part are the same.

use super::interpolate::{cubic, interpolate, linear};
use super::region::Region;
use super::resample::{Buffers, resample};
use fast_image_resize as fast;
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions};
use image::RgbImage;
use lopper_engine::info::Filter;

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

    /// Resizes by the antialiased bilinear filter, with vector instructions. Weights have 16 bits and the vertical
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
        // The type of pixels is known here: otherwise the resizer would be compiled for all thirteen.
        let source = TypedImageRef::<U8x3>::from_buffer(image.width(), image.height(), image.as_raw());
        let target = TypedImage::<U8x3>::from_buffer(width, height, out);
        let (source, mut target) =
            (source.expect("an image holds its pixels"), target.expect("resized above"));
        self.fast.resize_typed(&source, &mut target, &options).expect("a region lies inside its image");
    }
}
