//! `lopper report` writes the report of a run again, also of one that an earlier version made.
#![cfg(unix)]

use crate::support::command::{image_folder, lopper, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const RECIPE: &str = r#"
title = "Again"
seed = 4
[data]
name = "folder"
size = 32
batch = 8
[[stage]]
name = "base"
arch = "vgg8_bn"
width = 0.1
train = { epochs = 2, learning_rate = 1e-3 }
[[stage]]
name = "sparse"
sparsify = { sparsity = 0.5, granularity = "filter" }
train = { epochs = 1, learning_rate = 1e-3 }
[[stage]]
name = "pruned"
prune = {}
[[stage]]
name = "split"
factorize = { fraction = 0.6 }
"#;

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Removes from the files of a run everything that earlier versions did not write.
fn age(run: &Path) {
    let strip = |value: &mut Value, fields: &[&str]| {
        fields.iter().for_each(|field| drop(value.as_object_mut().unwrap().remove(*field)));
    };
    let row = ["details", "from", "latency_quartiles_ms"];
    let mut state = json(run.join("state.json"));
    strip(&mut state, &["resumed"]);
    state["finished"].as_array_mut().unwrap().iter_mut().for_each(|stage| strip(&mut stage["row"], &row));
    fs::write(run.join("state.json"), state.to_string()).unwrap();
    let mut report = json(run.join("report.json"));
    strip(&mut report["run"], &["planned", "resumed"]);
    report["stages"].as_array_mut().unwrap().iter_mut().for_each(|stage| strip(stage, &row));
    fs::write(run.join("report.json"), report.to_string()).unwrap();
    fs::remove_file(run.join("report.html")).unwrap();
}

#[test]
fn an_old_run_gets_a_whole_report() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let [recipe, run] = ["r.toml", "run"].map(|name| dir.path().join(name));
    fs::write(&recipe, RECIPE).unwrap();
    lopper(&["run", text(&recipe), "--data", text(data.path()), "--out", text(&run)]).succeeded();
    let first = json(run.join("report.json"));
    age(&run);
    let again = lopper(&["report", text(&run)]).succeeded();
    assert!(
        again.out.contains("split")
            && again.out.lines().all(|line| line.chars().count() <= 80 || line.contains("wrote"))
    );
    let second = json(run.join("report.json"));
    for stage in 0..4 {
        let [one, other] = [&first, &second].map(|report| &report["stages"][stage]);
        for field in
            ["stage", "from", "top1", "interval", "params", "macs", "bytes", "logit_difference", "seconds"]
        {
            assert_eq!(one[field], other[field], "{field} of stage {stage}");
        }
        for field in ["techniques", "epochs", "changes", "layers", "channels", "spectra", "metrics", "right"]
        {
            assert_eq!(one["details"][field], other["details"][field], "{field} of stage {stage}");
        }
        let steps = |row: &Value| row["details"]["steps"].as_array().unwrap().len();
        assert_eq!(steps(one), steps(other));
        assert!(other["latency_ms"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(first["run"], second["run"]);
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    for part in [
        "Confusion matrix",
        "Images most wrong",
        "data:image/jpeg;base64,",
        "Singular values",
        "Dead channels",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

/// What a run does not hold of an evaluation comes from the images; an evaluation on other images stays.
#[test]
fn splits_are_evaluated_again() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let [recipe, run] = ["r.toml", "run"].map(|name| dir.path().join(name));
    fs::create_dir(data.path().join("test")).unwrap();
    for class in ["dark", "light"] {
        fs::create_dir(data.path().join("test").join(class)).unwrap();
        for i in 0..3 {
            let [from, to] =
                ["train", "test"].map(|split| data.path().join(format!("{split}/{class}/{i}.png")));
            fs::copy(from, to).unwrap();
        }
    }
    let base = RECIPE.split("[[stage]]\nname = \"sparse\"").next().unwrap();
    let evaluate = "evaluate = { split = \"test\", tta = [2], metrics = true }\n";
    fs::write(&recipe, format!("{base}{evaluate}")).unwrap();
    lopper(&["run", text(&recipe), "--data", text(data.path()), "--out", text(&run)]).succeeded();
    let evaluation = || json(run.join("report.json"))["stages"][0]["findings"]["evaluation"].clone();
    let first = evaluation();
    assert!(first["metrics"].is_object() && first["images"] == 6, "{first}");
    let mut state = json(run.join("state.json"));
    let stored = state["finished"][0]["row"]["findings"]["evaluation"].as_object_mut().unwrap();
    assert!(stored.remove("metrics").is_some() && stored.remove("tta").is_some());
    fs::write(run.join("state.json"), state.to_string()).unwrap();
    lopper(&["report", text(&run)]).succeeded();
    let again = evaluation();
    for field in ["images_of", "images", "top1", "interval", "loss", "weighted_f1"] {
        assert_eq!(again[field], first[field], "{field}");
    }
    assert_eq!(again["metrics"]["confusion"], first["metrics"]["confusion"]);
    assert_eq!(again["tta"][0]["top1"], first["tta"][0]["top1"]);
    fs::remove_file(data.path().join("test/dark/0.png")).unwrap();
    let other = lopper(&["report", text(&run)]).succeeded();
    assert!(other.err.contains("the evaluation stays as it was"), "{}", other.err);
    assert_eq!(evaluation()["images"], 6);
}

#[test]
fn a_run_whose_images_are_elsewhere_is_described_without_them() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let [recipe, run, moved] = ["r.toml", "run", "moved"].map(|name| dir.path().join(name));
    fs::write(&recipe, RECIPE).unwrap();
    lopper(&["run", text(&recipe), "--data", text(data.path()), "--out", text(&run)]).succeeded();
    age(&run);
    fs::rename(data.path(), &moved).unwrap();
    let without = lopper(&["report", text(&run)]).succeeded();
    assert!(without.err.contains("the images of the run are not at hand (--data)"), "{}", without.err);
    let report = json(run.join("report.json"));
    assert!(report["stages"][0]["details"]["metrics"].is_null());
    assert!(report["stages"][0]["top1"].is_number(), "the accuracy of the run stays");
    lopper(&["report", text(&run), "--data", text(&moved)]).succeeded();
    let report = json(run.join("report.json"));
    assert!(report["stages"][0]["details"]["metrics"]["confusion"].is_array());
    fs::rename(&moved, data.path()).unwrap();
}

#[test]
fn what_is_no_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    lopper(&["report", text(dir.path())]).failed_naming(&["contains no state.json"]);
    lopper(&["report", text(&dir.path().join("missing"))]).failed_naming(&["missing", "state.json"]);
    fs::write(dir.path().join("state.json"), "{}").unwrap();
    lopper(&["report", text(dir.path())]).failed_naming(&["state.json", "damaged"]);
    fs::write(dir.path().join("state.json"), r#"{"format": 1, "binding": {}, "finished": []}"#).unwrap();
    lopper(&["report", text(dir.path())]).failed_naming(&["no stage of the run is finished"]);
}
