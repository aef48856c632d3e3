//! Which channels to remove: lopper's criteria beside Torch-Pruning's, at equal measured latency.

use super::markdown::table;
use crate::common::rows::PrunerRow;
use lopper::report::seeded_percent;
use lopper_engine::train::metrics::mean95;

/// Returns the table of the means over all seeds: the dense network, then the others by falling accuracy.
pub fn by_method(rows: &[PrunerRow]) -> String {
    let mut methods: Vec<Vec<&PrunerRow>> = Vec::new();
    for row in rows {
        match methods.iter_mut().find(|seeds| (&seeds[0].by, &seeds[0].method) == (&row.by, &row.method)) {
            Some(seeds) => seeds.push(row),
            None => methods.push(vec![row]),
        }
    }
    methods.sort_by(|a, b| is_dense(b).cmp(&is_dense(a)).then(mean(b, top1).total_cmp(&mean(a, top1))));
    let head =
        ["by", "channels chosen by", "top-1 % (95 %)", "before tuning", "parameters", "MMACs", "latency"];
    let lines = methods.iter().map(|seeds| {
        let shares: Vec<f64> = seeds.iter().map(|row| row.top1).collect();
        let accuracy =
            mean95(&shares).map_or("–".into(), |(mean, interval)| seeded_percent(mean, interval));
        let before = match is_dense(seeds) {
            true => "–".into(),
            false => format!("{:.2}", 100.0 * mean(seeds, |row| row.top1_before_tuning.unwrap_or(row.top1))),
        };
        vec![
            seeds[0].by.clone(),
            seeds[0].method.replace('_', " "),
            accuracy,
            before,
            format!("{:.2} M", 1e-6 * mean(seeds, |row| row.params as f64)),
            format!("{:.1}", 1e-6 * mean(seeds, |row| row.macs as f64)),
            format!("{:.2} ×", mean(seeds, |row| row.latency_ratio)),
        ]
    });
    table(2, &head, lines)
}

/// Whether these rows are those of the network before any cut.
fn is_dense(seeds: &[&PrunerRow]) -> bool {
    seeds[0].method == "dense"
}

fn top1(row: &PrunerRow) -> f64 {
    row.top1
}

fn mean(seeds: &[&PrunerRow], value: impl Fn(&PrunerRow) -> f64) -> f64 {
    seeds.iter().map(|row| value(row)).sum::<f64>() / seeds.len() as f64
}
