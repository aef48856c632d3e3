//! Sparse training: a callback that draws the masks and moves them.

use super::growth::{Before, random, survivors};
use super::{Densities, LayerShape, Method, SparseTrainConfig};
use crate::criteria::Reduction;
use crate::granularity::Groups;
use crate::sparsify::{Target, dropped_by, some_targets, targets, weight, weight_mut};
use lopper_engine::train::{Callback, Flow, Progress, State, Step};
use lopper_engine::{Error, Graph, Result, Tensor};
use serde::{Deserialize, Serialize};

/// An update of the masks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// The step of the whole training, counted from 0.
    pub step: usize,
    /// The number of groups that died.
    pub died: usize,
    /// The number of groups that grew.
    pub grown: usize,
    /// The fraction of groups that do not live afterwards.
    pub sparsity: f64,
}

/// Follows the options of sparse training. See [`crate::sparse_training`].
#[derive(Debug)]
pub struct SparseTrainer {
    config: SparseTrainConfig,
    memory: Memory,
}

/// What a trainer remembers from one step to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    updates: Vec<Update>,
    /// Whether the next step moves masks.
    due: bool,
}

impl SparseTrainer {
    /// A callback for one training. Fails on invalid options.
    pub fn new(config: SparseTrainConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config, memory: Memory::default() })
    }

    /// Every update of the masks, in order.
    pub fn updates(&self) -> &[Update] {
        &self.memory.updates
    }

    /// The number of groups that live in each layer at `sparsity`.
    fn counts(&self, graph: &Graph, targets: &[Target], sparsity: f64) -> Result<Vec<usize>> {
        let shapes: Vec<LayerShape> =
            targets.iter().filter_map(|target| LayerShape::of(&graph.nodes()[target.node].layer)).collect();
        let densities = self.config.densities.of(&shapes, sparsity)?;
        let count = |(target, density): (&Target, f64)| {
            ((density * target.groups.count() as f64).round() as usize).clamp(1, target.groups.count())
        };
        Ok(targets.iter().zip(densities).map(count).collect())
    }

    /// Whether the step moves masks. The last update of a rising sparsity is where it ends, whatever the rhythm.
    fn due(&self, step: usize, steps: usize) -> bool {
        let (number, end) = ((step + 1) as f64, self.config.end * steps as f64);
        match self.config.method {
            Method::Static => false,
            Method::Gradual if number == end.ceil() => true,
            _ => (step + 1).is_multiple_of(self.config.every) && number < end,
        }
    }

    /// Moves the masks by the gradients of `step`.
    fn move_masks(&mut self, step: &mut Step) -> Result<()> {
        let Progress { step: number, .. } = step.progress;
        let time = step.progress.end_of_step();
        let targets = targets(step.graph, &self.config.selection())?;
        let layers = targets.iter().map(|target| living(step.graph, target)).collect::<Result<Vec<_>>>()?;
        let sparsity = self.config.sparsity_at(time);
        let counts = match self.config.densities {
            Densities::Global => {
                let groups: usize = targets.iter().map(|target| target.groups.count()).sum();
                survivors(&layers, ((1.0 - sparsity) * groups as f64).round() as usize)
            }
            _ => self.counts(step.graph, &targets, sparsity)?,
        };
        let (mut died, mut grown, mut dead, mut all) = (0, 0, 0, 0);
        for ((target, count), (magnitudes, alive)) in targets.iter().zip(counts).zip(&layers) {
            let groups = &target.groups;
            let name = &step.graph.nodes()[target.node].name;
            let promises = match self.config.method.reads_gradients() {
                true => {
                    let path = format!("{name}.weight");
                    let gradient = step.gradients.get(&path).ok_or_else(|| {
                        Error::invalid(format!(
                            "sparse_train: layer `{name}` has no gradient: expected one that trains"
                        ))
                    })?;
                    gradient.fetch()?;
                    Reduction::Mean.of(groups, |i| f64::from(gradient.data()[i].abs()))
                }
                false => random(groups.count(), self.config.seed, target.node, number + 1),
            };
            let before = Before { alive, magnitudes, promises: &promises };
            let after = before.moved(self.config.moved_at(time), count);
            let changed =
                |was: bool| alive.iter().zip(&after).filter(|(a, b)| **a == was && **b != was).count();
            (died, grown) = (died + changed(true), grown + changed(false));
            (dead, all) = (dead + after.iter().filter(|&&alive| !alive).count(), all + after.len());
            set_mask(step.graph, target, groups, &after)?;
        }
        let sparsity = dead as f64 / all.max(1) as f64;
        self.memory.updates.push(Update { step: number, died, grown, sparsity });
        Ok(())
    }
}

