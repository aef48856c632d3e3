//! Share of masked weights by epoch and by layer.

use crate::page::figures::count;
use crate::page::html::{Text, section, table};
use crate::page::svg::{Axis, Curve, curves};
use crate::report::{Report, Row};
use lopper_engine::train::EpochMetrics;
use lopper_engine::train::metrics::LayerSparsity;

/// Most epochs with a column of their own.
const COLUMNS: usize = 12;

/// The sparsity of a stage that masks weights while it trains.
pub fn sparsity(_: &Report, row: &Row) -> String {
    let epochs = row.details.as_ref().map_or(&[][..], |details| &details.epochs);
    let masked: Vec<&EpochMetrics> = epochs.iter().filter(|epoch| !epoch.sparsity.is_empty()).collect();
    let (Some(first), Some(last)) = (masked.first(), masked.last()) else { return String::new() };
    let total = |epoch: &EpochMetrics| 100.0 * LayerSparsity::total(&epoch.sparsity).fraction();
    let curve = Curve {
        name: "zeros".into(),
        points: masked.iter().map(|epoch| ((epoch.epoch + 1) as f64, total(epoch))).collect(),
        intervals: Vec::new(),
    };
    let x = Axis::numbers(first.epoch + 1, last.epoch + 1);
    let y = Axis::from_zero(curve.points.iter().map(|point| point.1));
    let chart = match masked.len() {
        1 => String::new(),
        _ => curves("Masked weights of all layers", [(x, "epoch"), (y, "% of weights")], &[curve]),
    };
    let step = masked.len().div_ceil(COLUMNS).max(1);
    // Counted from the end, so that the last epoch is shown.
    let mut shown: Vec<&&EpochMetrics> = masked.iter().rev().step_by(step).collect();
    shown.reverse();
    let epochs: Vec<String> = shown.iter().map(|epoch| format!("epoch {}", epoch.epoch + 1)).collect();
    let mut headings = vec!["layer", "weights"];
    headings.extend(epochs.iter().map(String::as_str));
    let lines = last.sparsity.iter().map(|layer| {
        let mut cells = vec![Text(&layer.layer).to_string(), count(layer.weights)];
        cells.extend(shown.iter().map(|epoch| {
            let found = epoch.sparsity.iter().find(|other| other.layer == layer.layer);
            found.map_or("–".into(), |found| shaded(found.fraction()))
        }));
        cells
    });
    let heat = format!("<div class=\"heat\">{}</div>", table(&headings, &[], lines));
    section(
        "sparsity",
        "Sparsity by epoch and by layer",
        &format!(
            "<div class=\"charts\">{chart}</div>\n<p class=\"note\">Percent of each layer's weights that a mask holds at \
             zero at the end of an epoch. Under a global context the layers compete, and those with weights to spare \
             lose most.</p>\n{heat}"
        ),
    )
}

/// A share, behind a bar of its size.
fn shaded(share: f64) -> String {
    let percent = 100.0 * share;
    format!(
        "<span style=\"background:linear-gradient(90deg,rgba(var(--hit),.3) {percent:.1}%,transparent {percent:.1}%);\
         display:block;padding:0 .25rem\">{percent:.1}</span>"
    )
}
