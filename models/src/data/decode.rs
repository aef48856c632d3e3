//! Decoding of image files into RGB bytes.
//!
//! Bad files are common in image collections, so each kind has its own error message: the file is empty, is not an
//! image, ends early, is damaged, or claims too many pixels for training.

use super::jpeg;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use lopper_engine::{Error, Result, input, memory};
use std::io::Cursor;
use std::path::Path;

/// Maximum size of an image file.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Maximum size of a decoded image, in bytes: 89 million RGB pixels.
pub(super) const MAX_DECODED_BYTES: u64 = 256 << 20;
/// Images of up to this many bytes are decoded without a memory check, which would take as long as decoding a small
/// one.
const ASK_ABOVE: u64 = 8 << 20;

/// Reads the JPEG, PNG or PNM file at `path` into 8-bit RGB. The format is detected from the content, not the
/// extension. Gray is replicated, CMYK is converted, and alpha is dropped. EXIF orientation is not applied, as in
/// torchvision.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, is empty, has another format, or is truncated, damaged or too large.
pub fn decode_file(path: &Path) -> Result<RgbImage> {
    decode(&input::read(path, MAX_FILE_BYTES)?).map_err(|message| Error::file(path, message))
}

/// Decodes the bytes of an image file, or returns a description of the problem.
fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Pnm)) => format,
        _ => return Err("not a JPEG, PNG or PNM image".into()),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(2 * MAX_DECODED_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| match format {
        // The walk says that the file ends early where the decoder counts missing bytes.
        ImageFormat::Jpeg => jpeg::check(bytes).err().unwrap_or_else(|| e.to_string()),
        _ => e.to_string(),
    })?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("the image has {width}×{height} pixels"));
    }
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        return Err(format!("{width}×{height} pixels decode to more than {MAX_DECODED_BYTES} bytes"));
    }
    if decoder.total_bytes() > ASK_ABOVE {
        // The coefficients of a progressive JPEG, the decoded samples, and the RGB image.
        memory::require("its pixels", 6 * decoder.total_bytes()).map_err(|e| e.to_string())?;
    }
    // The decoder fills in missing data of damaged files, so check for damage first.
    if format == ImageFormat::Jpeg {
        jpeg::check(bytes)?;
    }
    let image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    Ok(image.into_rgb8())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ColorType, ExtendedColorType, GrayImage, ImageEncoder, Luma, Rgb, RgbaImage};

    fn picture() -> RgbImage {
        RgbImage::from_fn(40, 24, |x, y| Rgb([(x * 6) as u8, (y * 10) as u8, ((x + y) * 3) as u8]))
    }

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Vec::new();
        image.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes
    }

    #[test]
    fn lossless_formats_decode_exactly() {
        for format in [ImageFormat::Png, ImageFormat::Pnm] {
            assert_eq!(decode(&encoded(&picture().into(), format)).unwrap(), picture(), "{format:?}");
        }
    }

    #[test]
    fn a_jpeg_decodes_approximately() {
        let decoded = decode(&encoded(&picture().into(), ImageFormat::Jpeg)).unwrap();
        assert_eq!(decoded.dimensions(), picture().dimensions());
        let error =
            decoded.as_raw().iter().zip(picture().as_raw()).map(|(a, b)| a.abs_diff(*b) as u64).sum::<u64>();
        assert!(error as f64 / (decoded.as_raw().len() as f64) < 8.0, "mean error of {error} over all bytes");
    }

    #[test]
    fn gray_is_replicated_and_alpha_dropped() {
        let gray = GrayImage::from_fn(5, 4, |x, y| Luma([(x * 40 + y) as u8]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Pnm] {
            let rgb = decode(&encoded(&gray.clone().into(), format)).unwrap();
            assert!(rgb.pixels().all(|p| p[0] == p[1] && p[1] == p[2]), "{format:?}");
        }
        let rgba = RgbaImage::from_fn(5, 4, |x, y| image::Rgba([x as u8, y as u8, 7, 0]));
        let rgb = decode(&encoded(&rgba.into(), ImageFormat::Png)).unwrap();
        assert_eq!(rgb.get_pixel(3, 2), &Rgb([3, 2, 7]));
    }

    #[test]
    fn sixteen_bits_become_eight() {
        let samples: Vec<u8> = [0u16, 0x8080, 0xFFFF].iter().flat_map(|v| v.to_ne_bytes()).collect();
        let mut bytes = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        encoder.write_image(&samples, 3, 1, ExtendedColorType::from(ColorType::L16)).unwrap();
        let reds: Vec<u8> = decode(&bytes).unwrap().pixels().map(|p| p[0]).collect();
        assert_eq!(reds, [0, 128, 255]);
    }

    #[test]
    fn every_truncation_is_an_error() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Pnm] {
            let bytes = encoded(&picture().into(), format);
            // The last chunk of a PNG is an empty end marker without image data.
            let needed = bytes.len() - if format == ImageFormat::Png { 12 } else { 0 };
            for len in 0..needed {
                assert!(decode(&bytes[..len]).is_err(), "{format:?} cut to {len} of {} bytes", bytes.len());
            }
        }
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_image() {
        let mut bytes = encoded(&picture().into(), ImageFormat::Jpeg);
        bytes.splice(2..2, [0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9]);
        assert!(decode(&bytes).is_ok());
        bytes.truncate(bytes.len() - 2);
        assert_eq!(decode(&bytes).unwrap_err(), "the JPEG data ends early");
    }

    #[test]
    fn huge_sizes_are_rejected_before_allocation() {
        let message = decode(b"P6 100000 100000 255 ").unwrap_err();
        assert!(message.contains("100000×100000 pixels"), "{message}");
    }

    #[test]
    fn empty_missing_and_non_image_files_are_reported() {
        assert_eq!(decode(b"").unwrap_err(), "the file is empty");
        assert_eq!(decode(b"GIF89a....................").unwrap_err(), "not a JPEG, PNG or PNM image");
        let missing = decode_file(Path::new("no/such.jpg")).unwrap_err().to_string();
        assert!(missing.starts_with("no/such.jpg: "), "{missing}");
    }
}
