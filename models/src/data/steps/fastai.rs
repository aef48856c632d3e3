//! fastai's augmentation: one warp composed of a flip, a rotation, a zoom and a tilt, and a change of lighting.

use super::geometric::uniform;
use super::step::Fastai;
use crate::data::pixels::{Sampling, Warp, color};
use crate::data::random::Generator;
use image::RgbImage;
use rand::RngExt;

impl Fastai {
    pub(super) fn apply(&self, image: RgbImage, rng: &mut Generator) -> RgbImage {
        let size = [image.width(), image.height()];
        let warp = self.warp(size, rng);
        let sampling = Sampling { bilinear: true, padding: self.padding_mode, fill: [0; 3] };
        let mut image = if warp == Warp::IDENTITY { image } else { warp.apply(&image, sampling) };
        if self.max_lighting > 0.0 {
            let chance = |rng: &mut Generator| rng.random_bool(self.p_lighting);
            let (half, low) = (0.5 * self.max_lighting, 1.0 - self.max_lighting);
            let change = if chance(rng) { uniform(rng, [0.5 - half, 0.5 + half]) } else { 0.5 };
            let power = if chance(rng) { uniform(rng, [low.ln(), -low.ln()]).exp() } else { 1.0 };
            color::lighting(&mut image, change / (1.0 - change), power);
        }
        image
    }

    /// The map from the output to the image, in pixels.
    fn warp(&self, [width, height]: [u32; 2], rng: &mut Generator) -> Warp {
        let half = [width, height].map(|side| 0.5 * f64::from(side));
        // Coordinates from −1 to 1.
        let mut warp = Warp::IDENTITY;
        if self.do_flip {
            warp = warp.then(&self.flip(width == height, rng));
        }
        if self.max_rotate > 0.0 && rng.random_bool(self.p_affine) {
            let (sin, cos) = uniform(rng, [-self.max_rotate, self.max_rotate]).to_radians().sin_cos();
            let [x, y] = half;
            // A rotation of pixels, which may not be square in these coordinates.
            warp = warp.then(&Warp([[cos, sin * y / x, 0.0], [-sin * x / y, cos, 0.0], [0.0, 0.0, 1.0]]));
        }
        let zooms = [self.min_zoom, self.max_zoom];
        if zooms != [1.0; 2] && rng.random_bool(self.p_affine) {
            warp = warp.then(&zoom(uniform(rng, zooms), rng));
        }
        if self.max_warp > 0.0 && rng.random_bool(self.p_affine) {
            let [up, side] = [0, 1].map(|_| uniform(rng, [-self.max_warp, self.max_warp]));
            let square = [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]];
            let tilted = [
                [-1.0 - side, -1.0 - up],
                [-1.0 + side, 1.0 + up],
                [1.0 + side, -1.0 + up],
                [1.0 - side, 1.0 - up],
            ];
            warp = warp.then(&Warp::perspective(square, tilted).unwrap_or(Warp::IDENTITY));
        }
        if warp == Warp::IDENTITY {
            return warp;
        }
        let [x, y] = half;
        let inward = Warp([[1.0 / x, 0.0, -1.0], [0.0, 1.0 / y, -1.0], [0.0, 0.0, 1.0]]);
        let outward = Warp([[x, 0.0, x], [0.0, y, y], [0.0, 0.0, 1.0]]);
        inward.then(&warp).then(&outward)
    }

    /// A horizontal flip, or with `flip_vert` one of the eight symmetries of a square.
    fn flip(&self, square: bool, rng: &mut Generator) -> Warp {
        let sign = |rng: &mut Generator| if rng.random_bool(0.5) { -1.0 } else { 1.0 };
        let x = sign(rng);
        let y = if self.flip_vert { sign(rng) } else { 1.0 };
        match self.flip_vert && square && rng.random_bool(0.5) {
            true => Warp([[0.0, x, 0.0], [y, 0.0, 0.0], [0.0, 0.0, 1.0]]),
            false => Warp([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]]),
        }
    }
}

/// A zoom by `scale` into a random position.
fn zoom(scale: f64, rng: &mut Generator) -> Warp {
    let s = 1.0 / scale;
    let [x, y] = [0, 1].map(|_| (1.0 - s) * rng.random_range(-1.0..=1.0));
    Warp([[s, 0.0, x], [0.0, s, y], [0.0, 0.0, 1.0]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::generator;
    use crate::data::pixels::Padding;
    use image::Rgb;

    #[test]
    fn without_strength_only_flips_are_left() {
        let still =
            Fastai { max_rotate: 0.0, max_zoom: 1.0, max_lighting: 0.0, max_warp: 0.0, ..Fastai::default() };
        let image = RgbImage::from_fn(7, 5, |x, y| Rgb([x as u8 * 30, y as u8 * 40, 9]));
        let mirrored = image::imageops::flip_horizontal(&image);
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
            (0..200).map(|seed| all.apply(square.clone(), &mut generator(seed, 0, 0)).into_raw()).collect();
        assert_eq!(found.len(), 8, "the symmetries of a square");
    }

    #[test]
    fn a_gray_image_changes_by_lighting_only() {
        let image = RgbImage::from_pixel(20, 14, Rgb([128; 3]));
        let mut darker = 0;
        for seed in 0..300 {
            let found = Fastai { padding_mode: Padding::Reflect, ..Fastai::default() }
                .apply(image.clone(), &mut generator(seed, 0, 0));
            let first = found.get_pixel(0, 0).0;
            assert!(found.pixels().all(|pixel| pixel.0 == first), "mirrored borders hold no black");
            assert!((100..=156).contains(&first[0]), "{first:?}");
            darker += usize::from(first[0] < 128);
        }
        assert!((80..150).contains(&darker), "{darker}");
    }
}
