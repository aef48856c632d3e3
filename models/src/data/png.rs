//! Pictures from a network's input, and their files.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use lopper_engine::{Error, Result};

/// The picture of a normalized image, `values` `[H, W, 3]` = `(pixel / 255 − mean) / std`: each pixel is rounded, and one
/// beyond black or white becomes that.
///
/// # Errors
/// [`Error::Invalid`] if there are not so many values, or not three numbers of each kind.
pub fn picture(values: &[f32], [height, width]: [usize; 2], mean: &[f32], std: &[f32]) -> Result<RgbImage> {
    let wrong = || {
        let (found, means, stds) = (values.len(), mean.len(), std.len());
        Error::invalid(format!(
            "a picture: expected [{height}, {width}, 3] values and three means and deviations, found {found}, {means} and \
             {stds}"
        ))
    };
    if mean.len() != 3 || std.len() != 3 {
        return Err(wrong());
    }
    let pixel = |(&x, c): (&f32, usize)| {
        let color = f64::from(x) * f64::from(std[c]) + f64::from(mean[c]);
        (255.0 * color).round().clamp(0.0, 255.0) as u8
    };
    let pixels = values.iter().zip((0..3).cycle()).map(pixel).collect();
    let [w, h] = [width, height].map(u32::try_from);
    let sized = w.ok().zip(h.ok()).and_then(|(w, h)| RgbImage::from_raw(w, h, pixels));
    sized.filter(|_| values.len() == 3 * width * height).ok_or_else(wrong)
}

/// The bytes of `image` as a PNG file, which loses nothing.
///
/// # Errors
/// [`Error::Invalid`] if it cannot be encoded.
pub fn png(image: &RgbImage) -> Result<Vec<u8>> {
    let (width, height) = image.dimensions();
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8)
        .map_err(|e| Error::invalid(format!("a picture of {width}×{height} pixels: {e}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{IMAGENET_MEAN, IMAGENET_STD, Normalize};

    #[test]
    fn pictures_are_what_was_normalized() {
        let noise = |x: u32, y: u32| image::Rgb([(x * 37 + y * 91) as u8, (x * y) as u8, (255 - x) as u8]);
        let image = RgbImage::from_fn(50, 7, noise);
        let normalize = Normalize::new(IMAGENET_MEAN, IMAGENET_STD).unwrap();
        let values: Vec<f32> = image.pixels().flat_map(|pixel| normalize.pixel(pixel.0)).collect();
        let again = picture(&values, [7, 50], &IMAGENET_MEAN, &IMAGENET_STD).unwrap();
        assert_eq!(again, image);
        assert_eq!(image::load_from_memory(&png(&image).unwrap()).unwrap().to_rgb8(), image);
        let beyond = picture(&[-9.0, 9.0, f32::NAN], [1, 1], &IMAGENET_MEAN, &IMAGENET_STD).unwrap();
        assert_eq!(beyond.get_pixel(0, 0).0, [0, 255, 0]);
        for (size, mean) in
            [([7, 51], &IMAGENET_MEAN[..]), ([7, 50], &[0.5][..]), ([usize::MAX, 50], &IMAGENET_MEAN[..])]
        {
            assert!(picture(&values, size, mean, &IMAGENET_STD).is_err(), "{size:?}");
        }
    }
}
