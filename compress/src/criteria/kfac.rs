//! Second-order increase of the loss by a Kronecker-factored Fisher information.
//!
//! ```text
//!   F ≈ G ⊗ A       A = E[x xᵀ] of the input channels, G = E[g gᵀ] of the gradients at the outputs
//!
//!   ½ w_sᵀ F w_s = ½ Σ_o G_oo · w_oᵀ A w_o        over the weights s that go, filter by filter
//! ```
//!
//! A layer of C inputs and O outputs takes C² + O numbers for the interaction of all weights of a filter, which a diagonal leaves
//! out. Taps count as if their inputs were independent, and filters as if their gradients were. G is read from the gradients of
//! the weights, whose squares sum up to G_oo · tr A for each tap.

use super::input_products::{MOST_INPUTS, input_products};
use super::{LayerView, Need, Score, StepView, described};
use crate::granularity::Groups;
use lopper_engine::{Error, Result, memory};

/// `kfac`: `½ Σ_o G_oo w_oᵀ A w_o` over the weights of the group (Wang et al. 2019, "EigenDamage: structured pruning in the
/// Kronecker-factored eigenbasis", section 3.1, C-OBD; Martens & Grosse 2015, "Optimizing neural networks with
/// Kronecker-factored approximate curvature").
#[derive(Clone, Copy, Debug, Default)]
pub struct Kfac;

described!(
    Kfac,
    "½ Σ_o G_oo·w_oᵀ A w_o, F ≈ G ⊗ A, A = E[x xᵀ] over input channels",
    "Wang et al. 2019, EigenDamage: structured pruning in the Kronecker-factored eigenbasis"
);

impl Score for Kfac {
    fn name(&self) -> &str {
        "kfac"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Inputs, Need::LiveGradients]
    }

    /// A, row-major, and the summed squares of each filter's gradients.
    fn observations(&self, groups: &Groups) -> usize {
        let [outputs, _, inputs] = groups.axes();
        inputs * inputs + outputs
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let [outputs, taps, inputs] = step.groups().axes();
        if inputs > MOST_INPUTS {
            return Err(Error::invalid(format!(
                "criterion kfac: layer `{}` has {inputs} inputs, of which the products of at most {MOST_INPUTS} are observed: exclude it",
                step.name()
            )));
        }
        memory::require("the products of a layer's inputs", memory::bytes_of::<f64>([inputs, inputs, 2]))?;
        // Of grouped channels, each group is a pixel of its own.
        let (x, gradient) = (step.activations()?.data(), step.gradient()?);
        let mut observed = input_products(x, inputs);
        let square = |filter: &[f32]| filter.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
        observed.extend(gradient.chunks_exact(taps * inputs).map(square).take(outputs));
        Ok(observed)
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        let (weight, observed) = (layer.weight(), layer.observed()?);
        let [_, taps, inputs] = layer.groups().axes();
        let (products, squares) = observed.split_at(inputs * inputs);
        let trace: f64 = (0..inputs).map(|i| products[i * inputs + i]).sum();
        let mut groups = vec![0; weight.len()];
        layer.groups().for_each_weight(|i, group| groups[i] = group);
        let mut scores = vec![0.0; layer.groups().count()];
        let mut members: Vec<usize> = (0..inputs).collect();
        for (row, (weight, groups)) in
            weight.chunks_exact(inputs).zip(groups.chunks_exact(inputs)).enumerate()
        {
            let of_output = squares[row / taps] / (taps as f64 * trace).max(f64::MIN_POSITIVE);
            members.sort_by_key(|&i| (groups[i], i));
            for same in members.chunk_by(|&a, &b| groups[a] == groups[b]) {
                let with = |a: usize| -> f64 {
                    same.iter().map(|&b| products[a * inputs + b] * f64::from(weight[b])).sum()
                };
                let form: f64 = same.iter().map(|&a| f64::from(weight[a]) * with(a)).sum();
                scores[groups[same[0]]] += 0.5 * of_output * form;
            }
        }
        Ok(scores.into_iter().map(|score| score as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::Tensor;

    /// The scores of a weight `[2, 2]` divided into `blocks`, after inputs (1, 2) and (3, 0) and these gradients.
    fn scores(blocks: [usize; 3]) -> Vec<f32> {
        let groups = Groups::new([2, 1, 2], blocks);
        let tensor = |values: &[f32]| Tensor::from_slice(&[2, 2], values).unwrap();
        let (weight, gradient) = (tensor(&[1.0, -1.0, 2.0, 0.5]), tensor(&[3.0, 4.0, 0.0, 1.0]));
        let inputs = tensor(&[1.0, 2.0, 3.0, 0.0]);
        let (gradient, activations) = (Some(&gradient), Some(&inputs));
        let step =
            StepView { name: "fc", weight: &weight, groups: &groups, gradient, activations, curvature: None };
        let observed = Kfac.observe(&step).unwrap();
        // A = ((5, 1), (1, 2)); squares 25 and 1.
        assert_eq!(observed, [5.0, 1.0, 1.0, 2.0, 25.0, 1.0]);
        assert_eq!(observed.len(), Kfac.observations(&groups));
        let view = LayerView {
            name: "fc",
            weight: &weight,
            groups: &groups,
            seed: 0,
            initial: None,
            observed: Some(&observed),
            evidence: "gradients",
        };
        Kfac.score(&view).unwrap()
    }

    #[test]
    fn rows_and_weights_agree_with_a_hand_example() {
        let near = |found: &[f32], expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} and {expected}");
            }
        };
        // tr A = 7. Rows: wᵀ A w = 5 − 2 + 2 = 5 and 20 + 2 + 0.5 = 22.5.
        near(&scores([1, 1, 2]), &[0.5 * 25.0 / 7.0 * 5.0, 0.5 / 7.0 * 22.5]);
        // Single weights leave out how they act together.
        near(
            &scores([1, 1, 1]),
            &[0.5 * 25.0 / 7.0 * 5.0, 0.5 * 25.0 / 7.0 * 2.0, 0.5 / 7.0 * 20.0, 0.5 / 7.0 * 0.5],
        );
        // A column: filters add up.
        near(&scores([2, 1, 1]), &[0.5 / 7.0 * (125.0 + 20.0), 0.5 / 7.0 * (50.0 + 0.5)]);
    }
}
