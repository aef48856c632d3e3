//! The command line from a user's point of view: output, exit status, and the files left after bad input.

use crate::support::command::{LOPPER, finished, image_folder, lopper, model, names, text, train};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn an_invalid_command_line_exits_with_status_2() {
    for args in [
        &["prone"][..],
        &["bench"],
        &["bench", "resnet18", "--batch", "0"],
        &["atlas", "--layer", "64"],
        &["atlas", "resnet8", "--sparsity", "100"],
        &["atlas", "resnet8", "--budget", "10"],
        &["atlas", "resnet8", "--ways", "blocks"],
        &["atlas", "resnet8", "--threads", "1", "--thread-counts", "2"],
        &["demo", "--fast"],
        &["summary", "vgg8_bn", "--classes", "99999999999"],
        &["train", "--model", "m", "--head", "fastai", "--out", "n"],
        &["train", "--model", "m", "--width", "2", "--out", "n"],
        &["prune", "m", "--plan", "p", "--context", "local", "--out", "n"],
    ] {
        assert_eq!(lopper(args).status, Some(2), "{args:?}");
    }
}

#[test]
fn summary_counts_the_published_network() {
    let json = lopper(&["summary", "vgg16_bn", "--json"]).succeeded().out;
    let summary: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(summary["params"], 134_309_962);
    lopper(&["summary", "resnet19"]).failed_naming(&["resnet19", "resnet18"]);
}

#[test]
fn each_technique_works_on_a_model_file() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let path = |name: &str| dir.path().join(format!("{name}.safetensors"));
    let step = |args: &[&str], from: &Path, to: &str| {
        let out = path(to);
        let rest = ["--data", text(data.path()), "--batch", "8", "--out", text(&out)];
        lopper(&[&[args[0], text(from)], &args[1..], &rest].concat()).succeeded();
        out
    };
    let sparse = step(&["sparsify", "--sparsity", "0.5", "--epochs", "0"], &start, "sparse");
    let pruned = step(&["prune"], &sparse, "pruned");
    let folded = step(&["fold"], &pruned, "folded");
    let compact = step(&["compact"], &sparse, "compact");
    step(&["factorize", "--fraction", "0.5", "--epochs", "1"], &folded, "factorized");
    step(&["distill", "--teacher", text(&start), "--epochs", "1"], &pruned, "distilled");
    for other in [&pruned, &folded, &compact] {
        lopper(&["diff", text(&sparse), text(other)]).succeeded();
    }
    lopper(&["diff", text(&start), text(&sparse)]).failed_naming(&["differ by more than"]);
    let smaller = |path: &Path| fs::metadata(path).unwrap().len();
    assert!(smaller(&pruned) < smaller(&start) / 2);
    lopper(&["eval", text(&folded), "--data", text(data.path())]).succeeded();
    let bench = lopper(&["bench", text(&pruned), "--seconds", "0", "--layers", "--json"]).succeeded().out;
    assert!(serde_json::from_str::<serde_json::Value>(&bench).unwrap()["median_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_training_step_is_timed_layer_by_layer() {
    let bench = ["bench", "resnet8", "--training", "--size", "32", "--batch", "4", "--seconds", "0"];
    let out = lopper(&[&bench[..], &["--layers", "--json"]].concat()).succeeded().out;
    let timing: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(timing["median_ms"].as_f64().unwrap() > 0.0 && timing["p10_ms"].as_f64().is_some());
    let layer = |name: &str| {
        let mut layers = timing["layers"].as_array().unwrap().iter();
        layers.find(|l| l["name"] == name).unwrap_or_else(|| panic!("no layer {name}")).clone()
    };
    for name in ["conv1", "bn1", "fc", "loss"] {
        assert!(layer(name)["forward_ms"].as_f64() > Some(0.0), "{name} forward");
        assert!(layer(name)["backward_ms"].as_f64() > Some(0.0), "{name} backward");
    }
    assert!(layer("optimizer")["forward_ms"].as_f64() > Some(0.0));
    // One value per channel has no variance to normalize by.
    lopper(&["bench", "resnet18", "--training", "--size", "32", "--seconds", "0"]).failed_naming(&["layer4"]);
}

#[test]
fn weights_survive_export_and_import() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let (weights, back) = (dir.path().join("weights.safetensors"), dir.path().join("back.safetensors"));
    lopper(&["export", text(&start), "--out", text(&weights)]).succeeded();
    lopper(&["import", text(&weights), "--arch", text(&start), "--out", text(&back)]).succeeded();
    lopper(&["diff", text(&start), text(&back), "--tolerance", "0"]).succeeded();
    lopper(&[
        "import",
        text(&weights),
        "--arch",
        "resnet18",
        "--classes",
        "2",
        "--out",
        text(&back),
        "--force",
    ])
    .failed_naming(&["weights.safetensors"]);
}

