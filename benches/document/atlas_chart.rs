//! The picture of the atlas: the speedup over the best dense kernel by share of zero weights, for each way of being sparse.

use super::atlas::{for_each_class, place_of, summarized};
use super::charts::{colored, distinct, subtitle};
use super::dots::{Chart, Panel};
use super::peers::median;
use crate::common::record::Record;
use lopper::atlas::Row;
use lopper_engine::Result;

/// The ways and what the picture calls them. The first is drawn on top.
const WAYS: [(&str, &str); 6] = [
    ("pruned", "pruned"),
    ("masked", "filters"),
    ("kernel_block:16", "kernels of 16"),
    ("block:4", "blocks of 4"),
    ("weight", "weights"),
    ("", "ideal, 1/(1 − s)"),
];

/// Plots the median over the layers of a class, with a panel for each class and a row for each share of zeros.
pub fn chart(record: &Record<Row>) -> Result<String> {
    let mut sparsities = distinct(&record.rows, |row| row.sparsity);
    sparsities.retain(|&sparsity| sparsity > 0);
    let (place, mut panels) = (summarized(&record.rows), Vec::new());
    for_each_class(
        &record.rows,
        |row| &row.shape,
        |row| (row.batch, row.threads),
        |title, here| {
            // Depthwise kernels skip nothing.
            if (here[0].batch, here[0].threads) == place && !title.starts_with("depthwise") {
                let class = title.split(',').next().unwrap_or(title);
                panels.push(panel(class, &here, &sparsities));
            }
        },
    );
    Chart {
        title: "When zeros pay: speedup over the best dense kernel".into(),
        subtitle: subtitle(
            &format!("median over layers, {}; the number is for pruned", place_of(place.0, place.1)),
            record,
        ),
        axis: "speedup over the best dense kernel".into(),
        series: colored(WAYS.map(|(_, name)| name)),
        ticks: vec![0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
        logarithmic: true,
        reference: 1.0,
        rows: sparsities.iter().map(|sparsity| format!("{sparsity} % zero weights")).collect(),
        panels,
    }
    .svg()
}

fn panel(class: &str, here: &[&Row], sparsities: &[u32]) -> Panel {
    let speedup = |sparsity: u32, way: &str| {
        if way.is_empty() {
            return Some(100.0 / f64::from(100 - sparsity));
        }
        let of =
            |row: &&&Row| (row.way.as_str(), row.packed.as_str(), row.sparsity) == (way, "chosen", sparsity);
        let speedups: Vec<f64> = here.iter().filter(of).map(|row| row.over_best).collect();
        (!speedups.is_empty()).then(|| median(speedups))
    };
    let note = |&sparsity: &u32| speedup(sparsity, "pruned").map_or(String::new(), |s| format!("{s:.1}×"));
    Panel {
        title: class.into(),
        values: sparsities.iter().map(|&s| WAYS.map(|(way, _)| speedup(s, way)).to_vec()).collect(),
        notes: sparsities.iter().map(note).collect(),
    }
}
