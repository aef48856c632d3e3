//! Small pictures of images, for reports.

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{ExtendedColorType, RgbImage};

/// Quality of the JPEGs: artifacts are visible, but so is the subject.
const QUALITY: u8 = 70;

/// `image` as a JPEG of at most `side` pixels a side, in its own proportions; smaller images keep their size. None if it
/// cannot be encoded.
pub(super) fn jpeg(image: &RgbImage, side: u32) -> Option<Vec<u8>> {
    let (width, height) = image.dimensions();
    let scale = (f64::from(side) / f64::from(width.max(height).max(1))).min(1.0);
    let [w, h] = [width, height].map(|pixels| ((f64::from(pixels) * scale).round() as u32).max(1));
    let small = resize(image, w, h, FilterType::Triangle);
    let mut bytes = Vec::new();
    let encoder = &mut JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    encoder.encode(small.as_raw(), w, h, ExtendedColorType::Rgb8).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_keep_proportions_and_are_small() {
        for ((width, height), expected) in
            [((500, 375), (64, 48)), ((28, 28), (28, 28)), ((1, 900), (1, 64)), ((64, 65), (63, 64))]
        {
            let noise = |x: u32, y: u32| image::Rgb([(x * 37 + y * 91) as u8, (x * y) as u8, (x ^ y) as u8]);
            let bytes = jpeg(&RgbImage::from_fn(width, height, noise), 64).unwrap();
            let back = image::load_from_memory(&bytes).unwrap();
            assert_eq!((back.width(), back.height()), expected);
            assert!(bytes.len() < 6000, "{} bytes", bytes.len());
        }
    }
}
