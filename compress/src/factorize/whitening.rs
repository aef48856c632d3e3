//! Whitened inputs: the norm in which the error of a weight is that of the layer's outputs on images.
//!
//! ```text
//!   E ‖(W − Ŵ) x‖²  =  ‖(W − Ŵ) L‖²      E[x xᵀ] = L Lᵀ, L lower triangular (Cholesky)
//!
//!   W L  ≈  B A'      Ŵ = B A,   A L = A'     solved by substitution, so that L is never inverted
//! ```
//!
//! Wang et al. 2024, "SVD-LLM: truncation-aware singular value decomposition for large language model compression", section 3.2.
//! Of a convolution, x are the channels of a pixel: taps count alike, and as if their inputs were independent.

use crate::criteria::{LayerView, MOST_INPUTS, Need, Score, StepView, input_products};
use crate::granularity::Groups;
use lopper_engine::{Error, Result, Tensor};

/// What is added to the diagonal, as a share of its mean: inputs that never vary stay invertible.
const RIDGE: f64 = 1e-6;

/// The mean product of each pair of input channels, row-major.
#[derive(Clone, Copy, Debug)]
pub(super) struct InputProducts;

impl Score for InputProducts {
    fn name(&self) -> &str {
        "whitened"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Inputs]
    }

    fn observations(&self, groups: &Groups) -> usize {
        groups.count() * groups.count()
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let (inputs, channels) = (step.activations()?.data(), step.groups().count());
        if channels > MOST_INPUTS {
            return Err(Error::invalid(format!(
                "factorize metric whitened: expected at most {MOST_INPUTS} inputs, found {channels}"
            )));
        }
        Ok(input_products(inputs, channels))
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        Ok(layer.observed()?.iter().map(|&mean| mean as f32).collect())
    }
}

/// The lower triangular root of a matrix of products, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Root {
    size: usize,
    values: Vec<f64>,
}

impl Root {
    /// The root of `products` `[C, C]` with a little added to its diagonal. None if they are not those of inputs: not finite,
    /// all zero, or not positive semidefinite.
    pub fn of(products: &[f64]) -> Option<Self> {
        let size = products.len().isqrt();
        let mean = (0..size).map(|i| products[i * size + i]).sum::<f64>() / size.max(1) as f64;
        if !(mean.is_finite() && mean > 0.0) || products.iter().any(|product| !product.is_finite()) {
            return None;
        }
        let mut values = products.to_vec();
        (0..size).for_each(|i| values[i * size + i] += RIDGE * mean);
        for i in 0..size {
            for j in 0..=i {
                let (row, other) = (&values[i * size..][..j], &values[j * size..][..j]);
                let sum = values[i * size + j] - row.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
                values[i * size + j] = match i == j {
                    true if sum > 0.0 => sum.sqrt(),
                    true => return None,
                    false => sum / values[j * size + j],
                };
            }
            values[i * size + i + 1..(i + 1) * size].fill(0.0);
        }
        Some(Self { size, values })
    }

    /// `W L` for the rows of a weight `[O, …, C]`.
    pub fn applied(&self, weight: &Tensor) -> Tensor {
        self.by_rows(weight, |row, product| {
            product.fill(0.0);
            // Row i of L ends at column i.
            for (i, &w) in row.iter().enumerate() {
                let of_row = &self.values[i * self.size..=i * self.size + i];
                product.iter_mut().zip(of_row).for_each(|(product, l)| *product += w * l);
            }
        })
    }

    /// A with `A L` the rows of `product` `[R, …, C]`.
    pub fn undone(&self, product: &Tensor) -> Tensor {
        self.by_rows(product, |row, solved| {
            solved.copy_from_slice(row);
            for j in (0..self.size).rev() {
                solved[j] /= self.values[j * self.size + j];
                let (a, of_row) = (solved[j], &self.values[j * self.size..][..j]);
                solved[..j].iter_mut().zip(of_row).for_each(|(rest, l)| *rest -= a * l);
            }
        })
    }

