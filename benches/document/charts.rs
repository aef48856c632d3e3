//! The charts: networks against other engines, convolutions against the FMA peak, techniques against dense.

use super::Results;
use super::dots::{Chart, Panel};
use super::peers::{Case, cases, engines};
use crate::common::record::Record;
use crate::common::rows::{Conv2dRow, SparseRow};
use lopper_engine::Result;
use plotters::style::RGBColor;

/// Series colors; the first is for lopper, or for the chart's main subject.
const COLORS: [RGBColor; 6] = [
    RGBColor(232, 89, 12),
    RGBColor(28, 126, 214),
    RGBColor(47, 158, 68),
    RGBColor(156, 54, 181),
    RGBColor(134, 142, 150),
    RGBColor(240, 180, 0),
];

pub fn colored<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<(String, RGBColor)> {
    names.into_iter().map(str::to_string).zip(COLORS.into_iter().cycle()).collect()
}

/// Returns the distinct values of `key`, in order of first occurrence.
pub fn distinct<'a, Row, Key: PartialEq>(rows: &'a [Row], key: impl Fn(&'a Row) -> Key) -> Vec<Key> {
    let mut keys = Vec::new();
    for key in rows.iter().map(key) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Plots the latency of whole networks relative to the best peer's, with a panel for each number of threads.
pub fn networks(results: &Results) -> Result<String> {
    let cases = cases(&results.peers.rows, "network");
    let series: Vec<&str> = ["lopper"].into_iter().chain(engines(&cases)).collect();
    let keys = distinct(&cases, |case| (&case.row.what, case.row.size, case.row.batch));
    let mut threads = distinct(&cases, |case| case.row.threads);
    threads.sort_unstable();
    let panels = threads.iter().map(|&threads| {
        let find = |&(what, size, batch): &(&String, usize, usize)| {
            let is = |case: &&Case| {
                (&case.row.what, case.row.size, case.row.batch, case.row.threads)
                    == (what, size, batch, threads)
            };
            cases.iter().find(is)
        };
        let values = |key| series.iter().map(|name| find(key)?.over_best(name)).collect();
        let note = |key| find(key).map_or(String::new(), |case| format!("{:.2}", case.best().1));
        Panel {
            title: if threads == 1 { "1 thread".into() } else { format!("{threads} threads") },
            values: keys.iter().map(values).collect(),
            notes: keys.iter().map(note).collect(),
        }
    });
    Chart {
        title: "Latency of whole networks, relative to the best other engine".into(),
        subtitle: subtitle(
            "f32, timed in turn; further left is faster; the number is lopper's",
            &results.peers,
        ),
        axis: "time / best peer's time".into(),
        series: colored(series.iter().copied()),
        ticks: vec![0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0],
        logarithmic: true,
        reference: 1.0,
        rows: keys.iter().map(|(what, size, batch)| format!("{what}, {size} px, batch {batch}")).collect(),
        panels: panels.collect(),
    }
    .svg()
}

/// Plots the share of the FMA peak that convolutions reach by algorithm, with a panel for each batch size.
pub fn conv2d(results: &Results) -> Result<String> {
    let rows = &results.conv2d.rows;
    let layers = distinct(rows, |row| (&row.network, &row.layer));
    let algorithms = ["chosen", "direct", "input_grad", "weight_grad"];
    let panels = distinct(rows, |row| row.batch).into_iter().map(|batch| {
        let share = |&(network, layer): &(&String, &String), algorithm: &str| {
            let is = |row: &&Conv2dRow| {
                (&row.network, &row.layer, row.batch) == (network, layer, batch) && row.algorithm == algorithm
            };
            rows.iter().find(is).map(|row| 100.0 * row.gflops / row.peak_gflops)
        };
        Panel {
            title: format!("batch {batch}"),
            values: layers.iter().map(|key| algorithms.map(|name| share(key, name)).to_vec()).collect(),
            notes: layers
                .iter()
                .map(|key| share(key, "chosen").map_or(String::new(), |s| format!("{s:.0} %")))
                .collect(),
        }
    });
    let about = "operations of the direct algorithm; the number is for the chosen forward algorithm";
    Chart {
        title: "Convolutions: share of the peak of fused multiply-adds".into(),
        subtitle: subtitle(about, &results.conv2d),
        axis: "% of the FMA peak".into(),
        series: colored(algorithms.map(|name| match name {
            "chosen" => "forward, chosen",
            "direct" => "forward, direct",
            "input_grad" => "input gradient",
            _ => "weight gradient",
        })),
        ticks: vec![0.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0],
        logarithmic: false,
        reference: 100.0,
        rows: layers.iter().map(|(network, layer)| format!("{network} {layer}")).collect(),
        panels: panels.collect(),
    }
    .svg()
}

/// Plots the speedup over dense of masked, compacted and pruned convolutions at the largest batch, with a panel for
/// each share of dead filters.
pub fn sparse(results: &Results) -> Result<String> {
    let rows = &results.sparse.rows;
    let batch = rows.iter().map(|row| row.batch).max().unwrap_or(1);
    let layers = distinct(rows, |row| &row.layer);
    let techniques = ["pruned", "compacted", "masked"];
    let panels = distinct(rows, |row| row.dead_percent).into_iter().map(|dead| {
        let speedup = |layer: &String, technique: &str| {
            let is = |row: &&SparseRow| {
                (&row.layer, row.batch, row.dead_percent) == (layer, batch, dead)
                    && row.technique == technique
            };
            rows.iter().find(is).map(|row| row.speedup)
        };
        Panel {
            title: format!("{dead} % of the filters dead"),
            values: layers.iter().map(|layer| techniques.map(|t| speedup(layer, t)).to_vec()).collect(),
            notes: layers
                .iter()
                .map(|layer| speedup(layer, "pruned").map_or(String::new(), |s| format!("{s:.1}×")))
                .collect(),
        }
    });
    Chart {
        title: format!("Speedup from dead filters: VGG16's convolutions, batch {batch}"),
        subtitle: subtitle("speedup over dense; the number is for pruned", &results.sparse),
        axis: "speedup over dense".into(),
        series: colored(techniques),
        ticks: vec![0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
        logarithmic: true,
        reference: 1.0,
        rows: layers.iter().map(|layer| layer.to_string()).collect(),
        panels: panels.collect(),
    }
    .svg()
}

pub fn subtitle<Row: serde::de::DeserializeOwned>(about: &str, record: &Record<Row>) -> String {
    format!("{about}. {}, {}, {}", record.says("cpu"), record.says("isa"), record.says("date"))
}
