//! Mixtures of the images of a batch: mixup (Zhang et al. 2017, arXiv:1710.09412) and cutmix (Yun et al. 2019,
//! arXiv:1905.04899).
//!
//! As in torchvision, each image is mixed with the one before it in the batch, the first with the last, and all with the
//! same share, which is drawn from Beta(α, α).

use super::geometric::uniform;
use super::step::Mix;
use crate::data::random::Generator;
use lopper_engine::data::Mixed;
use rand::RngExt;

/// How images are mixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mixing {
    /// Every pixel is the mean of both, weighted by their shares.
    Blend(Mix),
    /// A box comes from the second image. Its area is that image's share.
    Paste(Mix),
}

impl Mixing {
    /// Mixes `images`, squares of `size` × `size` × 3 values, and returns the second classes and their share.
    pub fn apply(self, images: &mut [f32], labels: &[u32], size: usize, rng: &mut Generator) -> Mixed {
        let share = match self {
            Self::Blend(mix) => {
                let share = beta(mix.alpha, rng) as f32;
                with_previous(images, size, |image, second| {
                    image.iter_mut().zip(second).for_each(|(a, b)| *a += share * (b - *a));
                });
                share
            }
            Self::Paste(mix) => {
                let [rows, columns] = region(beta(mix.alpha, rng), size, rng);
                with_previous(images, size, |image, second| {
                    for row in rows[0]..rows[1] {
                        let at = (row * size + columns[0]) * 3..(row * size + columns[1]) * 3;
                        image[at.clone()].copy_from_slice(&second[at]);
                    }
                });
                let area = (rows[1] - rows[0]) * (columns[1] - columns[0]);
                area as f32 / (size * size) as f32
            }
        };
        let mut second = labels.to_vec();
        second.rotate_right(labels.len().min(1));
        Mixed { labels: second, share }
    }
}

/// Passes to `mix` each image together with the one before it, as both are before any is mixed.
fn with_previous(images: &mut [f32], size: usize, mix: impl Fn(&mut [f32], &[f32])) {
    let length = size * size * 3;
    let Some(last) = images.len().checked_sub(length) else { return };
    let last = images[last..].to_vec();
    // From the end, so that the image before is still unmixed.
    for start in (length..images.len()).step_by(length).rev() {
        let (before, image) = images[..start + length].split_at_mut(start);
        mix(image, &before[start - length..]);
    }
    mix(&mut images[..length], &last);
}

/// The rows and columns of a box of the share `area` of a square about a random center, cut off at the border.
fn region(area: f64, size: usize, rng: &mut Generator) -> [[usize; 2]; 2] {
    let half = (0.5 * area.sqrt() * size as f64) as usize;
    [0, 1].map(|_| {
        let center = rng.random_range(0..size);
        [center.saturating_sub(half), (center + half).min(size)]
    })
}

/// A number from Beta(α, α), in `[0, 1]`.
fn beta(alpha: f64, rng: &mut Generator) -> f64 {
    let (a, b) = (gamma(alpha, rng), gamma(alpha, rng));
    // Both may underflow if α is small; the mass is then at the two ends.
    if a + b > 0.0 { a / (a + b) } else { f64::from(u8::from(rng.random_bool(0.5))) }
}

/// A number from Gamma(shape, 1) by the method of Marsaglia and Tsang (2000).
fn gamma(shape: f64, rng: &mut Generator) -> f64 {
    if shape < 1.0 {
        let power = uniform(rng, [0.0, 1.0]).powf(1.0 / shape);
        return gamma(shape + 1.0, rng) * power;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        // The logarithm of 0 is −∞, which is accepted.
        if v > 0.0 && uniform(rng, [0.0, 1.0]).ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
            return d * v;
        }
    }
}

/// A number from the standard normal distribution (Box and Muller 1958).
fn normal(rng: &mut Generator) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random_range(0.0..1.0f64)).ln()).sqrt();
    radius * (rng.random_range(0.0..1.0f64) * std::f64::consts::TAU).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::generator;

    /// Beta(α, α) has mean ½ and variance 1 / (4 (2α + 1)).
    #[test]
    fn shares_have_the_moments_of_beta() {
        let mut rng = generator(5, 0, 0);
        for alpha in [0.2, 1.0, 4.0] {
            let draws: Vec<f64> = (0..20_000).map(|_| beta(alpha, &mut rng)).collect();
            let mean = draws.iter().sum::<f64>() / 2e4;
            let variance = draws.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2e4;
            assert!((mean - 0.5).abs() < 0.015, "α = {alpha}: mean {mean}");
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((variance - expected).abs() < 0.06 * expected, "α = {alpha}: {variance}, not {expected}");
        }
        assert!((0..1000).map(|_| beta(0.01, &mut rng)).all(|share| (0.0..=1.0).contains(&share)));
    }

    /// Image k of a batch holds the number k everywhere.
    fn batch(count: usize) -> Vec<f32> {
        (0..count * 48).map(|i| (i / 48) as f32).collect()
    }

    #[test]
    fn each_image_is_mixed_with_the_one_before() {
        for seed in 0..50 {
            let labels = [7, 8, 9];
            let mut images = batch(3);
            let mixed =
                Mixing::Blend(Mix { alpha: 1.0 }).apply(&mut images, &labels, 4, &mut generator(seed, 0, 0));
            assert_eq!(mixed.labels, [9, 7, 8]);
            for (k, before) in [(0.0, 2.0), (1.0, 0.0), (2.0f32, 1.0f32)] {
                let expected = k + mixed.share * (before - k);
                assert!(images[k as usize * 48..][..48].iter().all(|v| (v - expected).abs() < 1e-6));
            }

            let mut images = batch(3);
            let mixed =
                Mixing::Paste(Mix { alpha: 1.0 }).apply(&mut images, &labels, 4, &mut generator(seed, 0, 0));
            for (k, before) in [(0, 2.0), (1, 0.0), (2, 1.0f32)] {
                let image = &images[k * 48..][..48];
                assert!(image.iter().all(|&v| v == before || v == k as f32));
                let pasted = image.iter().filter(|&&v| v == before).count();
                assert_eq!(pasted as f32 / 48.0, mixed.share);
            }
        }
    }

    #[test]
    fn one_image_is_mixed_with_itself_and_none_with_nothing() {
        let mut images = batch(1);
        let mixed = Mixing::Blend(Mix { alpha: 0.3 }).apply(&mut images, &[4], 4, &mut generator(1, 0, 0));
        assert_eq!((mixed.labels, images), (vec![4], batch(1)));
        let mixed = Mixing::Paste(Mix { alpha: 0.3 }).apply(&mut [], &[], 4, &mut generator(1, 0, 0));
        assert!(mixed.labels.is_empty());
    }
}
