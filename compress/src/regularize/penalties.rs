//! Penalties on the weights of single layers.

use crate::criteria::Reduction;
use crate::granularity::Groups;

/// The gradient of `Σ |w|` by w: its sign, 0 at 0.
pub(super) fn l1(weight: &[f32]) -> Vec<f64> {
    let sign = |&w: &f32| if w == 0.0 { 0.0 } else { f64::from(w).signum() };
    weight.iter().map(sign).collect()
}

/// The gradient of `½ Σ w²` by w.
pub(super) fn l2(weight: &[f32]) -> Vec<f64> {
    weight.iter().copied().map(f64::from).collect()
}

/// The gradient of `Σ_g √n_g · ‖w_g‖` by w; 0 in a group of zeros, where 0 is a subgradient.
pub(super) fn group_lasso(weight: &[f32], groups: &Groups) -> Vec<f64> {
    let norms = Reduction::L2.of(groups, |i| f64::from(weight[i]));
    let factor = |(group, norm): (usize, f64)| match norm {
        0.0 => 0.0,
        norm => (groups.size_of(group) as f64).sqrt() / norm,
    };
    let factors: Vec<f64> = norms.into_iter().enumerate().map(factor).collect();
    scaled(weight, groups, |group| factors[group])
}

/// `factor(g) · w` for each weight of group g.
pub(super) fn scaled(weight: &[f32], groups: &Groups, factor: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut slopes = vec![0.0; weight.len()];
    groups.for_each_weight(|i, group| slopes[i] = factor(group) * f64::from(weight[i]));
    slopes
}
