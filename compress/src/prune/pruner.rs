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
//!
//! With `steps` instead of a schedule, the first of N equal cuts comes behind the first step, and the others so that an
//! N-th of the training follows each.

use super::fit::Fit;
use super::goal::Pool;
use super::report::gutted;
use super::rewrite::Cut;
use super::stated::Stated;
use super::targets::{Candidate, Reaching};
use super::width::Width;
use super::{PruneConfig, PrunePlan, UnitScores};
use crate::criteria::{Arrays, Criterion, Evidence, Need, Shapes, Steps};
use crate::targets::{Baseline, LINE};
use lopper_engine::certificate::Certificate;
use lopper_engine::channels::{ChannelFlow, Slices};
use lopper_engine::rewrite::{Rewrite, RewriteReport};
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
    /// The way to a target, if there is one.
    reaching: Option<Reaching>,
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
    /// What can be stated about the cuts.
    #[serde(default)]
    stated: Stated,
    /// What each cut has to say, with its epoch: layers of which little is left, and what a target asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<(usize, String)>,
    /// Where the way to a target began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    baseline: Option<Baseline>,
}

/// A cut, and what it reaches in words.
struct Cutting {
    shrunk: Shrunk,
    /// The network with the channels masked.
    masked: Graph,
    note: Option<String>,
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
        let pruner = Self::of(config)?;
        pruner.criterion.check_in_training("prune at once, without a schedule")?;
        Ok(pruner)
    }

    /// A pruner with any criterion.
    pub(super) fn of(config: PruneConfig) -> Result<Self> {
        config.check()?;
        let cuts = config.schedule.is_some() || config.steps.is_some();
        let Some((criterion, _)) = config.goal()?.filter(|_| cuts) else {
            return Err(Error::invalid(
                "prune schedule: expected a schedule or steps to prune while training",
            ));
        };
        let (criterion, evidence) = (criterion.clone(), Evidence::default());
        Ok(Self { config, criterion, evidence, memory: Memory::default(), reaching: None })
    }

    /// Remembers the groups of `graph`, and what a target asks of it.
    fn begin(&mut self, graph: &Graph) -> Result<()> {
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
        let fit = self.config.fit(graph, &self.memory.before)?;
        self.reaching = None;
        if self.config.target.is_some() {
            graph.fetch()?;
            let scores = UnitScores::zeros(graph, &self.criterion, |layers| self.is_known(layers))?;
            let candidate = Candidate { config: &self.config, graph, scores: &scores, fit: &fit };
            let reaching = Reaching::start(&candidate)?;
            // Finds a target that no widths reach before hours are lost.
            reaching.check(&candidate)?;
            self.memory.baseline = Some(reaching.baseline());
            self.reaching = Some(reaching);
        }
        Ok(())
    }

    /// Whether the group of `layers` was there before the first cut. A group that is left with one channel may fall apart;
    /// its parts are not pruned.
    fn is_known(&self, layers: &[String]) -> bool {
        self.memory.before.iter().any(|width| width.layers == layers)
    }

    /// The turns so far.
    pub fn history(&self) -> &[Turn] {
        &self.memory.history
    }

    /// The number of turns that are over after the step of `progress`.
    fn turns(&self, progress: Progress) -> usize {
        let Progress { epochs, step, steps, .. } = progress;
        if let Some(cuts) = self.config.steps {
            return (step * cuts / steps.max(1) + 1).min(cuts);
        }
        let length = self.config.every.unwrap_or(steps / epochs.max(1)).max(1);
        // The last step ends the last turn, however short.
        if step + 1 == steps { steps.div_ceil(length) } else { (step + 1) / length }
    }

    /// The share of the final removal that is due after the step of `progress`, when `turns` are over.
    fn share(&self, progress: Progress, turns: usize) -> f64 {
        if let Some(cuts) = self.config.steps {
            return turns as f64 / cuts as f64;
        }
        let schedule = self.config.schedule.clone().unwrap_or_default();
        schedule.share_within(progress.end_of_step(), self.config.window())
    }

    /// What is due at `share` of the removal, and what is left of it after the turns before, in groups and channels.
    fn due(&self, share: f64) -> Result<(f64, Vec<Pool>)> {
        let Memory { before, left, .. } = &self.memory;
        let goal = self.config.goal()?.map(|(_, goal)| goal);
        let mut pools = goal.map_or(Ok(Vec::new()), |goal| goal.removals(before, share))?;
        let all: usize = before.iter().map(|width| width.units).sum();
        let target = match self.config.fraction {
            Some(fraction) => share * fraction,
            None => pools.iter().map(|pool| pool.count).sum::<usize>() as f64 / all.max(1) as f64,
        };
        let gone = |layers: &Vec<String>| {
            let group = before.iter().zip(left).find(|(width, _)| width.layers == *layers);
            group.map_or(0, |(width, &left)| width.units - left)
        };
        for pool in &mut pools {
            pool.count = pool.count.saturating_sub(pool.groups.iter().map(gone).sum());
        }
        Ok((target, pools))
    }

    /// `graph` without the channels that are due at `share` of the removal. Returns the share of channels that the goal asks
    /// for, unless it is a target, and None if nothing goes.
    fn cut(&self, graph: &Graph, share: f64) -> Result<(Option<f64>, Option<Cutting>)> {
        let (asked, removals) = self.due(share)?;
        let asked = Some(asked).filter(|_| self.reaching.is_none());
        if self.reaching.is_none() && removals.iter().all(|pool| pool.count == 0) {
            return Ok((asked, None));
        }
        graph.fetch()?;
        let scoring = self.config.scoring(&self.criterion, Some(&self.evidence));
        let scores = UnitScores::new(graph, &scoring, |layers| self.is_known(layers))?;
        let flow = ChannelFlow::new(graph)?;
        let fit: Fit = self.config.fit(graph, &self.memory.before)?;
        let (plan, note) = match &self.reaching {
            Some(reaching) => {
                let candidate = Candidate { config: &self.config, graph, scores: &scores, fit: &fit };
                let reached = reaching.cut(&candidate, share)?;
                (reached.plan, reached.note)
            }
            None => (PrunePlan::without(graph, &flow, &scores, &removals, &fit)?, None),
        };
        let Cut { graph: after, masked, removed, .. } = Cut::new(graph, &flow, &plan, self.config.constants)?;
        let slices = Slices::of(graph, &flow, &removed);
        let shrunk = Shrunk { graph: after, slices };
        Ok((asked, (!shrunk.slices.is_empty()).then_some(Cutting { shrunk, masked, note })))
    }

    /// Prunes `graph` in the steps of `config`, without a training between them. `evidence` is cut along with the channels.
    pub(super) fn at_once(
        config: &PruneConfig,
        graph: &Graph,
        evidence: Option<&Evidence>,
    ) -> Result<Rewrite> {
        let mut pruner = Self::of(config.clone())?;
        config.check_sites(graph)?;
        pruner.begin(graph)?;
        pruner.evidence = evidence.cloned().unwrap_or_default();
        let (steps, mut after, mut last) = (config.steps.unwrap_or(1), graph.clone(), None);
        for step in 1..=steps {
            let (_, cutting) = pruner.cut(&after, step as f64 / steps as f64)?;
            if let Some(Cutting { shrunk, note, .. }) = cutting {
                pruner.memory.left = pruner.left(&shrunk.graph)?;
                pruner.evidence.shrink(&shrunk.slices, true);
                (after, last) = (shrunk.graph, note);
            }
        }
        let mut report = RewriteReport::new("prune");
        for (width, &left) in pruner.memory.before.iter().zip(&pruner.memory.left) {
            if left < width.units {
                let (layer, of) = (&width.layers[0], width.units);
                let warning = gutted(left, of).map_or(String::new(), |warning| format!("; {warning}"));
                report.changed(layer, format!("{left} of {of} channels stay after {steps} cuts{warning}"));
            }
        }
        last.into_iter().for_each(|note| report.changed(LINE, note));
        Ok(Rewrite { graph: after, report })
    }

    /// Remembers what a cut in `epoch` has to say, which leaves `left` channels of each group: what it reaches of a target,
    /// and the layers of which little is left since.
    fn take_notes(&mut self, epoch: usize, left: &[usize], reached: Option<String>) {
        let Memory { before, left: earlier, notes, .. } = &mut self.memory;
        notes.extend(reached.map(|reached| (epoch, format!("prune target: {reached}"))));
        for ((width, &earlier), &left) in before.iter().zip(earlier.iter()).zip(left) {
            if let Some(warning) = gutted(left, width.units).filter(|_| left < earlier) {
                notes.push((epoch, format!("{}: {warning}", width.layers[0])));
            }
        }
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
        self.begin(graph)?;
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
        let (asked, cutting) = self.cut(graph, self.share(progress, turns))?;
        let Progress { epoch, step, .. } = progress;
        let shrunk = match cutting {
            Some(Cutting { shrunk, masked, note }) => {
                self.memory.stated.cut(graph, [&masked, &shrunk.graph])?;
                let left = self.left(&shrunk.graph)?;
                self.take_notes(epoch, &left, note);
                self.memory.left = left;
                Some(shrunk)
            }
            None => None,
        };
        let Memory { before, left, .. } = &self.memory;
        let removed: usize = before.iter().zip(left).map(|(width, left)| width.units - left).sum();
        let all: usize = before.iter().map(|width| width.units).sum();
        let target = asked.unwrap_or(removed as f64 / all.max(1) as f64);
        self.memory.turns = turns;
        self.memory.history.push(Turn { epoch, step, target, removed });
        Ok(shrunk)
    }

    fn on_shrunk(&mut self, _before: &Graph, shrunk: &Shrunk) -> Result<()> {
        self.evidence.shrink(&shrunk.slices, true);
        let sites = self.config.sites(&shrunk.graph)?;
        self.evidence.updated(&self.criterion, &shrunk.graph, &sites);
        Ok(())
    }

    fn certificates(&self, _trained: &Graph) -> Vec<Certificate> {
        self.memory.stated.certificates()
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
        let notes = self.memory.notes.iter().filter(|(of, _)| *of == epoch.epoch);
        epoch.notes.extend(notes.map(|(_, note)| note.clone()));
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
        let resume = |baseline| Reaching::resume(&self.config, baseline);
        self.reaching = memory.baseline.map(resume).transpose()?;
        self.memory = memory;
        Ok(())
    }
}
