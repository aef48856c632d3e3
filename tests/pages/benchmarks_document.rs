//! BENCHMARKS.md and its charts match what `cargo bench --bench report` writes from the committed results, so that
//! nobody can change a number by hand; and the benchmarks check and compare as documented.

use crate::common::check::Expected;
use crate::common::record::Record;
use crate::common::rows::{ImagesRow, PeerRow, TargetRow};
use crate::common::workload::noise;
use crate::document::peers::{cases, engines, missed, quietness};
use lopper::atlas::Row;
use lopper_kernels::cpu::{self, Cpu, Isa};
use lopper_kernels::shapes::Conv2d;
use std::path::Path;

#[test]
fn the_document_matches_its_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = crate::document::files(root).unwrap();
    assert!(files.len() > 1);
    for (name, text) in files {
        let committed = std::fs::read_to_string(root.join(&name)).unwrap();
        // assert_eq would print both texts.
        assert!(committed == text, "{name} differs: run `cargo bench --bench report`");
    }
}

#[test]
fn a_document_without_a_block_is_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let record = Record::<Row>::read(&root.join("docs/benchmarks/atlas.csv")).unwrap();
    let text = std::fs::read_to_string(root.join("docs/sparse-vs-pruned.md")).unwrap();
    assert!(
        crate::document::atlas::document(&text, &record).unwrap() == text,
        "a second time changes nothing"
    );
    let without = text.replace("<!-- end: crossovers -->", "");
    let message = crate::document::atlas::document(&without, &record).unwrap_err().to_string();
    assert!(message.contains("sparse-vs-pruned.md") && message.contains("crossovers"), "{message}");
}

#[test]
fn bad_results_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("peers.csv");
    let header = "# date: 2026-01-01\nkind,what,size,batch,threads,engine,round,ms\n";
    for (rows, expected) in [
        ("", "no rows"),
        ("network,resnet18,128,1,2,lopper,0,fast\n", "line: 3"),
        ("network,resnet18,128\n", "line: 3"),
    ] {
        std::fs::write(&path, format!("{header}{rows}")).unwrap();
        let error = Record::<PeerRow>::read(&path).err().unwrap().to_string();
        assert!(error.contains("peers.csv") && error.contains(expected), "{error}");
    }
}

#[test]
fn written_results_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("images.csv");
    let row = ImagesRow {
        work: "decode, and \"more\"".into(),
        images: 2,
        mean_kbytes: 1.5,
        size: 128,
        median_ms: 0.25,
        p10_ms: 0.125,
        p90_ms: 1e-9,
        images_s: 4000.0,
    };
    crate::common::record::write(&path, Isa::Avx2, &[row]).unwrap();
    let read = Record::<ImagesRow>::read(&path).unwrap();
    assert_eq!((read.says("isa"), read.says("weather")), ("avx2", "unknown"));
    assert!(read.says("date").len() == 10 && read.says("command").contains("cargo bench"));
    let [row] = &read.rows[..] else { panic!("expected one row") };
    assert_eq!((row.work.as_str(), row.images, row.p90_ms), ("decode, and \"more\"", 2, 1e-9));
}

#[test]
fn right_results_pass_and_wrong_ones_are_named() {
    let cpu = Cpu::detect();
    let dense = Conv2d::square([3, 9, 7, 6], 8, 3, 2, 1);
    for g in [dense, Conv2d { groups: 2, ..dense }, Conv2d { groups: 6, o: 6, ..dense }] {
        let (x, w, dy) = (noise(g.x_len(), 1), noise(g.w_len(), 2), noise(g.y_len(), 3));
        let bias = noise(g.o, 4);
        let [mut y, mut dx, mut dw] = [&dy, &x, &w].map(|like| vec![0.0; like.len()]);
        cpu::conv2d_forward(&cpu, &g, &x, &w, Some(&bias), &mut y);
        cpu::conv2d_input_grad(&cpu, &g, &dy, &w, &mut dx);
        cpu::conv2d_weight_grad(&cpu, &g, &x, &dy, &mut dw);
        let cases = [
            (Expected::forward(&g, &x, &w, Some(&bias)), &mut y),
            (Expected::input_grad(&g, &dy, &w), &mut dx),
            (Expected::weight_grad(&g, &x, &dy), &mut dw),
        ];
        for (expected, result) in cases {
            expected.check("right", 2.0, result).unwrap();
            let last = result.len() - 1;
            for wrong in [f32::NAN, result[last] * 1.0001 + 1e-4] {
                result[last] = wrong;
                let message = expected.check("wrong", 2.0, result).unwrap_err().to_string();
                assert!(message.contains("wrong") && message.contains(&last.to_string()), "{message}");
            }
        }
    }
}

#[test]
fn drift_between_rounds_cancels() {
    // The machine is half as fast in the second round; lopper takes half of a's time and twice b's in each.
    let times = [("lopper", [1.0, 2.0, 1.0]), ("a", [2.0, 4.0, 2.0]), ("b", [0.5, 1.0, 0.5])];
    let row = |engine: &str, round, ms| PeerRow {
        kind: "network".into(),
        what: "resnet18".into(),
        size: 128,
        batch: 1,
        threads: 2,
        engine: engine.into(),
        round,
        ms,
    };
    let rounds = |(engine, times): (&str, [f64; 3])| [0, 1, 2].map(|round| row(engine, round, times[round]));
    let rows: Vec<PeerRow> = times.into_iter().flat_map(rounds).collect();
    let cases = cases(&rows, "network");
    assert_eq!((cases.len(), engines(&cases)), (1, vec!["a", "b"]));
    assert_eq!((cases[0].ratio("a"), cases[0].best()), (Some(0.5), ("b", 2.0)));
    assert_eq!(["lopper", "a", "b"].map(|e| cases[0].over_best(e)), [Some(2.0), Some(4.0), Some(1.0)]);
    let target = |what: &str, peer: &str| TargetRow {
        kind: "network".into(),
        what: what.into(),
        size: 128,
        batch: 1,
        peer: peer.into(),
        at_most: 0.9,
    };
    let targets = [target("*", "a"), target("resnet18", "best"), target("vgg16", "a"), target("*", "none")];
    assert_eq!(cases[0].targets(&targets), [(0.9, "a", 0.5), (0.9, "best", 2.0)]);
    // One of the two is met.
    let line = "- resnet18, 128 px, batch 1, 2 threads: 2.000 of b's time; the target is 0.90";
    assert_eq!(missed(&cases, &targets), format!("Targets missed: 1 of 2.\n\n{line}"));
    assert_eq!(missed(&cases, &targets[..1]), "The target is met.");
    assert_eq!(missed(&cases, &targets[3..]), "");
    assert!(
        quietness(&cases).contains("differs by a factor of 2.00 in the median and 2.00 at most"),
        "the drift is told"
    );
}
