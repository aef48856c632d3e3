//! A sparsifier's memory as a checkpoint keeps it: its history, the evidence so far, and the masks from before the
//! training.

use super::record::Record;
use crate::criteria::{Arrays, Evidence, Shapes, Steps};
use lopper_engine::train::State;
use lopper_engine::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The part with the masks from before the training, by node.
const BEFORE: &str = "before";
/// The part with the weights to return to, by path.
const REWIND: &str = "rewind";

/// Everything that a sparsifier remembers from one step to the next.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub history: Vec<Record>,
    pub evidence: Evidence,
    pub before: BTreeMap<String, Tensor>,
    /// The share of the squared weights that masks left, multiplied over the updates.
    pub left: f64,
    pub rewind: BTreeMap<String, Tensor>,
}

/// The JSON part of a state.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    history: Vec<Record>,
    observed: Steps,
    initial: Shapes,
    before: Shapes,
    #[serde(default = "all")]
    left: f64,
    #[serde(default)]
    rewind: Shapes,
}

fn all() -> f64 {
    1.0
}

impl Remembered {
    /// As a checkpoint keeps it.
    pub fn into_state(self) -> State {
        let mut arrays = Arrays::new();
        let (observed, initial) = self.evidence.save(&mut arrays);
        let before = arrays.put_tensors(BEFORE, &self.before);
        let rewind = arrays.put_tensors(REWIND, &self.rewind);
        let (history, left) = (self.history, self.left);
        let value = serde_json::json!(Value { history, observed, initial, before, left, rewind });
        State { value, arrays: arrays.into_inner() }
    }

    /// Reads what [`Remembered::into_state`] made.
    ///
    /// # Errors
    /// If a part is missing, left over or damaged.
    pub fn from_state(state: State) -> Result<Self> {
        let damaged = |what: String| {
            Error::invalid(format!("checkpoint: the state of sparsification is damaged: {what}"))
        };
        let value: Value = serde_json::from_value(state.value).map_err(|e| damaged(e.to_string()))?;
        let mut arrays = Arrays::from(state.arrays);
        let evidence = Evidence::load(value.observed, value.initial, &mut arrays).map_err(damaged)?;
        let before = arrays.take_tensors(BEFORE, value.before).map_err(damaged)?;
        let rewind = arrays.take_tensors(REWIND, value.rewind).map_err(damaged)?;
        arrays.expect_empty().map_err(damaged)?;
        Ok(Self { history: value.history, evidence, before, left: value.left, rewind })
    }
}
