//! The files that an evaluation writes: the confusion matrix, a line per image, the curve of the views.

use super::super::file_names::{is_picture, table, table_or_picture};
use crate::findings::View;
use crate::output_file::refuse_existing;
use crate::plots::{self, Curve, Curves};
use crate::tables::{put, put_csv};
use clap::Args;
use lopper_engine::train::metrics::{Confusion, Scores};
use lopper_engine::{Result, atomic};
use std::path::PathBuf;

/// Files to write.
#[derive(Args)]
pub struct Files {
    /// Write the confusion matrix, a row per class and a column per prediction, as .csv or .svg
    #[arg(long, value_name = "FILE", value_parser = table_or_picture)]
    confusion: Option<PathBuf>,
    /// Write each image's name, class, prediction, confidence and loss, as .csv
    #[arg(long, value_name = "FILE", value_parser = table)]
    predictions: Option<PathBuf>,
    /// With --tta: write the scores by the number of views, as .csv or .svg
    #[arg(long, value_name = "FILE", requires = "tta", value_parser = table_or_picture)]
    tta_curve: Option<PathBuf>,
    /// Overwrite these files if they exist
    #[arg(long)]
    force: bool,
}

impl Files {
    /// Returns an error if a file exists or cannot be written, before any work is done.
    pub fn check(&self) -> Result<()> {
        for path in [&self.confusion, &self.predictions, &self.tta_curve].into_iter().flatten() {
            refuse_existing(path, self.force)?;
            atomic::check(path)?;
        }
        Ok(())
    }

    /// Writes the files of `scores` for images of these `names`.
    pub fn write(
        &self,
        scores: &Scores,
        confusion: &Confusion,
        classes: &[String],
        names: &[String],
    ) -> Result<()> {
        if let Some(path) = &self.confusion {
            match is_picture(path) {
                true => put(path, plots::matrix("Confusion matrix", classes, confusion)?.as_bytes())?,
                false => put_csv(path, |w| confusion_rows(w, classes, confusion))?,
            }
        }
        if let Some(path) = &self.predictions {
            put_csv(path, |w| {
                w.write_record(["image", "class", "predicted", "confidence", "loss"])?;
                scores.outcomes().iter().zip(names).try_for_each(|(outcome, name)| {
                    let predicted = outcome.predicted.map_or("", |class| &classes[class as usize]);
                    let class = &classes[outcome.label as usize];
                    let [confidence, loss] = [outcome.confidence, outcome.loss].map(|v| v.to_string());
                    w.write_record([name, class, predicted, &confidence, &loss])
                })
            })?;
        }
        Ok(())
    }

    /// Writes the curve of `views`.
    pub fn write_curve(&self, views: &[View]) -> Result<()> {
        let Some(path) = &self.tta_curve else { return Ok(()) };
        if is_picture(path) {
            return put(path, curve(views)?.as_bytes());
        }
        put_csv(path, |w| views.iter().try_for_each(|view| w.serialize(view.line())))
    }
}

fn confusion_rows(
    w: &mut csv::Writer<Vec<u8>>,
    classes: &[String],
    confusion: &Confusion,
) -> csv::Result<()> {
    let undecided = (0..classes.len()).any(|label| confusion.undecided(label) > 0);
    let end = undecided.then_some("no prediction");
    w.write_record(["class"].into_iter().chain(classes.iter().map(String::as_str)).chain(end))?;
    (0..classes.len()).try_for_each(|label| {
        let counts = (0..classes.len()).map(|column| confusion.count(label, column));
        let counts = counts.chain(undecided.then(|| confusion.undecided(label)));
        w.write_record([classes[label].clone()].into_iter().chain(counts.map(|count| count.to_string())))
    })
}

/// The accuracy and the weighted F1 by the number of views.
fn curve(views: &[View]) -> Result<String> {
    let at = |view: &View| view.views as f64;
    let percent = |value: f64| 100.0 * value;
    let accuracy = Curve {
        name: "top-1, with its 95 % interval".into(),
        points: views.iter().map(|view| (at(view), percent(view.top1))).collect(),
        intervals: views.iter().map(|view| (percent(view.interval.0), percent(view.interval.1))).collect(),
    };
    let f1 = Curve {
        name: "weighted F1".into(),
        points: views.iter().map(|view| (at(view), percent(view.weighted_f1.unwrap_or(f64::NAN)))).collect(),
        intervals: Vec::new(),
    };
    Curves {
        title: "Test-time augmentation",
        x: "augmented views of each image",
        y: "%",
        logarithmic: false,
        range: None,
        curves: vec![accuracy, f1],
        marks: Vec::new(),
    }
    .svg()
}
