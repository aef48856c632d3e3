//! The machine on which a latency is promised.

use lopper_engine::plan::Amount;
use lopper_engine::{Device, Graph, Result};
use std::fmt;
use std::sync::Arc;

/// Estimates the times of kernels, and measures networks.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The device.
    fn device(&self) -> &Device;

    /// The estimated time of an operation, in milliseconds.
    fn estimate(&self, amount: &Amount) -> f64;

    /// Measures plans of `networks` for `batch` images, in turn.
    fn measure(&self, networks: &[&Graph], batch: usize) -> Result<Vec<Measured>>;
}

/// A measured latency in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Median of the rounds.
    pub median: f64,
    /// Lower and upper quartile.
    pub quartiles: (f64, f64),
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = self.quartiles;
        write!(f, "{:.3} ms ({low:.3} to {high:.3})", self.median)
    }
}

/// A clock beside options. It does not count when options are compared or printed: results are bound to options.
#[derive(Clone, Default)]
pub struct Attached(Option<Arc<dyn Clock>>);

impl Attached {
    /// Attaches `clock`.
    pub fn new(clock: &Arc<dyn Clock>) -> Self {
        Self(Some(clock.clone()))
    }

    /// The clock, if there is one.
    pub fn clock(&self) -> Option<&dyn Clock> {
        self.0.as_deref()
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attached")
    }
}

impl PartialEq for Attached {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
