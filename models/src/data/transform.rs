//! Transforms from images of any size to squares of normalized floats, channels last.
//!
//! A [`Transform`] has two passes: one over bytes that crops and resizes the image with antialiasing, and one that
//! shifts, flips and normalizes it into the batch. Neither allocates for pixels once its [`Scratch`] has grown.

use super::normalize::Normalize;
use super::pixels::{Placement, Region, Resizer, placement};
use super::random::Generator;
use super::steps::{Steps, random_region};
use image::RgbImage;
use lopper_engine::data::Mixed;
use lopper_engine::info::{Preparation, Resize};
use rand::RngExt;

/// The region of the image that becomes the square.
#[derive(Clone, Debug, PartialEq)]
pub enum Cut {
    /// The centered square whose side is `fraction` of the shorter side, resized. Resizing the shorter side to
    /// `size / fraction` and cropping the center, as torchvision does, is slightly different: it rounds the longer side
    /// and the position of the crop to whole pixels. [`Cut::Prepared`] does exactly that.
    Center {
        /// Side of the square as a fraction of the shorter side, in `(0, 1]`.
        fraction: f64,
    },
    /// The image resized, and the center of the result cropped.
    Prepared(Preparation),
    /// A random box, resized: torchvision's `RandomResizedCrop` (Szegedy et al. 2015, arXiv:1409.4842).
    Resized {
        /// Minimum and maximum area, as fractions of the image area.
        scale: [f64; 2],
        /// Minimum and maximum ratio of width to height.
        ratio: [f64; 2],
    },
    /// The largest centered square, resized, padded with black on every side, and cropped back to size at a random
    /// position (He et al. 2015, arXiv:1512.03385, section 4.2).
    Padded {
        /// Padding in pixels, at the output's size.
        padding: usize,
    },
    /// A list of steps.
    Steps {
        /// The steps.
        steps: Steps,
        /// The preparation before the first step, if no step sets the size.
        preparation: Preparation,
    },
}

/// A transform of an image into `[size, size, 3]` floats.
#[derive(Clone, Debug)]
pub struct Transform {
    /// Side length of the square, in pixels.
    pub size: usize,
    /// The region that becomes the square.
    pub cut: Cut,
    /// Probability of a horizontal flip.
    pub flip: f64,
    /// The conversion from bytes to floats.
    pub normalize: Normalize,
}

/// Buffers that a worker reuses for all images.
#[derive(Default)]
pub struct Scratch {
    resizer: Resizer,
    pixels: Vec<u8>,
    padded: Vec<u8>,
}

impl Transform {
    /// Writes the transformed `image` to `out`, `[size, size, 3]`, with random choices from `rng`.
    ///
    /// # Panics
    /// Panics if the length of `out` is not `size · size · 3`, if the image has no pixels, or if `flip` is not a
    /// probability.
    pub fn apply(&self, image: &RgbImage, rng: &mut Generator, scratch: &mut Scratch, out: &mut [f32]) {
        assert_eq!(out.len(), self.size * self.size * 3, "out is [size, size, 3]");
        let (width, height) = image.dimensions();
        let (region, shift) = match self.cut {
            Cut::Center { fraction } => (centered_square(width, height, fraction), [0, 0]),
            Cut::Prepared(preparation) => {
                let flip = rng.random_bool(self.flip);
                let pixels = self.prepare(image, preparation, scratch);
                return self.write(pixels, [0, 0], flip, out);
            }
            Cut::Steps { ref steps, preparation } => {
                let start = match steps.set_size() {
                    true => image.clone(),
                    false => self.square(self.prepare(image, preparation, scratch)),
                };
                let end = steps.apply(start, rng, &mut scratch.resizer);
                let flip = rng.random_bool(self.flip);
                self.write(end.as_raw().as_chunks().0, [0, 0], flip, out);
                return steps.erase(out, rng);
            }
            Cut::Resized { scale, ratio } => (random_region(width, height, scale, ratio, rng), [0, 0]),
            Cut::Padded { padding } => {
                let padding = padding as i32;
                let shift = [rng.random_range(-padding..=padding), rng.random_range(-padding..=padding)];
                (centered_square(width, height, 1.0), shift)
            }
        };
        let flip = rng.random_bool(self.flip);
        let pixels = self.resize(image, region, scratch);
        self.write(pixels, shift, flip, out);
    }

