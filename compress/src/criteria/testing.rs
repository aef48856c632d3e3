//! Scores of hand examples.

use super::{LayerView, Score, StepView};
use crate::granularity::Groups;
use lopper_engine::{Result, Tensor};

/// The scores of the `groups` of a weight of `shape`, without evidence.
pub fn score(criterion: &dyn Score, groups: &Groups, shape: &[usize], weight: &[f32]) -> Result<Vec<f32>> {
    let weight = &Tensor::from_slice(shape, weight).unwrap();
    let view = LayerView {
        name: "fc",
        weight,
        groups,
        seed: 0,
        initial: None,
        observed: None,
        evidence: "gradients",
    };
    criterion.score(&view)
}

/// The scores of the rows of a weight `[OUT, IN]`, without evidence.
pub fn score_rows(criterion: &dyn Score, shape: &[usize; 2], weight: &[f32]) -> Vec<f32> {
    score(criterion, &rows(shape), shape, weight).unwrap()
}

/// The scores of the rows of a weight that was `initial` at the beginning.
pub fn score_since(criterion: &dyn Score, shape: &[usize; 2], initial: &[f32], weight: &[f32]) -> Vec<f32> {
    let [initial, weight] = [initial, weight].map(|values| Tensor::from_slice(shape, values).unwrap());
    let (weight, initial, groups) = (&weight, Some(&initial), &rows(shape));
    let view =
        LayerView { name: "fc", weight, groups, seed: 0, initial, observed: None, evidence: "gradients" };
    criterion.score(&view).unwrap()
}

/// The scores of the rows of a weight after steps with these gradients.
pub fn score_after(
    criterion: &dyn Score,
    shape: &[usize; 2],
    weight: &[f32],
    gradients: &[&[f32]],
) -> Vec<f32> {
    let (weight, groups) = (&Tensor::from_slice(shape, weight).unwrap(), &rows(shape));
    let mut means = vec![0.0; criterion.observations(groups)];
    for gradient in gradients {
        let gradient = Some(&Tensor::from_slice(shape, gradient).unwrap());
        let step = StepView { name: "fc", weight, groups, gradient, activations: None, curvature: None };
        let terms = criterion.observe(&step).unwrap();
        let (fade, steps) = criterion.momentum().map_or((1.0, gradients.len()), |momentum| (momentum, 1));
        means.iter_mut().zip(terms).for_each(|(mean, term)| *mean = fade * *mean + term / steps as f64);
    }
    score_observed(criterion, weight, groups, &means)
}

/// The scores of the rows of a weight after these images were seen: outputs or inputs of the layer, `[N, H, W, C]`.
pub fn score_seeing(criterion: &dyn Score, shape: &[usize; 2], weight: &[f32], images: &Tensor) -> Vec<f32> {
    let (weight, groups) = (&Tensor::from_slice(shape, weight).unwrap(), &rows(shape));
    let activations = Some(images);
    let step = StepView { name: "fc", weight, groups, gradient: None, activations, curvature: None };
    let means = criterion.observe(&step).unwrap();
    score_observed(criterion, weight, groups, &means)
}

fn score_observed(criterion: &dyn Score, weight: &Tensor, groups: &Groups, means: &[f64]) -> Vec<f32> {
    let (initial, observed) = (None, Some(means));
    let view = LayerView { name: "fc", weight, groups, seed: 0, initial, observed, evidence: "gradients" };
    criterion.score(&view).unwrap()
}

fn rows(&[outs, ins]: &[usize; 2]) -> Groups {
    Groups::new([outs, 1, ins], [1, 1, ins])
}
