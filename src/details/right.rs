//! Which images a network classifies correctly, and how two networks differ on the same images.
//!
//! The accuracies of two networks on the same images are not independent: both find the easy ones. Only the images that
//! one finds and the other does not tell them apart, so the interval of their difference is narrower than those of the
//! accuracies suggest.

use lopper_engine::train::metrics::{Outcome, mcnemar};
use std::fmt::Write as _;

/// The images whose class is found, as hexadecimal digits of four images each; the first image is the highest bit of the
/// first digit.
pub fn right(outcomes: &[Outcome]) -> String {
    let digit = |outcomes: &[Outcome]| {
        let bits = outcomes.iter().enumerate().map(|(i, outcome)| u32::from(outcome.is_among(1)) << (3 - i));
        bits.sum::<u32>()
    };
    outcomes.chunks(4).fold(String::new(), |mut text, chunk| {
        let _ = write!(text, "{:x}", digit(chunk));
        text
    })
}

/// How the classifications of a network differ from those of another on the same images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// Images that only this network finds.
    pub gained: u32,
    /// Images that only the other network finds.
    pub lost: u32,
    /// 95 % interval of the difference of the accuracies.
    pub interval: (f64, f64),
    /// The two-sided p-value of McNemar's exact test.
    pub p: f64,
}

impl Paired {
    /// Compares the images that are `right` with those of `other`; there are `images`. None if the two are not about the
    /// same number of images.
    pub fn new(right: &str, other: &str, images: u64) -> Option<Self> {
        if right.len() != other.len() || right.len() as u64 != images.div_ceil(4) || images == 0 {
            return None;
        }
        let (mut gained, mut lost) = (0, 0);
        for (new, old) in right.chars().zip(other.chars()) {
            let (new, old) = (new.to_digit(16)?, old.to_digit(16)?);
            gained += (new & !old).count_ones();
            lost += (old & !new).count_ones();
        }
        Some(Self::of(gained, lost, images))
    }

    /// The comparison of two networks of which one finds `gained` and the other `lost` of `images` images alone.
    pub fn of(gained: u32, lost: u32, images: u64) -> Self {
        let interval = interval(f64::from(gained), f64::from(lost), images as f64);
        Self { gained, lost, interval, p: mcnemar([gained.into(), lost.into()]) }
    }
}

/// The 95 % interval of a difference of paired proportions, by Wald's method with half an image added to each cell of the
/// table (Agresti and Min 2005).
fn interval(gained: f64, lost: f64, images: f64) -> (f64, f64) {
    let (gained, lost, images) = (gained + 0.5, lost + 0.5, images + 2.0);
    let difference = gained - lost;
    let deviation = (gained + lost - difference * difference / images).max(0.0).sqrt() / images;
    let (middle, reach) = (difference / images, 1.959_963_984_540_054 * deviation);
    ((middle - reach).max(-1.0), (middle + reach).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(found: &[bool]) -> Vec<Outcome> {
        let outcome = |&found: &bool| Outcome::of_logits(if found { &[1.0, 0.0] } else { &[0.0, 1.0] }, 0);
        found.iter().map(outcome).collect()
    }

    #[test]
    fn four_images_are_a_digit() {
        assert_eq!(right(&outcomes(&[true, false, false, true, true])), "98");
        assert_eq!(right(&[]), "");
    }

    #[test]
    fn only_images_that_one_network_finds_tell_two_apart() {
        let a = right(&outcomes(&[true, true, false, false, true, false]));
        let b = right(&outcomes(&[true, false, true, true, true, false]));
        let found = Paired::new(&b, &a, 6).unwrap();
        assert_eq!((found.gained, found.lost), (2, 1));
        assert_eq!(Paired::new(&a, &a, 6).map(|same| (same.gained, same.lost)), Some((0, 0)));
        for (one, other, images) in [("98", "9", 5), ("98", "98", 9), ("", "", 0), ("9g", "98", 5)] {
            assert_eq!(Paired::new(one, other, images), None);
        }
    }

    #[test]
    fn the_interval_is_near_that_of_a_textbook() {
        // Agresti, Categorical Data Analysis, section 10.1: of 1600 people, 150 and 86 changed their minds; Wald's interval
        // is −0.06 to −0.02.
        let (low, high) = interval(86.0, 150.0, 1600.0);
        let plain: f64 = (86.0 - 150.0) / 1600.0;
        assert!(
            low < plain && plain < high && (low + 0.0588).abs() < 5e-4 && (high + 0.0212).abs() < 5e-4,
            "{low} {high}"
        );
        let (low, high) = interval(0.0, 0.0, 100.0);
        assert!(low < 0.0 && 0.0 < high && high < 0.03);
        assert_eq!(interval(1.0, 0.0, 1.0).1, 1.0);
    }
}
