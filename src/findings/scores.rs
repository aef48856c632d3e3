//! `evaluate` in a stage of a recipe.

use super::View;
use crate::details::{Metrics, Valued, or_nan};
use lopper_models::data::thousands;
use serde::{Deserialize, Serialize};

/// The scores of a stage's network on the images that its `evaluate` names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// Which images were scored: validation, test.
    pub images_of: String,
    /// Number of images.
    pub images: usize,
    /// Share of images whose class is found.
    pub top1: f64,
    /// Its 95 % interval.
    pub interval: (f64, f64),
    /// Mean cross entropy.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// Mean F1, weighted by the images of each class.
    pub weighted_f1: Option<Valued>,
    /// The same over the classes that `evaluate.classes` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_f1: Option<Valued>,
    /// All metrics of the plain view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// The scores by the number of augmented views.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tta: Vec<View>,
}

impl Evaluation {
    /// The scores in one line.
    pub fn text(&self) -> String {
        let percent = |valued: &Option<Valued>| {
            let valued = valued.as_ref();
            valued.map_or("–".into(), |Valued { value, interval: (low, high) }| {
                format!("{:.2} % ({:.2}–{:.2})", 100.0 * value, 100.0 * low, 100.0 * high)
            })
        };
        let top1 = Some(Valued { value: self.top1, interval: self.interval });
        let chosen = match &self.chosen_f1 {
            Some(_) => format!(", of the chosen classes {}", percent(&self.chosen_f1)),
            None => String::new(),
        };
        format!(
            "{} {} images: top-1 {}, weighted F1 {}{chosen}",
            thousands(self.images as u64),
            self.images_of,
            percent(&top1),
            percent(&self.weighted_f1)
        )
    }
}
