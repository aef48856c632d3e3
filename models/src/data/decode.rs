//! Decoding of image files into RGB bytes.
//!
//! Bad files are common in image collections, so each kind has its own error message: the file is empty, is not an
//! image, ends early, is damaged, or claims too many pixels for training.

use super::jpeg;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use lopper_engine::{Error, Result, input, memory};
use std::io::{BufRead, Cursor, Seek};
use std::path::Path;

/// The formats that are read.
pub(super) const READ: [ImageFormat; 7] = [
    ImageFormat::Jpeg,
    ImageFormat::Png,
    ImageFormat::Pnm,
    ImageFormat::WebP,
    ImageFormat::Bmp,
    ImageFormat::Gif,
    ImageFormat::Tiff,
];
/// Maximum size of an image file.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Maximum size of a decoded image, in bytes: 89 million RGB pixels.
pub(super) const MAX_DECODED_BYTES: u64 = 256 << 20;
/// Images of up to this many bytes are decoded without a memory check, which would take as long as decoding a small
/// one.
const ASK_ABOVE: u64 = 8 << 20;

/// Reads the JPEG, PNG, PNM, WebP, BMP, GIF or TIFF file at `path` into 8-bit RGB. The format is detected from the
/// content, not the extension. Gray is replicated, CMYK is converted, and alpha is dropped. Of several frames or pages,
/// the first is read. EXIF orientation is not applied, as in torchvision.
///
/// # Errors
/// [`Error::File`] if the file cannot be read, is empty, has another format, or is truncated, damaged or too large.
pub fn decode_file(path: &Path) -> Result<RgbImage> {
    decode(&input::read(path, MAX_FILE_BYTES)?, false).map_err(|message| Error::file(path, message))
}

/// Reads an image as [`decode_file`] does, and turns it upright as its EXIF data say.
///
/// # Errors
/// The errors of [`decode_file`].
pub fn decode_upright(path: &Path) -> Result<RgbImage> {
    decode(&input::read(path, MAX_FILE_BYTES)?, true).map_err(|message| Error::file(path, message))
}

/// Decodes the bytes of an image file, turned upright if `orient` is set, or returns a description of the problem.
fn decode(bytes: &[u8], orient: bool) -> Result<RgbImage, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let format = match image::guess_format(bytes) {
        Ok(format) if READ.contains(&format) => format,
        _ => return Err("not a JPEG, PNG, PNM, WebP, BMP, GIF or TIFF image".into()),
    };
    let mut decoder = decoder(Cursor::new(bytes), format).map_err(|e| match format {
        // The walk says that the file ends early where the decoder counts missing bytes.
        ImageFormat::Jpeg => jpeg::check(bytes).err().unwrap_or_else(|| e.to_string()),
        _ => e.to_string(),
    })?;
    check_size(&decoder)?;
    if decoder.total_bytes() > ASK_ABOVE {
        // The coefficients of a progressive JPEG, the decoded samples, and the RGB image.
        memory::require("its pixels", 6 * decoder.total_bytes()).map_err(|e| e.to_string())?;
    }
    // The decoder fills in missing data of damaged files, so check for damage first.
    if format == ImageFormat::Jpeg {
        jpeg::check(bytes)?;
    }
    // Damaged EXIF data do not make the image unusable.
    let orientation = if orient { decoder.orientation().ok() } else { None };
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(image.into_rgb8())
}

/// The decoder of an image of `format`, which has read the header.
pub(super) fn decoder<'a>(
    file: impl BufRead + Seek + 'a,
    format: ImageFormat,
) -> Result<impl ImageDecoder + 'a, ImageError> {
    let mut reader = ImageReader::with_format(file, format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(2 * MAX_DECODED_BYTES);
    reader.limits(limits);
    reader.into_decoder()
}

