//! What the parts of a training remember from one step to another.

use crate::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a callback or a source of images remembers, as a checkpoint keeps it: a JSON value, and lists of numbers, which
/// may be long and come back with the same bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Words and single numbers; `null` for nothing.
    pub value: Value,
    /// Lists of numbers by name.
    pub arrays: BTreeMap<String, Vec<f64>>,
}

impl State {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.value.is_null() && self.arrays.is_empty()
    }

    /// An error where something is remembered, though `who` remembers nothing.
    pub fn expect_empty(&self, who: &str) -> Result<()> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid(format!("checkpoint: it holds a state of {who}, which keeps none"))),
        }
    }
}
