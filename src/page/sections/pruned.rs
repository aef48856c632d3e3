//! Share of removed channels by epoch and by layer.

use super::sparsity::shaded;
use crate::page::figures::count;
use crate::page::html::{Text, section, table};
use crate::page::svg::{Axis, Curve, curves};
use crate::report::{Report, Row};
use lopper_engine::train::metrics::{LayerPruned, Pruned};

/// Most epochs with a column of their own.
const COLUMNS: usize = 12;

/// The channels that a stage removes while it trains.
pub fn pruned(_: &Report, row: &Row) -> String {
    let epochs = row.details.as_ref().map_or(&[][..], |details| &details.epochs);
    let pruned: Vec<(usize, &Pruned)> =
        epochs.iter().filter_map(|epoch| Some((epoch.number(), epoch.pruned.as_ref()?))).collect();
    let (Some((first, _)), Some((last, end))) = (pruned.first(), pruned.last()) else { return String::new() };
    let along = |name: &str, share: fn(&Pruned) -> f64| Curve {
        name: name.into(),
        points: pruned.iter().map(|(epoch, pruned)| (*epoch as f64, 100.0 * share(pruned))).collect(),
        intervals: Vec::new(),
    };
    let lines = [along("removed", Pruned::fraction), along("schedule", |pruned| pruned.target)];
    let y = Axis::from_zero(lines.iter().flat_map(|line| &line.points).map(|point| point.1));
    let axes = [(Axis::numbers(*first, *last), "epoch"), (y, "% of channels")];
    let chart = match pruned.len() {
        1 => String::new(),
        _ => curves("Channels removed", axes, &lines),
    };
    let heat = format!("<div class=\"heat\">{}</div>", by_layer(&pruned, end));
    section(
        "pruned",
        "Removed channels by epoch and by layer",
        &format!(
            "<div class=\"charts\">{chart}</div>\n<p class=\"note\">Percent of each layer's channels that the training has \
             removed by the end of an epoch. The network shrinks while it trains: what is removed does not come \
             back.</p>\n{heat}"
        ),
    )
}

/// The share that each layer of `end`, the last epoch, has lost by the epochs of `pruned`.
fn by_layer(pruned: &[(usize, &Pruned)], end: &Pruned) -> String {
    let step = pruned.len().div_ceil(COLUMNS).max(1);
    // Counted from the end, so that the last epoch is shown.
    let mut shown: Vec<&(usize, &Pruned)> = pruned.iter().rev().step_by(step).collect();
    shown.reverse();
    let epochs: Vec<String> = shown.iter().map(|(epoch, _)| format!("epoch {epoch}")).collect();
    let mut headings = vec!["layer", "channels"];
    headings.extend(epochs.iter().map(String::as_str));
    let lines = end.layers.iter().map(|layer: &LayerPruned| {
        let mut cells = vec![Text(&layer.layer).to_string(), count(layer.channels)];
        cells.extend(shown.iter().map(|(_, pruned)| {
            let found = pruned.layers.iter().find(|other| other.layer == layer.layer);
            found.map_or("–".into(), |found| shaded(found.fraction()))
        }));
        cells
    });
    table(&headings, &[], lines)
}
