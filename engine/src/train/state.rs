//! The state that parts of a training keep between steps.

use crate::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// The state of a callback or image source in a checkpoint: a JSON value, and lists of numbers, which may be long and
/// are restored bit for bit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Strings and single numbers; `null` for no state.
    pub value: Value,
    /// Lists of numbers by name.
    pub arrays: BTreeMap<String, Vec<f64>>,
}

impl State {
    /// Whether there is no state.
    pub fn is_empty(&self) -> bool {
        self.value.is_null() && self.arrays.is_empty()
    }

    /// Returns an error if there is state, since `who` keeps none.
    pub fn expect_empty(&self, who: &str) -> Result<()> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid(format!("checkpoint: found a state for {who}, which keeps none"))),
        }
    }
}
