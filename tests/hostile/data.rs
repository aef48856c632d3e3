//! Hostile data sets: images, IDX files and label tables that are damaged or claim more than they contain.

use crate::models::changed_bytes;
use crate::mutate::{self, Random};
use crate::runner::{Case, OUT};
use flate2::{Compression, write::GzEncoder};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use std::io::{Cursor, Write};

/// Returns a training run on data with one changed file.
pub fn case(random: &mut Random) -> Case {
    let mut args = vec!["train", "--arch", "vgg8_bn", "--width", "0.25", "--data", "data", "--size", "32"];
    args.extend(["--batch", "4", "--epochs", "1", "--out", OUT]);
    if random.below(2) == 0 {
        args.push("--skip-bad-images");
    }
    match random.below(6) {
        0 | 1 => idx_files(random, Case::new("", &args)),
        2 => {
            args.extend(["--label-noise", "1"]);
            let case = folder(Case::new("a label table with changed bytes", &args));
            let rows: String = ["a", "b"].map(|class| format!("train/{class}/0.png,{class}\n")).concat();
            let table = format!("path,noisy_labels_1\n{rows}{rows}").into_bytes();
            case.with("data/noisy_imagenette.csv", changed_bytes(random, table))
        }
        _ => {
            let case = folder(Case::new("an image with changed bytes", &args));
            let (name, bytes) = picture(random);
            let place = ["train", "val"][random.below(2)];
            case.with(format!("data/{place}/a/x-{name}"), bytes)
        }
    }
}

/// Adds valid images of two classes.
pub fn folder(mut case: Case) -> Case {
    for (class, tint) in [("a", 40), ("b", 200)] {
        let image = RgbImage::from_fn(40, 36, |x, y| Rgb([tint, (x * 3) as u8, (y * 5) as u8]));
        for split in ["train", "val"] {
            for i in 0..2 {
                let bytes = encoded(image.clone().into(), ImageFormat::Png);
                case = case.with(format!("data/{split}/{class}/{i}.png"), bytes);
            }
        }
    }
    case
}

fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

/// Returns a damaged image, or one that claims to be large.
fn picture(random: &mut Random) -> (&'static str, Vec<u8>) {
    let image = RgbImage::from_fn(40, 33, |x, y| Rgb([(x * 6) as u8, (y * 7) as u8, ((x ^ y) * 5) as u8]));
    let progressive = include_bytes!("../../models/tests/fixtures/jpeg/progressive.jpg");
    let restarts = include_bytes!("../../models/tests/fixtures/jpeg/progressive_restarts.jpg");
    let (name, mut bytes) = match random.below(11) {
        0 => ("rgb.png", encoded(image.into(), ImageFormat::Png)),
        1 => ("rgba.png", encoded(DynamicImage::from(image).to_rgba16().into(), ImageFormat::Png)),
        2 => ("rgb.ppm", encoded(image.into(), ImageFormat::Pnm)),
        3 => ("rgb.jpg", encoded(image.into(), ImageFormat::Jpeg)),
        4 => ("progressive.jpg", progressive.to_vec()),
        5 => ("restarts.jpg", restarts.to_vec()),
        6 => ("rgb.bmp", encoded(image.into(), ImageFormat::Bmp)),
        7 => ("rgb.webp", encoded(image.into(), ImageFormat::WebP)),
        8 => ("rgb.tif", encoded(image.into(), ImageFormat::Tiff)),
        9 => ("rgba.gif", encoded(DynamicImage::from(image).to_rgba8().into(), ImageFormat::Gif)),
        _ => return claim(random),
    };
    match random.below(3) {
        0 => {
            for _ in 0..1 + random.below(4) {
                let size = bytes.len();
                mutate::field(&mut bytes, size, random.below(1 << 32) as u32);
            }
            (name, bytes)
        }
        1 => {
            let size = 30;
            mutate::number(&mut bytes, size, size, random.below(1 << 32) as u32);
            (name, bytes)
        }
        _ => (name, changed_bytes(random, bytes)),
    }
}

/// Returns a small file whose header claims a large image, or a PNG that decompresses to up to 8 MiB.
fn claim(random: &mut Random) -> (&'static str, Vec<u8>) {
    let sides = [1, 9_000, 20_000, 65_500, 1 << 20, u32::MAX >> 1];
    let (width, height) = (sides[random.below(sides.len())], sides[random.below(sides.len())]);
    match random.below(3) {
        0 => ("claim.ppm", format!("P6 {width} {height} 255\n").into_bytes()),
        1 => {
            let mut jpeg = encoded(RgbImage::new(16, 16).into(), ImageFormat::Jpeg);
            let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame");
            jpeg[frame + 5..frame + 7].copy_from_slice(&(height as u16).to_be_bytes());
            jpeg[frame + 7..frame + 9].copy_from_slice(&(width as u16).to_be_bytes());
            ("claim.jpg", jpeg)
        }
        _ => ("bomb.png", png(width, height, 1 << random.below(24))),
    }
}

/// Encodes a PNG with one bit per pixel that claims the given size and contains `bytes` zeros.
fn png(width: u32, height: u32, bytes: usize) -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        [&(data.len() as u32).to_be_bytes(), kind, data, &crc.sum().to_be_bytes()].concat()
    };
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; bytes]).unwrap();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    let chunks = [chunk(b"IHDR", &header), chunk(b"IDAT", &encoder.finish().unwrap()), chunk(b"IEND", b"")];
    [&b"\x89PNG\r\n\x1a\n"[..], &chunks.concat()].concat()
}

/// Adds a data set of IDX files with one changed file.
fn idx_files(random: &mut Random, mut case: Case) -> Case {
    let gzipped = random.below(2) == 0;
    let mut files =
        [idx(&[20, 28, 28], &[9; 20 * 784]), idx(&[20], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].repeat(2))];
    let changed = random.below(2);
    case.name = match random.below(5) {
        0 => {
            let dims = [
                [0, 28, 28],
                [20, 0, 28],
                [20, 28, 1 << 16],
                [u32::MAX; 3],
                [20, 7328, 7328],
                [4, 32_768, 32_768],
            ];
            files[0] = idx(&dims[random.below(dims.len())], &[]);
            "IDX images that claim more than they contain"
        }
        1 => {
            files[0] = idx(&[20, 1 << random.below(12), 1 << random.below(12)], &vec![0; 1 << 20]);
            "IDX images of another size"
        }
        2 => {
            let size = files[changed].len();
            mutate::field(&mut files[changed], size, random.below(1 << 32) as u32);
            "an IDX file with a changed number"
        }
        _ => {
            files[changed] = changed_bytes(random, std::mem::take(&mut files[changed]));
            "an IDX file with changed bytes"
        }
    }
    .into();
    let end = if gzipped { ".gz" } else { "" };
    for (bytes, what) in files.into_iter().zip(["images-idx3", "labels-idx1"]) {
        let mut bytes = if gzipped { gzip(&bytes) } else { bytes };
        if gzipped && random.below(3) == 0 {
            bytes = changed_bytes(random, bytes);
        }
        for split in ["train", "t10k"] {
            case = case.with(format!("data/{split}-{what}-ubyte{end}"), bytes.clone());
        }
    }
    case
}

/// Encodes an IDX file of bytes.
pub fn idx(dims: &[u32], values: &[u8]) -> Vec<u8> {
    let dims_bytes = dims.iter().flat_map(|d| d.to_be_bytes());
    [0, 0, 8, dims.len() as u8].into_iter().chain(dims_bytes).chain(values.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