    /// The same transform of each image, without mixing images.
    pub fn unmixed(&self) -> Self {
        let cut = match &self.cut {
            Cut::Steps { steps, preparation } => {
                Cut::Steps { steps: steps.unmixed(), preparation: *preparation }
            }
            cut => cut.clone(),
        };
        Self { cut, ..self.clone() }
    }

    /// Mixes transformed images, `[N, size, size, 3]`, if a step asks for it.
    pub fn mix(&self, images: &mut [f32], labels: &[u32], rng: &mut Generator) -> Option<Mixed> {
        match &self.cut {
            Cut::Steps { steps, .. } => steps.mix(images, labels, rng),
            _ => None,
        }
    }

    /// The pixels of `region`, resized to the square.
    fn resize<'a>(&self, image: &'a RgbImage, region: Region, scratch: &'a mut Scratch) -> &'a [[u8; 3]] {
        let (width, height) = image.dimensions();
        let size = self.size as u32;
        if (width, height) == (size, size) && region == centered_square(width, height, 1.0) {
            return image.as_raw().as_chunks().0;
        }
        let Scratch { resizer, pixels, .. } = scratch;
        resizer.resize_fast(image, region, [size; 2], pixels);
        pixels.as_chunks().0
    }

    /// The center of the resized image.
    fn prepare<'a>(
        &self,
        image: &'a RgbImage,
        preparation: Preparation,
        scratch: &'a mut Scratch,
    ) -> &'a [[u8; 3]] {
        let ((width, height), size) = (image.dimensions(), self.size as u32);
        if let Resize::Center(fraction) = preparation.resize {
            return self.resize(image, centered_square(width, height, fraction), scratch);
        }
        let Placement { x, y } = placement(preparation.resize, width, height, size);
        let region = Region { left: x.start, top: y.start, width: x.extent, height: y.extent };
        if (width, height) == (size, size) && region == Region::whole(width, height) {
            return image.as_raw().as_chunks().0;
        }
        let Scratch { resizer, pixels, padded } = scratch;
        let filter = (preparation.filter, preparation.antialias);
        resizer.resize(image, region, [x.taken, y.taken], filter, pixels);
        if [x.taken, y.taken] == [size; 2] {
            return pixels.as_chunks().0;
        }
        padded.clear();
        padded.resize(self.size * self.size * 3, 0);
        let rows = padded.chunks_exact_mut(self.size * 3).skip(y.before as usize);
        for (row, source) in rows.zip(pixels.chunks_exact(x.taken as usize * 3)) {
            row[x.before as usize * 3..][..source.len()].copy_from_slice(source);
        }
        padded.as_chunks().0
    }

    /// An image of the square `pixels`.
    fn square(&self, pixels: &[[u8; 3]]) -> RgbImage {
        let size = self.size as u32;
        RgbImage::from_raw(size, size, pixels.as_flattened().to_vec()).expect("a square of this size")
    }

    /// Normalizes `pixels` into `out`, shifted by `shift` (right and down, filled with black) and mirrored if `flip`
    /// is set.
    fn write(&self, pixels: &[[u8; 3]], [right, down]: [i32; 2], flip: bool, out: &mut [f32]) {
        let size = self.size;
        let black = self.normalize.pixel([0; 3]);
        // The first output column that the shifted image covers, and the first image column that is visible.
        let [skip_out, skip_in] =
            [right.max(0) as usize, (-right).max(0) as usize].map(|skip| skip.min(size));
        let covered = size - skip_out.max(skip_in);
        for (y, row) in out.as_chunks_mut::<3>().0.chunks_exact_mut(size).enumerate() {
            row.fill(black);
            let source_y = y as i32 - down;
            if (0..size as i32).contains(&source_y) {
                let source = &pixels[source_y as usize * size + skip_in..][..covered];
                for (out, &pixel) in row[skip_out..].iter_mut().zip(source) {
                    *out = self.normalize.pixel(pixel);
                }
            }
            if flip {
                row.reverse();
            }
        }
    }
}

