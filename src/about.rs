//! How a run was made: what `report.json` needs so that another person can repeat and judge it.

use crate::recipe::{Change, Recipe, Scaling};
use lopper_engine::data::Batches;
use lopper_engine::{Device, memory};
use lopper_models::data::Splits;
use serde::Serialize;
use std::path::Path;

/// Origin of a run's results.
#[derive(Serialize)]
pub struct About {
    title: String,
    seed: u64,
    /// The profile of the recipe that was run.
    profile: String,
    /// What differs from the full recipe.
    scaled_down: Vec<Change>,
    /// The recipe as it was written, before options of the command line.
    recipe: String,
    /// The command line.
    command: Vec<String>,
    /// Version of lopper.
    version: &'static str,
    hardware: Hardware,
    data: Option<Data>,
}

/// The machine.
#[derive(Serialize)]
struct Hardware {
    device: String,
    cpu: String,
    cores: usize,
    /// Memory that the process may hold, in bytes; null if it is unknown.
    memory: Option<u64>,
}

/// The images.
#[derive(Serialize)]
struct Data {
    path: Option<String>,
    classes: Vec<String>,
    /// Side of the images in pixels.
    size: usize,
    batch: usize,
    /// Images of an epoch, which leaves out those that do not fill a batch.
    training_images: usize,
    validation_images: usize,
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
            version: env!("CARGO_PKG_VERSION"),
            hardware: Hardware::of(device),
            data,
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
    fn of(device: &Device) -> Self {
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
