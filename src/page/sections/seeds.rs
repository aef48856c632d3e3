//! Means over several seeds.

use crate::page::html::{Text, table};
use crate::report::{Report, seeded_percent};

/// The table of means; empty for a run with one seed.
pub fn seeds(report: &Report) -> String {
    let Some(seeds) = &report.seeds else { return String::new() };
    let rows = seeds.stages.iter().map(|stage| {
        let values: Vec<String> = stage.top1.iter().map(|top1| format!("{:.2}", 100.0 * top1)).collect();
        let against: Vec<String> = stage
            .against
            .iter()
            .map(|other| {
                format!("{} against {}", seeded_percent(other.mean, other.interval), Text(&other.stage))
            })
            .collect();
        vec![
            Text(&stage.stage).to_string(),
            seeded_percent(stage.mean, stage.interval),
            values.join(", "),
            against.join("<br>"),
        ]
    });
    let table =
        table(&["stage", "mean top-1 % (95 %)", "by seed", "difference in points (95 %)"], &[3], rows);
    let numbers: Vec<String> = seeds.seeds.iter().map(u64::to_string).collect();
    format!(
        "<section class=\"part\" id=\"seeds\">\n<h2>Over {} seeds</h2>\n{table}<p class=\"note\">Seeds {}. Intervals are those \
         of a mean by Student’s t; differences are taken seed by seed. They describe other seeds, while the intervals of a \
         stage describe other images.</p>\n</section>\n",
        seeds.seeds.len(),
        numbers.join(", ")
    )
}
