//! The Gram matrix of the images of a batch.
//!
//! ```text
//!   G = F·Fᵀ      F [N, D]: the features of each image      G [N, N]: their products
//!   dF = (dG + dGᵀ)·F
//! ```
//!
//! What compares the images of a batch with each other is a function of G: distances are `√(G_ii + G_jj − 2 G_ij)`. So the
//! cost is N²·D products twice, whatever the function. Sums are in f64, in which differences of products of f32 stay exact
//! to many digits, and every entry is summed in one order, for any number of threads.

use super::maps::Map;
use super::measured::Measured;
use crate::threads::for_each;
use lopper_engine::Device;

/// The Gram matrix of the features of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    n: usize,
    values: Vec<f64>,
}

impl Gram {
    /// The products of the images of `map` with each other, computed by the threads of `device`.
    pub fn of(map: Map, device: &Device) -> Self {
        let rows: Vec<&[f32]> = map.rows().collect();
        let n = rows.len();
        let mut lines: Vec<(usize, Vec<f64>)> = (0..n).map(|i| (i, Vec::new())).collect();
        let product =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        for_each(device, &mut lines, |(i, line)| {
            *line = rows[..=*i].iter().map(|other| product(rows[*i], other)).collect();
        });
        let entry = |i: usize, j: usize| if j <= i { lines[i].1[j] } else { lines[j].1[i] };
        let values = (0..n * n).map(|at| entry(at / n, at % n)).collect();
        Self { n, values }
    }

    /// A matrix with these values `[N, N]`.
    pub(super) fn like(&self, values: Vec<f64>) -> Self {
        Self { n: self.n, values }
    }

    /// N.
    pub fn count(&self) -> usize {
        self.n
    }

    /// `G_ij`.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.n + j]
    }

    /// Row i.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.n..][..self.n]
    }

    /// The loss with the value and the gradient by G in `by_gram`, as a function of the features of `map`.
    pub fn back(map: Map, by_gram: &Measured, device: &Device) -> Measured {
        let rows: Vec<&[f32]> = map.rows().collect();
        let n = rows.len();
        let mut lines: Vec<(usize, Vec<f64>)> = (0..n).map(|i| (i, Vec::new())).collect();
        for_each(device, &mut lines, |(i, line)| {
            *line = vec![0.0; rows[*i].len()];
            for (j, other) in rows.iter().enumerate() {
                let factor = by_gram.gradient[*i * n + j] + by_gram.gradient[j * n + *i];
                line.iter_mut().zip(*other).for_each(|(sum, &x)| *sum += factor * f64::from(x));
            }
        });
        let gradient = lines.into_iter().flat_map(|(_, line)| line).collect();
        Measured { value: by_gram.value, gradient }
    }
}
