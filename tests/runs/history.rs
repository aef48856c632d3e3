//! The history of a run, its report, its lines in a log, and the range test.
#![cfg(unix)]

use crate::support::child::{end, signal, start, wait_until};
use crate::support::command::{LOPPER, Run, finished, image_folder, lopper, names, text, train};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

const RECIPE: &str = r#"
title = "History"
seed = 4
[data]
name = "fashion-mnist"
limit = 3
batch = 5
[[stage]]
name = "base"
arch = "vgg8_bn"
width = 0.1
train = { epochs = 2, learning_rate = 1e-3, schedule = { name = "step", at = [0.5] } }
[[stage]]
name = "sparse"
sparsify = { sparsity = 0.5, schedule = "linear" }
train = { epochs = 3, learning_rate = 1e-3, schedule = { name = "warm_restarts", cycles = 2 } }
[[stage]]
name = "pruned"
prune = {}
"#;

/// The rows of a CSV file, by column.
fn rows(path: &Path) -> Vec<std::collections::HashMap<String, String>> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_string).collect::<Vec<_>>());
    let heading = lines.next().unwrap();
    lines.map(|line| heading.iter().cloned().zip(line).collect()).collect()
}

fn number(row: &std::collections::HashMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column}: {row:?}"))
}

/// Everything in `history.csv` that does not depend on the clock.
fn lasting(directory: &Path) -> Vec<Vec<String>> {
    let columns =
        ["stage", "epoch", "train_loss", "val_loss", "top1", "top5", "macro_f1", "learning_rate", "sparsity"];
    let row = |row: &std::collections::HashMap<String, String>| columns.map(|c| row[c].clone()).to_vec();
    rows(&directory.join("history.csv")).iter().map(row).collect()
}

#[test]
fn a_run_keeps_its_history_and_its_origin() {
    let dir = tempfile::tempdir().unwrap();
    let (recipe, out) = (dir.path().join("recipe.toml"), dir.path().join("out"));
    fs::write(&recipe, RECIPE).unwrap();
    let mut command = Command::new(LOPPER);
    command.args(["run", text(&recipe), "--out", text(&out)]).env("LOPPER_PROGRESS_SECONDS", "0");
    let run = finished(command.output().unwrap()).succeeded();
    for words in ["step 1/12: loss", "epoch 1/2: training loss", "sparsity ", "features.0 "] {
        assert!(run.err.contains(words), "{words}: {}", run.err);
    }
    let history = rows(&out.join("history.csv"));
    let at: Vec<(&str, &str)> = history.iter().map(|r| (r["stage"].as_str(), r["epoch"].as_str())).collect();
    assert_eq!(at, [("base", "1"), ("base", "2"), ("sparse", "1"), ("sparse", "2"), ("sparse", "3")]);
    assert!((number(&history[1], "learning_rate") / 1e-4 - 1.0).abs() < 1e-12);
    let sparsity: Vec<f64> = history.iter().map(|row| number(row, "sparsity")).collect();
    assert!(sparsity[1] == 0.0 && sparsity[2] > 0.0 && sparsity[2] < sparsity[3], "{sparsity:?}");
    for row in &history {
        let (low, high) = (number(row, "top1_low"), number(row, "top1_high"));
        assert!(low <= number(row, "top1") && number(row, "top1") <= high, "{row:?}");
        assert!(
            number(row, "top1") <= number(row, "top5") && number(row, "images_per_second") > 0.0,
            "{row:?}"
        );
        if cfg!(target_os = "linux") {
            assert!(number(row, "peak_memory_bytes") > 1e6, "{row:?}");
        }
    }
    // The layers add up to the total.
    let layers = rows(&out.join("sparsity.csv"));
    let last: Vec<_> = layers.iter().filter(|row| row["epoch"] == "3").collect();
    let sum = |column: &str| last.iter().map(|row| number(row, column)).sum::<f64>();
    assert!((sum("zeros") / sum("weights") - sparsity[4]).abs() < 1e-12);
    let report: Value = serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    let run = &report["run"];
    assert_eq!((&run["seed"], &run["title"], &run["recipe"]), (&4.into(), &"History".into(), &RECIPE.into()));
    assert_eq!(run["data"]["training_images"], 30);
    assert_eq!(run["data"]["validation_images"], 30);
    assert!(run["hardware"]["cores"].as_u64().unwrap() > 0);
    assert_eq!(report["stages"].as_array().unwrap().len(), 3);
}

