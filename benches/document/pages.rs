//! The document: the source and the tables of each result file.

use super::Results;
use super::charts::distinct;
use super::peers::{Case, cases, engines};
use super::pruners;
use crate::common::record::Record;
use crate::common::rows::{Conv2dRow, LinearRow, PeerRow, PrunerRow, ResourcesRow, SparseRow, TargetRow};
use serde::de::DeserializeOwned;

const HEAD: &str = "\
# Benchmarks

`cargo bench --bench report` writes this file from the results in `docs/benchmarks`. Do not edit it by hand: a test
compares the two. Each section names the command that produced its results. `benches/run_all.sh` runs all of them and
this report (see `CONTRIBUTING.md`).

Machines are noisy, shared ones especially, so whatever is compared was timed in turn in one sitting; trust ratios, not
milliseconds. Times are medians. Each kernel's result was checked against plain loops in f64 before it was timed, and
each network's against the graph it was built from. GFLOP/s count the operations of the direct algorithm, so Winograd
F(4×4, 3×3), which needs a quarter of the multiplications, can exceed the peak of fused multiply-adds (FMA). The peak is
measured alongside each case, in the same process.
";

/// Returns all of BENCHMARKS.md.
pub fn document(results: &Results) -> String {
    [
        HEAD.to_string(),
        peers(results),
        sparse_peers(results),
        onnx_peers(results),
        pruners(&results.pruners),
        networks(results),
        conv2d(&results.conv2d),
        linear(&results.linear),
        sparse(&results.sparse),
        images(results),
        gpu(&results.cuda_resources),
    ]
    .join("\n")
}

/// Returns a heading, the command, date and machine of the measurement, and `words`.
fn section<Row: DeserializeOwned>(title: &str, record: &Record<Row>, words: &str) -> String {
    let says = |key| record.says(key);
    let short = says("command").contains("--quick") || says("command").contains("--rounds 1 ");
    let caution = if short { "**A short run that tests the benchmark, not the machine.**\n\n" } else { "" };
    format!("## {title}\n\n{}\n\n{caution}{words}\n", source(record))
}

/// Returns the command, date, commit and machine of a measurement.
pub fn source<Row: DeserializeOwned>(record: &Record<Row>) -> String {
    let says = |key| record.says(key);
    format!(
        "    {}\n\n{}, commit {}: {}, {} cores, {}, {}.",
        says("command"),
        says("date"),
        says("commit"),
        says("cpu"),
        says("cores"),
        says("isa"),
        says("rustc")
    )
}

/// Returns a Markdown table, whose first `words` columns hold words and the others numbers.
pub fn table(words: usize, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rules = (0..head.len()).map(|i| if i < words { "---" } else { "---:" }.to_string());
    let head = head.iter().map(|cell| cell.to_string());
    let mut text = format!("\n{}{}", line(&head.collect::<Vec<_>>()), line(&rules.collect::<Vec<_>>()));
    rows.into_iter().for_each(|row| text += &line(&row));
    text
}

/// Formats three significant digits.
pub fn three(value: f64) -> String {
    let decimals = if value <= 0.0 { 2 } else { (2 - value.log10().floor() as i32).clamp(0, 3) };
    format!("{value:.*}", decimals as usize)
}

fn percent(part: f64, whole: f64) -> String {
    format!("{:.0} %", 100.0 * part / whole)
}

/// Returns the value, or a dash if it is missing.
fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "–".into())
}

fn peers(results: &Results) -> String {
    let Results { peers, targets, .. } = results;
    let words = format!(
        "In each round, every engine runs in turn in its own process; a ratio is the median of the ratios of all
rounds. Batch norms are folded everywhere, and VGG16's pool from 4×4 to 7×7 pixels (at 128 px) is folded into the first
linear layer. *Of best* is lopper's time over that of the fastest other engine; the last column is lopper's target.\n
Engines: {}.\n
![latency of whole networks](docs/benchmarks/networks.svg)",
        peers.says("engines")
    );
    let mut text = section("Comparison with other engines", peers, &words);
    for (kind, title) in [
        ("network", "Whole networks: inference, ms"),
        ("training", "Training: a step of forward, backward and Adam, ms"),
        ("layer", "Convolutions, 3×3 of stride 1, ms"),
        ("images", "Images: decode, random resized crop, flip, normalize, on one thread, ms per image"),
    ] {
        let cases = cases(&peers.rows, kind);
        if !cases.is_empty() {
            text += &format!("\n### {title}\n{}", peer_table(&cases, &targets.rows));
        }
    }
    text
}

