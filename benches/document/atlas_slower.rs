//! Where a mask makes a layer slower: the cells in which the kernel that the plan chooses loses to the best dense one.

use super::atlas::place_of;
use super::charts::distinct;
use super::markdown::{table, three};
use lopper::atlas::{Row, Way};

/// The ways that keep the widths of a layer.
const WAYS: [&str; 8] =
    ["masked", "compacted", "weight", "block:2", "block:4", "block:8", "kernel_block:8", "kernel_block:16"];

/// A cell counts as slower if it is in every round by more than this share.
const WITHIN: f64 = 0.02;

/// A table of how many cells are slower for each way, batch and number of threads.
pub fn text(rows: &[Row]) -> String {
    let mut places = distinct(rows, |row| (row.threads, row.batch));
    places.sort_unstable();
    let chosen = |way: &str| -> Vec<&Row> {
        rows.iter().filter(|row| row.way == way && row.packed == "chosen" && row.sparsity > 0).collect()
    };
    let lines = WAYS.iter().map(|way| (way, chosen(way))).filter(|(_, cells)| !cells.is_empty());
    let lines = lines.map(|(way, cells)| {
        let (same, slower): (Vec<&Row>, Vec<&Row>) = cells
            .iter()
            .filter(|row| row.over_best_high < 1.0 - WITHIN)
            .partition(|row| fastest_dense(rows, row).is_some_and(|dense| computes_alike(dense, row)));
        let here = |row: &&&Row, place: (usize, usize)| (row.threads, row.batch) == place;
        let counts = places.iter().map(|&place| {
            let of = cells.iter().filter(|row| here(row, place)).count();
            format!("{} of {of}", slower.iter().filter(|row| here(row, place)).count())
        });
        let worst = slower.iter().min_by(|a, b| a.over_best.total_cmp(&b.over_best));
        let worst = worst.map_or("–".into(), |row| {
            let place = place_of(row.batch, row.threads);
            format!("{}: {}, {} %, {place}", three(row.over_best), row.shape, row.sparsity)
        });
        [way.to_string()].into_iter().chain(counts).chain([same.len().to_string(), worst]).collect()
    });
    let titles: Vec<String> = places.iter().map(|&(threads, batch)| place_of(batch, threads)).collect();
    let mut head = vec!["way"];
    head.extend(titles.iter().map(String::as_str));
    head.extend(["same kernel", "slowest"]);
    format!(
        "\nWhere a mask makes a layer slower: the number of cells with zeros in which the chosen kernel takes over {:.0} % longer than the
best dense one in every round. Cells that compute the same products with the same kernel as the dense layer, and differ
from it by their place in memory alone, are counted apart.\n{}",
        100.0 * WITHIN,
        table(1, &head, lines.collect::<Vec<Vec<String>>>())
    )
}

/// The fastest dense kernel of the cell of `row`.
fn fastest_dense<'a>(rows: &'a [Row], row: &Row) -> Option<&'a Row> {
    let ways = Way::DENSE.map(|way| way.to_string());
    let dense = rows
        .iter()
        .filter(|other| other.same_place(row) && other.sparsity == row.sparsity && ways.contains(&other.way));
    dense.min_by(|a, b| a.median_ms.total_cmp(&b.median_ms))
}

/// Whether two ways run the same kernel on the same number of products.
fn computes_alike(dense: &Row, row: &Row) -> bool {
    (&dense.kernel, dense.products) == (&row.kernel, row.products)
}