/// The centered square whose side is `fraction` of the shorter side, but at least one pixel.
fn centered_square(width: u32, height: u32, fraction: f64) -> Region {
    let side = (f64::from(width.min(height)) * fraction).max(1.0);
    Region::centered(width, height, side, side)
}

#[cfg(test)]
mod tests {
    use super::super::normalize::{IMAGENET_MEAN, IMAGENET_STD};
    use super::super::random::generator;
    use super::*;
    use image::Rgb;
    use proptest::prelude::*;

    fn transform(size: usize, cut: Cut, flip: f64) -> Transform {
        Transform { size, cut, flip, normalize: Normalize::new(IMAGENET_MEAN, IMAGENET_STD).unwrap() }
    }

    fn run(transform: &Transform, image: &RgbImage, seed: u64) -> Vec<f32> {
        let mut out = vec![f32::NAN; transform.size * transform.size * 3];
        transform.apply(image, &mut generator(seed, 0, 0), &mut Scratch::default(), &mut out);
        out
    }

    fn noise(width: u32, height: u32, seed: u64) -> RgbImage {
        let mut rng = generator(seed, 1, 1);
        RgbImage::from_fn(width, height, |_, _| Rgb(rng.random()))
    }

    /// The bytes that normalize to `values`.
    fn denormalize(values: &[f32]) -> Vec<u8> {
        let channel =
            |i: usize, v: f32| ((v * IMAGENET_STD[i % 3] + IMAGENET_MEAN[i % 3]) * 255.0).round() as u8;
        values.iter().enumerate().map(|(i, &v)| channel(i, v)).collect()
    }

    /// The weights of `length` pixels in each of `size` outputs over `[first, first + span]`: a triangle two output
    /// pixels wide, but at least two input pixels.
    fn triangle(length: u32, first: f64, span: f64, size: usize) -> Vec<Vec<f64>> {
        let scale = span / size as f64;
        let row = |i: usize| {
            let center = first + (i as f64 + 0.5) * scale;
            let distance = |x: u32| (f64::from(x) + 0.5 - center).abs() / scale.max(1.0);
            let weights: Vec<f64> = (0..length).map(|x| (1.0 - distance(x)).max(0.0)).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(|w| w / sum).collect()
        };
        (0..size).map(row).collect()
    }

    const CENTER: Cut = Cut::Center { fraction: 1.0 };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn normalization_is_invertible(size in 1u32..20, seed: u64) {
            let image = noise(size, size, seed);
            let out = run(&transform(size as usize, CENTER, 0.0), &image, seed);
            prop_assert_eq!(&denormalize(&out), image.as_raw());
        }

        #[test]
        fn a_flip_is_its_own_inverse(size in 1u32..20, seed: u64) {
            let image = noise(size, size, seed);
            let flipped = run(&transform(size as usize, CENTER, 1.0), &image, seed);
            let mirrored = image::imageops::flip_horizontal(&image);
            prop_assert_eq!(&denormalize(&flipped), mirrored.as_raw());
            let twice = run(&transform(size as usize, CENTER, 1.0), &mirrored, seed);
            prop_assert_eq!(&denormalize(&twice), image.as_raw());
        }

        #[test]
        fn a_random_region_lies_inside(
            width in 1u32..600, height in 1u32..600, low in 0.01f64..1.0, ratio in 1.0f64..5.0, seed: u64,
        ) {
            let mut rng = generator(seed, 0, 0);
            let r = random_region(width, height, [low, 1.0], [1.0 / ratio, ratio], &mut rng);
            prop_assert!(r.left >= 0.0 && r.top >= 0.0 && r.width >= 1.0 && r.height >= 1.0, "{:?}", r);
            prop_assert!(r.left + r.width <= f64::from(width) && r.top + r.height <= f64::from(height), "{:?}", r);
        }