fn sparse_peers(results: &Results) -> String {
    let words = "Single weights are zero in every layer but the first and the last one; `resnet18+90` has 90 % zeros. Both
engines read the same weights: lopper from a model file with masks, the other one from an ONNX file with the same zeros.";
    let cases = cases(&results.sparse_peers.rows, "sparse");
    let mut text = section("Networks with zero weights beside DeepSparse", &results.sparse_peers, words);
    text += &peer_table(&cases, &results.targets.rows);
    text
}

fn onnx_peers(results: &Results) -> String {
    let Results { onnx_peers, targets, .. } = results;
    let words = format!(
        "lopper writes each network to an ONNX file and reads it back, as the other engines read it; *built in* is the network as
it was, in turn with it in one process.\n\nEngines: {}.",
        onnx_peers.says("engines")
    );
    let cases = cases(&onnx_peers.rows, "onnx");
    section("Networks from ONNX files", onnx_peers, &words) + &peer_table(&cases, &targets.rows)
}

fn pruners(record: &Record<PrunerRow>) -> String {
    let words = format!(
        "Each method removes so many channels of one trained network that its plan takes the given part of the dense network's
time; then each network is tuned alike. So data, budget and engine are the same, and only the choice differs. Means over the
seeds; latency is over the dense network's, all networks in turn.\n\nEngines: {}.",
        record.says("engines")
    );
    section("Criteria beside Torch-Pruning's", record, &words) + &pruners::by_method(&record.rows)
}

fn peer_table(cases: &[Case], targets: &[TargetRow]) -> String {
    let engines = engines(cases);
    let mut head = vec!["case", "px", "batch", "threads", "lopper"];
    head.extend(&engines);
    head.extend(["of best", "target"]);
    let rows = cases.iter().map(|case| {
        let PeerRow { what, size, batch, threads, .. } = case.row;
        let mut row = vec![what.clone(), size.to_string(), batch.to_string(), threads.to_string()];
        row.push(three(case.lopper_ms()));
        row.extend(engines.iter().map(|engine| or_dash(case.ms(engine).map(three))));
        row.push(format!("**{:.2}**", case.best().1));
        let aims = case.targets(targets).into_iter().map(|(at_most, peer, ratio)| match peer {
            "best" => format!("≤ {at_most:.2}"),
            _ => format!("≤ {at_most:.2} of {peer}: {ratio:.2}"),
        });
        row.push(aims.collect::<Vec<_>>().join("; "));
        row
    });
    table(1, &head, rows)
}

fn networks(results: &Results) -> String {
    let record = &results.networks;
    let words = "Only the inference plan, with and without folded batch norms. Memory is the packed weights, and the block that
holds all values between layers.";
    let head = [
        "network",
        "px",
        "batch",
        "threads",
        "plan",
        "ms",
        "10–90 %",
        "GFLOP/s",
        "of peak",
        "weights MB",
        "values MB",
    ];
    let rows = record.rows.iter().map(|row| {
        vec![
            row.network.clone(),
            row.size.to_string(),
            row.batch.to_string(),
            row.threads.to_string(),
            if row.folded { "folded" } else { "unfolded" }.into(),
            three(row.median_ms),
            format!("{}–{}", three(row.p10_ms), three(row.p90_ms)),
            three(row.gflops),
            percent(row.gflops, row.peak_gflops),
            three(row.weight_mbytes),
            three(row.arena_mbytes),
        ]
    });
    section("Whole networks", record, words) + &table(1, &head, rows)
}

