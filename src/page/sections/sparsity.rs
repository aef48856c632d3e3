//! Share of masked weights by epoch and by layer.

use crate::page::figures::count;
use crate::page::html::{Text, section, table};
use crate::page::svg::{Axis, Curve, curves};
use crate::report::{Report, Row};
use lopper_engine::train::EpochMetrics;

/// Most epochs with a column of their own.
const COLUMNS: usize = 12;

/// What an epoch has done to a layer: how many of its weights or channels, of how many.
struct Part<'a> {
    layer: &'a str,
    done: u64,
    all: u64,
}

impl Part<'_> {
    fn share(&self) -> f64 {
        self.done as f64 / self.all.max(1) as f64
    }
}

/// The sparsity of a stage that masks weights while it trains, and the channels that it removes.
pub fn sparsity(_: &Report, row: &Row) -> String {
    let epochs = row.details.as_ref().map_or(&[][..], |details| &details.epochs);
    let masked = section(
        "sparsity",
        "Sparsity by epoch and by layer",
        &by_epoch(epochs, ("Masked weights of all layers", "weights"), |epoch| {
            let layers = epoch.sparsity.iter();
            layers.map(|l| Part { layer: &l.layer, done: l.zeros, all: l.weights }).collect()
        }),
    );
    let pruned = section(
        "sparsity",
        "Channels removed by epoch and by layer",
        &by_epoch(epochs, ("Removed channels of all layers", "channels"), |epoch| {
            let layers = epoch.pruned.iter().flat_map(|pruned| &pruned.layers);
            layers.map(|l| Part { layer: &l.layer, done: l.removed, all: l.channels }).collect()
        }),
    );
    masked + &pruned
}

/// The share of all layers as a curve, and that of each layer as a table. `parts` are those of an epoch; empty if there are
/// none.
fn by_epoch<'a>(
    epochs: &'a [EpochMetrics],
    (title, unit): (&str, &str),
    parts: impl Fn(&'a EpochMetrics) -> Vec<Part<'a>>,
) -> String {
    let found: Vec<(usize, Vec<Part>)> = epochs.iter().map(|epoch| (epoch.number(), parts(epoch))).collect();
    let found: Vec<&(usize, Vec<Part>)> = found.iter().filter(|(_, parts)| !parts.is_empty()).collect();
    let (Some((first, _)), Some((last, layers))) = (found.first(), found.last()) else {
        return String::new();
    };
    let total = |parts: &[Part]| {
        let sum = |count: fn(&Part) -> u64| parts.iter().map(count).sum();
        100.0 * Part { layer: "", done: sum(|part| part.done), all: sum(|part| part.all) }.share()
    };
    let curve = Curve {
        name: unit.into(),
        points: found.iter().map(|(epoch, parts)| (*epoch as f64, total(parts))).collect(),
        intervals: Vec::new(),
    };
    let y = Axis::from_zero(curve.points.iter().map(|point| point.1));
    let chart = match found.len() {
        1 => String::new(),
        _ => {
            let axes = [(Axis::numbers(*first, *last), "epoch"), (y, "%")];
            format!("<div class=\"charts\">{}</div>\n", curves(title, axes, &[curve]))
        }
    };
    // Counted from the end, so that the last epoch is shown.
    let step = found.len().div_ceil(COLUMNS).max(1);
    let mut shown: Vec<_> = found.iter().rev().step_by(step).collect();
    shown.reverse();
    let titles: Vec<String> = shown.iter().map(|(epoch, _)| format!("epoch {epoch}")).collect();
    let headings: Vec<&str> = ["layer", unit].into_iter().chain(titles.iter().map(String::as_str)).collect();
    let lines = layers.iter().map(|layer| {
        let mut cells = vec![Text(layer.layer).to_string(), count(layer.all)];
        cells.extend(shown.iter().map(|(_, parts)| {
            let found = parts.iter().find(|other| other.layer == layer.layer);
            found.map_or("–".into(), |part| shaded(part.share()))
        }));
        cells
    });
    format!(
        "{chart}<p class=\"note\">Percent of each layer's {unit} at the end of an epoch. Under a global context the layers \
         compete, and those with {unit} to spare lose most.</p>\n<div class=\"heat\">{}</div>",
        table(&headings, &[], lines)
    )
}

/// A share, behind a bar of its size.
pub(super) fn shaded(share: f64) -> String {
    let percent = 100.0 * share;
    format!(
        "<span style=\"background:linear-gradient(90deg,rgba(var(--hit),.3) {percent:.1}%,transparent {percent:.1}%);\
         display:block;padding:0 .25rem\">{percent:.1}</span>"
    )
}
