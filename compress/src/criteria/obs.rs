//! Optimal brain surgeon in blocks.
//!
//! Removing the weights s and letting the others of their block make up for it increases the loss by
//!
//! ```text
//!   ½ w_sᵀ ([F⁻¹]_ss)⁻¹ w_s,       F = E[g gᵀ] + λ I        of B consecutive weights
//! ```
//!
//! which for a single weight is `w² / 2 [F⁻¹]_ii`. F is the empirical Fisher information of a block, the mean of gradients'
//! outer products, with λ a hundredth of its mean diagonal.

use super::{LayerView, Need, Score, StepView, described};
use crate::granularity::Groups;
use lopper_engine::{Result, memory};

/// Consecutive weights whose interaction counts.
const BLOCK: usize = 16;
/// λ relative to the mean of F's diagonal.
const DAMPING: f64 = 1e-2;

/// `obs`: the sum over blocks of `½ w_sᵀ ([F⁻¹]_ss)⁻¹ w_s`, for the weights s of the group in the block (Hassibi & Stork 1993,
/// "Second order derivatives for network pruning: optimal brain surgeon", equation 5; Singh & Alistarh 2020, "WoodFisher:
/// efficient second-order approximation for neural network compression", section 4, for blocks of the empirical Fisher
/// information; Kurtic et al. 2022, "The optimal BERT surgeon", equation 6, for groups).
///
/// A group that holds whole blocks, as a filter does, scores `½ wᵀ F w`, which unlike [`Obd`](super::Obd) counts how its
/// weights act together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Obs;

described!(
    Obs,
    "Σ ½ w_sᵀ ([F⁻¹]_ss)⁻¹ w_s over blocks of 16 weights",
    "Singh & Alistarh 2020, WoodFisher: efficient second-order approximation for neural network compression"
);

impl Score for Obs {
    fn name(&self) -> &str {
        "obs"
    }

    fn needs(&self) -> &[Need] {
        &[Need::LiveGradients]
    }

    /// The upper triangle of each block's outer product.
    fn observations(&self, groups: &Groups) -> usize {
        blocks(groups.weights()).map(|(_, len)| triangle(len)).sum()
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let gradient = step.gradient()?;
        let count = self.observations(step.groups());
        memory::require("the Fisher information of a layer", memory::bytes_of::<f64>([count, 2]))?;
        let mut products = Vec::with_capacity(count);
        for (start, len) in blocks(gradient.len()) {
            let block = &gradient[start..start + len];
            for i in 0..len {
                products.extend((i..len).map(|j| f64::from(block[i]) * f64::from(block[j])));
            }
        }
        Ok(products)
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        let (weight, fisher) = (layer.weight(), layer.observed()?);
        let mut groups = vec![0; weight.len()];
        layer.groups().for_each_weight(|i, group| groups[i] = group);
        let mut scores = vec![0.0; layer.groups().count()];
        let mut at = 0;
        for (start, len) in blocks(weight.len()) {
            let matrix = damped(&fisher[at..at + triangle(len)], len);
            at += triangle(len);
            let inverse = inverted(&matrix, len);
            let mut members: Vec<usize> = (0..len).collect();
            members.sort_by_key(|&i| groups[start + i]);
            for same in members.chunk_by(|&a, &b| groups[start + a] == groups[start + b]) {
                let part = |i: usize, j: usize| inverse[same[i] * len + same[j]];
                let inner: Vec<f64> =
                    (0..same.len() * same.len()).map(|k| part(k / same.len(), k % same.len())).collect();
                let inner = inverted(&inner, same.len());
                let w = |i: usize| f64::from(weight[start + same[i]]);
                let increase: f64 =
                    (0..inner.len()).map(|k| w(k / same.len()) * inner[k] * w(k % same.len())).sum();
                scores[groups[start + same[0]]] += 0.5 * increase;
            }
        }
        Ok(scores.into_iter().map(|score| score as f32).collect())
    }
}

/// Start and length of each block of `weights`.
fn blocks(weights: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..weights).step_by(BLOCK).map(move |start| (start, BLOCK.min(weights - start)))
}

fn triangle(len: usize) -> usize {
    len * (len + 1) / 2
}

