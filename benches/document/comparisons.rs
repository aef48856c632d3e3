//! The sections of the document that compare lopper with other engines.

use super::Results;
use super::markdown::{or_dash, section, table, three};
use super::peers::{Case, cases, engines, missed, quietness};
use crate::common::record::Record;
use crate::common::rows::{PeerRow, TargetRow};

/// Returns the section on dense networks, training, layers and images.
pub fn peers(results: &Results) -> String {
    let Results { peers, targets, .. } = results;
    let tables = [
        ("network", "Whole networks: inference, ms"),
        ("training", "Training: a step of forward, backward and Adam, ms"),
        ("layer", "Convolutions, 3×3 of stride 1, ms"),
        ("images", "Images: decode, random resized crop, flip, normalize, on one thread, ms per image"),
    ];
    let all: Vec<Case> = tables.iter().flat_map(|(kind, _)| cases(&peers.rows, kind)).collect();
    let words = format!(
        "In each round, every engine runs in turn in its own process; a ratio is the median of the ratios of all
rounds. Batch norms are folded everywhere, and VGG16's pool from 4×4 to 7×7 pixels (at 128 px) is folded into the first
linear layer. *Of best* is lopper's time over that of the fastest other engine; the last column is lopper's target.\n
Engines: {}. {}\n
{}\n
![latency of whole networks](docs/benchmarks/networks.svg)",
        peers.says("engines"),
        quietness(&all),
        missed(&all, &targets.rows)
    );
    let mut text = section("Comparison with other engines", peers, &words);
    for (kind, title) in tables {
        let cases = cases(&peers.rows, kind);
        if !cases.is_empty() {
            text += &format!("\n### {title}\n{}", peer_table(&cases, &targets.rows));
        }
    }
    text
}

/// Returns the sections on networks with zero weights.
pub fn sparse_peers(results: &Results) -> String {
    let Results { sparse_peers, sparse_peers_avx2, targets, .. } = results;
    let timed = |record: &Record<PeerRow>| {
        let cases = cases(&record.rows, "sparse");
        // The header lists every engine of the environment.
        let engines: Vec<&str> = engines(&cases).into_iter().map(|engine| version(record, engine)).collect();
        let (quiet, missed) = (quietness(&cases), missed(&cases, &targets.rows));
        let words = format!("The other engine: {}. {quiet}\n\n{missed}", engines.join(", "));
        (words, peer_table(&cases, &targets.rows))
    };
    let (words, table) = timed(sparse_peers);
    let words = format!(
        "Single weights are zero in every layer but the first and the last one; `resnet18+90` has 90 % zeros. Both
engines read the same weights: lopper from a model file with masks, the other one from an ONNX file with the same zeros.\n
{words}"
    );
    let avx512 = section("Networks with zero weights beside DeepSparse", sparse_peers, &words) + &table;
    let (words, table) = timed(sparse_peers_avx2);
    [avx512, section("The same on a processor without AVX-512", sparse_peers_avx2, &words) + &table]
        .join("\n")
}

/// Returns an engine's name and version, as the header has them.
fn version<'a>(record: &'a Record<PeerRow>, engine: &'a str) -> &'a str {
    let mut versions = record.says("engines").split(", ");
    versions.find(|version| version.split(' ').next() == Some(engine)).unwrap_or(engine)
}

/// Returns the section on networks from ONNX files.
pub fn onnx_peers(results: &Results) -> String {
    let Results { onnx_peers, targets, .. } = results;
    let cases = cases(&onnx_peers.rows, "onnx");
    let words = format!(
        "lopper writes each network to an ONNX file and reads it back, as the other engines read it; *built in* is the network as
it was, in turn with it in one process.\n\nEngines: {}. {}\n\n{}",
        onnx_peers.says("engines"),
        quietness(&cases),
        missed(&cases, &targets.rows)
    );
    section("Networks from ONNX files", onnx_peers, &words) + &peer_table(&cases, &targets.rows)
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
