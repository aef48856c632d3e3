//! The first-order estimate of how much the loss changes without a group.

use super::gradients::products;
use super::{LayerView, Need, Score, StepView, described};
use lopper_engine::Result;

/// `taylor`: `|Σ w·∂L/∂w|` over the group, averaged over training steps (Molchanov et al. 2017, "Pruning convolutional
/// neural networks for resource efficient inference", in the form for weights of Molchanov et al. 2019).
///
/// Without the group its weights change by −w, and the loss, to first order, by `−Σ w·∂L/∂w`. It is the loss that is
/// estimated, so this is a sum and not a mean, and groups of any size compare.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taylor;

described!(
    Taylor,
    "|Σ w·∂L/∂w| over the group, averaged over steps",
    "Molchanov et al. 2017, Pruning convolutional neural networks for resource efficient inference"
);

impl Score for Taylor {
    fn name(&self) -> &str {
        "taylor"
    }

    /// Dropped weights are zero, and so are their terms.
    fn needs(&self) -> &[Need] {
        &[Need::LiveGradients]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        Ok(products(step, |product| product)?.into_iter().map(f64::abs).collect())
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}
