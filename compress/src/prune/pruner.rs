//! Pruning while training: a callback that removes channels as a schedule asks for.
//!
//! ```text
//!   step  1 … n      n + 1 … 2n      2n + 1 … 3n          n steps between two removals, an epoch by default
//!         wide ─────► narrower ─────► narrow ─────►       channels go for good: the network shrinks, and so do the
//!              remove           remove          remove    optimizer's moments
//! ```
//!
//! At the end of a turn, the schedule's share of the final removal is due, less what earlier turns removed. Channels are
//! scored by the weights at that moment, and the lowest go, exactly or with their constants dropped.

use super::goal::{Removals, Width};
use super::rewrite::Cut;
use super::{PruneConfig, PrunePlan, UnitScores};
use crate::criteria::{Arrays, Criterion, Evidence, Need, Shapes, Steps};
use lopper_engine::channels::{ChannelFlow, Slices};
use lopper_engine::train::metrics::{LayerPruned, Pruned};
use lopper_engine::train::{Callback, EpochMetrics, Progress, Shrunk, State, Step};
use lopper_engine::{Error, Graph, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Removes channels while a network trains. See [`PruneConfig`], whose schedule it follows.
#[derive(Debug)]
pub struct Pruner {
    config: PruneConfig,
    criterion: Criterion,
    evidence: Evidence,
    memory: Memory,
}

/// A turn in which channels were removed, or could have been.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// The epoch, from 0.
    pub epoch: usize,
    /// The step of the whole training, from 0.
    pub step: usize,
    /// The share of channels whose removal the schedule asks for by then.
    pub target: f64,
    /// Channels removed by then.
    pub removed: usize,
}

/// What the callback remembers from one step to the next, besides evidence.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    /// The groups of channels before the training.
    before: Vec<Width>,
    /// The channels of each that are left.
    left: Vec<usize>,
    /// Turns that are over.
    turns: usize,
    history: Vec<Turn>,
}

/// The JSON part of a state.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    memory: Memory,
    observed: Steps,
    initial: Shapes,
}

impl Pruner {
    /// A callback for one training. Fails on invalid options, without a criterion or schedule, and on a criterion that
    /// needs evidence that training does not provide.
    pub fn new(config: PruneConfig) -> Result<Self> {
        config.check()?;
        let Some((criterion, _)) = config.goal()?.filter(|_| config.schedule.is_some()) else {
            return Err(Error::invalid("prune schedule: expected a schedule to prune while training"));
        };
        if criterion.needs_activations() {
            return Err(Error::invalid(format!(
                "criterion {criterion}: a training step exposes no activations; prune at once, without a schedule"
            )));
        }
        let criterion = criterion.clone();
        Ok(Self { config, criterion, evidence: Evidence::default(), memory: Memory::default() })
    }

    /// The turns so far.
    pub fn history(&self) -> &[Turn] {
        &self.memory.history
    }

    /// The number of turns that are over after the step of `progress`.
    fn turns(&self, progress: Progress) -> usize {
        let Progress { epochs, step, steps, .. } = progress;
        let length = self.config.every.unwrap_or(steps / epochs.max(1)).max(1);
        // The last step ends the last turn, however short.
        if step + 1 == steps { steps.div_ceil(length) } else { (step + 1) / length }
    }

    /// The share of the final removal that is due after the step of `progress`.
    fn share(&self, progress: Progress) -> f64 {
        let schedule = self.config.schedule.clone().unwrap_or_default();
        schedule.share_within(progress.end_of_step(), self.config.window())
    }

    /// What is due at `share` of the removal, and what is left of it after the turns before, in groups and channels.
    fn due(&self, share: f64) -> Result<(f64, Removals)> {
        let Memory { before, left, .. } = &self.memory;
        let goal = self.config.goal()?.map(|(_, goal)| goal);
        let removals = goal.map_or(Ok(Removals::Together(0)), |goal| goal.removals(before, share))?;
        let all: usize = before.iter().map(|width| width.units).sum();
        let gone = |width: &Width, left: usize| width.units - left;
        let target = match (&removals, self.config.fraction) {
            (_, Some(fraction)) => share * fraction,
            (Removals::Together(count), _) => *count as f64 / all.max(1) as f64,
            (Removals::Each(counts), _) => counts.values().sum::<usize>() as f64 / all.max(1) as f64,
        };
        let outstanding = match removals {
            Removals::Together(count) => {
                let gone = before.iter().zip(left).map(|(width, &left)| gone(width, left)).sum();
                Removals::Together(count.saturating_sub(gone))
            }
            Removals::Each(mut counts) => {
                for (width, &left) in before.iter().zip(left) {
                    let count = counts.entry(width.layers.clone()).or_default();
                    *count = count.saturating_sub(gone(width, left));
                }
                Removals::Each(counts)
            }
        };
        Ok((target, outstanding))
    }

