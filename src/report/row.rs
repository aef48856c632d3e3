//! The result of a stage.

use crate::details::{Details, Paired};
use crate::findings::{Against, Findings};
use lopper_engine::train::Accuracy;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Result of a stage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Name of the stage.
    pub stage: String,
    /// Name of the earlier stage whose network it starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
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
    /// Quartiles of the latency over rounds in which all networks of the table take turns.
    #[serde(default)]
    pub latency_quartiles_ms: (f64, f64),
    /// Largest logit difference from the network before the step, if the step claims equivalence.
    pub logit_difference: Option<f32>,
    /// Duration of the stage in seconds.
    pub seconds: f64,
    /// What the recipe asks the stage to report besides.
    #[serde(default, skip_serializing_if = "Findings::is_empty")]
    pub findings: Findings,
    /// What the stage did layer by layer, in a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

impl Row {
    /// Sets `top1` and its interval.
    pub fn set_accuracy(&mut self, accuracy: &Accuracy) {
        self.top1 = Some(accuracy.top1());
        self.interval = Some(accuracy.wilson95());
    }

    /// This stage and `other` on the same images, and their number, if it is known which ones they find.
    pub fn paired(&self, other: &Self) -> Option<(Paired, u64)> {
        let (new, old) = (self.details.as_ref()?, other.details.as_ref()?);
        let images = new.metrics.as_ref()?.classes.iter().map(|class| class.images).sum();
        Some((Paired::new(new.right.as_ref()?, old.right.as_ref()?, images)?, images))
    }

    /// Compares the stage on the same images with those of `earlier` that are called `names`, each once.
    pub fn set_against<'n>(&mut self, earlier: &[Self], names: impl Iterator<Item = &'n str>) {
        let mut against: Vec<Against> = Vec::new();
        for other in names.filter_map(|name| earlier.iter().find(|row| row.stage == name)) {
            let known = against.iter().any(|known| known.stage == other.stage);
            if let (Some((paired, images)), false) = (self.paired(other), known) {
                against.push(Against::new(&other.stage, paired, images));
            }
        }
        self.findings.against = against;
    }

    /// Removes the pictures of images that `earlier` rows show.
    pub fn hide_pictures_of(&mut self, earlier: &[Self]) {
        let metrics = earlier.iter().filter_map(|row| row.details.as_ref()?.metrics.as_ref());
        let pictures = metrics.flat_map(|metrics| &metrics.top_losses).filter(|loss| loss.picture.is_some());
        let shown: HashSet<&str> = pictures.map(|loss| loss.image.as_str()).collect();
        if let Some(metrics) = self.details.as_mut().and_then(|details| details.metrics.as_mut()) {
            for loss in metrics.top_losses.iter_mut().filter(|loss| shown.contains(loss.image.as_str())) {
                loss.picture = None;
            }
        }
    }

    /// The row without its details.
    pub fn brief(&self) -> Self {
        Self {
            stage: self.stage.clone(),
            from: self.from.clone(),
            what: self.what.clone(),
            findings: self.findings.clone(),
            details: None,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::details::{Metrics, TopLoss};

    #[test]
    fn a_picture_is_kept_once() {
        let row = |images: &[&str]| {
            let loss = |image: &&str| TopLoss {
                image: image.to_string(),
                class: "a".into(),
                predicted: None,
                loss: None,
                probability: None,
                picture: Some("data:".into()),
            };
            let metrics = Metrics { top_losses: images.iter().map(loss).collect(), ..Metrics::default() };
            Row { details: Some(Details { metrics: Some(metrics), ..Details::default() }), ..Row::default() }
        };
        let mut rows = vec![row(&["x", "y"]), row(&["y", "z"])];
        let (earlier, last) = rows.split_at_mut(1);
        last[0].hide_pictures_of(earlier);
        let metrics = rows.pop().unwrap().details.unwrap().metrics.unwrap();
        assert!(metrics.top_losses[0].picture.is_none() && metrics.top_losses[1].picture.is_some());
    }
}
