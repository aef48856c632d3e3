//! Runs whose networks shrink: what recipes and commands do, report and refuse.

use crate::support::command::{Run, lopper, text};
use lopper_engine::Layer;
use std::collections::HashMap;
use std::path::Path;

/// The parameters of a VGG with batch norms and convolutions of `widths` channels on RGB images, whose classifier reads
/// `pixels` pixels of the last one, with hidden widths `hidden`.
fn vgg_params(widths: &[usize], pixels: usize, hidden: &[usize], classes: usize) -> usize {
    let inputs = std::iter::once(3).chain(widths.iter().copied());
    // 3×3 weights and a bias for each filter; γ and β.
    let body: usize = inputs.zip(widths).map(|(c, o)| 9 * c * o + o + 2 * o).sum();
    let features = std::iter::once(widths.last().unwrap() * pixels).chain(hidden.iter().copied());
    body + features.zip(hidden.iter().copied().chain([classes])).map(|(i, o)| i * o + o).sum::<usize>()
}

/// The rows of a CSV file, by column.
fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

const RECIPE: &str = r#"
seed = 2
data = { name = "fashion-mnist", limit = 3, batch = 5 }
[[stage]]
name = "base"
arch = "vgg8_bn"
width = 0.25
slim = { l1 = 1e-3 }
train = { epochs = 1, learning_rate = 1e-3, save_best = true }
[[stage]]
name = "shrunk"
prune = { criterion = "batch_norm_gamma", fraction = 0.5, context = "local", constants = "drop", schedule = "cosine" }
train = { epochs = 5, learning_rate = 1e-3 }
[[stage]]
name = "rounds"
repeat = 2
prune = { criterion = "large_final", width = 0.9, constants = "drop" }
train = { epochs = 1, learning_rate = 1e-3 }
"#;

