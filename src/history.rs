//! The history of a run's trainings: `history.csv` with a line per epoch, and, once weights are masked or channels are
//! removed, `sparsity.csv` with a line per epoch and layer.
//!
//! Both files are written after every epoch, whole or not at all. Their lines come from the list of finished stages and
//! from the checkpoint, so a resumed run neither repeats nor loses an epoch.

use crate::tables::{put_csv, put_wide_csv};
use lopper_engine::Result;
use lopper_engine::train::EpochMetrics;
use lopper_engine::train::metrics::{LayerSparsity, Pruned};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The names of the files in a run's directory.
pub const FILES: [&str; 2] = ["history.csv", "sparsity.csv"];

/// The epochs of all stages so far, and where they are written.
pub struct History {
    epochs: PathBuf,
    layers: PathBuf,
    stages: Vec<(String, Vec<EpochMetrics>)>,
}

/// A line of `history.csv`. Figures that were not measured are empty. A column for each group of layers with a learning
/// rate of its own follows: `learning_rate_body`.
#[derive(Serialize)]
struct Line<'a> {
    stage: &'a str,
    epoch: usize,
    epochs: usize,
    train_loss: f64,
    /// The parts of the training loss with a teacher, not weighted.
    task_loss: Option<f64>,
    distillation_loss: Option<f64>,
    val_loss: Option<f64>,
    top1: Option<f64>,
    top1_low: Option<f64>,
    top1_high: Option<f64>,
    top5: Option<f64>,
    macro_f1: Option<f64>,
    weighted_f1: Option<f64>,
    learning_rate: f64,
    sparsity: f64,
    /// Share of the channels that the training has removed, and that its schedule asks for.
    pruned: Option<f64>,
    pruned_target: Option<f64>,
    seconds: f64,
    images_per_second: f64,
    peak_memory_bytes: Option<u64>,
}

/// A line of `sparsity.csv`.
#[derive(Serialize)]
struct LayerLine<'a> {
    stage: &'a str,
    epoch: usize,
    layer: &'a str,
    zeros: Option<u64>,
    weights: Option<u64>,
    sparsity: Option<f64>,
    /// Channels before the training, and how many of them it has removed.
    channels: Option<u64>,
    channels_removed: Option<u64>,
}

impl History {
    /// A history without epochs, to be written in `directory`.
    pub fn in_directory(directory: &Path) -> Self {
        let [epochs, layers] = FILES.map(|file| directory.join(file));
        Self { epochs, layers, stages: Vec::new() }
    }

    /// A history without epochs, to be written to the file `path`, and, for layers, to a file beside it:
    /// `run.csv` and `run.sparsity.csv`.
    pub fn in_file(path: &Path) -> Self {
        Self { epochs: path.to_path_buf(), layers: Self::beside(path), stages: Vec::new() }
    }

    /// The file for layers beside `path`.
    pub fn beside(path: &Path) -> PathBuf {
        path.with_extension("sparsity.csv")
    }

    /// Adds a stage with its `epochs` so far. Nothing is written yet.
    pub fn begin(&mut self, stage: &str, epochs: Vec<EpochMetrics>) {
        self.stages.push((stage.to_string(), epochs));
    }

    /// Adds an epoch of the last stage and writes the files.
    ///
    /// # Errors
    /// [`lopper_engine::Error::File`] if a file cannot be written. The epoch is added nevertheless.
    pub fn add(&mut self, epoch: EpochMetrics) -> Result<()> {
        if let Some((_, epochs)) = self.stages.last_mut() {
            epochs.push(epoch);
        }
        self.write()
    }

    /// Writes the files, if there are epochs.
    ///
    /// # Errors
    /// [`lopper_engine::Error::File`] if a file cannot be written.
    pub fn write(&self) -> Result<()> {
        let lines = || self.stages.iter().flat_map(|(stage, epochs)| epochs.iter().map(move |m| (stage, m)));
        if lines().next().is_some() {
            let groups = groups(lines().map(|(_, m)| m));
            let columns: Vec<String> = groups.iter().map(|group| format!("learning_rate_{group}")).collect();
            put_wide_csv(
                &self.epochs,
                &columns,
                lines().map(|(stage, m)| (line(stage, m), rates(m, &groups))),
            )?;
        }
        let layers = || lines().flat_map(|(stage, m)| layer_lines(stage, m));
        if layers().next().is_some() {
            put_csv(&self.layers, |w| layers().try_for_each(|line| w.serialize(line)))?;
        }
        Ok(())
    }
}

/// The groups with learning rates of their own in any of `epochs`, in the order in which they appear.
fn groups<'a>(epochs: impl Iterator<Item = &'a EpochMetrics>) -> Vec<&'a str> {
    let mut groups: Vec<&str> = Vec::new();
    for rate in epochs.flat_map(|m| &m.group_rates) {
        if !groups.contains(&rate.group.as_str()) {
            groups.push(&rate.group);
        }
    }
    groups
}

/// The rates of `groups` in an epoch; empty for those without one.
fn rates(m: &EpochMetrics, groups: &[&str]) -> Vec<String> {
    let of = |group: &&str| m.group_rates.iter().find(|rate| rate.group == *group);
    groups
        .iter()
        .map(|group| of(group).map_or(String::new(), |rate| rate.learning_rate.to_string()))
        .collect()
}

fn line<'a>(stage: &'a str, m: &EpochMetrics) -> Line<'a> {
    let interval = m.val.map(|accuracy| accuracy.wilson95());
    Line {
        stage,
        epoch: m.number(),
        epochs: m.epochs,
        train_loss: m.train_loss,
        task_loss: m.parts.map(|parts| parts.task),
        distillation_loss: m.parts.map(|parts| parts.distillation),
        val_loss: m.val_loss,
        top1: m.val.map(|accuracy| accuracy.top1()),
        top1_low: interval.map(|(low, _)| low),
        top1_high: interval.map(|(_, high)| high),
        top5: m.val_top5.map(|accuracy| accuracy.top1()),
        macro_f1: m.macro_f1,
        weighted_f1: m.weighted_f1,
        learning_rate: m.learning_rate,
        sparsity: LayerSparsity::total(&m.sparsity).fraction(),
        pruned: m.pruned.as_ref().map(Pruned::fraction),
        pruned_target: m.pruned.as_ref().map(|pruned| pruned.target),
        seconds: m.seconds,
        images_per_second: m.images_per_second,
        peak_memory_bytes: m.peak_memory,
    }
}

/// A line for each layer with masked weights or that is pruned.
fn layer_lines<'a>(stage: &'a str, m: &'a EpochMetrics) -> Vec<LayerLine<'a>> {
    let pruned = m.pruned.as_ref().map_or(&[][..], |pruned| &pruned.layers);
    let masked = |name: &str| m.sparsity.iter().find(|layer| layer.layer == name);
    let line = |layer: &'a str| {
        let (masked, pruned) = (masked(layer), pruned.iter().find(|pruned| pruned.layer == layer));
        LayerLine {
            stage,
            epoch: m.number(),
            layer,
            zeros: masked.map(|l| l.zeros),
            weights: masked.map(|l| l.weights),
            sparsity: masked.map(LayerSparsity::fraction),
            channels: pruned.map(|l| l.channels),
            channels_removed: pruned.map(|l| l.removed),
        }
    };
    let only_pruned = pruned.iter().map(|l| l.layer.as_str()).filter(|name| masked(name).is_none());
    m.sparsity.iter().map(|l| l.layer.as_str()).chain(only_pruned).map(line).collect()
}
