//! Estimates of how much the loss changes without a group, of first and second order, from the gradients of single steps.
//! The first-order estimate that all of them vary is [`Taylor`](super::Taylor).

use super::{LayerView, Need, Reduction, Score, StepView, described};
use lopper_engine::Result;

/// The sum over each group of `of(w·∂L/∂w)`.
pub(super) fn products(step: &StepView, of: impl Fn(f64) -> f64) -> Result<Vec<f64>> {
    let (weight, gradient) = (step.weight(), step.gradient()?);
    Ok(Reduction::Sum.of(step.groups(), |i| of(f64::from(weight[i]) * f64::from(gradient[i]))))
}

/// `taylor_abs`: `Σ |w·∂L/∂w|` over the group, averaged over steps: terms of a group do not cancel, unlike in
/// [`Taylor`](super::Taylor) (the sum of the single-weight scores of Molchanov et al. 2017).
#[derive(Clone, Copy, Debug, Default)]
pub struct TaylorAbs;

described!(
    TaylorAbs,
    "Σ |w·∂L/∂w| over the group, averaged over steps",
    "Molchanov et al. 2017, Pruning convolutional neural networks for resource efficient inference"
);

impl Score for TaylorAbs {
    fn name(&self) -> &str {
        "taylor_abs"
    }

    fn needs(&self) -> &[Need] {
        &[Need::LiveGradients]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        products(step, f64::abs)
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

/// `taylor_squared`: `(Σ w·∂L/∂w)²` over the group, averaged over steps (Molchanov et al. 2019, "Importance estimation
/// for neural network pruning", equation 8 with the gate of a group).
///
/// Half of it is the group's term of the empirical Fisher information, the second-order estimate of Theis et al. 2018
/// ("Faster gaze prediction with dense networks and Fisher pruning", equation 8), with batches in place of images.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaylorSquared;

described!(
    TaylorSquared,
    "(Σ w·∂L/∂w)² over the group, averaged over steps",
    "Molchanov et al. 2019, Importance estimation for neural network pruning"
);

impl Score for TaylorSquared {
    fn name(&self) -> &str {
        "taylor_squared"
    }

    fn needs(&self) -> &[Need] {
        &[Need::LiveGradients]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        Ok(products(step, |product| product)?.into_iter().map(|sum| sum * sum).collect())
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

/// `snip`: `|E[Σ w·∂L/∂w]|` over the group, the mean over steps taken first (Lee et al. 2019, "SNIP: single-shot network
/// pruning based on connection sensitivity", equation 4, with one gate for each group). Meant for a network that has not
/// been trained, at a single point: with `--epochs 0`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snip;

described!(
    Snip,
    "|E[Σ w·∂L/∂w]| over the group, the mean over steps taken first",
    "Lee et al. 2019, SNIP: single-shot network pruning based on connection sensitivity"
);

impl Score for Snip {
    fn name(&self) -> &str {
        "snip"
    }

    fn needs(&self) -> &[Need] {
        &[Need::LiveGradients]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        products(step, |product| product)
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        Ok(layer.observed_scores()?.into_iter().map(f32::abs).collect())
    }
}

/// `movement_pruning`: `−Σ w·∂L/∂w` over the group, averaged over steps (Sanh et al. 2020, "Movement pruning: adaptive
/// sparsity by fine-tuning", equation 2). Weights that training moves toward zero have negative scores and go first.
#[derive(Clone, Copy, Debug, Default)]
pub struct MovementPruning;

described!(
    MovementPruning,
    "−Σ w·∂L/∂w over the group, averaged over steps",
    "Sanh et al. 2020, Movement pruning: adaptive sparsity by fine-tuning"
);

impl Score for MovementPruning {
    fn name(&self) -> &str {
        "movement_pruning"
    }

    fn needs(&self) -> &[Need] {
        &[Need::LiveGradients]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        products(step, |product| -product)
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

/// `obd`: `½ Σ w²·E[(∂L/∂w)²]` over the group: optimal brain damage (LeCun et al. 1990, equation 5), with the diagonal of
/// the empirical Fisher information in place of the Hessian's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Obd;

described!(Obd, "½ Σ w²·E[(∂L/∂w)²] over the group", "LeCun et al. 1990, Optimal brain damage");

impl Score for Obd {
    fn name(&self) -> &str {
        "obd"
    }

    fn needs(&self) -> &[Need] {
        &[Need::LiveGradients]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        products(step, |product| 0.5 * product * product)
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::Taylor;
    use crate::criteria::testing::score_after;

    /// Two rows, two steps. Products w·g: step 1 (2, −2), (3, 1); step 2 (2, −4), (−3, 0).
    #[test]
    fn each_estimate_agrees_with_a_hand_example() {
        let weight = [1.0, -2.0, 3.0, 1.0];
        let steps: [&[f32]; 2] = [&[2.0, 1.0, 1.0, 1.0], &[2.0, 2.0, -1.0, 0.0]];
        let scores = |criterion: &dyn Score| score_after(criterion, &[2, 2], &weight, &steps);
        // Sums: (0, 4) and (−2, −3).
        assert_eq!(scores(&Taylor), [1.0, 3.5]);
        assert_eq!(scores(&TaylorAbs), [5.0, 3.5]);
        assert_eq!(scores(&TaylorSquared), [2.0, 12.5]);
        assert_eq!(scores(&Snip), [1.0, 0.5]);
        assert_eq!(scores(&MovementPruning), [1.0, -0.5]);
        // ½(4 + 4), ½(9 + 1); ½(4 + 16), ½(9 + 0).
        assert_eq!(scores(&Obd), [7.0, 4.75]);
    }
}