        #[test]
        fn a_padded_cut_shifts_the_image_and_fills_with_black(size in 1usize..20, padding in 0usize..25, seed: u64) {
            let image = noise(size as u32, size as u32, seed);
            let out = denormalize(&run(&transform(size, Cut::Padded { padding }, 0.0), &image, seed));
            let limit = padding as isize;
            let shifted = |right: isize, down: isize| {
                let pixel = |x: usize, y: usize| {
                    let (x, y) = (x as isize - right, y as isize - down);
                    let inside = (0..size as isize).contains(&x) && (0..size as isize).contains(&y);
                    if inside { image.get_pixel(x as u32, y as u32).0 } else { [0; 3] }
                };
                (0..size * size).flat_map(|i| pixel(i % size, i / size)).eq(out.iter().copied())
            };
            prop_assert!((-limit..=limit).any(|r| (-limit..=limit).any(|d| shifted(r, d))));
        }

        #[test]
        fn resizing_is_the_triangle_filter(
            width in 1u32..50, height in 1u32..50, size in 1usize..24, fraction in 0.3f64..1.0, seed: u64,
        ) {
            let image = noise(width, height, seed);
            let out = run(&transform(size, Cut::Center { fraction }, 0.0), &image, seed);
            let side = (f64::from(width.min(height)) * fraction).max(1.0);
            let weights = |length: u32| triangle(length, (f64::from(length) - side) / 2.0, side, size);
            let (columns, rows) = (weights(width), weights(height));
            for (i, &byte) in denormalize(&out).iter().enumerate() {
                let (row, column, channel) = (&rows[i / 3 / size], &columns[i / 3 % size], i % 3);
                let sum = |y: u32| -> f64 {
                    (0..width).map(|x| column[x as usize] * f64::from(image.get_pixel(x, y).0[channel])).sum()
                };
                let exact: f64 = (0..height).map(|y| row[y as usize] * sum(y)).sum();
                // Values are rounded to bytes twice, after columns and after rows.
                prop_assert!((exact - f64::from(byte)).abs() < 1.2, "{} for {}", byte, exact);
            }
        }

        #[test]
        fn outputs_lie_in_the_range_of_normalized_bytes(
            width in 1u32..70, height in 1u32..70, size in 1usize..40, seed: u64,
        ) {
            let image = noise(width, height, seed);
            let resized = Cut::Resized { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] };
            let prepared = [Resize::None, Resize::Square, Resize::Shorter(size + size / 7), Resize::Center(0.9)]
                .map(|resize| Cut::Prepared(Preparation { resize, ..Preparation::center(1.0) }));
            let cuts = [resized, Cut::Center { fraction: 0.875 }, Cut::Padded { padding: 4 }];
            for cut in cuts.into_iter().chain(prepared) {
                let out = run(&transform(size, cut.clone(), 0.5), &image, seed);
                prop_assert!(out.iter().all(|v| (-2.2..=2.7).contains(v)), "{:?}", cut);
            }
        }
    }

    #[test]
    fn the_center_cut_takes_the_center() {
        // An 8×4 image with a white 2×2 center, which is exactly half of the shorter side.
        let image = RgbImage::from_fn(8, 4, |x, y| {
            Rgb([if (3..5).contains(&x) && (1..3).contains(&y) { 255 } else { 0 }; 3])
        });
        let out = run(&transform(2, Cut::Center { fraction: 0.5 }, 0.0), &image, 0);
        assert_eq!(denormalize(&out), [255; 12]);
    }

    #[test]
    fn random_areas_and_ratios_cover_their_ranges() {
        let mut rng = generator(3, 0, 0);
        let regions: Vec<Region> =
            (0..2000).map(|_| random_region(1000, 1000, [0.25, 0.5], [0.5, 2.0], &mut rng)).collect();
        let areas: Vec<f64> = regions.iter().map(|r| r.width * r.height / 1e6).collect();
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        assert!(
            areas.iter().all(|a| (0.249..=0.501).contains(a)) && (mean - 0.375).abs() < 0.006,
            "mean {mean}"
        );
        let wide = regions.iter().filter(|r| r.width > r.height).count();
        assert!((900..1100).contains(&wide), "{wide} of 2000 are wider than high");
    }

    #[test]
    fn an_image_too_long_for_any_box_gives_its_center() {
        let region = random_region(1000, 10, [0.9, 1.0], [0.75, 4.0 / 3.0], &mut generator(0, 0, 0));
        assert_eq!(region, Region { left: 493.5, top: 0.0, width: 13.0, height: 10.0 });
    }
}
