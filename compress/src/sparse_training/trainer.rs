//! Sparse training: a callback that draws the masks and moves them.

use super::growth::{Before, grown, random, survivors};
use super::layers::{alive_in, living, magnitudes, path, set_mask};
use super::top_kast::Behind;
use super::{Densities, LayerShape, Method, SparseTrainConfig};
use crate::criteria::Reduction;
use crate::sparsify::{Target, some_targets, targets, weight};
use lopper_engine::train::{Callback, Flow, Progress, Shrunk, State, Step};
use lopper_engine::{Error, Graph, Result, memory};
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
    /// What Top-KAST keeps behind the live weights.
    behind: Behind,
}

/// What a trainer remembers from one step to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    updates: Vec<Update>,
    /// Whether the next step moves masks, or reads the gradients of masked weights.
    due: bool,
}

/// Groups that died, grew, do not live, and all, over the layers of an update.
#[derive(Default)]
struct Tally {
    died: usize,
    grown: usize,
    dead: usize,
    all: usize,
}

impl Tally {
    /// Counts a layer whose groups lived as `before` says, and now as `after` says.
    fn add(&mut self, before: &[bool], after: &[bool]) {
        let changed = |was: bool| before.iter().zip(after).filter(|(a, b)| **a == was && **b != was).count();
        self.died += changed(true);
        self.grown += changed(false);
        self.dead += after.iter().filter(|&&alive| !alive).count();
        self.all += after.len();
    }

    /// The update of `step`.
    fn update(self, step: usize) -> Update {
        let sparsity = self.dead as f64 / self.all.max(1) as f64;
        Update { step, died: self.died, grown: self.grown, sparsity }
    }
}