#[test]
fn a_recipe_slims_and_shrinks_and_reports_it() {
    let dir = tempfile::tempdir().unwrap();
    let (recipe, out) = (dir.path().join("r.toml"), dir.path().join("out"));
    std::fs::write(&recipe, RECIPE).unwrap();
    let run = lopper(&["run", text(&recipe), "--out", text(&out), "--json"]).succeeded();
    for words in ["|γ|", "pruned 50.00 % (schedule 50.00 %)", "features.0 4 of 8", "(schedule 4.77 %)"] {
        assert!(run.err.contains(words), "{words}: {}", run.err);
    }
    let history = rows(&out.join("history.csv"));
    let column = |stage: &str, name: &str| -> Vec<String> {
        history.iter().filter(|row| row["stage"] == stage).map(|row| row[name].clone()).collect()
    };
    let percent = |text: &String| format!("{:.2}", 100.0 * text.parse::<f64>().unwrap());
    let targets: Vec<String> = column("shrunk", "pruned_target").iter().map(percent).collect();
    assert_eq!(targets, ["4.77", "17.27", "32.73", "45.23", "50.00"]);
    assert_eq!(column("shrunk", "pruned").last().unwrap(), "0.5");
    assert_eq!(column("base", "pruned"), [""]);
    let layers = rows(&out.join("sparsity.csv"));
    let first: Vec<&str> = layers
        .iter()
        .filter(|row| row["stage"] == "shrunk" && row["layer"] == "features.0")
        .map(|row| row["channels_removed"].as_str())
        .collect();
    assert_eq!(first, ["0", "1", "3", "4", "4"]);
    assert!(layers.iter().all(|row| !row["channels"].is_empty() && row["zeros"].is_empty()));
    let report: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    let rows = report["stages"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["stage"].as_str().unwrap()).collect();
    assert_eq!(names, ["base", "shrunk", "rounds-1", "rounds-2"]);
    let channels = |file: &str| -> Vec<usize> {
        let graph = lopper_engine::file::load(out.join(file)).unwrap();
        let convs = graph.nodes().iter().filter_map(|node| match &node.layer {
            Layer::Conv2d(conv) => Some(conv.out_channels()),
            _ => None,
        });
        convs.collect()
    };
    let whole = channels("1-base.safetensors");
    let halves: Vec<usize> = whole.iter().map(|n| n - (n as &usize / 2)).collect();
    assert_eq!(channels("2-shrunk.safetensors"), halves);
    let of = |width: f64| halves.iter().map(|&n| (width * n as f64) as usize).collect::<Vec<_>>();
    assert_eq!(channels("3-rounds-1.safetensors"), of(0.9));
    assert_eq!(channels("4-rounds-2.safetensors"), of(0.9 * 0.9));
    // The last of four poolings leaves 2×2 pixels; both hidden layers keep their 64 features.
    for (row, widths) in rows.iter().zip([&whole, &halves, &of(0.9), &of(0.9 * 0.9)]) {
        assert_eq!(row["params"].as_u64().unwrap() as usize, vgg_params(widths, 4, &[64, 64], 10), "{row}");
        assert!(row["top1"].as_f64().is_some());
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert_eq!(page.matches("Removed channels by epoch and by layer").count(), 1);
    // The file holds the network of the last epoch: validation, table and evaluation agree.
    let model = out.join("2-shrunk.safetensors");
    let eval =
        lopper(&["eval", text(&model), "--data", "fashion-mnist", "--limit", "3", "--json"]).succeeded();
    let eval: serde_json::Value = serde_json::from_str(&eval.out).unwrap();
    assert_eq!(eval["top1"], rows[1]["top1"]);
    let last: f64 = column("shrunk", "top1")[4].parse().unwrap();
    assert_eq!(Some(last), rows[1]["top1"].as_f64());
}

#[test]
fn gradual_pruning_is_checked_before_training() {
    let dir = tempfile::tempdir().unwrap();
    let (recipe, out) = (dir.path().join("r.toml"), dir.path().join("out"));
    let train = "train = { epochs = 1, learning_rate = 1e-3 }";
    let scheduled = "criterion = \"random\", schedule = \"cosine\"";
    for (stage, words) in [
        (
            format!("prune = {{ {scheduled}, widths = {{ \"features.99\" = 3 }} }}\n{train}"),
            &["stage `b`", "`features.99` matches no layer"][..],
        ),
        (
            format!("prune = {{ {scheduled}, fraction = 0.5, include = [\"nothing\"] }}\n{train}"),
            &["nothing"],
        ),
        (
            format!(
                "prune = {{ {scheduled}, fraction = 0.5 }}\ntrain = {{ epochs = 1, learning_rate = 1e-3, save_best = true }}"
            ),
            &["`save_best`", "`prune` acts during training"],
        ),
        (
            format!(
                "prune = {{ {scheduled}, fraction = 0.5 }}\nteacher = \"a\"\ndistill = {{ hints = [{{ student = \"features.0\", teacher = \"features.0\" }}] }}\n{train}"
            ),
            &["`distill`: compares the output of layer `features.0`"],
        ),
        (
            format!("prune = {{ {scheduled}, fraction = 0.5 }}\nsave_plan = \"p\"\n{train}"),
            &["`save_plan`: a plan is one removal"],
        ),
        (
            "prune = { criterion = \"random\", widths = { \"features.0\" = 999 } }".to_string(),
            &["`features.0` keeps 1 to", "found 999"],
        ),
        (
            "prune = { criterion = \"random\", width = 0.5, relative_to = \"c\" }".into(),
            &["`c` is neither an earlier stage"],
        ),
    ] {
        let first = format!(
            "data = {{ name = \"fashion-mnist\", limit = 1, batch = 5 }}\n[[stage]]\nname = \"a\"\narch = \"vgg8_bn\"\nwidth = 0.1\n{train}\n"
        );
        std::fs::write(&recipe, format!("{first}[[stage]]\nname = \"b\"\n{stage}\n")).unwrap();
        let run = lopper(&["run", text(&recipe), "--out", text(&out), "--force"]);
        assert!(!run.err.contains("training loss"), "{}", run.err);
        run.failed_naming(words);
    }
}

/// The images of the commands below.
const DATA: [&str; 6] = ["--data", "fashion-mnist", "--limit", "2", "--batch", "5"];

/// A directory with a small network, `a.safetensors`.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let start = dir.path().join("a.safetensors");
    let build = ["train", "--arch", "vgg8_bn", "--width", "0.1", "--epochs", "1", "--out", text(&start)];
    lopper(&[&build[..], &DATA].concat()).succeeded();
    dir
}

