//! Pixels against torchvision's: `fixtures/torchvision/make.py` writes the expected images.

use image::RgbImage;
use lopper_engine::info::Preparation;
use lopper_models::data::steps::{Step, Steps};
use lopper_models::data::{Cut, Normalize, Scratch, Transform, decode_file, generator};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torchvision").join(name)
}

fn picture(name: &str) -> RgbImage {
    decode_file(&fixture(name)).unwrap()
}

/// The rows of `cases.csv` of one kind: source, arguments, expected image.
fn cases(kind: &str) -> Vec<(String, String, RgbImage)> {
    let mut reader = csv::Reader::from_path(fixture("cases.csv")).unwrap();
    let rows = reader.records().map(Result::unwrap).filter(|row| &row[0] == kind);
    rows.map(|row| (format!("{}.png", &row[1]), row[2].to_string(), picture(&row[3]))).collect()
}

/// The largest difference of a byte, and the share of bytes that differ.
fn difference(found: &[u8], expected: &RgbImage) -> (u8, f64) {
    assert_eq!(found.len(), expected.as_raw().len());
    let differences = || found.iter().zip(expected.as_raw()).map(|(a, b)| a.abs_diff(*b));
    let differing = differences().filter(|&d| d > 0).count();
    (differences().max().unwrap_or(0), differing as f64 / found.len() as f64)
}

/// The bytes of an image after a transform to a square of `size`.
fn transformed(image: &RgbImage, size: usize, cut: Cut) -> Vec<u8> {
    let normalize = Normalize::new([0.0; 3], [1.0; 3]).unwrap();
    let transform = Transform { size, cut, flip: 0.0, normalize };
    let mut out = vec![f32::NAN; size * size * 3];
    transform.apply(image, &mut generator(0, 0, 0), &mut Scratch::default(), &mut out);
    out.iter().map(|value| (value * 255.0).round() as u8).collect()
}

/// Antialiased, every byte is Pillow's. PyTorch interpolates in single precision, and may round a tie the other way.
#[test]
fn a_resized_and_cropped_image_is_torchvisions() {
    let cases = cases("prepare");
    assert!(cases.len() > 40);
    for (source, arguments, expected) in cases {
        let words: Vec<&str> = arguments.split(' ').collect();
        let [resize, filter, antialias, size] = words[..] else { panic!("{arguments}") };
        let preparation = Preparation {
            resize: resize.parse().unwrap(),
            filter: filter.parse().unwrap(),
            antialias: antialias.parse().unwrap(),
            orient: false,
        };
        let size = size.parse().unwrap();
        let found = transformed(&picture(&source), size, Cut::Prepared(preparation));
        let (largest, share) = difference(&found, &expected);
        let limit = if preparation.antialias { 0.0 } else { 0.002 };
        assert!(largest <= 1 && share <= limit, "{source} {arguments}: {largest}, {share} of all bytes");
    }
}

/// The former mode is another function: it resizes a square of a fraction of the shorter side.
#[test]
fn a_centered_square_is_not_torchvisions() {
    let image = picture("input0.png");
    let torchvision = transformed(&image, 32, Cut::Prepared(Preparation::torchvision(37)));
    let center = transformed(&image, 32, Cut::Center { fraction: 32.0 / 37.0 });
    assert!(torchvision.iter().zip(&center).any(|(a, b)| a.abs_diff(*b) > 20));
}

/// The bytes of an image after the steps in `text`, which give a square of `size`.
fn stepped(image: &RgbImage, text: &str, size: usize) -> Vec<u8> {
    let steps: Vec<Step> = serde_json::from_str(text).unwrap();
    let steps = Steps::new(steps, size).unwrap();
    transformed(image, size, Cut::Steps { steps, preparation: Preparation::center(1.0) })
}

/// Steps whose ranges are single numbers. Pillow computes positions in fixed point, so that a pixel on the boundary of
/// two may come from the other one.
#[test]
fn steps_are_torchvisions() {
    let cases = cases("step");
    assert!(cases.len() > 20);
    for (source, arguments, expected) in cases {
        let found = stepped(&picture(&source), &arguments, 40);
        let differing = found.iter().zip(expected.as_raw()).filter(|(a, b)| a.abs_diff(**b) > 1).count();
        let (_, share) = difference(&found, &expected);
        let far = differing as f64 / found.len() as f64;
        assert!(far < 0.003 && share < 0.02, "{arguments}: {far} of all bytes are far off, {share} differ");
    }
}

#[test]
fn paddings_are_torchvisions() {
    let cases = cases("pad");
    assert_eq!(cases.len(), 4);
    for (source, arguments, expected) in cases {
        assert_eq!(&stepped(&picture(&source), &arguments, 70), expected.as_raw(), "{arguments}");
    }
}
