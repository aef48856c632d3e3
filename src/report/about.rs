//! How a run was made: what `report.json` needs so that another person can repeat and judge it.

use crate::recipe::{Change, Recipe, Scaling};
use lopper_engine::data::Batches;
use lopper_engine::{Device, memory};
use lopper_models::data::Splits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Origin of a run's results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// The recipe's title.
    pub title: String,
    /// Seed of weights, augmentation and dropout.
    pub seed: u64,
    /// The profile of the recipe that was run.
    #[serde(default)]
    pub profile: String,
    /// What differs from the full recipe.
    #[serde(default)]
    pub scaled_down: Vec<Change>,
    /// The recipe as it was written, before options of the command line.
    pub recipe: String,
    /// The command line.
    pub command: Vec<String>,
    /// Version of lopper.
    pub version: String,
    /// The machine.
    pub hardware: Hardware,
    /// The images.
    pub data: Option<Data>,
    /// Names of all stages, finished or not.
    #[serde(default)]
    pub planned: Vec<String>,
    /// Where the run went on after an interruption, in order.
    #[serde(default)]
    pub resumed: Vec<Resumption>,
    /// Everything that the bits of the networks depend on, by name; long values as checksums.
    #[serde(default)]
    pub binding: BTreeMap<String, String>,
    /// Checksums of the networks of finished stages, in order.
    #[serde(default)]
    pub models: Vec<ModelHash>,
}

/// The network of a stage, by its bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelHash {
    /// Name of the stage.
    pub stage: String,
    /// SHA-256 of its model file.
    pub sha256: String,
}

/// A place where an interrupted run went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resumption {
    /// Stage that was being worked on; none if all were finished.
    pub stage: Option<String>,
    /// Epoch of its training, from 1; none if the stage began anew.
    pub epoch: Option<usize>,
    /// Steps of that epoch that were already done.
    pub step: Option<usize>,
    /// When the run went on, as `2026-01-31 12:00 UTC`.
    pub time: String,
}

/// The machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hardware {
    /// Device with its instruction set or precision.
    pub device: String,
    /// Model of the CPU.
    pub cpu: String,
    /// Cores that the process may use.
    pub cores: usize,
    /// Memory that the process may hold, in bytes; null if it is unknown.
    pub memory: Option<u64>,
}

/// The images.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Data {
    /// Directory of the images; null if they are built in.
    pub path: Option<String>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Side of the images in pixels.
    pub size: usize,
    /// Images per batch.
    pub batch: usize,
    /// Images of an epoch, which leaves out those that do not fill a batch.
    pub training_images: usize,
    /// Images that accuracies are measured on.
    pub validation_images: usize,
}

impl About {
    /// The origin of a run of `recipe` with `seed` on `device`, with images from `directory` unless the recipe names it.
    pub fn new(
        recipe: &Recipe,
        seed: u64,
        directory: Option<&Path>,
        splits: Option<&Splits>,
        device: &Device,
    ) -> Self {
        let path = directory.or(recipe.data.path.as_deref()).map(|path| path.display().to_string());
        let data = splits.map(|splits| Data {
            path,
            classes: splits.classes.clone(),
            size: splits.val.image_shape()[0],
            batch: recipe.data.batch,
            training_images: splits.train.samples(),
            validation_images: splits.val.samples(),
        });
        Self {
            title: recipe.title.clone(),
            seed,
            profile: recipe.profile.clone(),
            scaled_down: recipe.scaling().0,
            recipe: recipe.source.clone(),
            command: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            hardware: Hardware::of(device),
            data,
            planned: recipe.stages.iter().map(|stage| stage.name.clone()).collect(),
            resumed: Vec::new(),
            binding: BTreeMap::new(),
            models: Vec::new(),
        }
    }
}

impl About {
    /// What differs from the full recipe, as a paragraph; empty if nothing does.
    pub fn scaled_down(&self) -> String {
        match self.scaled_down.is_empty() {
            true => String::new(),
            false => {
                let scaling = Scaling(self.scaled_down.clone());
                format!("\nProfile {}, scaled down from the full recipe: {scaling}.\n", self.profile)
            }
        }
    }
}

impl Hardware {
    /// The machine that `device` belongs to.
    pub fn of(device: &Device) -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            device: match device {
                Device::Cpu(cpu) => format!("cpu, {}", cpu.isa()),
                Device::Cuda(gpu) => format!("{}, {}, {}", gpu.name(), gpu.arch(), gpu.precision().name()),
            },
            cpu: model.map_or("unknown", |(_, model)| model).to_string(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: Some(memory::limit()).filter(|&bytes| bytes < u64::MAX),
        }
    }
}