#[test]
fn bad_images_are_named_or_skipped_on_request() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("model.safetensors");
    for (name, bytes) in [
        ("zero.jpg", &b""[..]),
        ("cut.jpg", &b"\xff\xd8\xff\xe0\x00\x10JFIF"[..]),
        ("text.png", &b"not a picture"[..]),
    ] {
        let data = image_folder();
        fs::write(data.path().join("train/dark").join(name), bytes).unwrap();
        train(data.path(), &file, &[]).failed_naming(&[name]);
        assert!(!file.exists(), "nothing half-written");
        let run = train(data.path(), &file, &["--skip-bad-images", "--force"]).succeeded();
        assert!(run.err.contains("1 image"), "{}", run.err);
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn an_invalid_image_folder_is_explained() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("model.safetensors");
    let (empty, single) = (image_folder(), image_folder());
    for split in ["train", "val"] {
        fs::create_dir(empty.path().join(split).join("gray")).unwrap();
        fs::remove_dir_all(single.path().join(split).join("light")).unwrap();
    }
    train(empty.path(), &file, &[]).failed_naming(&["gray"]);
    train(single.path(), &file, &[]).failed_naming(&["only one class (dark)", "--one-class"]);
    train(Path::new("no/such/folder"), &file, &[]).failed_naming(&["no/such/folder"]);
    assert!(!file.exists());
}

#[test]
fn nothing_is_trained_if_the_output_cannot_be_written() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    for out in [dir.path().join("absent/model.safetensors"), dir.path().to_path_buf()] {
        let run = train(data.path(), &out, &[]);
        assert!(!run.err.contains("training loss"), "{}", run.err);
        run.failed_naming(&[text(&out), "cannot be written"]);
    }
}

#[test]
fn training_without_a_valid_image_is_refused() {
    let (data, out) = (image_folder(), tempfile::tempdir().unwrap());
    for class in ["dark", "light"] {
        for i in 0..8 {
            fs::write(data.path().join(format!("train/{class}/{i}.png")), "").unwrap();
        }
    }
    let file = out.path().join("model.safetensors");
    train(data.path(), &file, &["--skip-bad-images"]).failed_naming(&["no image"]);
    assert!(!file.exists());
}

/// `lopper … 2>&1 | head`: the reader of the messages has gone, and the work continues.
#[test]
fn a_closed_pipe_does_not_stop_the_work() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let (start, out) = (model(dir.path(), data.path()), dir.path().join("folded.safetensors"));
    let mut child = Command::new(LOPPER)
        .args(["fold", text(&start), "--out", text(&out)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(out.exists());
}

#[test]
fn a_plan_is_saved_and_replayed_with_any_criterion() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let [plan, once, again] =
        ["plan.toml", "once.safetensors", "again.safetensors"].map(|name| dir.path().join(name));
    let taylor = ["--criterion", "taylor", "--fraction", "0.5", "--batch", "8", "--data", text(data.path())];
    let save = ["prune", text(&start), "--save-plan", text(&plan), "--out", text(&once)];
    lopper(&[&save[..], &taylor].concat()).succeeded();
    lopper(&["prune", text(&start), "--plan", text(&plan), "--out", text(&again)]).succeeded();
    lopper(&["diff", text(&once), text(&again), "--tolerance", "0"]).succeeded();
    lopper(&["prune", text(&once), "--plan", text(&plan), "--force", "--out", text(&again)])
        .failed_naming(&["plan"]);
}

