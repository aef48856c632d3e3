//! The overhaul of feature distillation (Heo et al. 2019, "A comprehensive overhaul of feature distillation").
//!
//! ```text
//!   teacher   batch norm ─ x ──────────────► max(x, m) ─┐        m_c = E[x | x < 0]: a margin below zero
//!   student   … ─ x ─ 1×1 ─ batch norm ─────────────────┴─► partial L2
//! ```
//!
//! Values are compared ahead of the activation. What the activation removes says only that it is removed: so the teacher's
//! negative values become their mean, and a student that is below it has nothing to learn.

use super::maps::Map;
use super::measured::Measured;
use lopper_engine::normal_cdf;

/// The partial L2 distance (equation 3), as the mean over all values instead of the sum:
/// `mean d`, with `d = 0` where `s ≤ t ≤ 0` and `(s − t)²` elsewhere, for `t = max(x, m)` of the teacher's values x.
///
/// Student and teacher have one shape; `margins` has m for each channel, the last axis.
pub fn partial(student: Map, teacher: Map, margins: &[f64]) -> Measured {
    let pairs = || student.rows().flatten().zip(teacher.rows().flatten());
    let n = pairs().count() as f64;
    let mut value = 0.0;
    let slope = |((&s, &x), &m): ((&f32, &f32), &f64)| {
        let (s, t) = (f64::from(s), f64::from(x).max(m));
        if (s..=0.0).contains(&t) {
            return 0.0;
        }
        value += (s - t).powi(2) / n;
        2.0 * (s - t) / n
    };
    let gradient = pairs().zip(margins.iter().cycle()).map(slope).collect();
    Measured { value, gradient }
}

/// The margin of a channel (equation 2) whose values are normal with this mean and deviation, as a batch norm with
/// β = mean and |γ| = deviation makes them: `E[x | x < 0] = μ − σ φ(μ/σ) / Φ(−μ/σ)`.
///
/// Where fewer than 0.1 % of the values are negative, it is `−3σ`, as in the authors' code. A constant channel has its
/// constant, or 0.
pub fn margin(mean: f64, deviation: f64) -> f64 {
    if deviation == 0.0 {
        return mean.min(0.0);
    }
    let at = mean / deviation;
    match normal_cdf(-at) {
        negative if negative > 0.001 => mean - deviation * normal_density(at) / negative,
        _ => -3.0 * deviation,
    }
}

/// The density φ of the standard normal distribution.
fn normal_density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean of the negative values by Simpson's rule, for channels that are almost never and almost always negative.
    #[test]
    fn a_margin_is_the_mean_of_the_negative_values() {
        for (mean, deviation) in [(0.0, 1.0), (0.7, 0.5), (-2.0, 0.3), (3.0, 1.0), (-0.1, 4.0), (-5.0, 0.1)] {
            let (from, steps) = (f64::min(mean, 0.0) - 12.0 * deviation, 20_000);
            let width = -from / f64::from(steps);
            let integral = |f: &dyn Fn(f64) -> f64| -> f64 {
                (0..=steps)
                    .map(|i| {
                        let x = from + f64::from(i) * width;
                        let weight = if i == 0 || i == steps { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
                        weight * width / 3.0 * f(x) * normal_density((x - mean) / deviation)
                    })
                    .sum()
            };
            let expected = integral(&|x| x) / integral(&|_| 1.0);
            let found = margin(mean, deviation);
            assert!(
                (found - expected).abs() < 1e-6 * expected.abs(),
                "{mean}, {deviation}: {found}, {expected}"
            );
        }
        assert_eq!(margin(4.0, 1.0), -3.0, "too few values are negative");
        assert_eq!((margin(0.4, 0.0), margin(-0.4, 0.0)), (0.0, -0.4), "constants");
    }
}