/// Runs `command` on the network in `dir` with `options`; writes `out`.
fn command(dir: &Path, command: &[&str], out: &str, options: &[&str]) -> Run {
    let (start, out) = (dir.join("a.safetensors"), dir.join(out));
    let fixed = [text(&start), "--out", text(&out)];
    lopper(&[&command[..1], &fixed, &command[1..], options, &DATA].concat())
}

/// A pruning by magnitude.
const PRUNE: [&str; 5] = ["prune", "--criterion", "large_final", "--constants", "drop"];

#[test]
fn the_command_line_shrinks_by_width_and_by_schedule() {
    let dir = directory();
    let channels = |name: &str| -> Vec<usize> {
        let graph = lopper_engine::file::load(dir.path().join(name)).unwrap();
        let convs = graph.nodes().iter().filter_map(|node| match &node.layer {
            Layer::Conv2d(conv) => Some(conv.out_channels()),
            _ => None,
        });
        convs.collect()
    };
    let whole = channels("a.safetensors");
    let run = |out: &str, options: &[&str]| command(dir.path(), &PRUNE, out, options);
    run("w.safetensors", &["--width", "0.7"]).succeeded();
    assert_eq!(
        channels("w.safetensors"),
        whole.iter().map(|&n| (0.7 * n as f64) as usize).collect::<Vec<_>>()
    );
    run("n.safetensors", &["--widths", "features.0=2"]).succeeded();
    assert_eq!(channels("n.safetensors")[0], 2);
    let shrunk = run(
        "g.safetensors",
        &["--fraction", "0.5", "--context", "local", "--growth", "linear", "--epochs", "2"],
    )
    .succeeded();
    assert!(shrunk.err.contains("pruned ") && shrunk.err.contains("(schedule 25.00 %)"), "{}", shrunk.err);
    assert_eq!(
        channels("g.safetensors"),
        whole.iter().map(|&n| n - (n as f64 / 2.0).round() as usize).collect::<Vec<_>>()
    );
}

#[test]
fn wrong_options_of_shrinking_are_refused() {
    let dir = directory();
    let run = |out: &str, options: &[&str]| command(dir.path(), &PRUNE, out, options);
    run("x.safetensors", &["--fraction", "0.5", "--width", "0.5"]).refused(&["--width"]);
    run("x.safetensors", &[]).refused(&["--fraction", "--width", "--widths"]);
    run("x.safetensors", &["--widths", "features.0"]).refused(&["expected LAYER=N, found features.0"]);
    run("x.safetensors", &["--width", "1.5"]).refused(&["width", "found 1.5"]);
    run("x.safetensors", &["--fraction", "0.5", "--growth", "dense_sparse_dense"])
        .refused(&["cannot return"]);
    run("x.safetensors", &["--fraction", "0.5", "--growth", "linear", "--epochs", "0"])
        .refused(&["prune schedule", "train"]);
}

#[test]
fn the_command_line_slims() {
    let dir = directory();
    let slim = |options: &[&str]| command(dir.path(), &["slim"], "s.safetensors", options);
    slim(&["--l1", "0"]).refused(&["slim l1: expected above 0"]);
    slim(&["--epochs", "0"]).refused(&["slim"]);
    let slimmed = slim(&["--epochs", "1", "--l1", "1e-3"]).succeeded();
    assert!(slimmed.err.contains("|γ|  "), "{}", slimmed.err);
}