#[test]
fn evidence_is_measured_at_the_granularity_of_sparsification() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let out = dir.path().join("out.safetensors");
    let at_once = [
        "--criterion",
        "taylor",
        "--epochs",
        "0",
        "--batch",
        "8",
        "--data",
        text(data.path()),
        "--force",
        "--out",
        text(&out),
    ];
    for (granularity, layer) in [
        ("weight", "classifier"),
        ("kernel", "features"),
        ("filter", "features"),
        ("row", "classifier"),
        ("column", "classifier"),
        ("block:4", "features"),
        ("kernel_block:8", "classifier"),
    ] {
        let rest = ["--sparsity", "0.5", "--granularity", granularity, "--include", layer];
        lopper(&[&["sparsify", text(&start)], &rest[..], &at_once[..]].concat()).succeeded();
    }
    let rows = ["prune", text(&start), "--fraction", "0.5", "--include", "classifier.0"];
    lopper(&[&rows[..], &at_once].concat()).succeeded();
}

#[test]
fn a_broken_model_file_is_refused() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let bytes = fs::read(model(dir.path(), data.path())).unwrap();
    let broken = dir.path().join("broken.safetensors");
    let mut huge_header = bytes.clone();
    huge_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for content in
        [&bytes[..0], &bytes[..7], &bytes[..bytes.len() / 2], &bytes[..bytes.len() - 1], &huge_header]
    {
        fs::write(&broken, content).unwrap();
        lopper(&["eval", text(&broken), "--data", text(data.path())]).failed_naming(&["broken.safetensors"]);
        lopper(&["bench", text(&broken)]).failed_naming(&["broken.safetensors"]);
    }
}

#[test]
fn a_recipe_with_a_mistake_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = dir.path().join("mistake.toml");
    let stage = "[data]\nname = \"fashion-mnist\"\n[[stage]]\nname = \"a\"\narch = \"vgg8_bn\"\ntrain = { epochs = 1, learning_rate = 1e-3 }\n";
    let next = "[[stage]]\nname = \"b\"\n";
    for (text_of, word) in [
        ("", "data"),
        ("[data]\nname = \"cifar\"\n[[stage]]\nname = \"a\"", "cifar"),
        (&format!("{stage}trian = {{}}"), "trian"),
        (&format!("{stage}distill = {{}}"), "teacher"),
        (&format!("{stage}sparsify = {{ sparsity = 1.5 }}"), "1.5"),
        (&format!("{stage}sparsify = {{ sparsity = 0.5, granlarity = \"filter\" }}"), "granlarity"),
        (&format!("{stage}fold = {{}}\nprune = {{}}"), "only one"),
        (&format!("{stage}{next}from = \"absent\"\nfold = {{}}"), "absent"),
        (&format!("{stage}{next}factorize = {{ fraction = 2.0 }}"), "found 2"),
        (&format!("{stage}{next}arch = \"vgg99\""), "vgg99"),
        (&format!("{stage}{next}train = {{ epochs = 0, learning_rate = 1e-3 }}"), "epochs"),
        (&format!("{stage}{next}fold = {{}}\nhead = \"fastai\""), "head"),
        (&format!("{stage}{next}fold = {{}}\nplan = {{ groups = [] }}"), "plan"),
        (&format!("{stage}{next}"), "something to do"),
        (
            &format!(
                "{stage}{next}train = {{ epochs = 1, learning_rate = 1e-3, groups = [{{ params = \"fc9.*\" }}] }}"
            ),
            "group `fc9.*`: the network has no parameter",
        ),
        (
            &format!(
                "{stage}{next}prune = {{}}\ntrain = {{ epochs = 1, learning_rate = 1e-3, groups = [{{ params = \"fc9.*\" }}] }}"
            ),
            "group `fc9.*`: the network has no parameter",
        ),
        (
            &format!(
                "{stage}{next}train = {{ epochs = 1, learning_rate = 1e-3, optimizer = {{ name = \"sgd\", momentum = 1.0 }} }}"
            ),
            "momentum",
        ),
    ] {
        fs::write(&recipe, text_of).unwrap();
        let run = lopper(&["run", text(&recipe), "--quick", "--out", text(&dir.path().join("out"))]);
        assert!(!run.err.contains("training loss"), "detected before the first stage: {}", run.err);
        run.failed_naming(&[word]);
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_training() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let file = dir.path().join("model.safetensors");
    train(data.path(), &file, &["--learning-rate", "1e30", "--optimizer", "sgd"])
        .failed_naming(&["loss", "learning rate"]);
    assert!(!file.exists());
}

