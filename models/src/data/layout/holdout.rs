//! Holding out a part of the training images for validation.

use super::listing::Listing;
use super::split::Split;
use lopper_engine::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The part of each class to hold out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Holdout {
    /// Share of each class's images, in `(0, 1)`.
    pub fraction: f64,
    /// Seed of the choice. It is separate from the seed of training, so that a network trained with any seed can be
    /// scored on the images that it has not seen.
    pub seed: u64,
}

impl Holdout {
    /// Checks the fraction.
    pub fn check(&self) -> Result<()> {
        match self.fraction > 0.0 && self.fraction < 1.0 {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "val_fraction: expected a number above 0 and below 1, found {:?}",
                self.fraction
            ))),
        }
    }

    /// Moves the held-out part of the training images to [`Split::Val`]. Images without a split count as training
    /// images. The images of a class are ranked by a hash of seed and path, so that the choice neither depends on their
    /// order nor changes much when images are added. A class of one image keeps it for training.
    pub fn apply(&self, listing: &mut Listing) {
        let mut classes: BTreeMap<&str, Vec<(u64, usize)>> = BTreeMap::new();
        for (i, image) in listing.images.iter().enumerate() {
            if matches!(image.split, None | Some(Split::Train)) {
                classes.entry(&image.class).or_default().push((self.rank(&image.path), i));
            }
        }
        let mut held = Vec::new();
        for ranked in classes.values_mut() {
            ranked.sort_unstable();
            let count = (ranked.len() as f64 * self.fraction).round() as usize;
            let count = count.clamp(1, ranked.len().max(1)).min(ranked.len() - 1);
            held.extend(ranked[..count].iter().map(|&(_, i)| i));
        }
        for image in &mut listing.images {
            image.split.get_or_insert(Split::Train);
        }
        held.into_iter().for_each(|i| listing.images[i].split = Some(Split::Val));
    }

    /// FNV-1a over the path, then the finalizer of SplitMix64, which FNV's high bits need.
    fn rank(&self, path: &Path) -> u64 {
        let start = 0xCBF2_9CE4_8422_2325 ^ self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        let hash = path.as_os_str().as_encoded_bytes().iter().fold(start, step);
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        hash ^ (hash >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::super::listing::Found;
    use super::*;
    use proptest::prelude::*;

    fn listing(counts: &[usize]) -> Listing {
        let image = |class: usize, i: usize| Found {
            split: None,
            class: class.to_string(),
            path: format!("{class}/{i}.png").into(),
        };
        let images = counts.iter().enumerate().flat_map(|(class, &n)| (0..n).map(move |i| image(class, i)));
        Listing { images: images.collect(), ..Listing::default() }
    }

    fn held(listing: &Listing) -> Vec<&Path> {
        let held = listing.images.iter().filter(|image| image.split == Some(Split::Val));
        held.map(|image| image.path.as_path()).collect()
    }

    proptest! {
        #[test]
        fn every_class_gives_its_share(
            counts in prop::collection::vec(1usize..60, 1..6), fraction in 0.01f64..0.99, seed: u64,
        ) {
            let mut found = listing(&counts);
            Holdout { fraction, seed }.apply(&mut found);
            for (class, &count) in counts.iter().enumerate() {
                let of_class = held(&found).into_iter().filter(|p| p.starts_with(class.to_string())).count();
                let exact = count as f64 * fraction;
                prop_assert!((of_class as f64 - exact).abs() <= 1.0 || count == 1);
                prop_assert!(of_class < count && (of_class > 0 || count == 1));
            }
        }

        #[test]
        fn the_choice_does_not_depend_on_order_and_barely_on_additions(seed: u64) {
            let (mut found, mut reversed, mut more) = (listing(&[50]), listing(&[50]), listing(&[51]));
            reversed.images.reverse();
            let holdout = Holdout { fraction: 0.2, seed };
            for listing in [&mut found, &mut reversed, &mut more] {
                holdout.apply(listing);
            }
            let mut backward = held(&reversed);
            backward.reverse();
            prop_assert_eq!(held(&found), backward);
            let kept = held(&more).into_iter().filter(|path| held(&found).contains(path)).count();
            prop_assert!(kept >= 9);
        }
    }

    #[test]
    fn seeds_choose_differently_and_fractions_are_checked() {
        let of = |seed| {
            let mut found = listing(&[100]);
            Holdout { fraction: 0.2, seed }.apply(&mut found);
            held(&found).iter().map(|p| p.to_path_buf()).collect::<Vec<_>>()
        };
        assert_ne!(of(0), of(1));
        for fraction in [0.0, 1.0, -0.5, f64::NAN] {
            assert!(Holdout { fraction, seed: 0 }.check().is_err(), "{fraction}");
        }
    }
}
