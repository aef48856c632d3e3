//! Criteria that read gradients in other ways than [`Taylor`](super::Taylor): alone, or with a memory that fades.

use super::gradients::products;
use super::{LayerView, Need, Reduction, Score, StepView, described};
use lopper_engine::Result;

/// `gradient`: the mean of `|∂L/∂w|` over the group, averaged over steps: weights that the loss does not depend on go first
/// (Mozer & Smolensky 1989, "Skeletonization: a technique for trimming the fat from a network via relevance assessment",
/// with gates in place of weights).
#[derive(Clone, Copy, Debug, Default)]
pub struct Gradient;

described!(
    Gradient,
    "mean |∂L/∂w| over the group",
    "Mozer & Smolensky 1989, Skeletonization: a technique for trimming the fat from a network via relevance assessment"
);

impl Score for Gradient {
    fn name(&self) -> &str {
        "gradient"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Gradients]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let gradient = step.gradient()?;
        Ok(Reduction::Mean.of(step.groups(), |i| f64::from(gradient[i].abs())))
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

/// `snip_momentum`: `s ← 0.9 s + Σ |w·∂L/∂w|` over the group, step by step: [`Snip`](super::Snip) for networks in training,
/// whose scores forget what weights did long ago (Intel Neural Compressor's `snip_momentum`; the sensitivity is that of Lee
/// et al. 2019).
#[derive(Clone, Copy, Debug, Default)]
pub struct SnipMomentum;

described!(
    SnipMomentum,
    "s ← 0.9 s + Σ |w·∂L/∂w| over the group, step by step",
    "Lee et al. 2019, SNIP: single-shot network pruning based on connection sensitivity"
);

impl Score for SnipMomentum {
    fn name(&self) -> &str {
        "snip_momentum"
    }

    fn needs(&self) -> &[Need] {
        &[Need::LiveGradients]
    }

    fn momentum(&self) -> Option<f64> {
        Some(0.9)
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        products(step, f64::abs)
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::testing::score_after;

    #[test]
    fn each_criterion_agrees_with_a_hand_example() {
        let (weight, steps): (_, [&[f32]; 2]) =
            ([1.0, -2.0, 3.0, 1.0], [&[2.0, 1.0, 1.0, 1.0], &[2.0, 2.0, -1.0, 0.0]]);
        assert_eq!(score_after(&Gradient, &[2, 2], &weight, &steps), [1.75, 0.75]);
        // |w g|: 4 and 4, then 6 and 3.
        let faded = score_after(&SnipMomentum, &[2, 2], &weight, &steps);
        assert_eq!(faded, [(0.9f64 * 4.0 + 6.0) as f32, (0.9f64 * 4.0 + 3.0) as f32]);
    }
}