#[test]
fn another_image_size_or_class_list_is_explained() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    lopper(&["eval", text(&start), "--data", "fashion-mnist"]).failed_naming(&["classes"]);
    let [fashion, out] = ["fashion.safetensors", "out.safetensors"].map(|name| dir.path().join(name));
    train(Path::new("fashion-mnist"), &fashion, &["--limit", "1"]).succeeded();
    lopper(&["diff", text(&start), text(&fashion)]).failed_naming(&["classes", "2 and 10"]);
    let lesson = ["distill", text(&start), "--teacher", text(&fashion), "--force", "--out", text(&out)];
    let images = ["--data", text(data.path()), "--batch", "8"];
    lopper(&[&lesson[..], &images].concat()).failed_naming(&["fashion.safetensors", "classes"]);
    lopper(&[&lesson[..], &images, &["--epochs", "0"]].concat()).failed_naming(&["--epochs"]);
    // A network accepts images of another size than it was trained on.
    lopper(&[&["fold", text(&start), "--size", "64", "--out", text(&out)][..], &images].concat()).succeeded();
    lopper(&["prune", text(&start), "--learning-rate", "0.1", "--force", "--out", text(&out)])
        .failed_naming(&["--learning-rate", "--epochs"]);
    let grow =
        ["sparsify", text(&start), "--sparsity", "0.5", "--epochs", "1", "--force", "--out", text(&out)];
    lopper(&[&grow[..], &images, &["--growth", "iterative:2"]].concat()).succeeded();
    lopper(&[&grow[..], &images, &["--growth", "iterative:0"]].concat()).failed_naming(&["iterative"]);
    lopper(&["bench", text(&start), "--seconds", "nan"]).failed_naming(&["--seconds"]);
    lopper(&["summary", text(&start), "--classes", "3"]).failed_naming(&["--classes"]);
    lopper(&["bench", text(&start), "--size", "3"]).failed_naming(&["features.7", "window"]);
    lopper(&["bench", "resnet18", "--device", "cuda"]).failed_naming(&["cuda"]);
    lopper(&["bench", "resnet18", "--device", "tpu"]).failed_naming(&["tpu"]);
    lopper(&["bench", "resnet18", "--threads", "0"]).failed_naming(&["threads"]);
}

/// Simulates a full disk by a file size limit: writes fail part way.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_file_and_no_other() {
    let (data, dir) = (image_folder(), tempfile::tempdir().unwrap());
    let start = model(dir.path(), data.path());
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("folded.safetensors");
    fs::write(&target, "precious").unwrap();
    let script =
        format!("ulimit -f 16; exec '{LOPPER}' fold '{}' --force --out '{}'", text(&start), text(&target));
    finished(Command::new("sh").args(["-c", &script]).output().unwrap())
        .failed_naming(&["folded.safetensors"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "no temporary file remains");
}

#[test]
fn quick_demo_writes_a_model_per_stage_and_a_report() {
    let dir = tempfile::tempdir().unwrap();
    let run = lopper(&["demo", "--quick", "--out", text(dir.path())]).succeeded();
    for stage in ["teacher", "control", "distilled", "sparsified", "pruned", "folded", "factorized"] {
        assert!(run.out.contains(stage), "{stage} in {}", run.out);
    }
    let mut table =
        run.out.lines().skip_while(|line| !line.starts_with("stage ")).take_while(|line| !line.is_empty());
    assert!(table.all(|line| line.chars().count() <= 80), "{}", run.out);
    assert!(run.out.lines().any(|line| line.starts_with("stage ")), "{}", run.out);
    let remark = "Cut short: one epoch per training, at most 100 images per class. One epoch is too few";
    assert!(run.out.contains(remark), "{}", run.out);
    let markdown = fs::read_to_string(dir.path().join("report.md")).unwrap();
    assert!(markdown.contains("(cut short: one epoch per training, at most 100 images"), "{markdown}");
    for file in ["report.html", "report.md", "report.json", "report.csv", "report.svg"] {
        assert!(dir.path().join(file).exists(), "{file}");
    }
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("report.json")).unwrap()).unwrap();
    let rows = report["stages"].as_array().unwrap();
    let row = |stage: &str| rows.iter().find(|r| r["stage"] == stage).unwrap();
    for exact in ["pruned", "folded"] {
        assert!(row(exact)["logit_difference"].as_f64().unwrap() < 1e-3, "{exact} claims equivalence");
    }
    assert!(row("pruned")["params"].as_u64() < row("sparsified")["params"].as_u64());
    let models = names(dir.path()).into_iter().filter(|name| name.ends_with(".safetensors"));
    assert_eq!(models.count(), rows.len());
}
