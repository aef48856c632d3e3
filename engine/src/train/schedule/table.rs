//! Schedules as recipes spell them.

use super::curve::Interpolation;
use serde::Deserialize;

/// The serialized form of a [`Schedule`](super::Schedule). Every variant has braces: in an internally tagged enum, serde
/// rejects unknown keys only in such variants.
#[derive(Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Table {
    Constant {},
    Cosine {
        #[serde(default)]
        warmup: f64,
    },
    OneCycle {
        #[serde(default = "pct_start")]
        pct_start: f64,
        #[serde(default = "div")]
        div: f64,
        #[serde(default = "div_final")]
        div_final: f64,
    },
    Exponential {
        #[serde(default = "hundredth")]
        end: f64,
    },
    Polynomial {
        #[serde(default)]
        end: f64,
        #[serde(default = "one")]
        power: f64,
    },
    Step {
        #[serde(default = "tenth")]
        factor: f64,
        #[serde(default = "two_drops")]
        at: Vec<f64>,
    },
    WarmRestarts {
        #[serde(default = "three")]
        cycles: u32,
        #[serde(default = "two")]
        growth: f64,
        #[serde(default)]
        end: f64,
    },
    Piecewise {
        points: Vec<[f64; 2]>,
        #[serde(default)]
        between: Interpolation,
    },
}

pub(super) fn pct_start() -> f64 {
    0.25
}

pub(super) fn div() -> f64 {
    25.0
}

pub(super) fn div_final() -> f64 {
    1e5
}

fn hundredth() -> f64 {
    0.01
}

fn tenth() -> f64 {
    0.1
}

fn one() -> f64 {
    1.0
}

fn two() -> f64 {
    2.0
}

fn three() -> u32 {
    3
}

fn two_drops() -> Vec<f64> {
    vec![0.5, 0.75]
}