impl SparseTrainer {
    /// A callback for one training. Fails on invalid options.
    pub fn new(config: SparseTrainConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config, memory: Memory::default(), behind: Behind::default() })
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

    /// Whether weights that do not run forward learn in the step.
    fn explores(&self, step: usize, steps: usize) -> bool {
        self.config.method == Method::TopKast && ((step + 1) as f64) < self.config.end * steps as f64
    }

    /// Moves the masks by the gradients of `step`.
    fn move_masks(&mut self, step: &mut Step) -> Result<()> {
        let Progress { step: number, .. } = step.progress;
        let time = step.progress.end_of_step();
        let targets = targets(step.graph, &self.config.selection())?;
        let layer = |target: &Target| -> Result<_> {
            Ok((magnitudes(step.graph, target)?, living(step.graph, target)))
        };
        let layers = targets.iter().map(layer).collect::<Result<Vec<_>>>()?;
        let sparsity = self.config.sparsity_at(time);
        let counts = match self.config.densities {
            Densities::Global => {
                let groups: usize = targets.iter().map(|target| target.groups.count()).sum();
                survivors(&layers, ((1.0 - sparsity) * groups as f64).round() as usize)
            }
            _ => self.counts(step.graph, &targets, sparsity)?,
        };
        let mut tally = Tally::default();
        for ((target, count), (magnitudes, alive)) in targets.iter().zip(counts).zip(&layers) {
            let promises = self.promises(step, target, number)?;
            let before = Before { alive, magnitudes, promises: &promises };
            let after = before.moved(self.config.moved_at(time), count);
            tally.add(alive, &after);
            set_mask(step.graph, target, &after)?;
        }
        self.memory.updates.push(tally.update(number));
        Ok(())
    }

    /// What the groups of a layer that do not live are ranked by in the step `number`.
    fn promises(&self, step: &Step, target: &Target, number: usize) -> Result<Vec<f64>> {
        let groups = &target.groups;
        if !self.config.method.reads_gradients() {
            return Ok(random(groups.count(), self.config.seed, target.node, number + 1));
        }
        let gradient = step.gradients.get(&path(step.graph, target)).ok_or_else(|| {
            let name = &step.graph.nodes()[target.node].name;
            Error::invalid(format!("sparse_train: layer `{name}` has no gradient: expected one that trains"))
        })?;
        gradient.fetch()?;
        Ok(Reduction::Mean.of(groups, |i| f64::from(gradient.data()[i].abs())))
    }

    /// Draws the masks: at random, or by magnitude for Top-KAST, which hides what they drop. Masks that the network has
    /// stay.
    fn draw(&mut self, graph: &mut Graph, targets: &[Target]) -> Result<()> {
        let counts = self.counts(graph, targets, self.config.sparsity_at(0.0))?;
        let masked = targets.iter().any(|target| weight(graph, target.node).mask().is_some());
        let hides = self.config.method == Method::TopKast;
        let backward = match hides {
            true => self.counts(graph, targets, self.config.backward_sparsity())?,
            false => counts.clone(),
        };
        for ((target, count), backward) in targets.iter().zip(counts).zip(backward) {
            let none = vec![false; target.groups.count()];
            let alive = match (masked, hides) {
                (true, _) => living(graph, target),
                (false, true) => grown(&none, &magnitudes(graph, target)?, count),
                (false, false) => grown(&none, &random(none.len(), self.config.seed, target.node, 0), count),
            };
            match (masked, hides) {
                (_, true) => self.behind.hide(graph, target, &alive, backward)?,
                (false, false) => set_mask(graph, target, &alive)?,
                (true, false) => {}
            }
        }
        Ok(())
    }

    /// Lets the largest weights run forward after a step of Top-KAST, or the same as before unless it is time to choose.
    fn cover(&mut self, graph: &mut Graph, progress: Progress) -> Result<()> {
        let ran = self.behind.settle(graph)?;
        if !self.due(progress.step, progress.steps) {
            return self.behind.cover_again(graph, ran);
        }
        let targets = targets(graph, &self.config.selection())?;
        let forward = self.counts(graph, &targets, self.config.sparsity)?;
        let backward = self.counts(graph, &targets, self.config.backward_sparsity())?;
        let mut tally = Tally::default();
        for ((target, forward), backward) in targets.iter().zip(forward).zip(backward) {
            let Some(mask) = ran.get(&path(graph, target)) else { continue };
            let none = vec![false; target.groups.count()];
            let after = grown(&none, &magnitudes(graph, target)?, forward);
            tally.add(&alive_in(Some(mask), &target.groups), &after);
            self.behind.hide(graph, target, &after, backward)?;
        }
        self.memory.updates.push(tally.update(progress.step));
        Ok(())
    }
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
        let explores = self.config.method == Method::TopKast;
        if explores {
            let weights: usize = targets.iter().map(|target| target.groups.weights()).sum();
            memory::require("the weights behind those that run forward", BYTES_BEHIND * weights as u64)?;
        }
        self.draw(graph, &targets)?;
        self.memory.due = explores || (self.config.method != Method::Static && self.config.every == 1);
        Ok(())
    }

    fn reads_masked_gradients(&self) -> bool {
        self.memory.due && self.config.method.reads_gradients()
    }

    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        let Progress { step: number, steps, .. } = step.progress;
        if self.explores(number, steps) {
            self.behind.open(step, self.config.exploration_penalty())?;
        } else if self.config.method == Method::TopKast {
            // What no longer learns never runs again.
            self.behind = Behind::default();
        } else if self.due(number, steps) {
            self.move_masks(step)?;
        }
        hide_masked(step)
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        if self.config.method == Method::TopKast {
            self.cover(step.graph, step.progress)?;
        }
        let Progress { step: number, steps, .. } = step.progress;
        self.memory.due = self.due(number + 1, steps) || self.explores(number + 1, steps);
        Ok(Flow::Continue)
    }

    fn on_shrunk(&mut self, _before: &Graph, shrunk: &Shrunk) -> Result<()> {
        self.behind.shrink(&shrunk.slices);
        Ok(())
    }

    fn state(&self) -> State {
        State { value: serde_json::json!(self.memory), arrays: self.behind.arrays() }
    }

    fn restore(&mut self, state: State) -> Result<()> {
        let damaged = |what: String| {
            Error::invalid(format!("checkpoint: the state of sparse training is damaged: {what}"))
        };
        self.memory = serde_json::from_value(state.value).map_err(|e| damaged(e.to_string()))?;
        self.behind = self.behind.restored(state.arrays).map_err(damaged)?;
        Ok(())
    }
}

/// Bytes that Top-KAST keeps for a weight: θ where it is hidden, and the two masks.
const BYTES_BEHIND: u64 = 12;