fn conv2d(record: &Record<Conv2dRow>) -> String {
    let words = "Distinct convolutions of the networks, and two depthwise ones. *Direct* multiplies as often as the definition
does; *chosen* uses the kernel that packing chooses. Shares are of the FMA peak.\n\n\
![share of the peak by layer and algorithm](docs/benchmarks/conv2d.svg)";
    let mut text = section("Convolutions", record, words);
    for (batch, threads) in distinct(&record.rows, |row| (row.batch, row.threads)) {
        text += &format!("\nBatch {batch}, {threads} threads:\n");
        let rows: Vec<&Conv2dRow> =
            record.rows.iter().filter(|row| (row.batch, row.threads) == (batch, threads)).collect();
        let layers = rows.chunk_by(|a, b| (&a.network, &a.layer) == (&b.network, &b.layer)).map(|layer| {
            let of = |algorithm: &str| layer.iter().find(|row| row.algorithm == algorithm);
            let ms = |algorithm| or_dash(of(algorithm).map(|row| three(row.median_ms)));
            let share = |algorithm| or_dash(of(algorithm).map(|row| percent(row.gflops, row.peak_gflops)));
            vec![
                format!("{} {}", layer[0].network, layer[0].layer),
                layer[0].shape.clone(),
                or_dash(of("chosen").map(|row| row.kernel.clone())),
                ms("direct"),
                share("direct"),
                ms("chosen"),
                share("chosen"),
                ms("input_grad"),
                share("input_grad"),
                ms("weight_grad"),
                share("weight_grad"),
            ]
        });
        let head = [
            "layer",
            "shape",
            "kernel chosen",
            "direct ms",
            "of peak",
            "chosen ms",
            "of peak",
            "dx ms",
            "of peak",
            "dw ms",
            "of peak",
        ];
        text += &table(3, &head, layers);
    }
    text
}

fn linear(record: &Record<LinearRow>) -> String {
    let words = "A linear layer reads its weight once, whatever the batch: with few rows it is bound by the memory read rate,
with many by the FMA peak. *Packed* is for inference, *bf16* is the same with weights rounded to bf16, and *stored* is
for training; rates and shares are those of packed. A weight of some tens of megabytes stays in a large last-level cache
between runs, and can then be read faster than from memory.";
    let mut text = section("Linear layers and matrix products", record, words);
    let same = |a: &LinearRow, b: &LinearRow| {
        (a.inputs, a.batch, a.threads, a.operation == "gemm")
            == (b.inputs, b.batch, b.threads, b.operation == "gemm")
    };
    let (mut layers, mut products) = (Vec::new(), Vec::new());
    for rows in record.rows.chunk_by(same) {
        let first = &rows[0];
        let ms = |operation: &str| {
            let found = rows.iter().find(|row| row.operation == operation);
            or_dash(found.map(|row| three(row.median_ms)))
        };
        let (batch, threads) = (first.batch.to_string(), first.threads.to_string());
        let peak = percent(first.gflops, first.peak_gflops);
        if first.operation == "gemm" {
            products.push(vec![batch, threads, three(first.median_ms), three(first.gflops), peak]);
            continue;
        }
        let layer = format!("{}→{}", first.inputs, first.outputs);
        let memory = percent(first.gbytes_s, first.read_gbytes_s);
        let mut row = vec![layer, batch, threads, ms("packed"), three(first.gbytes_s), memory, peak];
        row.extend(["packed bf16", "stored", "input_grad", "weight_grad"].map(ms));
        layers.push(row);
    }
    let head = [
        "layer",
        "batch",
        "threads",
        "packed ms",
        "GB/s",
        "of memory rate",
        "of FMA peak",
        "bf16 ms",
        "stored ms",
        "dx ms",
        "dw ms",
    ];
    text += &table(1, &head, layers);
    text += "\nSquare matrices:\n";
    text += &table(0, &["side", "threads", "ms", "GFLOP/s", "of FMA peak"], products);
    text
}

