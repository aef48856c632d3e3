//! Options of training that a recipe and the command line pass on: parameter groups and gradient clipping.

use crate::support::command::{lopper, text};
use lopper_engine::{Graph, file};
use std::fs;
use std::path::{Path, PathBuf};

const DATA: [&str; 6] = ["--data", "fashion-mnist", "--limit", "2", "--batch", "5"];

/// Trains a network for one epoch, in `dir`.
fn network(dir: &Path) -> PathBuf {
    let path = dir.join("start.safetensors");
    let build = ["train", "--arch", "vgg8_bn", "--width", "0.1", "--epochs", "1"];
    lopper(&[&build[..], &DATA, &["--out", text(&path)]].concat()).succeeded();
    path
}

/// Largest change of a parameter, by path.
fn changes(before: &Graph, after: &Graph) -> Vec<(String, f32)> {
    let change = |((path, a), (_, b)): ((String, &lopper_engine::Param), (String, &lopper_engine::Param))| {
        (path, a.value().max_difference(b.value()).unwrap())
    };
    before.params().zip(after.params()).map(change).collect()
}

#[test]
fn a_recipe_freezes_a_group_of_parameters() {
    let dir = tempfile::tempdir().unwrap();
    let (start, recipe, out) = (network(dir.path()), dir.path().join("r.toml"), dir.path().join("out"));
    let stages = format!(
        "[data]\nname = \"fashion-mnist\"\nlimit = 2\nbatch = 5\n[[stage]]\nname = \"tuned\"\nfrom = \"{}\"\n\
         [stage.train]\nepochs = 2\nlearning_rate = 1e-3\n\
         [[stage.train.groups]]\nparams = \"features.*\"\nlr_factor = 0.0\n",
        text(&start)
    );
    fs::write(&recipe, stages).unwrap();
    lopper(&["run", text(&recipe), "--out", text(&out)]).succeeded();
    let after = file::load(out.join("1-tuned.safetensors")).unwrap();
    for (path, change) in changes(&file::load(&start).unwrap(), &after) {
        assert_eq!(change == 0.0, path.starts_with("features."), "{path} changed by {change}");
    }
}

#[test]
fn clipped_gradients_take_small_steps() {
    let dir = tempfile::tempdir().unwrap();
    let start = network(dir.path());
    let largest = |clip: &[&str], name: &str| {
        let out = dir.path().join(name);
        let train = ["train", "--model", text(&start), "--epochs", "1", "--schedule", "constant"];
        let sgd =
            ["--optimizer", "sgd", "--weight-decay", "0", "--learning-rate", "0.1", "--out", text(&out)];
        lopper(&[&train[..], &sgd, clip, &DATA].concat()).succeeded();
        let changes = changes(&file::load(&start).unwrap(), &file::load(&out).unwrap());
        changes.into_iter().fold(0.0, |largest: f32, (_, change)| largest.max(change))
    };
    // Four steps of Nesterov momentum 0.9 move a weight by at most 0.1 · norm · (1.9 + 2.71 + 3.44 + 4.1).
    let (free, clipped) =
        (largest(&[], "free.safetensors"), largest(&["--clip-norm", "1e-3"], "c.safetensors"));
    assert!(free > 2e-3 && clipped > 0.0 && clipped <= 1.3e-3, "{free} without clipping, {clipped} with it");
}

#[test]
fn clipping_needs_training() {
    let dir = tempfile::tempdir().unwrap();
    let start = network(dir.path());
    let out = dir.path().join("p.safetensors");
    lopper(&["prune", text(&start), "--clip-norm", "1", "--out", text(&out)])
        .failed_naming(&["--clip-norm applies to training only: give --epochs too"]);
}
