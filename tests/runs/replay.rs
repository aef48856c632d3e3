//! A report is enough to repeat its run bit by bit, and certificates say what each technique did to the function.

use crate::support::command::{lopper, lopper_after, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const RECIPE: &str = r#"
seed = 4
controls = ["random"]
[data]
name = "fashion-mnist"
limit = 4
batch = 10
[[stage]]
name = "a"
arch = "vgg8_bn"
width = 0.2
train = { epochs = 1, learning_rate = 1e-2 }
[[stage]]
name = "b"
prune = { criterion = "large_final", fraction = 0.4 }
train = { epochs = 1, learning_rate = 1e-3 }
[[stage]]
name = "c"
fold = {}
[[stage]]
name = "d"
factorize = { fraction = 0.6 }
[profile.quick.stage.a]
width = 0.1
"#;

/// Runs the recipe in `dir` and returns its report.
fn report(dir: &Path) -> PathBuf {
    let recipe = dir.join("r.toml");
    fs::write(&recipe, RECIPE).unwrap();
    // Options of the command line are part of the run.
    let run = ["run", text(&recipe), "--profile", "quick", "--limit", "3", "--seed", "9"];
    lopper(&[&run[..], &["--out", text(&dir.join("out"))]].concat()).succeeded();
    dir.join("out/report.json")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Writes the report `value` to a file of its own in `dir`.
fn written(dir: &Path, value: &Value) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    let path = dir.join("report.json");
    fs::write(&path, serde_json::to_vec(value).unwrap()).unwrap();
    path
}

#[test]
fn a_run_is_repeated_from_its_report_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = report(dir.path());
    // Neither the recipe nor the models are at hand.
    let moved = written(&dir.path().join("elsewhere"), &json(&path));
    fs::remove_file(dir.path().join("r.toml")).unwrap();
    fs::remove_dir_all(dir.path().join("out")).unwrap();
    let run = lopper(&["replay", text(&moved), "--threads", "1"]).succeeded();
    assert_eq!(run.out.matches("the same bits").count(), 5, "{}", run.out);
    lopper(&["replay", text(&moved)]).refused(&["result of an earlier run", "--force"]);
    let again = lopper(&["replay", text(&moved), "--force", "--json"]).succeeded().out;
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["differences"], serde_json::json!([]));

    // A stage with other bits is named, and so is what differs.
    let mut other = json(&moved);
    other["run"]["models"][1]["sha256"] = "0".repeat(64).into();
    let tampered = written(&dir.path().join("tampered"), &other);
    lopper(&["replay", text(&tampered)])
        .failed_naming(&["stage `b`: expected the model 0000", "is the same"]);
    other["run"]["binding"]["images"] = "0".repeat(64).into();
    let images = written(&dir.path().join("images"), &other);
    lopper(&["replay", text(&images)])
        .failed_naming(&["images are not those of the report", "the images changed"]);
    lopper(&["replay", text(&images), "--anyway", "--force"])
        .failed_naming(&["stage `b`", "the images changed"]);
    other["run"]["models"] = serde_json::json!([]);
    let none = written(&dir.path().join("none"), &other);
    lopper(&["replay", text(&none)]).failed_naming(&["has no checksums"]);
}

#[cfg(unix)]
#[test]
fn another_instruction_set_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = report(dir.path());
    if json(&path)["run"]["binding"]["device"] == "cpu, portable" {
        return;
    }
    let run = lopper_after("export LOPPER_ISA=portable", &["replay", text(&path)]);
    run.failed_naming(&["stage `a`", "cpu, portable now"]);
}

#[test]
fn certificates_are_kept_in_reports_and_model_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = report(dir.path());
    let found = json(&path);
    let stage = |name: &str| {
        let stages = found["stages"].as_array().unwrap();
        stages.iter().find(|row| row["stage"] == name).unwrap()["details"].clone()
    };
    let techniques = |certificates: &Value| -> Vec<String> {
        let list = certificates.as_array().unwrap().iter();
        list.map(|c| c["technique"].as_str().unwrap().to_string()).collect()
    };
    let last = stage("d");
    let chain = ["train", "prune", "train", "fold", "factorize"];
    assert_eq!(techniques(&last["certificates"]), chain);
    let model = dir.path().join("out/5-d.safetensors");
    let summary = lopper(&["summary", text(&model), "--json"]).succeeded().out;
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["certificates"], last["certificates"]);
    let shown = lopper(&["summary", text(&model)]).succeeded().out;
    assert!(shown.contains("4. fold: exact") && shown.contains("5. factorize: approximate"), "{shown}");

    // Folding keeps the function up to rounding; the others say what predicts their error.
    let fold = &last["certificates"][3];
    let (bound, difference) = (&fold["claim"]["exact"]["bound"], &fold["logit_difference"]);
    assert!(difference.as_f64().unwrap() <= bound.as_f64().unwrap(), "{fold}");
    let errors = last["spectra"].as_array().unwrap().iter().map(|s| s["error"].as_f64().unwrap());
    let predicted = last["certificates"][4]["claim"]["approximate"]["predicted"].as_f64().unwrap();
    assert!((predicted - errors.fold(0.0, f64::max)).abs() < 1e-12, "the tail of the singular values");
    let pruned = last["certificates"][1]["claim"]["approximate"]["predicted"].as_f64().unwrap();
    assert!(pruned > 0.05 && pruned < 0.95, "{pruned}");
    assert_eq!(last["certificates"][0]["claim"]["trained"]["epochs"], 1);
    let page = fs::read_to_string(dir.path().join("out/report.html")).unwrap();
    assert!(page.contains("fold: exact") && page.contains("McNemar p ="), "{page}");
}
