//! fastai's own values are in `tests/fixtures/fastai`, which `make.py` writes.

use super::*;
use crate::data::pixels::Padding;
use crate::data::{decode_file, generator};
use image::Rgb;
use serde::Deserialize;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A draw as a row of `cases1.csv` or `cases2.csv` has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    symmetry: usize,
    angle: f64,
    zoom: f64,
    focus: [f64; 2],
    tilt: Vec<f64>,
    change: f64,
    contrast: f64,
    flip_vert: bool,
}

impl Row {
    fn draw(&self) -> Draw {
        let Self { symmetry, angle, zoom, focus, change, contrast, .. } = *self;
        let tilt = match self.tilt[..] {
            [a, b, c, d] => Tilt::Sides([a, b, c, d]),
            [x, y] => Tilt::Axes([x, y]),
            _ => panic!("{:?}", self.tilt),
        };
        Draw { symmetry, angle, zoom, focus, tilt, change, contrast }
    }
}

/// Rows of the inputs that `make.py` uses.
const ROWS: u32 = 40;

/// fastai computes in single precision and rounds once; here the bytes between warp and lighting are rounded, too.
#[test]
fn the_same_numbers_give_fastais_images() {
    for version in [1, 2] {
        let mut reader = csv::Reader::from_path(fixture(&format!("fastai/cases{version}.csv"))).unwrap();
        let cases: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(cases.len(), 25);
        for row in cases {
            let case: Row = serde_json::from_str(&row[1]).unwrap();
            let image = decode_file(&fixture(&format!("torchvision/{}.png", &row[0]))).unwrap();
            let rows = image.height().min(ROWS);
            let image = image::imageops::crop_imm(&image, 0, 0, image.width(), rows).to_image();
            let expected = decode_file(&fixture(&format!("fastai/{}", &row[2]))).unwrap();
            let options = Fastai { version, flip_vert: case.flip_vert, ..Fastai::default() };
            let found = options.drawn(&case.draw(), image);
            assert_eq!(found.dimensions(), expected.dimensions());
            let lit = (case.change, case.contrast) != (0.5, 1.0);
            let off =
                |by: u8| found.iter().zip(expected.iter()).filter(|(a, b)| a.abs_diff(**b) > by).count();
            let bytes = expected.as_raw().len();
            let (near, far) = (off(0), off(if lit { 2 } else { 1 }));
            assert!(far * 500 <= bytes, "version {version}: {}: {far} of {bytes} bytes are far off", &row[1]);
            assert!(lit || near * 100 <= bytes, "version {version}: {}: {near} of {bytes} differ", &row[1]);
        }
    }
}

/// What a quantity does over many draws: the share of draws that change nothing, and the others' range and mean.
#[derive(Debug)]
struct Spread {
    neutral: f64,
    least: f64,
    most: f64,
    mean: f64,
}

impl Spread {
    fn of(values: &[f64], neutral: f64) -> Self {
        let moved: Vec<f64> = values.iter().copied().filter(|&value| value != neutral).collect();
        Self {
            neutral: 1.0 - moved.len() as f64 / values.len() as f64,
            least: moved.iter().copied().fold(f64::INFINITY, f64::min),
            most: moved.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            mean: moved.iter().sum::<f64>() / moved.len() as f64,
        }
    }
}

/// The numbers of a draw by name, each with its neutral value.
fn quantities(draw: &Draw) -> Vec<(String, f64, f64)> {
    let tilts = match draw.tilt {
        Tilt::Sides(all) => all.to_vec(),
        Tilt::Axes(both) => both.to_vec(),
    };
    let tilts = tilts.into_iter().enumerate().map(|(i, tilt)| (format!("tilt{i}"), tilt, 0.0));
    let others = [
        ("symmetry", draw.symmetry as f64, 0.0),
        ("angle", draw.angle, 0.0),
        ("zoom", draw.zoom, 1.0),
        ("column", draw.focus[0], 0.5),
        ("row", draw.focus[1], 0.5),
        ("change", draw.change, 0.5),
        ("contrast", draw.contrast, 1.0),
    ];
    tilts.chain(others.map(|(name, value, neutral)| (name.into(), value, neutral))).collect()
}

