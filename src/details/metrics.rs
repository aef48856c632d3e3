//! The metrics of an evaluation, as JSON and as text.
//!
//! `lopper eval --metrics` prints them, and the report of a run has them for every stage.

use super::null::or_nan;
use lopper_engine::train::metrics::{Confusion, Estimate, Scores};
use serde::{Deserialize, Serialize};

/// Number of bins of the calibration error, as in its publication.
const BINS: usize = 15;

/// Most classes whose confusion matrix is kept: it has the square of their number of entries.
const MOST_CLASSES: usize = 200;

/// A value with its interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Valued {
    /// The value, 0 to 1.
    pub value: f64,
    /// Its 95 % interval.
    pub interval: (f64, f64),
}

impl From<Estimate> for Valued {
    fn from(Estimate { value, interval }: Estimate) -> Self {
        Self { value, interval }
    }
}

/// All metrics.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// Share of images whose class is among the five largest logits; none for up to five classes.
    pub top5: Option<Valued>,
    /// Mean precision of the classes.
    pub macro_precision: Option<Valued>,
    /// Mean recall of the classes.
    pub macro_recall: Option<Valued>,
    /// Mean F1 of the classes.
    pub macro_f1: Option<Valued>,
    /// Mean F1, weighted by the images of each class.
    pub weighted_f1: Option<Valued>,
    /// Expected calibration error.
    #[serde(deserialize_with = "or_nan")]
    pub calibration_error: f64,
    /// The scores of each class.
    pub classes: Vec<ClassLine>,
    /// Images by class (row) and prediction (column); empty for more than 200 classes.
    pub confusion: Vec<Vec<u64>>,
    /// The images with the largest losses, the largest first.
    pub top_losses: Vec<TopLoss>,
}

/// The scores of a class.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClassLine {
    /// Name of the class.
    pub class: String,
    /// Images of the class.
    pub images: u64,
    /// Images classified as the class.
    pub predicted: u64,
    /// Share of the images classified as the class that belong to it.
    pub precision: Option<Valued>,
    /// Share of the images of the class that are classified as the class.
    pub recall: Option<Valued>,
    /// Harmonic mean of both.
    pub f1: Option<Valued>,
}

/// An image with a large loss.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopLoss {
    /// Path in the data set, or number.
    pub image: String,
    /// Its class.
    pub class: String,
    /// Its prediction; none if a logit is not a number.
    pub predicted: Option<String>,
    /// Cross entropy; none if it is not finite.
    pub loss: Option<f64>,
    /// Probability of its class; none if it is not a number.
    pub probability: Option<f64>,
    /// A small picture as a data URI, in the report of a run. An image that an earlier stage shows has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
}

impl Metrics {
    /// The metrics of `scores` for images of these `names`, with the `losses` largest losses.
    pub fn new(
        scores: &Scores,
        confusion: &Confusion,
        classes: &[String],
        names: &[String],
        losses: usize,
    ) -> Self {
        let top5 = (classes.len() > 5).then(|| scores.top(5));
        let top5 = top5.and_then(|top| Estimate::proportion(top.correct as u64, top.total as u64));
        let class = |(class, found): (&String, lopper_engine::train::metrics::ClassScores)| ClassLine {
            class: class.clone(),
            images: found.support,
            predicted: found.predicted,
            precision: found.precision().map(Valued::from),
            recall: found.recall().map(Valued::from),
            f1: found.f1().map(Valued::from),
        };
        let loss = |i: usize| {
            let outcome = scores.outcomes()[i];
            TopLoss {
                image: names[i].clone(),
                class: classes[outcome.label as usize].clone(),
                predicted: outcome.predicted.map(|class| classes[class as usize].clone()),
                loss: Some(outcome.loss).filter(|loss| loss.is_finite()),
                probability: Some((-outcome.loss).exp()).filter(|p| p.is_finite()),
                picture: None,
            }
        };
        let row = |label| (0..classes.len()).map(|column| confusion.count(label, column)).collect();
        let rows = if classes.len() <= MOST_CLASSES { classes.len() } else { 0 };
        Self {
            top5: top5.map(Valued::from),
            macro_precision: confusion.macro_precision().map(Valued::from),
            macro_recall: confusion.macro_recall().map(Valued::from),
            macro_f1: confusion.macro_f1().map(Valued::from),
            weighted_f1: confusion.weighted_f1().map(Valued::from),
            calibration_error: scores.calibration(BINS).error(),
            classes: classes.iter().zip(confusion.by_class()).map(class).collect(),
            confusion: (0..rows).map(row).collect(),
            top_losses: scores.top_losses(losses).into_iter().map(loss).collect(),
        }
    }

    /// The metrics as text of at most 80 columns, unless a name is longer.
    pub fn text(&self) -> String {
        let percent = |valued: &Option<Valued>, decimals: usize| match valued {
            Some(Valued { value, interval: (low, high) }) => {
                let [value, low, high] = [value, low, high].map(|v| 100.0 * v);
                let ends = decimals - 1;
                format!("{value:5.decimals$} ({low:.ends$}–{high:.ends$})")
            }
            None => "    –".to_string(),
        };
        let mut text = String::new();
        for (name, valued) in [
            ("top-5 %", &self.top5),
            ("macro precision %", &self.macro_precision),
            ("macro recall %", &self.macro_recall),
            ("macro F1 %", &self.macro_f1),
            ("weighted F1 %", &self.weighted_f1),
        ] {
            if valued.is_some() {
                text += &format!("{name:24} {}\n", percent(valued, 2).trim_start());
            }
        }
        text += &format!(
            "{:24} {:.2} (in {BINS} bins)\n\n",
            "calibration error %",
            100.0 * self.calibration_error
        );
        let longest = self.classes.iter().map(|line| line.class.chars().count()).max().unwrap_or(0);
        let width = longest.clamp(5, 16);
        text +=
            &format!("{:width$} {:>6}  {:16}{:16}{}\n", "class", "images", "precision %", "recall %", "F1 %");
        for line in &self.classes {
            let class: String = line.class.chars().take(width).collect();
            let [precision, recall, f1] =
                [&line.precision, &line.recall, &line.f1].map(|valued| percent(valued, 1));
            let row = format!("{class:width$} {:>6}  {precision:16}{recall:16}{f1:16}", line.images);
            text += &format!("{}\n", row.trim_end());
        }
        if !self.top_losses.is_empty() {
            text += "\nlargest losses\n";
        }
        for TopLoss { image, class, predicted, loss, probability, .. } in &self.top_losses {
            let [loss, probability] = [loss, probability].map(|value| value.unwrap_or(f64::NAN));
            let predicted = predicted.as_deref().unwrap_or("nothing, as a logit is NaN");
            text += &format!(
                "{loss:7.3}  {image}: {class}, predicted {predicted} ({:.2} % for {class})\n",
                100.0 * probability
            );
        }
        text
    }
}
