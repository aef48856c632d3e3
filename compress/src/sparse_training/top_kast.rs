//! Top-KAST: weights that do not run forward go on learning, and take the place of those that they outgrow.
//!
//! ```text
//!   θ ─┬─ the largest of a layer ─► A      runs forward and back: α = θ in A, 0 elsewhere
//!      ├─ the next largest ───────► B∖A    learns by ∂L/∂α, but does not run
//!      └─ the others                       rest as they are
//! ```
//!
//! Between two steps the network is α, so whatever sees it sees a sparse network. It holds θ only while the optimizer steps,
//! from [`Behind::open`] to [`Behind::settle`].
//!
//! The penalty `λ/2 Σ c·θ²`, c = 1 in A and 1/D in B∖A, D the density of the layer, holds back what does not run: it outgrows
//! a live weight only by gradients that stay (Jayakumar et al. 2020, section 2.2).

use super::growth::grown;
use super::layers::{magnitudes, mask_of, path};
use crate::criteria::{Arrays, Shapes};
use crate::sparsify::{Target, weight};
use lopper_engine::channels::Slices;
use lopper_engine::train::Step;
use lopper_engine::{Graph, Result, Tensor};
use std::collections::BTreeMap;

/// Tensors by the path of the weight whose shape they have.
type ByPath = BTreeMap<String, Tensor>;

/// What lies behind the weights that run forward.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind {
    /// θ outside A; 0 in A.
    hidden: ByPath,
    /// 1 in B∖A; 0 elsewhere.
    explored: ByPath,
    /// A of the weights that hold θ now.
    open: ByPath,
}

impl Behind {
    /// Hides the weight of the layer `target` of `graph`, which holds θ, but for the groups `alive`. Of the others, those of
    /// the largest mean |θ| are explored, so many that `backward` groups learn.
    pub fn hide(
        &mut self,
        graph: &mut Graph,
        target: &Target,
        alive: &[bool],
        backward: usize,
    ) -> Result<()> {
        let learns = grown(alive, &magnitudes(graph, target)?, backward);
        let explored: Vec<bool> =
            learns.iter().zip(alive).map(|(&learns, &alive)| learns && !alive).collect();
        let shape = weight(graph, target.node).value().shape().to_vec();
        let [forward, explored] =
            [alive, &explored[..]].map(|chosen| mask_of(&shape, &target.groups, chosen));
        let path = path(graph, target);
        self.explored.insert(path.clone(), explored);
        self.cover(graph, &path, forward)
    }

    /// Lets the weight at `path`, which holds θ, run where `forward` is 1, and keeps the rest.
    fn cover(&mut self, graph: &mut Graph, path: &str, forward: Tensor) -> Result<()> {
        let param = graph.param_mut(path)?;
        param.value().fetch()?;
        let theta = param.value().data();
        let hidden = |i: usize| if forward.data()[i] == 1.0 { 0.0 } else { theta[i] };
        self.hidden.insert(path.to_string(), Tensor::from_fn(forward.shape(), hidden));
        param.set_mask(Some(forward))
    }

    /// Puts θ in place of α, and makes the gradients those of the loss with the penalty of weight `penalty` in B, 0
    /// elsewhere. A layer that has no gradient does not train in this step, and stays as it is.
    pub fn open(&mut self, step: &mut Step, penalty: f64) -> Result<()> {
        for (path, hidden) in &self.hidden {
            let Some(gradient) = step.gradients.get_mut(path) else { continue };
            let param = step.graph.param_mut(path)?;
            param.value().fetch()?;
            gradient.fetch()?;
            let all = || Tensor::full(hidden.shape(), 1.0);
            let forward = param.mask().cloned().unwrap_or_else(all);
            let (runs, explored) = (forward.data(), self.explored[path].data());
            let (live, rest) = (param.value().data(), hidden.data());
            let theta = Tensor::from_fn(hidden.shape(), |i| if runs[i] == 1.0 { live[i] } else { rest[i] });
            let density = runs.iter().filter(|&&run| run == 1.0).count() as f64 / runs.len() as f64;
            for (i, g) in gradient.data_mut().iter_mut().enumerate() {
                let pull = penalty * f64::from(theta.data()[i]);
                *g = match (runs[i] == 1.0, explored[i] == 1.0) {
                    (true, _) => *g + pull as f32,
                    (false, true) => *g + (pull / density) as f32,
                    (false, false) => 0.0,
                };
            }
            param.replace(theta, None)?;
            self.open.insert(path.clone(), forward);
        }
        Ok(())
    }

    /// Returns what is outside B to where it rested, whatever momentum and weight decay made of it, and gives A of the
    /// weights that hold θ.
    pub fn settle(&mut self, graph: &mut Graph) -> Result<ByPath> {
        for (path, forward) in &self.open {
            let (hidden, explored) = (self.hidden[path].data(), self.explored[path].data());
            let param = graph.param_mut(path)?;
            param.value().fetch()?;
            param.update(|theta| {
                let rests = |i: usize| forward.data()[i] != 1.0 && explored[i] != 1.0;
                (0..theta.len()).filter(|&i| rests(i)).for_each(|i| theta[i] = hidden[i]);
            });
        }
        Ok(std::mem::take(&mut self.open))
    }

    /// Covers the weights that hold θ as before: they run in A as `forward` has it by path.
    pub fn cover_again(&mut self, graph: &mut Graph, forward: ByPath) -> Result<()> {
        forward.into_iter().try_for_each(|(path, forward)| self.cover(graph, &path, forward))
    }

    /// Keeps the slices `slices`, when the network loses channels.
    pub fn shrink(&mut self, slices: &Slices) {
        for (path, tensor) in self.hidden.iter_mut().chain(&mut self.explored) {
            *tensor = slices.of_tensor(path, tensor);
        }
    }

    /// The numbers that a checkpoint keeps.
    pub fn arrays(&self) -> BTreeMap<String, Vec<f64>> {
        let mut arrays = Arrays::new();
        arrays.put_tensors(HIDDEN, &self.hidden);
        arrays.put_tensors(EXPLORED, &self.explored);
        arrays.into_inner()
    }

    /// What [`Behind::arrays`] gave, for the weights of this one; nothing if there are none. `Err` says what is damaged.
    pub fn restored(&self, arrays: BTreeMap<String, Vec<f64>>) -> Result<Self, String> {
        if arrays.is_empty() {
            return Ok(Self::default());
        }
        let mut arrays = Arrays::from(arrays);
        let shapes: Shapes =
            self.hidden.iter().map(|(path, tensor)| (path.clone(), tensor.shape().to_vec())).collect();
        let hidden = arrays.take_tensors(HIDDEN, shapes.clone())?;
        let explored = arrays.take_tensors(EXPLORED, shapes)?;
        arrays.expect_empty()?;
        Ok(Self { hidden, explored, open: ByPath::new() })
    }
}

/// The part of a state with θ outside A.
const HIDDEN: &str = "hidden";
/// The part of a state with B∖A.
const EXPLORED: &str = "explored";
