//! The result of a stage.

use crate::findings::Findings;
use lopper_engine::train::Accuracy;
use serde::{Deserialize, Serialize};

/// Result of a stage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Name of the stage.
    pub stage: String,
    /// Summary of what it did.
    pub what: String,
    /// Share of validation images classified correctly, 0..=1, if there are labeled images.
    pub top1: Option<f64>,
    /// 95 % Wilson interval of `top1`.
    pub interval: Option<(f64, f64)>,
    /// Number of parameters.
    pub params: u64,
    /// Multiply-accumulates per image.
    pub macs: u64,
    /// Size of the model file in bytes.
    pub bytes: u64,
    /// Median latency of the inference plan for one image, in milliseconds.
    pub latency_ms: f64,
    /// Largest logit difference from the network before the step, if the step claims equivalence.
    pub logit_difference: Option<f32>,
    /// Duration of the stage in seconds.
    pub seconds: f64,
    /// What the stage reports besides.
    #[serde(default, skip_serializing_if = "Findings::is_empty")]
    pub findings: Findings,
}

impl Row {
    /// Sets `top1` and its interval.
    pub fn set_accuracy(&mut self, accuracy: &Accuracy) {
        self.top1 = Some(accuracy.top1());
        self.interval = Some(accuracy.wilson95());
    }
}
