//! `lopper atlas`: what it measures, writes and refuses.

use crate::support::command::{lopper, shell, text};
use lopper::atlas::{Row, crossovers};
use lopper_kernels::cuda::Cuda;
use std::collections::BTreeSet;
use std::path::Path;

fn rows(csv: &Path) -> Vec<Row> {
    let reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_path(csv);
    reader.unwrap().deserialize().collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_way_is_checked_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("atlas");
    let layers = ["16x32@9:3", "32x24@7:1", "16x16@6:3/2g16", "96x40", "8x32@20:7/2"];
    let layers = layers.map(|layer| ["--layer", layer]).concat();
    let fixed =
        ["atlas", "--batch", "1,3", "--sparsity", "0,50,90", "--seconds", "0", "--thread-counts", "1,2"];
    let run = lopper(&[&fixed[..], &layers, &["--out", text(&out)]].concat()).succeeded();
    assert!(run.err.contains("1/60: 16x32@9:3 (9x9x16 32 3x3/1), batch 1"), "{}", run.err);
    assert!(run.out.contains("Against the best dense kernel: cpu, 2 threads, batch 3"), "{}", run.out);
    let rows = rows(&out.join("atlas.csv"));
    let ways = |layer: &str| -> BTreeSet<&str> {
        rows.iter().filter(|row| row.layer == layer).map(|row| row.way.as_str()).collect()
    };
    let conv = ways("16x32@9:3");
    for way in ["direct", "F(4×4)", "masked", "compacted", "pruned_filters", "pruned", "weight"] {
        assert!(conv.contains(way), "{way}");
    }
    for way in ["block:2", "block:4", "block:8", "kernel_block:8", "kernel_block:16", "n:m"] {
        assert!(conv.contains(way), "{way}");
    }
    // A kernel of one tap is a weight, a depthwise one has one channel, and Winograd's algorithm needs 3×3.
    assert!(!ways("32x24@7:1").contains("kernel_block:8") && !ways("32x24@7:1").contains("F(4×4)"));
    assert!(!ways("16x16@6:3/2g16").contains("compacted") && ways("16x16@6:3/2g16").contains("pruned"));
    assert!(ways("8x32@20:7/2").contains("F(1×4)") && !conv.contains("F(1×4)"));
    assert!(ways("96x40").contains("weight") && !ways("96x40").contains("compacted"));
    for row in &rows {
        assert!(row.low_ms <= row.median_ms && row.median_ms <= row.high_ms && row.low_ms > 0.0, "{row:?}");
        assert!(row.over_direct_low <= row.over_direct && row.over_direct <= row.over_direct_high, "{row:?}");
        assert!(row.way != "direct" || (row.over_direct, row.zeros) == (1.0, 0.0), "{row:?}");
        assert!(!row.is_sparse() || (row.zeros - f64::from(row.sparsity)).abs() < 8.0, "{row:?}");
        assert!(row.peak_gflops > Some(0.0) && row.live_macs <= row.macs && row.products > 0, "{row:?}");
    }
    let dense = |row: &&Row| !row.is_sparse() && row.layer == "16x32@9:3" && row.packed == "chosen";
    assert_eq!(
        rows.iter().filter(dense).count(),
        2 * 2 * 3,
        "the plan chooses one dense kernel for each cell"
    );
    let markdown = std::fs::read_to_string(out.join("crossovers.md")).unwrap();
    assert!(markdown.starts_with("# Crossovers\n") && markdown.contains("| 96x40 |"), "{markdown}");
    let html = std::fs::read_to_string(out.join("atlas.html")).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("\"layer\":\"16x16@6:3/2g16\""));
    assert!(crossovers(&rows).iter().any(|c| c.way == "masked" && !c.skips_nothing));
}

#[test]
fn layers_of_networks_are_measured_once() {
    let dir = tempfile::tempdir().unwrap();
    let fixed = ["atlas", "resnet8", "resnet8", "--size", "16", "--batch", "1", "--sparsity", "50"];
    let more = ["--ways", "masked", "--seconds", "0", "--threads", "1", "--out", text(dir.path())];
    lopper(&[&fixed[..], &more].concat()).succeeded();
    let rows = rows(&dir.path().join("atlas.csv"));
    let masked: Vec<&Row> = rows.iter().filter(|row| row.way == "masked").collect();
    let shapes: BTreeSet<&str> = masked.iter().map(|row| row.shape.as_str()).collect();
    assert!(shapes.len() == masked.len() && shapes.len() > 5, "{shapes:?}");
    assert!(masked.iter().any(|row| row.layer == "resnet8 conv1"), "{masked:?}");
    // Nothing is overwritten unless asked.
    lopper(&[&fixed[..], &more].concat()).failed_naming(&["atlas.csv", "--force"]);
    lopper(&[&fixed[..], &more, &["--force"]].concat()).succeeded();
}