/// The mean |w| of each group of a layer, and whether it lives.
fn living(graph: &Graph, target: &Target) -> Result<(Vec<f64>, Vec<bool>)> {
    let (param, groups) = (weight(graph, target.node), &target.groups);
    param.value().fetch()?;
    let magnitudes = Reduction::Mean.of(groups, |i| f64::from(param.value().data()[i].abs()));
    Ok((magnitudes, dropped_by(param.mask(), groups).into_iter().map(|dead| !dead).collect()))
}

/// Masks what does not live in a layer.
fn set_mask(graph: &mut Graph, target: &Target, groups: &Groups, alive: &[bool]) -> Result<()> {
    let param = weight_mut(graph, target.node);
    let dropped: Vec<bool> = alive.iter().map(|alive| !alive).collect();
    let mut mask = Tensor::full(param.value().shape(), 1.0);
    groups.clear(&dropped, mask.data_mut());
    param.set_mask(Some(mask))
}

/// Zeroes the gradients of masked weights, so that no optimizer remembers them.
fn hide_masked(step: &mut Step) -> Result<()> {
    for (path, param) in step.graph.params() {
        let (Some(mask), Some(gradient)) = (param.mask(), step.gradients.get_mut(&path)) else { continue };
        gradient.fetch()?;
        for (g, &m) in gradient.data_mut().iter_mut().zip(mask.data()) {
            if m == 0.0 {
                *g = 0.0;
            }
        }
    }
    Ok(())
}

impl Callback for SparseTrainer {
    /// Draws the masks, unless the network has some: they are then where the training starts.
    fn on_begin(&mut self, graph: &mut Graph) -> Result<()> {
        let targets = some_targets(graph, &self.config.selection())?;
        let counts = self.counts(graph, &targets, self.config.sparsity_at(0.0))?;
        if targets.iter().all(|target| weight(graph, target.node).mask().is_none()) {
            for (target, count) in targets.iter().zip(counts) {
                let groups = target.groups;
                let ranks = random(groups.count(), self.config.seed, target.node, 0);
                let none = vec![false; groups.count()];
                let before = Before { alive: &none, magnitudes: &ranks, promises: &ranks };
                set_mask(graph, target, &groups, &before.moved(0.0, count))?;
            }
        }
        self.memory.due = self.config.method != Method::Static && self.config.every == 1;
        Ok(())
    }

    fn reads_masked_gradients(&self) -> bool {
        self.memory.due && self.config.method.reads_gradients()
    }

    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        if self.due(step.progress.step, step.progress.steps) {
            self.move_masks(step)?;
        }
        hide_masked(step)
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        self.memory.due = self.due(step.progress.step + 1, step.progress.steps);
        Ok(Flow::Continue)
    }

    fn state(&self) -> State {
        State { value: serde_json::json!(self.memory), ..State::default() }
    }

    fn restore(&mut self, state: State) -> Result<()> {
        let damaged = |e: serde_json::Error| {
            Error::invalid(format!("checkpoint: the state of sparse training is damaged: {e}"))
        };
        self.memory = serde_json::from_value(state.value).map_err(damaged)?;
        Ok(())
    }
}