fn sparse(record: &Record<SparseRow>) -> String {
    let words = "VGG16's convolutions. The layer and the one before it have the same share of dead filters. *Masked* skips dead
filters, and *pruned filters*, whose tensors have none, is its bound. *Compacted* also skips dead inputs but keeps every
width; its bound is *pruned*, which has no dead channels left. Speedups are over dense, timed in turn with it.\n
![speedups by technique](docs/benchmarks/sparse.svg)";
    let mut text = section("Speedup from dead filters", record, words);
    let dead = distinct(&record.rows, |row| row.dead_percent);
    let timed = distinct(&record.rows, |row| row.technique.as_str());
    let techniques = ["masked", "pruned filters", "compacted", "pruned"];
    let techniques: Vec<&str> = techniques.into_iter().filter(|name| timed.contains(name)).collect();
    let columns: Vec<(usize, &str)> =
        dead.iter().flat_map(|&dead| techniques.iter().map(move |&name| (dead, name))).collect();
    let titles: Vec<String> = columns.iter().map(|(dead, name)| format!("{name} {dead} %")).collect();
    for (batch, threads) in distinct(&record.rows, |row| (row.batch, row.threads)) {
        text += &format!("\nBatch {batch}, {threads} threads:\n");
        let rows: Vec<&SparseRow> =
            record.rows.iter().filter(|row| (row.batch, row.threads) == (batch, threads)).collect();
        let layers = rows.chunk_by(|a, b| a.layer == b.layer).map(|layer| {
            let of =
                |dead, name: &str| layer.iter().find(|row| row.dead_percent == dead && row.technique == name);
            let mut cells = vec![layer[0].layer.clone(), layer[0].kernel.clone(), three(layer[0].median_ms)];
            cells.extend(
                columns
                    .iter()
                    .map(|&(dead, name)| or_dash(of(dead, name).map(|row| format!("{:.2}×", row.speedup)))),
            );
            cells
        });
        let mut head = vec!["layer", "dense kernel", "dense ms"];
        head.extend(titles.iter().map(String::as_str));
        text += &table(2, &head, layers);
    }
    text
}

fn images(results: &Results) -> String {
    let record = &results.images;
    let words = "JPEGs on one thread; augmentation is a random resized crop, a flip and normalization.";
    let rows = record.rows.iter().map(|row| {
        vec![
            row.work.clone(),
            row.images.to_string(),
            three(row.mean_kbytes),
            row.size.to_string(),
            three(row.median_ms),
            format!("{}–{}", three(row.p10_ms), three(row.p90_ms)),
            format!("{:.0}", row.images_s),
        ]
    });
    let head = ["work", "images", "mean kB", "to px", "ms per image", "10–90 %", "images/s"];
    section("Reading images", record, words) + &table(1, &head, rows)
}

fn gpu(record: &Record<ResourcesRow>) -> String {
    let rows = &record.rows;
    let total = |bytes: fn(&ResourcesRow) -> usize| rows.iter().map(bytes).sum::<usize>();
    let mut text = format!(
        "## On a GPU

No GPU was available: the CUDA kernels have run only on the CPU, and there are no GPU results yet. On a GPU,
`lopper selftest --device cuda` checks every kernel, takes measurements, and writes the report that belongs here.

### Resource usage of the kernels

    {}

{}, commit {}: NVRTC {}.

Registers per thread by architecture, and shared memory per block; for `depthwise_weight_grad`, it is per tap of its
filter. All kernels together spill {} bytes of registers and use {} bytes of stack. The `wgmma` kernels are for `sm_90a`;
elsewhere they only trap.
",
        record.says("command"),
        record.says("date"),
        record.says("commit"),
        rows[0].nvrtc,
        total(|row| row.spill_bytes),
        total(|row| row.stack_bytes),
    );
    let architectures = distinct(rows, |row| row.arch.as_str());
    let table_rows = distinct(rows, |row| row.kernel.as_str()).into_iter().map(|kernel| {
        let of = |arch: &str| rows.iter().find(|row| row.kernel == kernel && row.arch == arch);
        let shared = rows.iter().filter(|row| row.kernel == kernel).map(|row| row.shared_bytes).max();
        let mut cells = vec![kernel.to_string(), or_dash(shared.map(|bytes| bytes.to_string()))];
        cells.extend(architectures.iter().map(|arch| or_dash(of(arch).map(|row| row.registers.to_string()))));
        cells
    });
    let mut head = vec!["kernel", "shared bytes"];
    head.extend(&architectures);
    text += &table(1, &head, table_rows);
    text
}