#[test]
fn requests_that_cannot_be_met_are_refused_by_name() {
    lopper(&["atlas"]).failed_naming(&["expected a network or --layer"]);
    lopper(&["atlas", "resnet19"]).failed_naming(&["resnet19", "resnet18"]);
    lopper(&["atlas", "--layer", "64x64@8"]).refused(&["64x64@8", "INPUTSxFILTERS@SIDE"]);
    lopper(&["atlas", "--layer", "64x64@8:3", "--seconds=-1"]).failed_naming(&["--seconds", "found -1"]);
    lopper(&["atlas", "--layer", "64x64@8:3", "--thread-counts", "0"]).failed_naming(&["1 to 256, found 0"]);
    lopper(&["atlas", "--layer", "131072x131072@9:9"]).failed_naming(&["131072x131072@9:9", "available"]);
    lopper(&["atlas", "--layer", "64x64@8:3", "--batch", "65535", "--max-memory", "64MB"])
        .failed_naming(&["64x64@8:3", "available"]);
    lopper(&["atlas", "--layer", "8x8@8:3", "--precision", "bf16", "--device", "cuda-on-cpu"])
        .failed_naming(&["--precision bf16"]);
    lopper(&["atlas", "--layer", "8x8@8:3", "--out", "/nowhere/atlas"]).failed_naming(&["/nowhere/atlas"]);
}

#[test]
#[cfg(unix)]
fn an_interrupted_sweep_keeps_its_cells_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let fixed = "atlas --layer 16x16@8:3 --batch 1 --threads 1 --seconds 0.2 --ways masked";
    let script = format!(
        "env --default-signal \"$LOPPER\" {fixed} --out out 2>log & pid=$!
        until grep -q 3/9: log; do sleep 0.05; done; kill -INT $pid; wait $pid; echo $?; cat log"
    );
    let run = shell(&script, dir.path()).succeeded();
    assert!(run.out.starts_with("130\n"), "{}", run.out);
    assert!(run.out.contains("cells are in out/atlas.csv; --resume measures the others"), "{}", run.out);
    let csv = dir.path().join("out/atlas.csv");
    let before = std::fs::read_to_string(&csv).unwrap();
    assert!(before.contains("\n# incomplete: ") && before.contains(" of 9 cells\n"), "{before}");
    assert_eq!(std::fs::read_dir(dir.path().join("out")).unwrap().count(), 1, "the others need all rows");
    let kept = rows(&csv);
    assert!(
        kept.iter().any(|row| row.sparsity == 25) && kept.iter().all(|row| row.sparsity < 98),
        "{before}"
    );

    // Only the same sweep goes on, on request.
    let again = |more: &str| shell(&format!("\"$LOPPER\" {fixed} {more}"), dir.path());
    again("--out out").failed_naming(&["atlas.csv", "--force"]);
    again("--batch 2 --out out --resume").refused(&["--batch"]);
    again("--sparsity 50 --out out --resume").failed_naming(&["atlas.csv", "its command is", "--force"]);
    let run = again("--out out --resume").succeeded();
    assert!(
        !run.err.contains(" 1/9:") && !run.err.contains("1/9: ") && run.err.contains("9/9: "),
        "{}",
        run.err
    );
    let whole = rows(&csv);
    assert_eq!(whole[..kept.len()], kept, "what was measured stays");
    assert_eq!(whole.iter().map(|row| row.sparsity).collect::<BTreeSet<_>>().len(), 9);
    assert!(!std::fs::read_to_string(&csv).unwrap().contains("incomplete"));
    std::fs::write(&csv, before.replace("layer,", "later,")).unwrap();
    again("--out out --resume").failed_naming(&["atlas.csv", "not a result file"]);
}

#[test]
#[cfg(unix)]
fn a_directory_may_have_a_name_that_is_not_utf8() {
    let dir = tempfile::tempdir().unwrap();
    let sweep = "atlas --layer 8x8@8:3 --batch 1 --threads 1 --sparsity 50 --ways masked --seconds 0";
    let script = format!("\"$LOPPER\" {sweep} --out $(printf 'out\\377') && ls out*/atlas.csv | wc -l");
    let run = shell(&script, dir.path()).succeeded();
    assert!(run.out.ends_with("1\n"), "{}{}", run.out, run.err);
}

#[test]
fn kernels_of_a_gpu_are_measured() {
    if Cuda::for_tests().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let fixed = ["atlas", "--device", "cuda-on-cpu", "--layer", "32x32@5:3", "--layer", "16x16@5:3g16"];
    let more = ["--batch", "2", "--sparsity", "0,50", "--seconds", "0", "--out", text(dir.path())];
    lopper(&[&fixed[..], &more].concat()).succeeded();
    let rows = rows(&dir.path().join("atlas.csv"));
    let masked: Vec<&Row> =
        rows.iter().filter(|row| row.way == "masked" && row.layer == "32x32@5:3").collect();
    assert!(masked.len() == 2 && masked[1].products * 2 == masked[0].products, "{masked:?}");
    assert!(
        rows.iter().all(|row| row.threads == 0 && row.peak_gflops.is_none() && row.device.contains("sm_"))
    );
    assert!(
        rows.iter().any(|row| row.way == "compacted")
            && rows.iter().any(|row| row.kernel == "cuda depthwise")
    );
    let refused = [&fixed[..], &["--thread-counts", "2"]].concat();
    lopper(&refused).failed_naming(&["--thread-counts", "CPU"]);
}
