//! The rates for one step.

use crate::Result;
use crate::number::{self, Range};

/// The rates for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Learning rate.
    pub learning_rate: f64,
    /// SGD's momentum or Adam's β₁, if the schedule sets it; otherwise the optimizer's value applies.
    pub momentum: Option<f64>,
}

impl Rates {
    /// Checks that both rates are in range in single precision.
    pub fn check(&self) -> Result<()> {
        number::single("learning rate of a step", self.learning_rate, Range::AtLeastZero)?;
        let momentum = |value| number::single("momentum of a step", value, Range::BelowOne).map(drop);
        self.momentum.map_or(Ok(()), momentum)
    }
}

impl From<f64> for Rates {
    /// Sets the learning rate and keeps the optimizer's momentum.
    fn from(learning_rate: f64) -> Self {
        Self { learning_rate, momentum: None }
    }
}
