//! Reading images on one thread: JPEG decoding, and decoding with augmentation.
//!
//!     cargo bench --bench images -- [--quick] [--images DIR] [--csv FILE]
//!
//! Augmentation is a random resized crop (8–100 % of the area), a flip and normalization. Without `--images`, the
//! benchmark generates JPEGs of 320 pixels on the shorter side.

mod common;

use clap::Parser;
use common::rows::{ImagesRow, Spread};
use common::timing::round;
use common::{Options, timing};
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage, imageops};
use lopper_engine::{Error, Result};
use lopper_models::data::{
    Cut, IMAGENET_MEAN, IMAGENET_STD, Normalize, Scratch, Transform, decode_file, generator,
};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Benchmark of decoding and augmentation.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// A directory with JPEGs, searched recursively [default: generated images]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Read only the first N images, in order of their paths
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
    /// Side of the square output images, pixels
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    size: u16,
}

fn main() -> ExitCode {
    common::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let cpu = arguments.options.cpus(&[Some(1)])?.swap_remove(0).threads(1);
    let made = tempfile::tempdir().map_err(|e| Error::file("temporary directory", e))?;
    if arguments.images.is_none() {
        make_images(made.path())?;
    }
    let files = images(arguments.images.as_deref().unwrap_or(made.path()), arguments.limit)?;

    let size = usize::from(arguments.size);
    let transform = Transform {
        size,
        cut: Cut::Resized { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] },
        flip: 0.5,
        normalize: Normalize::new(IMAGENET_MEAN, IMAGENET_STD)?,
    };
    let (mut scratch, mut out) = (Scratch::default(), vec![0.0; size * size * 3]);
    for file in &files {
        transform.apply(&decode_file(file)?, &mut generator(0, 0, 0), &mut scratch, &mut out);
        if !out.iter().all(|v| (-2.2..2.7).contains(v)) {
            return Err(Error::file(file, "a value is outside the range of normalized pixels"));
        }
    }

    let decoded = |file: &PathBuf| decode_file(file).expect("it decoded before");
    let measured = timing::in_turn(
        &cpu,
        4 * arguments.options.budget(),
        None,
        &mut [&mut || files.iter().for_each(|file| drop(black_box(decoded(file)))), &mut || {
            for (i, file) in files.iter().enumerate() {
                let mut random = generator(0, 0, i as u64);
                transform.apply(&decoded(file), &mut random, &mut scratch, black_box(&mut out));
            }
        }],
    );
    let bytes: u64 =
        files.iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum();
    let rows = ["decode", "decode and augment"].iter().zip(&measured.times).map(|(work, times)| {
        let per_image = |ms: f64| round(ms / files.len() as f64);
        let Spread { median_ms, p10_ms, p90_ms } = Spread::from(times);
        ImagesRow {
            work: work.to_string(),
            images: files.len(),
            mean_kbytes: round(1e-3 * bytes as f64 / files.len() as f64),
            size,
            median_ms: per_image(median_ms),
            p10_ms: per_image(p10_ms),
            p90_ms: per_image(p90_ms),
            images_s: round(1e3 * files.len() as f64 / median_ms),
        }
    });
    let rows: Vec<ImagesRow> = rows.collect();
    for row in &rows {
        println!(
            "{:18} {} images of {:.0} kB on average: {:.3} ms per image, {:.0} images/s on one thread",
            row.work, row.images, row.mean_kbytes, row.median_ms, row.images_s
        );
    }
    arguments.options.save(&rows)
}

/// The first `limit` JPEGs in `directory` and its subdirectories, at least one.
fn images(directory: &Path, limit: usize) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    files.sort();
    files.truncate(limit);
    if files.is_empty() {
        return Err(Error::invalid("--images: the directory has no .jpg or .jpeg files"));
    }
    Ok(files)
}

/// Adds the JPEGs in `directory` and its subdirectories to `files`.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory).map_err(|e| Error::file(directory, e))? {
        let path = entry.map_err(|e| Error::file(directory, e))?.path();
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
        if path.is_dir() {
            collect(&path, files)?;
        } else if ["jpg", "jpeg"].contains(&extension.as_str()) {
            files.push(path);
        }
    }
    Ok(())
}

/// Writes 48 JPEGs of quality 85 to `directory`: smooth patches of color under fine grain, which compress about as well
/// as photographs.
fn make_images(directory: &Path) -> Result<()> {
    for i in 0..48u32 {
        let byte = |x: u32, y: u32, channel: u32| {
            let mixed = (x + 64 * y + 4096 * channel + 65536 * i).wrapping_mul(0x9E37_79B9);
            (mixed ^ mixed >> 15).wrapping_mul(0x85EB_CA6B) >> 24
        };
        let patches = RgbImage::from_fn(24, 16, |x, y| Rgb([0, 1, 2].map(|c| byte(x, y, c) as u8)));
        let mut picture = imageops::resize(&patches, 320 + 5 * i, 320, imageops::FilterType::CatmullRom);
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            pixel.0 = pixel.0.map(|v| v.saturating_add((byte(x, y, 3) >> 4) as u8));
        }
        let path = directory.join(format!("{i:02}.jpg"));
        lopper_engine::atomic::write(&path, |mut file| {
            JpegEncoder::new_with_quality(&mut file, 85).encode_image(&picture).map_err(std::io::Error::other)
        })?;
    }
    Ok(())
}