    /// `graph` without the channels that `removals` takes, of those that have been pruned before. None if nothing goes.
    fn cut(&self, graph: &Graph, removals: &Removals) -> Result<Option<Shrunk>> {
        if removals.is_empty() {
            return Ok(None);
        }
        graph.fetch()?;
        let scoring = self.config.scoring(&self.criterion, Some(&self.evidence));
        // A group that is left with one channel may fall apart; its parts are not pruned.
        let known = |layers: &[String]| self.memory.before.iter().any(|width| width.layers == layers);
        let scores = UnitScores::new(graph, &scoring, known)?;
        let flow = ChannelFlow::new(graph)?;
        let plan = PrunePlan::without(graph, &flow, &scores, removals)?;
        let Cut { graph: after, removed, .. } = Cut::new(graph, &flow, &plan, self.config.constants)?;
        let slices = Slices::of(graph, &flow, &removed);
        Ok((!slices.is_empty()).then_some(Shrunk { graph: after, slices }))
    }

    /// The channels that are left in `graph` of each group from before the training.
    fn left(&self, graph: &Graph) -> Result<Vec<usize>> {
        let flow = ChannelFlow::new(graph)?;
        let units: BTreeMap<Vec<String>, usize> = flow
            .groups()
            .iter()
            .filter(|group| group.frozen.is_none())
            .map(|group| (group.layer_names(graph), group.units.len()))
            .collect();
        Ok(self.memory.before.iter().map(|width| units.get(&width.layers).copied().unwrap_or(1)).collect())
    }
}

impl Callback for Pruner {
    fn on_begin(&mut self, graph: &mut Graph) -> Result<()> {
        let before = self.config.widths(graph, &self.criterion)?;
        if before.is_empty() {
            return Err(Error::invalid(format!(
                "prune: no channels are left that criterion {} can remove",
                self.criterion
            )));
        }
        let left = before.iter().map(|width| width.units).collect();
        self.memory = Memory { before, left, ..Memory::default() };
        // Finds patterns that match nothing.
        self.due(1.0)?;
        let sites = self.config.sites(graph)?;
        self.evidence = Evidence::start(&self.criterion, graph, &sites);
        Ok(())
    }

    fn reads_masked_gradients(&self) -> bool {
        self.criterion.needs().contains(&Need::Gradients)
    }

    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        if !self.criterion.needs_data() {
            return Ok(());
        }
        let sites = self.config.sites(step.graph)?;
        self.evidence.observe(&self.criterion, step.graph, &sites, step.gradients)
    }

    fn shrink(&mut self, graph: &Graph, progress: Progress) -> Result<Option<Shrunk>> {
        let turns = self.turns(progress);
        if turns <= self.memory.turns {
            return Ok(None);
        }
        let (target, removals) = self.due(self.share(progress))?;
        let shrunk = self.cut(graph, &removals)?;
        if let Some(shrunk) = &shrunk {
            self.memory.left = self.left(&shrunk.graph)?;
        }
        let Progress { epoch, step, .. } = progress;
        let removed = self.memory.before.iter().zip(&self.memory.left).map(|(w, left)| w.units - left).sum();
        self.memory.turns = turns;
        self.memory.history.push(Turn { epoch, step, target, removed });
        Ok(shrunk)
    }

    fn on_shrunk(&mut self, _before: &Graph, shrunk: &Shrunk) -> Result<()> {
        self.evidence.shrink(&shrunk.slices, true);
        Ok(())
    }

    fn measure(&self, epoch: &mut EpochMetrics) {
        let Memory { before, left, history, .. } = &self.memory;
        let pair = |(width, &left): (&Width, &usize)| ((width.units - left) as u64, width.units as u64);
        let counts: Vec<(u64, u64)> = before.iter().zip(left).map(pair).collect();
        let layers = before.iter().zip(&counts).flat_map(|(width, &(removed, channels))| {
            width.layers.iter().map(move |layer| LayerPruned { layer: layer.clone(), removed, channels })
        });
        epoch.pruned = Some(Pruned {
            target: history.last().map_or(0.0, |turn| turn.target),
            removed: counts.iter().map(|(removed, _)| removed).sum(),
            channels: counts.iter().map(|(_, channels)| channels).sum(),
            layers: layers.collect(),
        });
    }

    fn state(&self) -> State {
        let mut arrays = Arrays::new();
        let (observed, initial) = self.evidence.save(&mut arrays);
        let value = serde_json::json!(Value { memory: self.memory.clone(), observed, initial });
        State { value, arrays: arrays.into_inner() }
    }

    fn restore(&mut self, state: State) -> Result<()> {
        let damaged =
            |what: String| Error::invalid(format!("checkpoint: the state of pruning is damaged: {what}"));
        let Value { memory, observed, initial } =
            serde_json::from_value(state.value).map_err(|e| damaged(e.to_string()))?;
        let fits = memory.before.len() == memory.left.len()
            && memory.before.iter().zip(&memory.left).all(|(width, left)| (1..=width.units).contains(left));
        if !fits {
            return Err(damaged("the channels that are left are not some of those before".into()));
        }
        let mut arrays = Arrays::from(state.arrays);
        self.evidence = Evidence::load(observed, initial, &mut arrays).map_err(damaged)?;
        arrays.expect_empty().map_err(damaged)?;
        self.memory = memory;
        Ok(())
    }
}