/// Checks that an image has pixels, and not too many.
pub(super) fn check_size(decoder: &impl ImageDecoder) -> Result<(), String> {
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("the image has {width}×{height} pixels"));
    }
    match decoder.total_bytes() > MAX_DECODED_BYTES {
        true => Err(format!("{width}×{height} pixels decode to more than {MAX_DECODED_BYTES} bytes")),
        false => Ok(()),
    }
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
        use ImageFormat::{Bmp, Png, Pnm, Tiff, WebP};
        for format in [Png, Pnm, Bmp, Tiff, WebP] {
            assert_eq!(decode(&encoded(&picture().into(), format), false).unwrap(), picture(), "{format:?}");
        }
    }

    #[test]
    fn a_gif_decodes_to_its_first_frame() {
        let frame = |red| image::Frame::new(RgbaImage::from_pixel(9, 5, image::Rgba([red, 0, 255, 255])));
        let mut bytes = Vec::new();
        image::codecs::gif::GifEncoder::new(&mut bytes).encode_frames([frame(255), frame(0)]).unwrap();
        assert_eq!(decode(&bytes, false).unwrap(), RgbImage::from_pixel(9, 5, Rgb([255, 0, 255])));
    }

    #[test]
    fn a_jpeg_decodes_approximately() {
        let decoded = decode(&encoded(&picture().into(), ImageFormat::Jpeg), false).unwrap();
        assert_eq!(decoded.dimensions(), picture().dimensions());
        let error =
            decoded.as_raw().iter().zip(picture().as_raw()).map(|(a, b)| a.abs_diff(*b) as u64).sum::<u64>();
        assert!(error as f64 / (decoded.as_raw().len() as f64) < 8.0, "mean error of {error} over all bytes");
    }

    #[test]
    fn gray_is_replicated_and_alpha_dropped() {
        let gray = GrayImage::from_fn(5, 4, |x, y| Luma([(x * 40 + y) as u8]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Pnm] {
            let rgb = decode(&encoded(&gray.clone().into(), format), false).unwrap();
            assert!(rgb.pixels().all(|p| p[0] == p[1] && p[1] == p[2]), "{format:?}");
        }
        let rgba = RgbaImage::from_fn(5, 4, |x, y| image::Rgba([x as u8, y as u8, 7, 0]));
        let rgb = decode(&encoded(&rgba.into(), ImageFormat::Png), false).unwrap();
        assert_eq!(rgb.get_pixel(3, 2), &Rgb([3, 2, 7]));
    }

    #[test]
    fn sixteen_bits_become_eight() {
        let samples: Vec<u8> = [0u16, 0x8080, 0xFFFF].iter().flat_map(|v| v.to_ne_bytes()).collect();
        let mut bytes = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        encoder.write_image(&samples, 3, 1, ExtendedColorType::from(ColorType::L16)).unwrap();
        let reds: Vec<u8> = decode(&bytes, false).unwrap().pixels().map(|p| p[0]).collect();
        assert_eq!(reds, [0, 128, 255]);
    }

    #[test]
    fn every_truncation_is_an_error() {
        for format in READ {
            let bytes = encoded(&picture().into(), format);
            // Behind the last pixel a PNG has an empty chunk of 12 bytes, and a GIF the end of its codes (up to two bytes),
            // an empty block and a trailer.
            let end = match format {
                ImageFormat::Png => 12,
                ImageFormat::Gif => 4,
                _ => 0,
            };
            let needed = bytes.len() - end;
            for len in 0..needed {
                assert!(
                    decode(&bytes[..len], false).is_err(),
                    "{format:?} cut to {len} of {} bytes",
                    bytes.len()
                );
            }
        }
    }

    /// A 2×1 image whose EXIF data ask for a quarter turn.
    #[test]
    fn an_image_is_turned_upright_only_on_request() {
        let image = RgbImage::from_fn(2, 1, |x, _| Rgb([x as u8 * 200; 3]));
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        // One entry of a TIFF directory: tag 0x112, one short, 6 = turned by 90 degrees.
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        encoder.write_image(image.as_raw(), 2, 1, ExtendedColorType::Rgb8).unwrap();
        assert_eq!(decode(&bytes, false).unwrap(), image);
        let upright = decode(&bytes, true).unwrap();
        assert_eq!((upright.dimensions(), upright.get_pixel(0, 1).0), ((1, 2), [200; 3]));
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_image() {
        let mut bytes = encoded(&picture().into(), ImageFormat::Jpeg);
        bytes.splice(2..2, [0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9]);
        assert!(decode(&bytes, false).is_ok());
        bytes.truncate(bytes.len() - 2);
        assert_eq!(decode(&bytes, false).unwrap_err(), "the JPEG data ends early");
    }

    #[test]
    fn huge_sizes_are_rejected_before_allocation() {
        let message = decode(b"P6 100000 100000 255 ", false).unwrap_err();
        assert!(message.contains("100000×100000 pixels"), "{message}");
    }

    #[test]
    fn empty_missing_and_non_image_files_are_reported() {
        assert_eq!(decode(b"", false).unwrap_err(), "the file is empty");
        let message = decode(b"8BPS....................", false).unwrap_err();
        assert_eq!(message, "not a JPEG, PNG, PNM, WebP, BMP, GIF or TIFF image");
        let missing = decode_file(Path::new("no/such.jpg")).unwrap_err().to_string();
        assert!(missing.starts_with("no/such.jpg: "), "{missing}");
    }
}
