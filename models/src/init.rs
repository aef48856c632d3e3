//! Seeded initial weights. Every parameter has its own generator, keyed by the seed and its path, so that adding or
//! removing a layer does not change the weights of the others.

use lopper_engine::Tensor;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Distribution of the weights and the bias of a convolution or linear layer.
///
/// A layer's fan in is the number of inputs that one output reads (`KH·KW·C / groups`, or `IN`). Its fan out is the
/// number of outputs that one input of a group feeds, as PyTorch counts it (`KH·KW·O`, or `OUT`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// PyTorch's default: weights and biases uniform in ±1/√fan in.
    Uniform,
    /// `N(0, 2/fan in)` (He et al. 2015), which preserves the variance of activations through a ReLU. Biases are 0.
    KaimingFanIn,
    /// `N(0, 2/fan out)`, which preserves the variance of gradients instead. Biases are 0.
    KaimingFanOut,
    /// `N(0, std²)`. Biases are 0.
    Normal {
        /// Standard deviation.
        std: f32,
    },
    /// Every weight has this value. Biases are 0.
    Constant(f32),
}

impl Init {
    /// Draws the weight at `path`, of shape `[O, KH, KW, C / groups]` or `[OUT, IN]`.
    pub fn weight(self, seed: u64, path: &str, shape: &[usize]) -> Tensor {
        let fan_in: usize = shape[1..].iter().product();
        let taps: usize = shape[1..shape.len() - 1].iter().product();
        match self {
            Self::Uniform => uniform(seed, path, shape, bound(fan_in)),
            Self::KaimingFanIn => normal(seed, path, shape, (2.0 / fan_in as f32).sqrt()),
            Self::KaimingFanOut => normal(seed, path, shape, (2.0 / (taps * shape[0]) as f32).sqrt()),
            Self::Normal { std } => normal(seed, path, shape, std),
            Self::Constant(value) => Tensor::full(shape, value),
        }
    }

    /// Draws the bias at `path` of a layer with `outputs` outputs and the given fan in.
    pub fn bias(self, seed: u64, path: &str, outputs: usize, fan_in: usize) -> Tensor {
        match self {
            Self::Uniform => uniform(seed, path, &[outputs], bound(fan_in)),
            Self::KaimingFanIn | Self::KaimingFanOut | Self::Normal { .. } | Self::Constant(_) => {
                Tensor::zeros(&[outputs])
            }
        }
    }
}

/// Returns PyTorch's bound, 1/√fan in.
fn bound(fan_in: usize) -> f32 {
    1.0 / (fan_in as f32).sqrt()
}

/// Draws values uniformly from `[-bound, bound)` with the generator of `path`.
pub fn uniform(seed: u64, path: &str, shape: &[usize], bound: f32) -> Tensor {
    let mut rng = generator(seed, path);
    let mut tensor = Tensor::zeros(shape);
    tensor.data_mut().fill_with(|| (2.0 * rng.random::<f32>() - 1.0) * bound);
    tensor
}

/// Draws values from `N(0, std²)` with the generator of `path`.
pub fn normal(seed: u64, path: &str, shape: &[usize], std: f32) -> Tensor {
    let mut rng = generator(seed, path);
    let mut tensor = Tensor::zeros(shape);
    for pair in tensor.data_mut().chunks_mut(2) {
        // Box & Muller 1958: the polar coordinates of two independent normal numbers are independent. 1 − u lies in
        // (0, 1], where the logarithm is finite.
        let radius = std * (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * rng.random::<f32>()).sin_cos();
        pair.iter_mut().zip([radius * cos, radius * sin]).for_each(|(w, value)| *w = value);
    }
    tensor
}

/// Returns the generator of the parameter at `path`, keyed by the FNV-1a hash of seed and path.
fn generator(seed: u64, path: &str) -> Xoshiro256PlusPlus {
    let bytes = seed.to_le_bytes().into_iter().chain(path.bytes());
    let key = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Xoshiro256PlusPlus::seed_from_u64(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns mean and standard deviation.
    fn moments(t: &Tensor) -> (f64, f64) {
        let n = t.len() as f64;
        let mean = t.data().iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let var = t.data().iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        (mean, var.sqrt())
    }

    #[test]
    fn weights_have_the_moments_of_their_distribution() {
        let shape = [64, 3, 3, 32];
        let cases = [
            (Init::Uniform, 1.0 / (288.0_f64 * 3.0).sqrt()),
            (Init::KaimingFanIn, (2.0_f64 / 288.0).sqrt()),
            (Init::KaimingFanOut, (2.0_f64 / 576.0).sqrt()),
            (Init::Normal { std: 0.01 }, 0.01),
        ];
        for (init, expected) in cases {
            let (mean, std) = moments(&init.weight(7, "conv1.weight", &shape));
            // Four standard errors for 18,432 draws.
            assert!(mean.abs() < 4.0 * expected / 135.0, "{init:?}: mean {mean}");
            assert!((std / expected - 1.0).abs() < 0.025, "{init:?}: std {std}, expected {expected}");
        }
    }

    #[test]
    fn uniform_stays_inside_its_bound() {
        let bias = Init::Uniform.bias(0, "fc.bias", 1000, 16);
        assert!(bias.data().iter().all(|b| b.abs() <= 0.25));
        assert!(bias.data().iter().any(|b| b.abs() > 0.24));
        assert!(Init::KaimingFanIn.bias(0, "fc.bias", 8, 16).data().iter().all(|&b| b == 0.0));
    }

    #[test]
    fn only_seed_and_path_determine_the_bits() {
        let draw = |seed, path| normal(seed, path, &[9], 1.0).data().to_vec();
        assert_eq!(draw(1, "a.weight"), draw(1, "a.weight"));
        assert_ne!(draw(1, "a.weight"), draw(2, "a.weight"));
        assert_ne!(draw(1, "a.weight"), draw(1, "b.weight"));
    }
}
