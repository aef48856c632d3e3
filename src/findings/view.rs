//! The scores by the number of augmented views.

use crate::details::or_nan;
use lopper_engine::train::metrics::Scores;
use serde::{Deserialize, Serialize};

/// The scores of one number of views.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    /// Number of augmented views, besides the plain one.
    pub views: usize,
    /// Share of images whose class is found.
    pub top1: f64,
    /// Its 95 % interval.
    pub interval: (f64, f64),
    /// Mean cross entropy of the averaged probabilities.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// Mean F1 of the classes.
    pub macro_f1: Option<f64>,
    /// Mean F1, weighted by the images of each class.
    pub weighted_f1: Option<f64>,
    /// Its 95 % interval.
    pub weighted_f1_interval: Option<(f64, f64)>,
    /// Seconds that all views took together.
    pub seconds: f64,
}

/// A [`View`] as a line of a CSV file.
#[derive(Serialize)]
pub struct Line {
    views: usize,
    top1: f64,
    top1_low: f64,
    top1_high: f64,
    loss: f64,
    macro_f1: Option<f64>,
    weighted_f1: Option<f64>,
    seconds: f64,
}

impl View {
    /// The scores of `views` views, which took `seconds`.
    pub fn new(views: usize, scores: &Scores, seconds: f64) -> Self {
        let (accuracy, confusion) = (scores.top(1), scores.confusion());
        let weighted = confusion.weighted_f1();
        Self {
            views,
            top1: accuracy.top1(),
            interval: accuracy.wilson95(),
            loss: scores.loss(),
            macro_f1: confusion.macro_f1().map(|f1| f1.value),
            weighted_f1: weighted.map(|f1| f1.value),
            weighted_f1_interval: weighted.map(|f1| f1.interval),
            seconds,
        }
    }

    /// The line of a CSV file.
    pub fn line(&self) -> Line {
        let &Self { views, top1, interval, loss, macro_f1, weighted_f1, seconds, .. } = self;
        let (top1_low, top1_high) = interval;
        Line { views, top1, top1_low, top1_high, loss, macro_f1, weighted_f1, seconds }
    }

    /// The view in words.
    pub fn text(&self) -> String {
        let (low, high) = self.interval;
        format!(
            "{:>11}: top-1 {:.2} % ({:.2}–{:.2}), loss {:.4}, weighted F1 {:.2} %, {:.1} s",
            views(self.views),
            100.0 * self.top1,
            100.0 * low,
            100.0 * high,
            self.loss,
            100.0 * self.weighted_f1.unwrap_or(f64::NAN),
            self.seconds
        )
    }
}

/// A number of views in words.
pub fn views(count: usize) -> String {
    format!("{count} view{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_view_is_singular() {
        assert_eq!([0, 1, 2].map(views), ["0 views", "1 view", "2 views"]);
    }
}
