//! A sparsifier's memory as a checkpoint keeps it: its history, the evidence so far, and the masks from before the
//! training.
//!
//! Lists of numbers go to the arrays of the state under `PART/NAME`; their shapes and counts stand in its JSON value.

use super::record::Record;
use crate::criteria::Observed;
use lopper_engine::train::State;
use lopper_engine::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The part with the sums of a criterion's observations, by layer.
const OBSERVED: &str = "observed";
/// The part with the weights at the beginning of the training, by layer.
const INITIAL: &str = "initial";
/// The part with the masks from before the training, by node.
const BEFORE: &str = "before";

/// Everything that a sparsifier remembers from one step to the next.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub history: Vec<Record>,
    pub observed: Observed,
    pub initial: BTreeMap<String, Tensor>,
    pub before: BTreeMap<String, Tensor>,
}

/// The JSON part of a state.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    history: Vec<Record>,
    /// Steps by layer.
    observed: BTreeMap<String, usize>,
    /// Shapes by layer.
    initial: BTreeMap<String, Vec<usize>>,
    /// Shapes by node.
    before: BTreeMap<String, Vec<usize>>,
}

impl Remembered {
    /// As a checkpoint keeps it.
    pub fn into_state(self) -> State {
        let mut arrays = BTreeMap::new();
        let mut keep =
            |part: &str, name: &str, values: Vec<f64>| arrays.insert(format!("{part}/{name}"), values);
        let mut observed = BTreeMap::new();
        for (layer, (steps, sums)) in self.observed {
            keep(OBSERVED, &layer, sums);
            observed.insert(layer, steps);
        }
        let [initial, before] = [(INITIAL, self.initial), (BEFORE, self.before)].map(|(part, tensors)| {
            let shape = |(name, tensor): (String, Tensor)| {
                keep(part, &name, tensor.data().iter().copied().map(f64::from).collect());
                (name, tensor.shape().to_vec())
            };
            tensors.into_iter().map(shape).collect()
        });
        let value = serde_json::json!(Value { history: self.history, observed, initial, before });
        State { value, arrays }
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
        let mut arrays = state.arrays;
        let mut take = |part: &str, name: &str| {
            let array = arrays.remove(&format!("{part}/{name}"));
            array.ok_or_else(|| damaged(format!("the numbers of `{part}/{name}` are missing")))
        };
        let mut observed = Observed::new();
        for (layer, steps) in value.observed {
            let sums = take(OBSERVED, &layer)?;
            if steps == 0 {
                return Err(damaged(format!("layer `{layer}` has sums of no steps")));
            }
            observed.insert(layer, (steps, sums));
        }
        let mut tensors =
            |part: &str, shapes: BTreeMap<String, Vec<usize>>| -> Result<BTreeMap<String, Tensor>> {
                let tensor = |(name, shape): (String, Vec<usize>)| {
                    let values = take(part, &name)?.into_iter().map(|v| v as f32).collect();
                    let tensor = Tensor::from_vec(&shape, values).map_err(|e| damaged(e.to_string()))?;
                    Ok((name, tensor))
                };
                shapes.into_iter().map(tensor).collect()
            };
        let (initial, before) = (tensors(INITIAL, value.initial)?, tensors(BEFORE, value.before)?);
        match arrays.keys().next() {
            Some(name) => Err(damaged(format!("`{name}` belongs to nothing"))),
            None => Ok(Self { history: value.history, observed, initial, before }),
        }
    }
}
