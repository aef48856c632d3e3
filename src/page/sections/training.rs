//! Learning curves.

use crate::page::figures::{duration, percent};
use crate::page::html::{folded, section, table};
use crate::page::svg::{Axis, Curve, curves};
use crate::report::{Report, Row};
use lopper_engine::train::EpochMetrics;

/// The curves of a stage that trained, and its epochs as a table.
pub fn training(_: &Report, row: &Row) -> String {
    let epochs = row.details.as_ref().map_or(&[][..], |details| &details.epochs);
    match epochs.len() {
        0 => String::new(),
        // A curve needs two points.
        1 => section("training", "Training", &figures(epochs)),
        _ => section(
            "training",
            "Learning curves",
            &format!(
                "<div class=\"charts\">{}</div>\n{}",
                charts(epochs),
                folded("Every epoch in figures", &figures(epochs))
            ),
        ),
    }
}

/// Losses, accuracy and learning rate by epoch.
fn charts(epochs: &[EpochMetrics]) -> String {
    let along = |of: fn(&EpochMetrics) -> f64| -> Vec<(f64, f64)> {
        epochs.iter().map(|epoch| (epoch.number() as f64, of(epoch))).collect()
    };
    let curve = |name: &str, points| Curve { name: name.into(), points, intervals: Vec::new() };
    let last = epochs.iter().map(|epoch| epoch.epochs.max(epoch.number())).max().unwrap_or(1);
    let x = (Axis::numbers(1, last), "epoch");
    let losses = [
        curve("training", along(|epoch| epoch.train_loss)),
        curve("validation", along(|epoch| epoch.val_loss.unwrap_or(f64::NAN))),
    ];
    let ys = losses.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
    let mut charts = curves("Loss", [x, (Axis::over(ys), "loss")], &losses);
    if epochs.iter().any(|epoch| epoch.val.is_some()) {
        let intervals: Vec<(f64, f64)> = epochs.iter().map(interval).collect();
        let accuracy = Curve {
            name: "top-1".into(),
            points: along(|epoch| epoch.val.map_or(f64::NAN, |accuracy| 100.0 * accuracy.top1())),
            intervals: intervals.clone(),
        };
        let y = Axis::over(intervals.iter().flat_map(|&(low, high)| [low, high]));
        charts += &curves("Validation accuracy, 95 % interval", [x, (y, "top-1 %")], &[accuracy]);
    }
    let rates = curve("rate", along(|epoch| epoch.learning_rate));
    let y = Axis::from_zero(rates.points.iter().map(|point| point.1));
    charts + &curves("Learning rate of each epoch's last step", [x, (y, "learning rate")], &[rates])
}

/// The 95 % interval of an epoch's accuracy, in percent.
fn interval(epoch: &EpochMetrics) -> (f64, f64) {
    epoch.val.map_or((f64::NAN, f64::NAN), |accuracy| {
        let (low, high) = accuracy.wilson95();
        (100.0 * low, 100.0 * high)
    })
}

/// A line for each epoch.
fn figures(epochs: &[EpochMetrics]) -> String {
    let headings =
        ["epoch", "training loss", "validation loss", "top-1", "weighted F1", "rate", "images/s", "time"];
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
    let lines = epochs.iter().map(|epoch| {
        vec![
            epoch.number().to_string(),
            number(Some(epoch.train_loss)),
            number(epoch.val_loss),
            epoch.val.map_or("–".into(), |accuracy| percent(accuracy.top1())),
            epoch.weighted_f1.map_or("–".into(), percent),
            format!("{:.2e}", epoch.learning_rate),
            format!("{:.0}", epoch.images_per_second),
            duration(epoch.seconds),
        ]
    });
    table(&headings, &[], lines)
}
