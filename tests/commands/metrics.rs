//! `eval` with its metrics and files, and `predict`, from a user's point of view.

use crate::support::command::{Run, image_folder, lopper, model, text};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Runs `lopper eval` of `model` on `data` with `more`, at the size of the network.
fn eval(model: &Path, data: &Path, more: &[&str]) -> Run {
    lopper(&[&["eval", text(model), "--data", text(data), "--batch", "3"], more].concat())
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.succeeded().out).unwrap()
}

#[test]
fn metrics_are_printed_and_written() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let model = model(dir.path(), data.path());
    let [matrix, picture, lines] =
        ["matrix.csv", "matrix.svg", "lines.csv"].map(|name| dir.path().join(name));
    let more =
        ["--metrics", "--top-losses", "3", "--confusion", text(&matrix), "--predictions", text(&lines)];
    let run = eval(&model, data.path(), &more).succeeded();
    for words in ["top-1", "macro F1 %", "weighted F1 %", "calibration error %", "dark", "largest losses"] {
        assert!(run.out.contains(words), "{words}: {}", run.out);
    }
    assert!(run.out.lines().all(|line| line.chars().count() <= 80), "{}", run.out);
    // The JSON, the matrix and the lines per image say the same.
    let found = json(eval(&model, data.path(), &["--metrics", "--top-losses", "3", "--json"]));
    let metrics = &found["metrics"];
    let counts: Vec<Vec<u64>> = serde_json::from_value(metrics["confusion"].clone()).unwrap();
    let correct = counts[0][0] + counts[1][1];
    assert_eq!(found["top1"].as_f64().unwrap(), correct as f64 / 16.0);
    assert_eq!(
        fs::read_to_string(&matrix).unwrap(),
        format!(
            "class,dark,light\ndark,{},{}\nlight,{},{}\n",
            counts[0][0], counts[0][1], counts[1][0], counts[1][1]
        )
    );
    let lines = fs::read_to_string(&lines).unwrap();
    assert_eq!(lines.lines().count(), 17);
    assert!(lines.starts_with("image,class,predicted,confidence,loss\nval/dark/0.png,dark,"), "{lines}");
    let losses = metrics["top_losses"].as_array().unwrap();
    assert_eq!(losses.len(), 3);
    let worst = losses[0]["loss"].as_f64().unwrap();
    let of_line = |line: &str| line.rsplit(',').next().unwrap().parse::<f64>().unwrap();
    assert_eq!(lines.lines().skip(1).map(of_line).fold(0.0, f64::max), worst);
    // Existing files are kept, and other extensions refused.
    eval(&model, data.path(), &["--confusion", text(&matrix)]).failed_naming(&["matrix.csv", "--force"]);
    eval(&model, data.path(), &["--confusion", text(&matrix), "--force"]).succeeded();
    eval(&model, data.path(), &["--confusion", text(&picture)]).succeeded();
    assert!(fs::read_to_string(&picture).unwrap().starts_with("<svg"));
    let png = dir.path().join("matrix.png");
    eval(&model, data.path(), &["--confusion", text(&png)]).refused(&[".csv or .svg"]);
    eval(&model, data.path(), &["--predictions", "no/such/dir/x.csv"]).failed_naming(&["no/such/dir"]);
}

