//! Criteria of second order, which ask how the gradient changes when the weights move: products of the Hessian matrix H
//! with a vector.
//!
//! ```text
//!   H d ≈ (∇L(w + ε d) − ∇L(w − ε d)) / 2ε,     ε = 0.01 ‖w‖ / ‖d‖
//! ```
//!
//! A central difference is off by ε² third derivatives, and by the rounding of gradients over ε: at a hundredth of the weights
//! both are small. It moves the weights of all scored layers together.

use super::{Direction, LayerView, Need, Reduction, Score, Site, StepView, described};
use lopper_engine::{Graph, ParamGradients, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The step, relative to the weights.
const STEP: f64 = 1e-2;

/// A direction and the product of the Hessian matrix with it, by path of the weight.
pub(super) struct Product {
    pub direction: ParamGradients,
    pub product: ParamGradients,
}

impl Product {
    /// The product at the weights of `graph`, where the gradient is `gradients`. `batch` numbers the random signs, and
    /// `gradient_of` computes gradients of the same batch.
    pub fn new(
        direction: Direction,
        graph: &Graph,
        sites: &[Site],
        gradients: &ParamGradients,
        batch: u64,
        mut gradient_of: impl FnMut(&Graph) -> Result<ParamGradients>,
    ) -> Result<Self> {
        let mut directions = ParamGradients::new();
        let (mut length, mut weights) = (0.0, 0.0);
        for site in sites {
            let (path, weight) = (format!("{}.weight", site.name(graph)), site.weight(graph));
            let Some(gradient) = gradients.get(&path) else { continue };
            let mut vector = match direction {
                Direction::Gradient => gradient.clone(),
                Direction::Signs => signs(weight.value().shape(), batch, site.node as u64),
            };
            if let Some(mask) = weight.mask() {
                vector.data_mut().iter_mut().zip(mask.data()).for_each(|(v, &m)| *v *= m);
            }
            let square = |values: &[f32]| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
            length += square(vector.data());
            weights += square(weight.value().data());
            directions.insert(path, vector);
        }
        let step = if length > 0.0 { STEP * (weights / length).sqrt() } else { 0.0 };
        let mut product = ParamGradients::new();
        if step > 0.0 {
            let [ahead, behind] = [step, -step].map(|step| gradient_of(&moved(graph, &directions, step)));
            let (ahead, behind) = (ahead?, behind?);
            for path in directions.keys() {
                if let (Some(a), Some(b)) = (ahead.get(path), behind.get(path)) {
                    let change =
                        |i: usize| ((f64::from(a.data()[i]) - f64::from(b.data()[i])) / (2.0 * step)) as f32;
                    product.insert(path.clone(), Tensor::from_fn(a.shape(), change));
                }
            }
        }
        Ok(Self { direction: directions, product })
    }
}

/// `graph` with each weight moved by `step` times its direction.
fn moved(graph: &Graph, directions: &ParamGradients, step: f64) -> Graph {
    let mut moved = graph.clone();
    for (path, param) in moved.params_mut() {
        if let Some(direction) = directions.get(&path) {
            param.update(|weights| {
                for (w, &d) in weights.iter_mut().zip(direction.data()) {
                    *w = (f64::from(*w) + step * f64::from(d)) as f32;
                }
            });
        }
    }
    moved
}

/// A sign for each weight, fixed by batch and layer.
fn signs(shape: &[usize], batch: u64, layer: u64) -> Tensor {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(batch << 32 ^ layer);
    Tensor::from_fn(shape, |_| if generator.next_u64() >> 63 == 0 { 1.0 } else { -1.0 })
}

/// `grasp`: `Σ w·(Hg)` over the group, for the gradient g (Wang et al. 2020, "Picking winning tickets before training by
/// preserving gradient flow", equation 8 with the sign of an importance). Without the group, `‖g‖²` changes by minus twice
/// that, to first order: groups whose removal increases the flow of gradients have negative scores and go first. Meant for a
/// network that has not been trained.
#[derive(Clone, Copy, Debug, Default)]
pub struct GraSP;

described!(
    GraSP,
    "Σ w·(H g) over the group, g the gradient",
    "Wang et al. 2020, Picking winning tickets before training by preserving gradient flow"
);

impl Score for GraSP {
    fn name(&self) -> &str {
        "grasp"
    }

    fn needs(&self) -> &[Need] {
        &[Need::LiveGradients, Need::Curvature(Direction::Gradient)]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let (weight, (_, product)) = (step.weight(), step.curvature()?);
        Ok(Reduction::Sum.of(step.groups(), |i| f64::from(weight[i]) * f64::from(product[i])))
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        layer.observed_scores()
    }
}

/// `hessian_diagonal`: `½ |Σ w² h|` over the group, for the diagonal h of the Hessian matrix, which is estimated as the mean of
/// `v·(Hv)` over random signs v (Hutchinson 1989; LeCun et al. 1990, "Optimal brain damage", equation 5). A batch is a
/// sample of signs.
#[derive(Clone, Copy, Debug, Default)]
pub struct HessianDiagonal;

described!(
    HessianDiagonal,
    "½ |Σ w²·E[v·(H v)]| over the group, v random signs",
    "LeCun et al. 1990, Optimal brain damage"
);

impl Score for HessianDiagonal {
    fn name(&self) -> &str {
        "hessian_diagonal"
    }

    fn needs(&self) -> &[Need] {
        &[Need::LiveGradients, Need::Curvature(Direction::Signs)]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let (weight, (signs, product)) = (step.weight(), step.curvature()?);
        let term = |i: usize| f64::from(weight[i]).powi(2) * f64::from(signs[i]) * f64::from(product[i]);
        Ok(Reduction::Sum.of(step.groups(), |i| 0.5 * term(i)))
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        Ok(layer.observed_scores()?.into_iter().map(f32::abs).collect())
    }
}
