//! The rank of a matrix beneath noise, by variational Bayesian matrix factorization (Nakajima, Sugiyama, Babacan &
//! Tomioka 2013, "Global analytic solution of fully-observed variational Bayesian matrix factorization", theorems 2 and
//! 4).
//!
//! With `W [L, M]`, L ≤ M, α = L/M and noise of variance σ², a singular value γ belongs to the signal if
//!
//! ```text
//!   γ > √(M σ² (1 + τ̲) (1 + α/τ̲)),      τ̲ ≈ 2.5129 √α
//! ```
//!
//! and σ² minimizes the free energy, where x_h = γ_h² / (M σ²), x̲ = (1 + τ̲)(1 + α/τ̲) and
//! τ(x) = ½ (x − (1 + α) + √((x − (1 + α))² − 4α)):
//!
//! ```text
//!   F(σ²) = Σ_h x_h − ln x_h + [x_h > x̲] (ln(τ(x_h) + 1) + α ln(τ(x_h)/α + 1) − τ(x_h))
//! ```
//!
//! F has several minima, so it is searched on a grid first.

/// τ̲ / √α, up to its weak dependence on α.
const TAU: f64 = 2.5129;
/// Squares below this fraction of the largest are zero, up to the rounding of weights and decomposition.
const ROUNDING: f64 = 1e-13;
/// Points of the grid, and steps of the golden section behind it.
const GRID: usize = 256;
const STEPS: usize = 60;

/// The number of singular values above the noise, given their squares in descending order.
pub(super) fn rank(squares: &[f64], [short, long]: [usize; 2]) -> usize {
    let model = Model::new(short, long);
    let least = model.variance(squares).map_or(0.0, |variance| model.m * variance * model.x_min);
    let rounding = squares.first().map_or(0.0, |first| first * ROUNDING);
    squares.iter().take_while(|&&square| square > least.max(rounding)).count()
}

struct Model {
    alpha: f64,
    l: f64,
    m: f64,
    /// x̲.
    x_min: f64,
}

impl Model {
    fn new(short: usize, long: usize) -> Self {
        let (l, m) = (short as f64, long as f64);
        let alpha = l / m;
        let tau = TAU * alpha.sqrt();
        Self { alpha, l, m, x_min: (1.0 + tau) * (1.0 + alpha / tau) }
    }

    /// The variance of the noise; none if there is no noise at all.
    fn variance(&self, squares: &[f64]) -> Option<f64> {
        let most = ((self.l / (1.0 + self.alpha)).ceil() as usize).saturating_sub(1).min(squares.len());
        let rest = &squares[most.min(squares.len() - 1)..];
        let mean = rest.iter().sum::<f64>() / rest.len() as f64;
        let lower = (rest[0] / (self.m * self.x_min)).max(mean / self.m);
        let upper = squares.iter().sum::<f64>() / (self.l * self.m);
        // The matrix has a lower rank, and no noise.
        if rest[0] <= squares[0] * ROUNDING {
            return None;
        }
        let (low, high) = (lower.ln(), upper.max(lower).ln());
        let at = |i: usize| low + (high - low) * i as f64 / GRID as f64;
        let cost = |log: f64| self.free_energy(squares, log.exp());
        let best = (0..=GRID).min_by(|&a, &b| cost(at(a)).total_cmp(&cost(at(b)))).unwrap_or(0);
        Some(golden(cost, [at(best.saturating_sub(1)), at((best + 1).min(GRID))]).exp())
    }

    fn free_energy(&self, squares: &[f64], variance: f64) -> f64 {
        let tau = |x: f64| {
            let y = x - (1.0 + self.alpha);
            0.5 * (y + (y * y - 4.0 * self.alpha).max(0.0).sqrt())
        };
        let smallest = squares[0] * f64::EPSILON;
        let term = |&square: &f64| {
            let x = square.max(smallest) / (self.m * variance);
            let noise = x - x.ln();
            if x <= self.x_min {
                return noise;
            }
            let tau = tau(x);
            noise + (tau + 1.0).ln() + self.alpha * (tau / self.alpha + 1.0).ln() - tau
        };
        squares.iter().map(term).sum()
    }
}

/// The minimum of `cost` between two points, by the golden section.
fn golden(cost: impl Fn(f64) -> f64, [mut low, mut high]: [f64; 2]) -> f64 {
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    for _ in 0..STEPS {
        let (left, right) = (high - ratio * (high - low), low + ratio * (high - low));
        if cost(left) <= cost(right) { high = right } else { low = left }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factorize::svd::Svd;
    use lopper_engine::Tensor;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// Normally distributed numbers, by the sum of twelve uniform ones.
    fn normal(shape: &[usize; 2], seed: u64) -> Tensor {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
        Tensor::from_fn(shape, |_| (0..12).map(|_| generator.random::<f32>()).sum::<f32>() - 6.0)
    }

    /// A matrix of rank `rank` and scale √rank, plus noise of the standard deviation `noise`.
    fn noisy([l, m]: [usize; 2], rank: usize, noise: f32) -> Tensor {
        let (a, b, e) = (normal(&[l, rank.max(1)], 1), normal(&[rank.max(1), m], 2), normal(&[l, m], 3));
        Tensor::from_fn(&[l, m], |i| {
            let signal: f32 = (0..rank).map(|r| a.data()[i / m * rank + r] * b.data()[r * m + i % m]).sum();
            signal + noise * e.data()[i]
        })
    }

    #[test]
    fn the_rank_beneath_noise_is_found() {
        for (shape, ranks) in [([40, 60], [0, 1, 4, 9]), ([60, 40], [0, 2, 3, 10]), ([30, 30], [0, 1, 2, 5])]
        {
            for rank in ranks {
                for noise in [0.05, 0.5] {
                    let svd = Svd::new(noisy(shape, rank, noise)).unwrap();
                    let sides = [shape[0].min(shape[1]), shape[0].max(shape[1])];
                    assert_eq!(super::rank(svd.squares(), sides), rank, "{shape:?}, noise {noise}");
                }
            }
        }
    }

    #[test]
    fn the_variance_of_the_noise_is_found() {
        let svd = Svd::new(noisy([50, 80], 3, 0.25)).unwrap();
        let variance = Model::new(50, 80).variance(svd.squares()).unwrap();
        assert!((variance / 0.0625 - 1.0).abs() < 0.1, "{variance}");
    }

    #[test]
    fn without_noise_the_rank_is_that_of_the_matrix() {
        for expected in [1, 2, 7] {
            let svd = Svd::new(noisy([20, 30], expected, 0.0)).unwrap();
            assert_eq!(rank(svd.squares(), [20, 30]), expected);
        }
        assert!(rank(&[4.0], [1, 5]) <= 1, "a single row");
        assert_eq!(rank(&[0.0; 3], [3, 3]), 0);
    }
}