#[test]
fn views_are_counted_and_deterministic() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let model = model(dir.path(), data.path());
    let curve = dir.path().join("curve.csv");
    let more = ["--tta", "3", "--json", "--tta-curve", text(&curve)];
    let found = json(eval(&model, data.path(), &more));
    let views = found["tta"].as_array().unwrap();
    assert_eq!(views.iter().map(|view| view["views"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let plain = json(eval(&model, data.path(), &["--json"]));
    assert_eq!(views[0]["top1"], plain["top1"]);
    let close = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-6;
    assert!(close(&views[0]["loss"], &plain["loss"]) && views[3]["loss"] == found["loss"]);
    assert!(views[1]["loss"] != views[2]["loss"], "the views differ");
    assert_eq!(fs::read_to_string(&curve).unwrap().lines().count(), 5);
    // The same seed gives the same curve, another seed another one, and with weight 1 the plain view is all.
    let losses = |more: &[&str]| -> Vec<Value> {
        let run = json(eval(&model, data.path(), &[&["--tta", "3", "--json"], more].concat()));
        run["tta"].as_array().unwrap().iter().map(|view| view["loss"].clone()).collect()
    };
    let first: Vec<Value> = views.iter().map(|view| view["loss"].clone()).collect();
    assert_eq!(losses(&["--threads", "1"]), first);
    assert_ne!(losses(&["--seed", "9"]), first);
    let whole = losses(&["--tta-beta", "1"]);
    assert!(whole.iter().all(|loss| loss == &whole[0]), "{whole:?}");
    eval(&model, data.path(), &["--tta", "0"]).refused(&["--tta"]);
    eval(&model, data.path(), &["--tta", "1", "--tta-beta", "1.5"]).failed_naming(&["--tta-beta", "1.5"]);
    eval(&model, data.path(), &["--tta-curve", "x.csv"]).refused(&["--tta"]);
    let rounded = json(eval(&model, data.path(), &["--tta", "1", "--json", "--linear-weights", "bf16"]));
    assert_eq!(rounded["tta"].as_array().unwrap().len(), 2);
}

/// A folder stands for the images in it.
#[test]
fn the_images_of_a_folder_are_classified() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let model = model(dir.path(), data.path());
    let folder = data.path().join("val/dark");
    fs::write(folder.join("notes.txt"), "no picture").unwrap();
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "png"));
    files.sort();
    let paths: Vec<&str> = files.iter().map(|path| text(path)).collect();
    let one_by_one = lopper(&[&["predict", text(&model)], &paths[..]].concat()).succeeded();
    assert_eq!(lopper(&["predict", text(&model), text(&folder)]).succeeded().out, one_by_one.out);
    lopper(&["predict", text(&model), text(&data.path().join("val"))])
        .failed_naming(&["val: no images in this folder"]);
}

#[test]
fn predictions_agree_with_the_evaluation() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let model = model(dir.path(), data.path());
    let lines = dir.path().join("lines.csv");
    eval(&model, data.path(), &["--predictions", text(&lines)]).succeeded();
    let lines = fs::read_to_string(&lines).unwrap();
    let lines: Vec<Vec<&str>> = lines.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let paths: Vec<String> = lines.iter().map(|line| text(&data.path().join(line[0])).to_string()).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let found = json(lopper(&[&["predict", text(&model), "--json"], &paths[..]].concat()));
    let images = found["images"].as_array().unwrap();
    assert_eq!(images.len(), 16);
    for (image, line) in images.iter().zip(&lines) {
        let best = &image["classes"][0];
        assert_eq!(best["class"], line[2]);
        let probability = best["probability"].as_f64().unwrap();
        assert!((probability - line[3].parse::<f64>().unwrap()).abs() < 1e-6, "{image} {line:?}");
        assert_eq!(image["classes"].as_array().unwrap().len(), 2);
    }
    let one = lopper(&["predict", text(&model), paths[0], "--top", "1"]).succeeded();
    assert_eq!((one.out.lines().count(), one.out.matches(" %").count()), (1, 1));
}

#[test]
fn unreadable_images_are_named() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let model = model(dir.path(), data.path());
    let good = data.path().join("val/dark/0.png");
    let (missing, empty) = (dir.path().join("missing.png"), dir.path().join("empty.png"));
    fs::write(&empty, "").unwrap();
    let args = ["predict", text(&model), text(&missing), text(&good), text(&empty)];
    let run = lopper(&args);
    assert!(run.out.contains("0.png: ") && run.out.lines().count() == 1, "{}", run.out);
    run.failed_naming(&["missing.png", "empty.png", "the file is empty", "2 of 3 images cannot be read"]);
    let run = lopper(&[&args[..], &["--json"]].concat());
    assert_eq!(run.status, Some(1));
    let found: Value = serde_json::from_str(&run.out).unwrap();
    let images = found["images"].as_array().unwrap();
    assert!(images[0]["error"].as_str().unwrap().contains("missing.png") && images[1].get("error").is_none());
    lopper(&["predict", text(&model)]).refused(&["<IMAGES>"]);
    lopper(&["predict", text(&model), text(&good), "--top", "0"]).refused(&["--top"]);
    lopper(&["predict", text(&good), text(&good)]).failed_naming(&["0.png"]);
}