    /// `tensor` with each run of the last axis changed in f64.
    fn by_rows(&self, tensor: &Tensor, change: impl Fn(&[f64], &mut [f64])) -> Tensor {
        assert_eq!(tensor.shape().last(), Some(&self.size), "the last axis is that of the inputs");
        let mut changed = tensor.clone();
        let (mut row, mut result) = (vec![0.0; self.size], vec![0.0; self.size]);
        for values in changed.data_mut().chunks_exact_mut(self.size) {
            row.iter_mut().zip(&*values).for_each(|(to, &from)| *to = f64::from(from));
            change(&row, &mut result);
            values.iter_mut().zip(&result).for_each(|(to, &from)| *to = from as f32);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::Evidence;
    use crate::factorize::{FactorizeConfig, Metric, factorize_by};
    use crate::testing::linear;
    use lopper_engine::{Graph, Layer};

    #[test]
    fn the_root_of_a_hand_example() {
        // (4 2; 2 5) = (2 0; 1 2) · (2 1; 0 2), but for the ridge.
        let root = Root::of(&[4.0, 2.0, 2.0, 5.0]).unwrap();
        for (found, expected) in root.values.iter().zip([2.0, 0.0, 1.0, 2.0]) {
            assert!((found - expected).abs() < 1e-5, "{root:?}");
        }
        let weight = Tensor::from_slice(&[1, 2], &[3.0, 1.0]).unwrap();
        let product = root.applied(&weight);
        assert!(
            (product.data()[0] - 7.0).abs() < 1e-4 && (product.data()[1] - 2.0).abs() < 1e-4,
            "{product:?}"
        );
        assert!(root.undone(&product).max_difference(&weight).unwrap() < 1e-5);
    }

    #[test]
    fn substitution_undoes_the_product_for_any_size() {
        for size in [1, 3, 17, 40] {
            let noise = |i: usize| {
                f64::from((i as u32 + 1).wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 24) - 0.5
            };
            // A sum of outer products, which is positive semidefinite, of rank at most 8.
            let entry = |i: usize, j: usize| (0..8).map(|k| noise(i * 8 + k) * noise(j * 8 + k)).sum::<f64>();
            let products: Vec<f64> = (0..size * size).map(|i| entry(i / size, i % size)).collect();
            let root = Root::of(&products).unwrap();
            let weight = Tensor::from_fn(&[5, 3, 3, size], |i| noise(1000 + i) as f32);
            let back = root.undone(&root.applied(&weight));
            assert!(back.max_difference(&weight).unwrap() < 2e-2, "size {size}");
        }
    }

    /// Of all matrices of a rank, the whitened one has the smallest error of the outputs.
    #[test]
    fn whitened_ranks_have_the_least_error_of_the_outputs() {
        let (outputs, inputs) = (12, 10);
        let mut graph = Graph::new(inputs);
        let flat = graph.push("flat", Layer::Flatten, &[0]).unwrap();
        graph.push("fc", linear(outputs, inputs), &[flat]).unwrap();
        // Inputs that vary together, on different scales.
        let mixed = |k: usize, i: usize| {
            (i + 1) as f64 * ((k * 3 + i * k) as f64).sin() + if k == i { 0.3 } else { 0.0 }
        };
        let product = |i: usize, j: usize| (0..inputs).map(|k| mixed(k, i) * mixed(k, j)).sum::<f64>();
        let products: Vec<f64> = (0..inputs * inputs).map(|i| product(i / inputs, i % inputs)).collect();
        let powers: Vec<f64> = (0..inputs).map(|i| product(i, i)).collect();
        let by = |metric: Metric, evidence: &[f64]| {
            let config =
                FactorizeConfig { fraction: Some(0.6), force: true, metric, ..FactorizeConfig::default() };
            let evidence = Evidence::of_means("fc", evidence);
            let split = factorize_by(&graph, &config, &evidence).unwrap().graph;
            let factor = |name: &str| split.param(name).unwrap().value().clone();
            let (a, b) = (factor("fc.0.weight"), factor("fc.1.weight"));
            let weight = graph.param("fc.weight").unwrap().value();
            let gap = |o: usize, i: usize| {
                let made: f64 = (0..4)
                    .map(|r| f64::from(b.data()[o * 4 + r]) * f64::from(a.data()[r * inputs + i]))
                    .sum();
                f64::from(weight.data()[o * inputs + i]) - made
            };
            let of = |o: usize, i: usize, j: usize| gap(o, i) * products[i * inputs + j] * gap(o, j);
            (0..outputs)
                .flat_map(|o| (0..inputs).flat_map(move |i| (0..inputs).map(move |j| (o, i, j))))
                .map(|(o, i, j)| of(o, i, j))
                .sum::<f64>()
        };
        let whitened = by(Metric::Whitened, &products);
        for (other, error) in
            [("activations", by(Metric::Activations, &powers)), ("plain", by(Metric::Plain, &powers))]
        {
            assert!(whitened < 0.99 * error, "{whitened}, {other} {error}");
        }
    }

    #[test]
    fn what_are_no_products_has_no_root() {
        for products in [&[0.0, 0.0, 0.0, 0.0][..], &[f64::NAN], &[1.0, 5.0, 5.0, 1.0]] {
            assert_eq!(Root::of(products), None, "{products:?}");
        }
    }
}
