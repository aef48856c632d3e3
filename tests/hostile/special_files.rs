//! Pipes, sockets, devices and directories in place of regular files: each is refused at once, by name.

use crate::data::{folder, idx};
use crate::networks;
use crate::runner::{Case, OUT, run_in};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// Kinds of files, with the words of their error messages.
const KINDS: [(&str, &str); 5] = [
    ("pipe", "a named pipe"),
    ("socket", "a socket"),
    ("endless", "a device"),
    ("directory", "a directory"),
    ("link to a pipe", "a named pipe"),
];

/// Replaces `path` by a file of `kind`.
fn put(kind: &str, path: &Path) {
    let _ = fs::remove_file(path);
    let pipe = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    match kind {
        "pipe" => pipe(path),
        // The socket file outlives its listener.
        "socket" => drop(UnixListener::bind(path).unwrap()),
        "endless" => symlink("/dev/zero", path).unwrap(),
        "directory" => fs::create_dir(path).unwrap(),
        _ => {
            let target = path.with_extension("target");
            pipe(&target);
            symlink(&target, path).unwrap();
        }
    }
}

/// Runs `case` with `path` replaced by each kind of special file, and asserts that it fails with a message about it.
fn refused(case: &Case, path: &str) {
    for (kind, words) in KINDS {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), case);
        put(kind, &directory.path().join(path));
        let outcome = run_in(directory.path(), case);
        assert!(outcome.faults.is_empty(), "{path} as {kind}: {:?}: {}", outcome.faults, outcome.errors);
        assert_eq!(outcome.status, Some(1), "{path} as {kind}: {}", outcome.errors);
        let (named, explained) = (outcome.errors.contains(path), outcome.errors.contains(words));
        assert!(named && explained, "expected `{path}` and `{words}` in: {}", outcome.errors);
    }
}

fn write(directory: &Path, case: &Case) {
    for (path, bytes) in &case.files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

const TRAIN: [&str; 14] = [
    "train", "--arch", "vgg8_bn", "--width", "0.25", "--data", "data", "--size", "32", "--batch", "4",
    "--epochs", "1", "--out",
];

fn train(more: &[&str]) -> Case {
    Case::new("", &[&TRAIN[..], &[OUT], more].concat())
}

#[test]
fn a_special_file_as_an_image_is_refused_or_skipped() {
    for split in ["train", "val"] {
        let picture = format!("data/{split}/a/x.jpg");
        refused(&folder(train(&[])), &picture);
        let case = folder(train(&["--skip-bad-images"]));
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &case);
        put("pipe", &directory.path().join(&picture));
        let outcome = run_in(directory.path(), &case);
        assert_eq!(outcome.status, Some(0), "{}", outcome.errors);
        assert!(outcome.faults.is_empty() && outcome.errors.contains("x.jpg"), "{}", outcome.errors);
    }
}

#[test]
fn special_files_as_models_recipes_plans_and_tables_are_refused() {
    let model = networks::fashion().bytes();
    for args in [
        &["summary", "m.safetensors"][..],
        &["fold", "m.safetensors", "--out", OUT],
        &["import", "m.safetensors", "--arch", "resnet8", "--out", OUT],
        &["import", "w.safetensors", "--arch", "m.safetensors", "--out", OUT],
    ] {
        refused(&Case::new("", args).with("w.safetensors", model.clone()), "m.safetensors");
    }
    refused(&Case::new("", &["run", "r.toml", "--out", "runs"]), "r.toml");
    let prune = Case::new("", &["prune", "m.safetensors", "--plan", "p.toml", "--out", OUT]);
    refused(&prune.with("m.safetensors", model.clone()), "p.toml");
    let table = folder(train(&["--label-noise", "1"]));
    refused(&table, "data/noisy_imagenette.csv");
    let recipe = |text: &str| {
        let data = "[data]\nname = \"folder\"\npath = \"data\"\nsize = 32\nbatch = 4\n";
        let stage =
            "[[stage]]\nname = \"a\"\narch = \"vgg8_bn\"\ntrain = { epochs = 1, learning_rate = 1e-3 }\n";
        let text = data.to_string()
            + text.strip_prefix("data: ").unwrap_or("")
            + stage
            + text.strip_prefix("stage: ").unwrap_or("");
        folder(Case::new("", &["run", "r.toml", "--out", "runs"])).with("r.toml", text.into_bytes())
    };
    refused(&recipe("data: train_list = \"list.txt\"\n"), "data/list.txt");
    refused(
        &recipe("stage: [[stage]]\nname = \"b\"\nfrom = \"m.safetensors\"\nfold = {}\n"),
        "m.safetensors",
    );
}

#[test]
fn special_files_as_idx_files_are_refused() {
    let (images, labels) = (idx(&[4, 28, 28], &[9; 4 * 784]), idx(&[4], &[0, 1, 2, 3]));
    let mut case = train(&[]);
    for split in ["train", "t10k"] {
        case = case
            .with(format!("data/{split}-images-idx3-ubyte"), images.clone())
            .with(format!("data/{split}-labels-idx1-ubyte"), labels.clone());
    }
    for file in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"] {
        refused(&case, &format!("data/{file}"));
    }
}

/// Tests output names with the extension of another format than the one written.
#[test]
fn an_output_name_of_another_format_is_refused() {
    let model = networks::fashion().bytes();
    for (args, out) in [
        (&["export", "m.safetensors"][..], "x.tflite"),
        (&["import", "m.safetensors", "--arch", "m.safetensors"], "x.pth"),
        (&["fold", "m.safetensors"], "x.pt"),
        (&["prune", "m.safetensors"], "x.tflite"),
        (&["train", "--arch", "vgg8_bn", "--data", "fashion-mnist"], "x.h5"),
    ] {
        let case = Case::new("", &[args, &["--out", out]].concat()).with("m.safetensors", model.clone());
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &case);
        let outcome = run_in(directory.path(), &case);
        assert_eq!(outcome.status, Some(2), "{}", outcome.errors);
        assert!(
            outcome.errors.contains(".safetensors") && outcome.errors.contains(out),
            "{}",
            outcome.errors
        );
        assert!(!directory.path().join(out).exists());
    }
    for out in ["x", "x.SafeTensors"] {
        let case =
            Case::new("", &["export", "m.safetensors", "--out", out]).with("m.safetensors", model.clone());
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &case);
        assert_eq!(run_in(directory.path(), &case).status, Some(0));
        assert!(directory.path().join(out).exists());
    }
}
