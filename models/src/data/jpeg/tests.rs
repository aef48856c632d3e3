//! Intact files of every kind pass; damaged ones are rejected if the codes show the damage.

use super::check::{START_OF_SCAN, check};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};

/// An image with structure and noise, so that its codes have all lengths.
fn picture(width: u32, height: u32) -> RgbImage {
    let mut state = 1u32;
    RgbImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (state >> 27) as u8;
        Rgb([(x * 5) as u8 ^ noise, (y * 7) as u8 ^ noise, ((x + y) * 3) as u8 ^ noise])
    })
}

fn encoded(image: &DynamicImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(image).unwrap();
    bytes
}

/// Files from a different encoder (libjpeg-turbo): progressive with refinement, restart markers, four components.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jpeg");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| (path.display().to_string(), std::fs::read(path).unwrap());
    let fixtures: Vec<_> = files.map(read).collect();
    assert_eq!(fixtures.len(), 5);
    fixtures
}

/// Start of the first scan's data.
fn scan_data(jpeg: &[u8]) -> usize {
    let header = jpeg.windows(2).position(|pair| pair == [0xFF, START_OF_SCAN]).unwrap();
    header + 2 + usize::from(jpeg[header + 3])
}

#[test]
fn intact_files_pass() {
    for (width, height) in [(1, 1), (7, 9), (8, 8), (16, 17), (40, 24), (33, 65), (300, 200)] {
        for quality in [1, 30, 75, 95, 100] {
            check(&encoded(&picture(width, height).into(), quality)).unwrap();
            let gray = GrayImage::from_fn(width, height, |x, y| Luma([((x * 3) ^ (y * 5)) as u8]));
            check(&encoded(&gray.into(), quality)).unwrap();
        }
    }
    for (name, jpeg) in fixtures() {
        check(&jpeg).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut padded = jpeg[..jpeg.len() - 2].to_vec();
        padded.extend([0xFF, 0xFF, 0xFF, 0xD9, 1, 2, 3]);
        check(&padded).unwrap_or_else(|e| panic!("{name}, with fill bytes and trailing data: {e}"));
    }
}

#[test]
fn truncated_data_is_rejected_even_with_an_end_marker() {
    let mut files = fixtures();
    files.push(("baseline".into(), encoded(&picture(40, 24).into(), 75)));
    for (name, jpeg) in files {
        for len in 0..jpeg.len() - 2 {
            assert!(check(&jpeg[..len]).is_err(), "{name} cut to {len} bytes");
        }
        // A progressive file may end between two scans: it is coarser, but complete.
        let last_scan = jpeg.windows(2).rposition(|pair| pair == [0xFF, START_OF_SCAN]).unwrap();
        for len in last_scan + 2..jpeg.len() - 2 {
            let ended = [&jpeg[..len], &[0xFF, 0xD9]].concat();
            assert!(check(&ended).is_err(), "{name} cut to {len} bytes and ended");
        }
    }
}

/// Simulates a lost packet of a download, or a lost disk sector. Damaged data still decodes as codes: if it happens to
/// have the same number of blocks, the image has a stripe and the damage goes undetected.
#[test]
fn a_hole_in_the_data_is_nearly_always_detected() {
    for quality in [40, 95] {
        let jpeg = encoded(&picture(300, 200).into(), quality);
        let (start, hole) = (scan_data(&jpeg), 512);
        let (mut cuts, mut zeros, mut holes) = (0, 0, 0);
        for at in (start..jpeg.len() - hole - 2).step_by(97) {
            holes += 1;
            cuts += usize::from(check(&[&jpeg[..at], &jpeg[at + hole..]].concat()).is_err());
            let filled = [&jpeg[..at], &vec![0; hole], &jpeg[at + hole..]].concat();
            zeros += usize::from(check(&filled).is_err());
        }
        assert!(cuts * 100 > holes * 95, "quality {quality}: {cuts} of {holes} cuts");
        assert!(zeros * 100 > holes * 75, "quality {quality}: {zeros} of {holes} holes of zeros");
    }
}

#[test]
fn invalid_scans_are_rejected() {
    let whole = encoded(&picture(40, 24).into(), 75);
    let scan = whole.windows(2).position(|pair| pair == [0xFF, START_OF_SCAN]).unwrap();
    let end = whole.len() - 2;
    let refused = |bytes: &[u8], words: &str| {
        let message = check(bytes).unwrap_err();
        assert!(message.contains(words), "expected `{words}` in: {message}");
    };
    refused(&[&whole[..end], &[0x12, 0x34, 0x56, 0xFF, 0xD9]].concat(), "damaged at block group 15 of 15");
    refused(&[&whole[..scan], &[0xFF, 0xD9]].concat(), "lacks a component");
    refused(
        &[&whole[..scan], &[0xFF, 0xDD, 0, 4, 0, 2], &whole[scan..]].concat(),
        "damaged at block group 2 of 15",
    );
    refused(&[0xFF, 0xD8, 0xFF, 0xD9], "has no image");
    let (name, mut restarts) =
        fixtures().into_iter().find(|(name, _)| name.ends_with("/restarts.jpg")).unwrap();
    let second = restarts.windows(2).position(|pair| pair == [0xFF, 0xD1]).unwrap();
    restarts[second + 1] = 0xD5;
    assert!(check(&restarts).unwrap_err().contains("lacks a restart marker"), "{name}");
}

/// A changed byte anywhere in the file gives an error or passes, but never panics.
#[test]
fn a_changed_byte_never_panics_and_is_often_detected() {
    let (mut noticed, mut changed) = (0, 0);
    for (_, jpeg) in fixtures() {
        for at in 2..jpeg.len() {
            for value in [0, 0xFF, jpeg[at] ^ 1, jpeg[at] ^ 0x80, jpeg[at].wrapping_add(1)] {
                let mut damaged = jpeg.clone();
                damaged[at] = value;
                changed += 1;
                noticed += usize::from(check(&damaged).is_err());
            }
        }
    }
    assert!(noticed * 3 > changed, "{noticed} of {changed}");
}