/// `draws1.csv` and `draws2.csv` have what fastai's functions draw with their defaults, and once with `flip_vert`.
#[test]
fn draws_have_fastais_ranges_and_probabilities() {
    const DRAWS: u64 = 20_000;
    let mut compared = 0;
    for version in [1, 2] {
        let mut reader = csv::Reader::from_path(fixture(&format!("fastai/draws{version}.csv"))).unwrap();
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        for flip_vert in [false, true] {
            let options = Fastai { version, flip_vert, ..Fastai::default() };
            let draws: Vec<_> =
                (0..DRAWS).map(|i| quantities(&options.draw(&mut generator(i, 1, 2)))).collect();
            for row in rows.iter().filter(|row| &row[0] == flip_vert.to_string().as_str()) {
                let number = |i: usize| row[i].parse::<f64>().unwrap();
                let [neutral, least, most, mean] = [2, 3, 4, 5].map(number);
                let of_name = |all: &Vec<(String, f64, f64)>| {
                    all.iter().find(|(name, ..)| name == &row[1]).map_or(f64::NAN, |(_, value, _)| *value)
                };
                let still = draws[0].iter().find(|(name, ..)| name == &row[1]).unwrap().2;
                let found = Spread::of(&draws.iter().map(of_name).collect::<Vec<_>>(), still);
                let width = most - least;
                // Five standard deviations of a share, and of the mean of a uniform distribution, of both samples.
                let (share_limit, mean_limit) = (0.025, 0.02 * width + 1e-9);
                let close = (found.neutral - neutral).abs() < share_limit
                    && (found.least - least).abs() < 0.01 * width + 1e-9
                    && (found.most - most).abs() < 0.01 * width + 1e-9
                    && (found.mean - mean).abs() < mean_limit;
                assert!(close, "version {version}, flip_vert {flip_vert}: expected {row:?}, found {found:?}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 2 * (11 + 7));
}

#[test]
fn without_strength_only_flips_are_left() {
    let still =
        Fastai { max_rotate: 0.0, max_zoom: 1.0, max_lighting: 0.0, max_warp: 0.0, ..Fastai::default() };
    let image = RgbImage::from_fn(7, 5, |x, y| Rgb([x as u8 * 30, y as u8 * 40, 9]));
    let mirrored = image::imageops::flip_horizontal(&image);
    for version in [1, 2] {
        let still = Fastai { version, ..still };
        let mut flips = 0;
        for seed in 0..200 {
            let found = still.apply(image.clone(), &mut generator(seed, 0, 0));
            flips += usize::from(found == mirrored);
            assert!(found == image || found == mirrored);
        }
        assert!((70..130).contains(&flips), "{flips}");
        let all = Fastai { flip_vert: true, ..still };
        let square = RgbImage::from_fn(5, 5, |x, y| Rgb([x as u8 * 30, y as u8 * 40, 9]));
        let found: std::collections::HashSet<Vec<u8>> =
            (0..300).map(|seed| all.apply(square.clone(), &mut generator(seed, 0, 0)).into_raw()).collect();
        assert_eq!(found.len(), 8, "the symmetries of a square");
    }
}

#[test]
fn a_gray_image_changes_by_lighting_only() {
    let image = RgbImage::from_pixel(20, 14, Rgb([128; 3]));
    for version in [1, 2] {
        let mut darker = 0;
        for seed in 0..300 {
            let found = Fastai { version, padding_mode: Padding::Reflect, ..Fastai::default() }
                .apply(image.clone(), &mut generator(seed, 0, 0));
            let first = found.get_pixel(0, 0).0;
            assert!(found.pixels().all(|pixel| pixel.0 == first), "mirrored borders hold no black");
            assert!((96..=160).contains(&first[0]), "{first:?}");
            darker += usize::from(first[0] < 128);
        }
        assert!((80..150).contains(&darker), "{darker}");
    }
}

#[test]
fn images_of_one_row_or_column_stay_inside() {
    for (width, height) in [(1, 1), (1, 9), (9, 1)] {
        let image = RgbImage::from_pixel(width, height, Rgb([77, 88, 99]));
        for version in [1, 2] {
            let options = Fastai { version, flip_vert: true, max_lighting: 0.0, ..Fastai::default() };
            for seed in 0..50 {
                assert_eq!(options.apply(image.clone(), &mut generator(seed, 0, 0)), image);
            }
        }
    }
}
