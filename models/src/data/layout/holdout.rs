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
    /// Number of consecutive images, in the order of their paths, that are held out or kept together.
    pub track: Option<usize>,
}

impl Holdout {
    /// Checks the fraction and the length of tracks.
    pub fn check(&self) -> Result<()> {
        if self.track == Some(0) {
            return Err(Error::invalid("val_track: expected at least 1 image, found 0"));
        }
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
    ///
    /// With tracks of t images, a class of n images, in the order of their paths, gives the first
    /// ⌊⌊n / t⌋ · fraction⌋ tracks, perhaps none.
    pub fn apply(&self, listing: &mut Listing) {
        let mut classes: BTreeMap<&str, Vec<(u64, usize)>> = BTreeMap::new();
        for (i, image) in listing.images.iter().enumerate() {
            if matches!(image.split, None | Some(Split::Train)) {
                classes.entry(&image.class).or_default().push((self.rank(&image.path), i));
            }
        }
        let mut held = Vec::new();
        for ranked in classes.values_mut() {
            match self.track {
                None => ranked.sort_unstable(),
                Some(_) => ranked.sort_by_key(|&(_, i)| &listing.images[i].path),
            }
            let count = self.count(ranked.len());
            held.extend(ranked[..count].iter().map(|&(_, i)| i));
        }
        for image in &mut listing.images {
            image.split.get_or_insert(Split::Train);
        }
        held.into_iter().for_each(|i| listing.images[i].split = Some(Split::Val));
    }

    /// How many of the `images` of a class are held out.
    fn count(&self, images: usize) -> usize {
        match self.track {
            None => ((images as f64 * self.fraction).round() as usize).max(1).min(images - 1),
            Some(track) => ((images / track) as f64 * self.fraction) as usize * track,
        }
    }

    /// Describes the choice, for instance `20 % of each class are held out`.
    pub fn describe(&self) -> String {
        let (percent, seed) = ((1e6 * self.fraction).round() / 1e4, self.seed);
        match self.track {
            None => format!("{percent} % of each class are held out (--val-fraction; --split-seed {seed})"),
            Some(track) => format!(
                "the first {percent} % of each class are held out, in whole tracks of {track} (--val-fraction, --val-track)"
            ),
        }
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
            Holdout { fraction, seed, track: None }.apply(&mut found);
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
            let holdout = Holdout { fraction: 0.2, seed, track: None };
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
            Holdout { fraction: 0.2, seed, track: None }.apply(&mut found);
            held(&found).iter().map(|p| p.to_path_buf()).collect::<Vec<_>>()
        };
        assert_ne!(of(0), of(1));
        for fraction in [0.0, 1.0, -0.5, f64::NAN] {
            assert!(Holdout { fraction, seed: 0, track: None }.check().is_err(), "{fraction}");
        }
        assert!(Holdout { fraction: 0.5, seed: 0, track: Some(0) }.check().is_err());
    }

    /// GTSRB's numbers of images by class, and those that a published notebook validates on.
    #[test]
    fn whole_tracks_of_traffic_signs_are_held_out() {
        const IMAGES: [usize; 43] = [
            210, 2220, 2250, 1410, 1980, 1860, 420, 1440, 1410, 1470, 2010, 1320, 2100, 2160, 780, 630, 420,
            1110, 1200, 210, 360, 330, 390, 510, 270, 1500, 600, 240, 540, 270, 450, 780, 240, 689, 420,
            1200, 390, 210, 2070, 300, 360, 240, 240,
        ];
        let mut found = listing(&IMAGES);
        let holdout = Holdout { fraction: 0.2, seed: 0, track: Some(30) };
        holdout.apply(&mut found);
        assert_eq!((found.images.len(), held(&found).len()), (39_209, 7_290));
        for (class, images) in IMAGES.iter().enumerate() {
            let class = class.to_string();
            let mut all: Vec<&Path> = found.images.iter().map(|image| image.path.as_path()).collect();
            all.retain(|path| path.starts_with(&class));
            all.sort();
            let expected = (images / 30) as f64 * 0.2;
            assert!(all[..expected as usize * 30].iter().all(|path| held(&found).contains(path)));
            let of_class = held(&found).iter().filter(|path| path.starts_with(&class)).count();
            assert_eq!(of_class, expected as usize * 30);
        }
        assert!(holdout.describe().contains("whole tracks of 30"));
    }

    #[test]
    fn classes_shorter_than_their_tracks_give_none() {
        let mut found = listing(&[29, 149, 150, 1]);
        Holdout { fraction: 0.2, seed: 0, track: Some(30) }.apply(&mut found);
        assert_eq!(held(&found).len(), 30);
        assert!(held(&found).iter().all(|path| path.starts_with("2")));
    }
}
