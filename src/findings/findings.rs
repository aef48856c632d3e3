//! What a stage reports besides its row: a range test, an evaluation, published figures beside its own.

use super::{Against, Comparison, Evaluation, Found};
use serde::{Deserialize, Serialize};

/// The findings of a stage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Findings {
    /// Why the stage is a control, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// The range test before its training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr_find: Option<Found>,
    /// Its scores on the images that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Evaluation>,
    /// The stage against others on the same images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<Against>,
    /// Published figures and its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Comparison>,
}

impl Findings {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        let Self { control, lr_find, evaluation, against, published } = self;
        control.is_none()
            && lr_find.is_none()
            && evaluation.is_none()
            && against.is_empty()
            && published.is_none()
    }
}
