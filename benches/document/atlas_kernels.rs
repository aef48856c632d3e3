//! What the sparse kernels reach by themselves: their speedups over the direct dense kernel, or over the best one, and how much
//! of the share of weights that pruning removes becomes speed.

use super::atlas::{geometric_mean, place_of, summarized};
use super::charts::distinct;
use super::markdown::{table, three};
use lopper::atlas::Row;

/// The ways in row lanes, whose kernel is timed even where the plan chooses another.
const LANES: [&str; 4] = ["weight", "block:2", "block:4", "block:8"];
/// The ways that Winograd's products skip.
const KERNELS: [&str; 2] = ["kernel_block:8", "kernel_block:16"];

/// The target of a way where `sparsity` percent of the weights are zero, if there is one.
fn target(way: &str, sparsity: u32) -> Option<f64> {
    let targets: &[f64] = match way {
        "weight" => &[1.4, 2.3, 3.4, 6.0, 10.0],
        "block:2" | "block:4" | "block:8" => &[1.8, 3.0, 4.2, 7.5, 12.0],
        "kernel_block:8" | "kernel_block:16" => &[1.4, 1.8, 2.0, 2.4],
        _ => &[0.8; 5],
    };
    let place = [50, 70, 80, 90, 95].iter().position(|&listed| listed == sparsity)?;
    targets.get(place).copied()
}

/// A table of geometric means over the 3×3 convolutions of stride 1 with 64 channels or more and at most 32² pixels.
pub fn text(rows: &[Row]) -> String {
    let (place, mut sparsities) = (summarized(rows), distinct(rows, |row| row.sparsity));
    sparsities.retain(|&sparsity| sparsity >= 50);
    let here: Vec<&Row> =
        rows.iter().filter(|row| (row.batch, row.threads) == place && is_deep(&row.shape)).collect();
    let line = |way: &str, of: &str, value: &dyn Fn(&Row) -> Option<f64>| {
        let cells = sparsities.iter().map(|&sparsity| {
            let there: Vec<&&Row> =
                here.iter().filter(|row| (row.way.as_str(), row.sparsity) == (way, sparsity)).collect();
            let best = |layer: &String| {
                let values = there.iter().filter(|row| row.layer == *layer).filter_map(|row| value(row));
                values.reduce(f64::max)
            };
            let layers = distinct(&there, |row| &row.layer);
            let values: Vec<f64> = layers.into_iter().filter_map(best).collect();
            if values.is_empty() {
                return "–".into();
            }
            let reached = three(geometric_mean(values.into_iter()));
            target(way, sparsity).map_or(reached.clone(), |target| format!("{reached} ({target})"))
        });
        [way.to_string(), of.to_string()].into_iter().chain(cells).collect::<Vec<String>>()
    };
    let chosen = |row: &Row| (row.packed == "chosen").then_some(row.over_best);
    let mut lines = Vec::new();
    for way in LANES {
        let of_lanes = |row: &Row| row.kernel.starts_with("row_lanes").then_some(row.over_direct);
        lines.push(line(way, "direct", &of_lanes));
    }
    for way in KERNELS {
        lines.push(line(way, "best dense", &chosen));
    }
    let kept = |row: &Row| chosen(row).map(|speedup| speedup * (1.0 - row.zeros / 100.0));
    lines.push(line("pruned", "1/(1 − s) · best dense", &kept));
    let titles: Vec<String> = sparsities.iter().map(|s| format!("{s} %")).collect();
    let mut head = vec!["way", "over"];
    head.extend(titles.iter().map(String::as_str));
    format!(
        "\nThe kernels by themselves, at {}: geometric means over the 3×3 convolutions of stride 1 with 64 channels or more and at most
32² pixels. Row lanes are timed even where the plan chooses another kernel. The last row is the share of the weights' ratio that
pruning turns into speed. Targets are in brackets.\n{}",
        place_of(place.0, place.1),
        table(2, &head, lines)
    )
}

/// Whether `shape` is that of a 3×3 convolution of stride 1 with many channels and few pixels.
fn is_deep(shape: &str) -> bool {
    let sizes: Vec<usize> =
        shape.split(' ').next().unwrap_or("").split('x').filter_map(|size| size.parse().ok()).collect();
    let fits = matches!(sizes[..], [h, _, c] if h <= 32 && c >= 64);
    fits && shape.ends_with("3x3/1")
}