/// The whole matrix `[len, len]` of an upper triangle, with λ on its diagonal.
fn damped(upper: &[f64], len: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; len * len];
    let mut values = upper.iter();
    for i in 0..len {
        for j in i..len {
            let value = values.next().copied().unwrap_or(0.0);
            (matrix[i * len + j], matrix[j * len + i]) = (value, value);
        }
    }
    let mean = (0..len).map(|i| matrix[i * len + i]).sum::<f64>() / len as f64;
    // Where no gradient arrived, the weights cost nothing; the matrix stays invertible.
    let damping = if mean > 0.0 { DAMPING * mean } else { f64::MIN_POSITIVE.sqrt() };
    (0..len).for_each(|i| matrix[i * len + i] += damping);
    matrix
}

/// The inverse of a positive definite matrix `[n, n]`, by Gauss & Jordan's elimination, which needs no pivots for one.
fn inverted(matrix: &[f64], n: usize) -> Vec<f64> {
    let mut left = matrix.to_vec();
    let mut right: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i / n == i % n))).collect();
    for step in 0..n {
        let pivot = left[step * n + step];
        for j in 0..n {
            left[step * n + j] /= pivot;
            right[step * n + j] /= pivot;
        }
        for row in (0..n).filter(|&row| row != step) {
            let factor = left[row * n + step];
            for j in 0..n {
                left[row * n + j] -= factor * left[step * n + j];
                right[row * n + j] -= factor * right[step * n + j];
            }
        }
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::testing::score_after;

    #[test]
    fn two_weights_agree_with_a_hand_example() {
        // Gradients (1, 0), (1, 2): F = [[1, 1], [1, 2]], λ = 0.015; a row of one weight each.
        let (weight, steps): (_, [&[f32]; 2]) = ([3.0, 1.0], [&[1.0, 0.0], &[1.0, 2.0]]);
        let found = score_after(&Obs, &[2, 1], &weight, &steps);
        let (a, b, d) = (1.015f64, 1.0f64, 2.015f64);
        let determinant = a * d - b * b;
        let expected = [9.0 / 2.0 / (d / determinant), 1.0 / 2.0 / (a / determinant)];
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} and {expected}");
        }
        // Both together: ½ wᵀ F w = ½ (9 a + 6 b + d).
        let row = score_after(&Obs, &[1, 2], &weight, &steps);
        assert!((f64::from(row[0]) - 0.5 * (9.0 * a + 6.0 * b + d)).abs() < 1e-4);
    }

    #[test]
    fn blocks_of_a_long_row_add_up() {
        let weight: Vec<f32> = (0..40).map(|i| (i as f32 * 0.7).sin()).collect();
        let gradients: Vec<Vec<f32>> =
            (0..3).map(|s| (0..40).map(|i| ((i * 3 + s * 5) as f32 * 0.3).cos()).collect()).collect();
        let steps: Vec<&[f32]> = gradients.iter().map(Vec::as_slice).collect();
        let row = score_after(&Obs, &[1, 40], &weight, &steps)[0];
        // ½ wᵀ F w of the block diagonal, in full.
        let mut expected = 0.0;
        for (start, len) in [(0, 16), (16, 16), (32, 8)] {
            let outer = |i: usize, j: usize| {
                gradients.iter().map(|g| f64::from(g[start + i]) * f64::from(g[start + j])).sum::<f64>() / 3.0
            };
            let mean = (0..len).map(|i| outer(i, i)).sum::<f64>() / len as f64;
            for (i, j) in (0..len * len).map(|k| (k / len, k % len)) {
                let f = outer(i, j) + if i == j { 0.01 * mean } else { 0.0 };
                expected += 0.5 * f64::from(weight[start + i]) * f * f64::from(weight[start + j]);
            }
        }
        assert!((f64::from(row) / expected - 1.0).abs() < 1e-4, "{row} and {expected}");
        // A weight alone costs at most what it would without the others making up for it.
        let singles = score_after(&Obs, &[40, 1], &weight, &steps);
        assert!(singles.iter().all(|&score| score >= 0.0 && score.is_finite()));
        assert_eq!(
            score_after(&Obs, &[2, 1], &[1.0, 2.0], &[&[0.0, 0.0]]),
            [0.0, 0.0],
            "no gradient arrived"
        );
    }
}
