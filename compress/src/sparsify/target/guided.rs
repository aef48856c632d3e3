//! Sparsification to a target while training: patterns are chosen once, and sparsity then grows to them.

use super::problem::Picked;
use super::reach::{Reached, reach};
use crate::granularity::Granularity;
use crate::select::Context;
use crate::sparsify::{Sparsifier, SparsifyConfig, layers};
use lopper_engine::certificate::Certificate;
use lopper_engine::train::{Callback, EpochMetrics, Flow, Progress, Shrunk, State, Step};
use lopper_engine::{Error, Graph, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Chooses the pattern and the sparsity of each layer before the first step, by the weights at that moment, and lets
/// sparsity grow to them as a [`Sparsifier`] does. The choice is measured with the masks that it would have at once: what
/// matters to a latency is how many zeros there are, and how they are arranged.
#[derive(Debug)]
pub struct Guided {
    config: SparsifyConfig,
    memory: Memory,
    parts: Vec<Sparsifier>,
}

/// What is remembered besides what the parts remember.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    /// By layer.
    picked: BTreeMap<String, (Granularity, f64)>,
    /// What the choice reaches, in words, and the epoch in which it was made.
    note: Option<(usize, String)>,
}

/// The JSON part of a state.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    memory: Memory,
    parts: Vec<serde_json::Value>,
}

impl Guided {
    /// A callback for one training toward the target of `config`.
    ///
    /// # Errors
    /// If an option is invalid, there is no target, or the criterion needs more than the weights.
    pub fn new(config: SparsifyConfig) -> Result<Self> {
        config.check()?;
        if config.target.is_none() {
            return Err(Error::invalid("sparsify: expected a target"));
        }
        if !config.criterion.needs().is_empty() {
            return Err(Error::invalid(format!(
                "sparsify target: criterion {}: at the start of a training only weights are known; sparsify at once, and train \
                 in a stage behind it",
                config.criterion
            )));
        }
        Ok(Self { config, memory: Memory::default(), parts: Vec::new() })
    }

    /// The granularity and the sparsity of each layer that gets zeros; empty before the first step.
    pub fn picked(&self) -> &BTreeMap<String, (Granularity, f64)> {
        &self.memory.picked
    }

    /// Makes the choice for `graph`, unless it is made.
    fn choose(&mut self, graph: &mut Graph, epoch: usize) -> Result<()> {
        if self.memory.note.is_some() {
            return Ok(());
        }
        graph.fetch()?;
        let Reached { picked, note, .. } = reach(graph, &self.config, None)?;
        let of = |Picked { layer, pick, .. }: Picked| (layer, (pick.granularity, pick.sparsity));
        self.memory = Memory { picked: picked.into_iter().map(of).collect(), note: Some((epoch, note)) };
        self.parts = self.sparsifiers()?;
        self.parts.iter_mut().try_for_each(|part| part.on_begin(graph))
    }

    /// A sparsifier for each granularity that is chosen.
    fn sparsifiers(&self) -> Result<Vec<Sparsifier>> {
        let mut by_granularity: BTreeMap<String, (Granularity, BTreeMap<String, f64>)> = BTreeMap::new();
        for (layer, &(granularity, sparsity)) in &self.memory.picked {
            let (_, layers) =
                by_granularity.entry(granularity.to_string()).or_insert((granularity, BTreeMap::new()));
            layers.insert(layer.clone(), sparsity);
        }
        let sparsifier = |(granularity, layers): (Granularity, BTreeMap<String, f64>)| {
            Sparsifier::new(SparsifyConfig {
                granularity,
                context: Context::Local,
                sparsity: None,
                include: layers.keys().cloned().collect(),
                exclude: Vec::new(),
                // A quota implies the sparsity.
                sparsities: if granularity.quota().is_some() { BTreeMap::new() } else { layers },
                target: None,
                ..self.config.clone()
            })
        };
        by_granularity.into_values().map(sparsifier).collect()
    }
}

impl Callback for Guided {
    /// Only checks the options: a training that is resumed has made its choice.
    fn on_begin(&mut self, graph: &mut Graph) -> Result<()> {
        layers::some_targets(graph, &self.config.by_weight()).map(drop)
    }

    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        self.choose(step.graph, step.progress.epoch)?;
        self.parts.iter_mut().try_for_each(|part| part.before_step(step))
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        for part in &mut self.parts {
            part.after_step(step)?;
        }
        Ok(Flow::Continue)
    }

    fn on_steps_over(&mut self, graph: &mut Graph, progress: Progress) -> Result<()> {
        self.choose(graph, progress.epoch)?;
        self.parts.iter_mut().try_for_each(|part| part.on_steps_over(graph, progress))
    }

    fn on_shrunk(&mut self, before: &Graph, shrunk: &Shrunk) -> Result<()> {
        self.parts.iter_mut().try_for_each(|part| part.on_shrunk(before, shrunk))
    }

    fn measure(&self, epoch: &mut EpochMetrics) {
        let note = self.memory.note.iter().filter(|(of, _)| *of == epoch.epoch);
        epoch.notes.extend(note.map(|(_, note)| format!("sparsify target: {note}")));
    }

    fn certificates(&self, trained: &Graph) -> Vec<Certificate> {
        self.parts.iter().flat_map(|part| part.certificates(trained)).collect()
    }

    fn state(&self) -> State {
        let (mut parts, mut arrays) = (Vec::new(), BTreeMap::new());
        for (index, part) in self.parts.iter().enumerate() {
            let State { value, arrays: of_part } = part.state();
            parts.push(value);
            arrays.extend(of_part.into_iter().map(|(name, values)| (format!("{index}/{name}"), values)));
        }
        State { value: serde_json::json!(Value { memory: self.memory.clone(), parts }), arrays }
    }

    fn restore(&mut self, state: State) -> Result<()> {
        let damaged = |what: String| {
            Error::invalid(format!("checkpoint: the state of sparsification is damaged: {what}"))
        };
        let Value { memory, parts } =
            serde_json::from_value(state.value).map_err(|e| damaged(e.to_string()))?;
        self.memory = memory;
        self.parts = if self.memory.note.is_some() { self.sparsifiers()? } else { Vec::new() };
        if parts.len() != self.parts.len() {
            return Err(damaged(format!("expected {} parts, found {}", self.parts.len(), parts.len())));
        }
        let mut arrays: Vec<BTreeMap<String, Vec<f64>>> = vec![BTreeMap::new(); parts.len()];
        for (name, values) in state.arrays {
            let place = name.split_once('/').and_then(|(index, name)| Some((index.parse().ok()?, name)));
            let (of, name): (&mut BTreeMap<_, _>, &str) = place
                .and_then(|(index, name): (usize, _)| Some((arrays.get_mut(index)?, name)))
                .ok_or_else(|| damaged(format!("`{name}` belongs to no part")))?;
            of.insert(name.to_string(), values);
        }
        let states = parts.into_iter().zip(arrays);
        self.parts
            .iter_mut()
            .zip(states)
            .try_for_each(|(part, (value, arrays))| part.restore(State { value, arrays }))
    }
}
