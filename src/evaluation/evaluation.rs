//! `evaluate` in a stage of a recipe.

use super::metrics::{Metrics, Valued};
use super::or_nan;
use super::scoring::{Scored, score_views};
use super::views::View;
use crate::recipe::EvaluateConfig;
use lopper_engine::{Device, Error, Graph, Result};
use lopper_models::data::{Loader, Splits, thousands};
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

/// Returns the labels of the classes that `config` chooses among those of `splits`.
///
/// # Errors
/// [`Error::Invalid`] if a class does not exist.
pub fn chosen(config: &EvaluateConfig, splits: &Splits) -> Result<Vec<usize>> {
    let label = |name: &String| {
        let named = |names: &[String]| names.iter().position(|class| class == name);
        named(&splits.folders).or_else(|| named(&splits.classes)).ok_or_else(|| {
            let all = splits.folders.join(", ");
            Error::invalid(format!("evaluate.classes: no class `{name}`, only {all}"))
        })
    };
    config.classes.iter().map(label).collect()
}

impl Evaluation {
    /// Scores `graph` on the images to score in `splits`; `augmented` makes the views of test-time augmentation.
    pub fn new(
        config: &EvaluateConfig,
        graph: &Graph,
        splits: &Splits,
        augmented: &Loader,
        device: &Device,
    ) -> Result<Self> {
        let counts: Vec<usize> = config.tta.iter().map(|&count| count as usize).collect();
        let (mut network, mut plain) = (graph, splits.val.clone());
        let Scored { plain: scores, curve, .. } =
            score_views(&mut network, &mut plain, augmented, (&counts, config.beta), device)?;
        let (accuracy, confusion) = (scores.top(1), scores.confusion());
        let classes = chosen(config, splits)?;
        let metrics =
            || Metrics::new(&scores, &confusion, &splits.classes, &splits.val.names(), config.top_losses);
        Ok(Self {
            images_of: splits.summary.scored_as.clone(),
            images: accuracy.total,
            top1: accuracy.top1(),
            interval: accuracy.wilson95(),
            loss: scores.loss(),
            weighted_f1: confusion.weighted_f1().map(Valued::from),
            chosen_f1: (!classes.is_empty())
                .then(|| confusion.weighted_f1_of(&classes).map(Valued::from))
                .flatten(),
            metrics: config.metrics.then(metrics),
            tta: curve,
        })
    }

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
