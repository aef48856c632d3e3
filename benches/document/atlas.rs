//! The atlas: its page, its section of BENCHMARKS.md, and the tables in `docs/sparse-vs-pruned.md`.
//!
//! The document is written by hand except for blocks between `<!-- begin: NAME -->` and `<!-- end: NAME -->`, which are
//! replaced by tables of the result file. Its prose states reasons and refers to the tables, so that it stays true when
//! the figures change.

use super::blocks::replaced;
use super::charts::distinct;
use super::markdown::{self, source, table, three};
use super::peers::median;
use crate::common::record::Record;
use crate::common::workload::{ATLAS_NETWORKS, ATLAS_SPARSITIES};
use lopper::atlas::{self, Crossing, Crossover, Row};
use lopper_engine::Result;

/// Layers that behave alike, by a test of their shape.
type Class = (&'static str, fn(&str) -> bool);

const CLASSES: [Class; 4] = [
    ("3×3 convolutions of stride 1", |shape| {
        shape.contains("3x3/1") && !shape.contains("groups") && !image(shape)
    }),
    ("1×1 convolutions", |shape| shape.contains("1x1/")),
    ("depthwise convolutions", |shape| shape.contains("groups")),
    ("linear layers", |shape| !shape.contains(' ')),
];

/// The ways in the section of BENCHMARKS.md.
const WAYS: [&str; 9] = [
    "masked",
    "compacted",
    "pruned",
    "weight",
    "block:2",
    "block:4",
    "block:8",
    "kernel_block:8",
    "kernel_block:16",
];

/// Whether a layer reads an image, whose three channels are never dead.
fn image(shape: &str) -> bool {
    shape.split(' ').next().is_some_and(|input| input.ends_with("x3"))
}

/// Returns the page.
pub fn page(record: &Record<Row>) -> String {
    atlas::page("Atlas of sparse kernels", &record.provenance, &record.rows)
}

/// Returns the section of BENCHMARKS.md: the median speedup of each way over the best dense kernel.
pub fn section(record: &Record<Row>) -> String {
    let sparsities = distinct(&record.rows, |row| row.sparsity);
    let summarized = summarized(&record.rows);
    let mut lines: Vec<Vec<String>> = Vec::new();
    for_each_class(
        &record.rows,
        |row| &row.shape,
        |row| (row.batch, row.threads),
        |title, here| {
            if (here[0].batch, here[0].threads) == summarized {
                let class = title.split(',').next().unwrap_or(title);
                lines.extend(WAYS.iter().filter_map(|way| medians(class, way, &here, &sparsities)));
            }
        },
    );
    let words = format!(
        "Every layer in every way of being sparse, at the same shares of zero weights. The table has the number of layers and the median
of their speedups over the best dense kernel, at {}, with the kernel that the plan chooses. Layers that read images
and strided 3×3 convolutions are in the result file only. The picture shows the same medians. [The atlas](docs/benchmarks/atlas.html) draws all layers, and
[docs/sparse-vs-pruned.md](docs/sparse-vs-pruned.md) explains its curves.{}

![speedup over the best dense kernel by share of zeros](docs/benchmarks/atlas.svg)",
        place_of(summarized.0, summarized.1),
        gaps(record)
    );
    let titles: Vec<String> = sparsities.iter().map(|s| format!("{s} %")).collect();
    let mut head = vec!["layers", "way", "number"];
    head.extend(titles.iter().map(String::as_str));
    markdown::section("Atlas of sparse kernels", record, &words) + &table(2, &head, lines)
}

/// The batch and the number of threads that stand for all: the largest batch, on one thread.
pub fn summarized(rows: &[Row]) -> (usize, usize) {
    (rows.iter().map(|row| row.batch).max().unwrap_or(1), 1)
}

/// A line of the section's table, if any layer has the way.
fn medians(class: &str, way: &str, here: &[&Row], sparsities: &[u32]) -> Option<Vec<String>> {
    let of_way = |row: &&&Row| (row.way.as_str(), row.packed.as_str()) == (way, "chosen");
    let rows: Vec<&Row> = here.iter().filter(of_way).copied().collect();
    let layers = distinct(&rows, |row| &row.layer).len();
    let mut cells = vec![class.to_string(), way.to_string(), layers.to_string()];
    cells.extend(sparsities.iter().map(|&sparsity| {
        let there = rows.iter().filter(|row| row.sparsity == sparsity);
        let speedups: Vec<f64> = there.map(|row| row.over_best).collect();
        if speedups.is_empty() { "–".into() } else { three(median(speedups)) }
    }));
    (layers > 0).then_some(cells)
}

/// Says what a whole atlas would have besides.
fn gaps(record: &Record<Row>) -> String {
    let has_network = |network: &str| {
        let prefix = format!("{network} ");
        record.rows.iter().any(|row| row.layer.starts_with(&prefix))
    };
    let has_sparsity = |sparsity: u32| record.rows.iter().any(|row| row.sparsity == sparsity);
    let networks = ATLAS_NETWORKS.split(',').filter(|network| !has_network(network));
    let sparsities = ATLAS_SPARSITIES.iter().filter(|&&sparsity| !has_sparsity(sparsity));
    let mut missing: Vec<String> = networks.map(|network| format!("the layers of {network}")).collect();
    missing.extend(sparsities.map(|sparsity| format!("{sparsity} % zeros")));
    if missing.is_empty() { String::new() } else { format!("\n\nNot measured: {}.", missing.join(", ")) }
}

/// Returns `text` with its blocks replaced.
///
/// # Errors
/// If a block is missing.
pub fn document(text: &str, record: &Record<Row>) -> Result<String> {
    let found = atlas::crossovers(&record.rows);
    [
        ("machine", machine(record)),
        ("curves", curves(&record.rows)),
        ("crossovers", crossings(&found)),
        ("bounds", bounds(&record.rows)),
    ]
    .into_iter()
    .try_fold(text.to_string(), |text, (name, block)| {
        replaced("docs/sparse-vs-pruned.md", &text, name, &block)
    })
}

fn machine(record: &Record<Row>) -> String {
    let layers = distinct(&record.rows, |row| &row.shape).len();
    format!("{} {layers} layers, {} rows.\n", source(record), record.rows.len())
}

pub fn place_of(batch: usize, threads: usize) -> String {
    let threads = if threads == 1 { "1 thread".into() } else { format!("{threads} threads") };
    format!("batch {batch}, {threads}")
}

/// The name of a way in tables; `!` marks a forced kernel.
fn name_of(way: &str, packed: &str) -> String {
    if packed == "forced" { format!("{way}!") } else { way.to_string() }
}

/// Tables of the mean speedups of each way by sparsity, for each class of layers.
fn curves(rows: &[Row]) -> String {
    let mut text = "Geometric means over the layers of a class: speedup over direct / over the best dense kernel. `!` marks a \
kernel that was forced, where the plan chooses another.\n"
        .to_string();
    let sparsities = distinct(rows, |row| row.sparsity);
    let titles: Vec<String> = sparsities.iter().map(|s| format!("{s} %")).collect();
    for_each_class(
        rows,
        |row| &row.shape,
        |row| (row.batch, row.threads),
        |title, here| {
            let ways = distinct(&here, |row| (row.way.as_str(), row.packed.as_str()));
            let lines = ways.into_iter().filter(|(way, _)| *way != "direct").map(|(way, packed)| {
                let mut cells = vec![name_of(way, packed)];
                cells.extend(sparsities.iter().map(|&sparsity| {
                    let of = |row: &&&Row| {
                        (row.way.as_str(), row.packed.as_str(), row.sparsity) == (way, packed, sparsity)
                    };
                    let here: Vec<&&Row> = here.iter().filter(of).collect();
                    let mean =
                        |speedup: fn(&Row) -> f64| three(geometric_mean(here.iter().map(|row| speedup(row))));
                    match here.is_empty() {
                        true => "–".into(),
                        false => format!("{} / {}", mean(|row| row.over_direct), mean(|row| row.over_best)),
                    }
                }));
                cells
            });
            let mut head = vec!["way"];
            head.extend(titles.iter().map(String::as_str));
            text += &format!("\n{title}:\n{}", table(1, &head, lines));
        },
    );
    text
}

/// Tables of the crossovers of each way, for each class of layers.
fn crossings(crossovers: &[Crossover]) -> String {
    let mut text = "Percent of zero weights from which a way is faster: the median over the layers of a class, the lowest and the \
highest, and in how many layers it never is. Ways whose kernel skips nothing are left out.\n"
        .to_string();
    for_each_class(
        crossovers,
        |c| &c.shape,
        |c| (c.batch, c.threads),
        |title, here| {
            let ways = distinct(&here, |c| (c.way.as_str(), c.packed.as_str()));
            let lines: Vec<Vec<String>> = ways
                .into_iter()
                .filter_map(|(way, packed)| {
                    let of = |c: &&&Crossover| {
                        (c.way.as_str(), c.packed.as_str()) == (way, packed) && !c.skips_nothing
                    };
                    let here: Vec<&&Crossover> = here.iter().filter(of).collect();
                    let cell = |of: fn(&Crossover) -> Crossing| summary(here.iter().map(|c| of(c).at));
                    (!here.is_empty()).then(|| {
                        vec![
                            name_of(way, packed),
                            here.len().to_string(),
                            cell(|c| c.direct),
                            cell(|c| c.best),
                        ]
                    })
                })
                .collect();
            if !lines.is_empty() {
                let head = ["way", "layers", "against direct", "against the best dense"];
                text += &format!("\n{title}:\n{}", table(1, &head, lines));
            }
        },
    );
    text
}

/// Median, range, and the number of layers without a crossover.
fn summary(crossings: impl Iterator<Item = Option<f64>>) -> String {
    let (mut found, mut never) = (Vec::new(), 0);
    crossings.for_each(|at| match at {
        Some(at) => found.push(at),
        None => never += 1,
    });
    found.sort_by(f64::total_cmp);
    let never = |separator| if never == 0 { String::new() } else { format!("{separator}never in {never}") };
    match found.as_slice() {
        [] => never(""),
        [only] => format!("{only:.0}{}", never("; ")),
        all => {
            let (middle, first, last) = (all[all.len() / 2], all[0], all[all.len() - 1]);
            format!("{middle:.0} ({first:.0}–{last:.0}){}", never("; "))
        }
    }
}

/// A table of the time of masked and compacted over that of their bounds.
fn bounds(rows: &[Row]) -> String {
    let sparsities: Vec<u32> = distinct(rows, |row| row.sparsity).into_iter().filter(|&s| s > 0).collect();
    let titles: Vec<String> = sparsities.iter().map(|s| format!("{s} %")).collect();
    let mut lines = Vec::new();
    for_each_class(
        rows,
        |row| &row.shape,
        |row| (row.batch, row.threads),
        |title, here| {
            for (way, bound) in [("masked", "pruned_filters"), ("compacted", "pruned")] {
                let mut cells = vec![title.to_string(), format!("{way} ÷ {bound}")];
                let mut any = false;
                cells.extend(sparsities.iter().map(|&sparsity| {
                    let ratio = |row: &&Row| {
                        let of = |other: &&&Row| {
                            other.same_place(row) && (other.way.as_str(), other.sparsity) == (bound, sparsity)
                        };
                        here.iter().find(of).map(|bound| row.median_ms / bound.median_ms)
                    };
                    let here = here.iter().filter(|row| (row.way.as_str(), row.sparsity) == (way, sparsity));
                    let ratios: Vec<f64> = here.filter_map(ratio).collect();
                    any |= !ratios.is_empty();
                    if ratios.is_empty() { "–".into() } else { three(geometric_mean(ratios.into_iter())) }
                }));
                if any {
                    lines.push(cells);
                }
            }
        },
    );
    let mut head = vec!["layers", "time ÷ its bound's"];
    head.extend(titles.iter().map(String::as_str));
    table(2, &head, lines)
}

/// Calls `f` for each class of layers in each place with a title and the items there, unless there are none.
pub fn for_each_class<'a, T>(
    items: &'a [T],
    shape: fn(&T) -> &str,
    place: fn(&T) -> (usize, usize),
    mut f: impl FnMut(&str, Vec<&'a T>),
) {
    for (class, belongs) in CLASSES {
        for (batch, threads) in distinct(items, place) {
            let here: Vec<&T> =
                items.iter().filter(|item| place(item) == (batch, threads) && belongs(shape(item))).collect();
            if !here.is_empty() {
                f(&format!("{class}, {}", place_of(batch, threads)), here);
            }
        }
    }
}

pub fn geometric_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    values.for_each(|value| {
        sum += value.ln();
        count += 1;
    });
    (sum / f64::from(count.max(1))).exp()
}