#[test]
fn a_resumed_run_neither_repeats_nor_loses_an_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("recipe.toml");
    fs::write(&recipe, RECIPE).unwrap();
    let [whole, broken] = ["whole", "broken"].map(|name| dir.path().join(name));
    let args = |out| ["run", text(&recipe), "--out", out, "--checkpoint-every", "0"];
    lopper(&args(text(&whole))).succeeded();
    // The first stage is interrupted after its first epoch, the second after its second.
    let mut interrupted = 0;
    for lines in [1, 4] {
        let mut child = start(&[&args(text(&broken))[..], &["--resume"]].concat());
        let history = broken.join("history.csv");
        let reached = || history.exists() && rows(&history).len() >= lines;
        assert!(wait_until(&mut child, reached), "{}", end(child).err);
        signal(&child, "INT");
        let run = end(child);
        assert!(matches!(run.status, Some(0 | 130)), "{}", run.err);
        interrupted += usize::from(run.status == Some(130));
    }
    // A report covers the stages that are finished.
    if let Ok(report) = fs::read(broken.join("report.json")) {
        let report: Value = serde_json::from_slice(&report).unwrap();
        assert!(!report["stages"].as_array().unwrap().is_empty());
    }
    let resumed: Run = lopper(&[&args(text(&broken))[..], &["--resume"]].concat());
    resumed.succeeded();
    assert_eq!(lasting(&whole), lasting(&broken));
    assert_eq!(
        fs::read_to_string(whole.join("sparsity.csv")).unwrap(),
        fs::read_to_string(broken.join("sparsity.csv")).unwrap()
    );
    assert_eq!(names(&whole), names(&broken));
    let report = |directory: &Path| -> Value {
        serde_json::from_slice(&fs::read(directory.join("report.json")).unwrap()).unwrap()
    };
    // The report names each place where the run went on, and a stage's details outlive the interruption.
    let (uninterrupted, resumed) = (report(&whole), report(&broken));
    assert_eq!(uninterrupted["run"]["resumed"].as_array().unwrap().len(), 0);
    let places = resumed["run"]["resumed"].as_array().unwrap();
    assert!(interrupted > 0 && places.len() >= interrupted, "{interrupted} interruptions: {places:?}");
    assert!(places.iter().all(|place| place["stage"] != Value::Null || place["epoch"] == Value::Null));
    for stage in 0..3 {
        let [one, other] = [&uninterrupted, &resumed].map(|report| &report["stages"][stage]["details"]);
        for field in ["techniques", "changes", "layers", "channels", "metrics"] {
            assert_eq!(one[field], other[field], "{field} of stage {stage}");
        }
        assert_eq!(one["epochs"].as_array().unwrap().len(), [2, 3, 0][stage]);
    }
}

#[test]
fn a_training_writes_its_history_on_request() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let [out, history] = ["m.safetensors", "m.csv"].map(|name| dir.path().join(name));
    let args = ["train", "--arch", "vgg8_bn", "--size", "32", "--batch", "8", "--epochs", "2"];
    let args = [&args[..], &["--data", text(data.path()), "--out", text(&out), "--history", text(&history)]]
        .concat();
    lopper(&args).succeeded();
    assert_eq!(rows(&history).len(), 2);
    assert_eq!(names(dir.path()), ["m.csv", "m.safetensors"], "no mask, no sparsity");
    fs::remove_file(&out).unwrap();
    lopper(&args).failed_naming(&["m.csv", "--force"]);
    lopper(&[&args[..], &["--force"]].concat()).succeeded();
    let sparse = dir.path().join("s.safetensors");
    let args = ["sparsify", text(&out), "--sparsity", "0.5", "--epochs", "1", "--data", text(data.path())];
    let history = dir.path().join("s.csv");
    let args = [&args[..], &["--batch", "8", "--out", text(&sparse), "--history", text(&history)]].concat();
    lopper(&args).succeeded();
    assert!(rows(&dir.path().join("s.sparsity.csv")).len() > 5);
    let args = ["prune", text(&sparse), "--out", "x.safetensors", "--history", "h.csv"];
    lopper(&args).failed_naming(&["--history", "--epochs"]);
}

#[test]
fn schedules_are_options() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let out = dir.path().join("m.safetensors");
    let history = dir.path().join("m.csv");
    let train = |schedule: &str| {
        let args =
            ["train", "--arch", "vgg8_bn", "--width", "0.1", "--size", "32", "--batch", "8", "--force"];
        let rest = ["--data", text(data.path()), "--out", text(&out), "--history", text(&history)];
        lopper(&[&args[..], &rest, &["--epochs", "2", "--schedule", schedule]].concat())
    };
    train("piecewise, points = [[0, 1], [0.5, 0.5]], between = 'none'").succeeded();
    let rates: Vec<f64> = rows(&history).iter().map(|row| number(row, "learning_rate")).collect();
    assert_eq!(rates, [1e-3, 5e-4]);
    for (schedule, words) in [
        ("triangle", "unknown variant `triangle`"),
        ("step, at = [2]", "increasing shares"),
        ("step, factor", "--schedule"),
    ] {
        train(schedule).refused(&[words]);
    }
}

