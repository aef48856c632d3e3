//! Sparsification while training: a callback that raises the sparsity step by step.

use super::apply::{mask, report};
use super::{Criterion, SparsifyConfig, Taylor, layers};
use lopper_engine::rewrite::Report;
use lopper_engine::train::{Callback, Progress, State, Step};
use lopper_engine::{Error, Graph, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Follows a schedule while a network trains. After a step it drops the groups that the schedule calls for,
/// judged by the weights as they are then (and, for [`Criterion::Taylor`], by the gradients of all steps so
/// far); what it has dropped stays zero, whatever the optimizer's momentum writes, because [`lopper_engine::Param`]
/// applies its mask to every write. A dropped group does not return.
#[derive(Debug)]
pub struct Sparsifier {
    config: SparsifyConfig,
    taylor: Taylor,
    history: Vec<Record>,
}

/// An update of the masks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The epoch, counted from 0.
    pub epoch: usize,
    /// The step of the whole training, counted from 0.
    pub step: usize,
    /// The sparsity that the schedule asked for, as a fraction of groups.
    pub target: f64,
    /// The fraction of groups that were dropped after it.
    pub sparsity: f64,
}

impl Sparsifier {
    /// A callback for one training. An error names an option that makes no sense.
    pub fn new(config: SparsifyConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config, taylor: Taylor::default(), history: Vec::new() })
    }

    /// Every update of the masks, in order.
    pub fn history(&self) -> &[Record] {
        &self.history
    }

    /// What the masks of `graph` keep of each convolution and linear layer, or why it was left alone.
    pub fn report(&self, graph: &Graph) -> Result<Report> {
        report(graph, &self.config)
    }

    /// The target of `progress`, if the masks are to be updated after it.
    fn due(&self, progress: Progress) -> Option<f64> {
        let Progress { step, steps, .. } = progress;
        let its_turn = (step + 1) % self.config.every == 0 || step + 1 == steps;
        let target = self.config.sparsity_at(progress.end_of_step());
        let reached = self.history.last().map_or(0.0, |record| record.target);
        (its_turn && target > reached).then_some(target)
    }
}

impl Callback for Sparsifier {
    fn on_begin(&mut self, graph: &mut Graph) -> Result<()> {
        match layers::chosen(graph, &self.config)?.is_empty() {
            true => Err(Error::invalid(format!(
                "sparsify: no layer is left to sparsify at granularity {}",
                self.config.granularity
            ))),
            false => Ok(()),
        }
    }

    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        match self.config.criterion {
            Criterion::Taylor => self.taylor.observe(step.graph, &self.config, step.gradients),
            _ => Ok(()),
        }
    }

    fn after_step(&mut self, step: &mut Step) -> Result<()> {
        let Some(target) = self.due(step.progress) else { return Ok(()) };
        let sparsity = mask(step.graph, &self.config, target, Some(&self.taylor))?;
        let Progress { epoch, step, .. } = step.progress;
        self.history.push(Record { epoch, step, target, sparsity });
        Ok(())
    }

    fn state(&self) -> State {
        let (observed, arrays) = self.taylor.state();
        let value = serde_json::json!({ "history": self.history, "observed": observed });
        State { value, arrays }
    }

    fn restore(&mut self, state: State) -> Result<()> {
        let remembered: Remembered = serde_json::from_value(state.value).map_err(|e| {
            Error::invalid(format!("checkpoint: the state of sparsification is damaged: {e}"))
        })?;
        self.history = remembered.history;
        self.taylor.restore(remembered.observed, state.arrays)
    }
}

/// What a checkpoint keeps of a [`Sparsifier`], besides the sums of the Taylor criterion.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    history: Vec<Record>,
    observed: BTreeMap<String, usize>,
}
