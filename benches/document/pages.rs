//! The document: the source and the tables of each result file.

use super::charts::distinct;
use super::markdown::{or_dash, section, table, three};
use super::{Results, atlas, atlas_kernels, atlas_slower, comparisons, pruners};
use crate::common::record::Record;
use crate::common::rows::{Conv2dRow, LinearRow, PrunerRow, ResourcesRow, SparseRow};
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
        machines(results),
        comparisons::peers(results),
        comparisons::sparse_peers(results),
        comparisons::onnx_peers(results),
        pruners(&results.pruners),
        networks(results),
        conv2d(&results.conv2d),
        linear(&results.linear),
        sparse(&results.sparse),
        atlas::section(&results.atlas)
            + &atlas_slower::text(&results.atlas.rows)
            + &atlas_kernels::text(&results.atlas.rows),
        images(results),
        gpu(&results.cuda_resources),
    ]
    .join("\n")
}

/// Lists the dates and machines of the measurements, each with its result files.
fn machines(results: &Results) -> String {
    let files = [
        ("peers", origin(&results.peers)),
        ("sparse_peers", origin(&results.sparse_peers)),
        ("sparse_peers_avx2", origin(&results.sparse_peers_avx2)),
        ("onnx_peers", origin(&results.onnx_peers)),
        ("pruners", origin(&results.pruners)),
        ("networks", origin(&results.networks)),
        ("conv2d", origin(&results.conv2d)),
        ("linear", origin(&results.linear)),
        ("sparse", origin(&results.sparse)),
        ("atlas", origin(&results.atlas)),
        ("images", origin(&results.images)),
    ];
    let mut text = "Compare figures within a section only: sections differ in date, commit and machine, which each of them names \
with its command. These are the machines and their result files in `docs/benchmarks`:\n\n"
        .to_string();
    for origin in distinct(&files, |(_, origin)| origin) {
        let of_origin = files.iter().filter(|file| file.1 == *origin);
        let names: Vec<String> = of_origin.map(|(name, _)| format!("`{name}.csv`")).collect();
        text += &format!("- {origin}: {}\n", names.join(", "));
    }
    text
}

/// Returns the date, the machine and the instruction set of a measurement.
fn origin<Row: DeserializeOwned>(record: &Record<Row>) -> String {
    let [date, cpu, isa] = ["date", "cpu", "isa"].map(|key| record.says(key));
    format!("{date}, {cpu}, {isa}")
}

fn percent(part: f64, whole: f64) -> String {
    format!("{:.0} %", 100.0 * part / whole)
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
    let timed = distinct(&record.rows, |row| row.technique.as_str());
    let bound = match timed.contains(&"pruned filters") {
        true => ", and *pruned filters*, whose tensors have none, is its bound",
        false => "",
    };
    let words = format!(
        "VGG16's convolutions. The layer and the one before it have the same share of dead filters. *Masked* skips dead
filters{bound}. *Compacted* also skips dead inputs but keeps every
width; its bound is *pruned*, which has no dead channels left. Speedups are over dense, timed in turn with it.\n
![speedups by technique](docs/benchmarks/sparse.svg)"
    );
    let mut text = section("Speedup from dead filters", record, &words);
    let dead = distinct(&record.rows, |row| row.dead_percent);
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