#[test]
fn the_best_epoch_and_early_stopping_are_options() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let [out, history] = ["m.safetensors", "m.csv"].map(|name| dir.path().join(name));
    let train = |more: &[&str]| {
        let args = ["train", "--arch", "vgg8_bn", "--size", "32", "--batch", "4", "--force", "--epochs", "9"];
        let rest = ["--data", text(data.path()), "--out", text(&out), "--history", text(&history), "--json"];
        lopper(&[&args[..], &rest, more].concat())
    };
    let run = train(&["--patience", "1", "--min-delta", "2", "--save-best", "--monitor", "weighted-f1"])
        .succeeded();
    assert!(run.err.contains("2 epochs trained; the network is that of epoch 1"), "{}", run.err);
    let epochs = rows(&history);
    assert_eq!(epochs.len(), 2);
    let report: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(report["stages"][0]["top1"].as_f64().unwrap(), number(&epochs[0], "top1"));
    for (more, words) in [
        (&["--patience", "0"][..], &["a patience of at least 1"][..]),
        (&["--min-delta", "1"], &["--patience"]),
        (&["--patience", "1", "--min-delta", "-1"], &["a min_delta of at least 0, found -1"]),
        (&["--ema", "1"], &["ema: expected in [0, 1), found 1"]),
        (&["--accumulate", "0"], &["accumulate: expected 1 to 65536, found 0"]),
        (&["--monitor", "f2"], &["--monitor"]),
        (&["--monitor", "loss"], &["monitor", "save_best or early_stopping"]),
        (&["--class-weights", "1,2,3"], &["class_weights", "each of 2 classes, found 3"]),
        (&["--class-weights", "even"], &["expected balanced, or a number for each class"]),
        (&["--class-weights", "0,0"], &["a weight above 0"]),
    ] {
        train(more).refused(words);
    }
    train(&["--class-weights", "balanced", "--patience", "1"]).succeeded();
    let taught = [
        "distill",
        text(&out),
        "--teacher",
        text(&out),
        "--class-weights",
        "1,2",
        "--out",
        "never.safetensors",
    ];
    lopper(&[&taught[..], &["--data", text(data.path())]].concat())
        .failed_naming(&["class_weights", "`distill` has its own loss"]);
    let sparse = ["sparsify", text(&out), "--sparsity", "0.5", "--epochs", "1", "--save-best"];
    let rest = ["--data", text(data.path()), "--out", "never.safetensors"];
    lopper(&[&sparse[..], &rest].concat()).failed_naming(&["save_best", "`sparsify` acts during training"]);
}

#[test]
fn the_range_test_suggests_rates_and_draws_them() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    // It has learned nothing yet: near a loss of 0, noise ends the test.
    let model = dir.path().join("model.safetensors");
    train(data.path(), &model, &["--learning-rate", "1e-9"]).succeeded();
    let before = fs::read(&model).unwrap();
    let [table, picture] = ["rates.csv", "rates.svg"].map(|name| dir.path().join(name));
    let find = |more: &[&str]| {
        let args = [
            "lr-find",
            "--model",
            text(&model),
            "--data",
            text(data.path()),
            "--batch",
            "8",
            "--steps",
            "40",
        ];
        lopper(&[&args[..], more].concat())
    };
    let found = find(&["--json", "--curve", text(&table)]).succeeded().out;
    let found: Value = serde_json::from_str(&found).unwrap();
    let steps = found["steps"].as_array().unwrap();
    assert!((10..=40).contains(&steps.len()), "{}", steps.len());
    assert_eq!(steps[0]["rate"], 1e-7);
    for name in ["valley", "steepest", "minimum_tenth"] {
        assert!((1e-8..10.0).contains(&found[name].as_f64().unwrap()), "{found}");
    }
    let lines = rows(&table);
    assert_eq!(lines.len(), steps.len());
    assert_eq!(number(&lines[3], "smoothed"), steps[3]["smoothed"].as_f64().unwrap());
    assert!(fs::read(&model).unwrap() == before, "the model file is not changed");
    let again = find(&["--json", "--threads", "1"]).succeeded().out;
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), found);
    let shown = find(&["--curve", text(&picture)]).succeeded().out;
    assert!(shown.contains("valley") && shown.contains("minimum / 10"), "{shown}");
    assert!(fs::read_to_string(&picture).unwrap().contains("smoothed loss"));
    find(&["--curve", text(&picture)]).failed_naming(&["rates.svg", "--force"]);
    find(&["--first", "1e-4", "--last", "0.1"]).succeeded();
    find(&["--first", "10"]).failed_naming(&["expected the first below the last"]);
    find(&["--first", "1e20", "--last", "1e30"]).failed_naming(&["the loss diverged after", "--first"]);
    find(&["--steps", "5"]).refused(&["--steps"]);
    lopper(&["lr-find", "--arch", "vgg8_bn"]).failed_naming(&["--data is missing"]);
}
