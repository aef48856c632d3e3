//! The atlas as one HTML file: small multiples by layer, without network access.
//!
//! The page holds its data as JSON, which a script draws as SVG. Names reach the page only as JSON strings and text
//! nodes, never as markup.

use super::record::Row;
use serde::Serialize;

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

#[derive(Serialize)]
struct Data<'a> {
    head: &'a [(String, String)],
    charts: Vec<Chart<'a>>,
}

/// The curves of one layer in one place.
#[derive(Serialize)]
struct Chart<'a> {
    layer: &'a str,
    shape: &'a str,
    device: &'a str,
    batch: usize,
    threads: usize,
    macs: u64,
    series: Vec<Series<'a>>,
}

#[derive(Serialize)]
struct Series<'a> {
    way: &'a str,
    packed: &'a str,
    dense: bool,
    points: Vec<Point<'a>>,
}

/// A measured point. GFLOP/s count nonzero weights; the share of the peak counts what the kernel multiplies.
#[derive(Serialize)]
struct Point<'a> {
    sparsity: u32,
    zeros: f64,
    kernel: &'a str,
    ms: [f64; 3],
    direct: [f64; 3],
    best: f64,
    gflops: f64,
    peak: Option<f64>,
}

/// Returns the page for `rows`, with the header of their file.
pub fn page(title: &str, head: &[(String, String)], rows: &[Row]) -> String {
    let data = Data { head, charts: charts(rows) };
    let json = serde_json::to_string(&data).expect("strings and finite numbers are JSON");
    // `<` would end the script element in `</script>` or open a comment; in JSON it occurs only in strings.
    let json = json.replace('<', "\\u003c");
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    let page = FRAME.replace("{{title}}", &title).replace("{{style}}", STYLE).replace("{{script}}", SCRIPT);
    // The data comes last, so that nothing in it is replaced.
    page.replacen("{{data}}", &json, 1)
}

fn charts(rows: &[Row]) -> Vec<Chart<'_>> {
    let mut charts: Vec<Chart> = Vec::new();
    for cell in rows.chunk_by(Row::same_place) {
        let row = &cell[0];
        let mut chart = Chart {
            layer: &row.layer,
            shape: &row.shape,
            device: &row.device,
            batch: row.batch,
            threads: row.threads,
            macs: row.macs,
            series: Vec::new(),
        };
        cell.iter().for_each(|row| add(&mut chart.series, row));
        for series in &mut chart.series {
            series
                .points
                .sort_by(|a, b| (a.sparsity, a.zeros).partial_cmp(&(b.sparsity, b.zeros)).expect("finite"));
        }
        charts.push(chart);
    }
    charts
}

fn add<'a>(series: &mut Vec<Series<'a>>, row: &'a Row) {
    let dense = !row.is_sparse();
    // Which algorithm is the plan's choice may differ between cells; a dense way is one series nevertheless.
    let same = |known: &Series| known.way == row.way && (dense || known.packed == row.packed);
    let at = series.iter().position(same).unwrap_or_else(|| {
        series.push(Series { way: &row.way, packed: &row.packed, dense, points: Vec::new() });
        series.len() - 1
    });
    series[at].points.push(Point {
        sparsity: row.sparsity,
        zeros: row.zeros,
        kernel: &row.kernel,
        ms: [row.median_ms, row.low_ms, row.high_ms],
        direct: [row.over_direct, row.over_direct_low, row.over_direct_high],
        best: row.over_best,
        gflops: super::record::round(row.live_gflops()),
        peak: row.share_of_peak().map(super::record::round),
    });
}
