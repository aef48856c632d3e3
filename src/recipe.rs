//! A recipe: data and a list of stages, read from TOML.
//!
//! ```toml
//! seed = 1
//! [data]
//! name = "fashion-mnist"
//!
//! [[stage]]                      # builds a network and trains it
//! name = "baseline"
//! arch = "vgg8_bn"
//! train = { epochs = 5, learning_rate = 2e-3 }
//!
//! [[stage]]                      # rewrites the network of the previous stage
//! name = "folded"
//! fold = {}
//!
//! [profile.quick.stage.baseline.train]
//! epochs = 1
//! ```

mod builtin;
mod class_weights;
mod controls;
mod evaluate;
mod keys;
mod lineage;
mod profile;
mod published;
mod repeat;
mod reporting;
mod scaling;
mod stage;
mod train;

use lopper_engine::{Error, Result};
use lopper_models::data::DataConfig;
use profile::Profiles;
use scaling::Settings;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

pub use builtin::{BUILTIN, Builtin};
pub use class_weights::ClassWeights;
pub use controls::{Controls, Kind as ControlKind};
pub use evaluate::{EvaluateConfig, RangeConfig};
pub use profile::{FULL, QUICK};
pub use published::Published;
pub use reporting::Reporting;
pub use scaling::{Change, Scaling};
pub use stage::Stage;
pub use train::TrainConfig;

/// Data and stages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Title of the table and picture.
    #[serde(default)]
    pub title: String,
    /// Seed of the initial weights, the order and augmentation of images, and dropout.
    #[serde(default)]
    pub seed: u64,
    /// Images.
    pub data: DataConfig,
    /// Which control stages are added behind stages that use a technique.
    #[serde(default)]
    pub controls: Controls,
    /// Number of runs with seeds one after another, whose means have intervals.
    #[serde(default = "one")]
    pub seeds: u32,
    /// How to make model files that stages read, by their names: shown if one is missing.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Stages, in order.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
    /// The overrides of each profile, already applied.
    #[serde(default, rename = "profile")]
    profiles: Profiles,
    /// The profile that was applied.
    #[serde(skip)]
    pub profile: String,
    /// The text that the recipe was read from.
    #[serde(skip)]
    pub source: String,
    /// The settings of the profile `full`, and those of the one that was applied.
    #[serde(skip)]
    settings: [Settings; 2],
}

impl Recipe {
    /// Reads and checks the built-in recipe of this name or else the recipe file of this path, in the profile of this
    /// name, as [`Recipe::parse_profile`] does.
    pub fn read(path: &Path, profile: Option<&str>) -> Result<Self> {
        Self::read_with_seed(path, profile, None)
    }

    /// Reads a recipe like [`Recipe::read`], but with another seed, which random controls take, too.
    pub fn read_with_seed(path: &Path, profile: Option<&str>, seed: Option<u64>) -> Result<Self> {
        let recipe = Self::parse_with_seed(&builtin::text(path)?, profile, seed);
        let checked = recipe.and_then(|recipe| recipe.check_files().map(|()| recipe));
        checked.map_err(|e| Error::file(path, e))
    }

    /// Parses and checks a recipe in its profile `quick`, if it has one, or else in `full`.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_profile(text, None)
    }

    /// Parses and checks a recipe in the profile `profile`; without one, as [`Recipe::parse`] does. The recipe as it is
    /// written must be valid, too.
    pub fn parse_profile(text: &str, profile: Option<&str>) -> Result<Self> {
        Self::parse_with_seed(text, profile, None)
    }

    /// Parses and checks a recipe like [`Recipe::parse_profile`], but with another seed, if one is given.
    pub fn parse_with_seed(text: &str, profile: Option<&str>, seed: Option<u64>) -> Result<Self> {
        let invalid = |e: toml::de::Error| Error::invalid(e.to_string().trim_end().to_string());
        // Read from the text first: only then do errors have a line.
        let written: Self = toml::from_str(text).map_err(invalid)?;
        let mut base: Table = toml::from_str(text).map_err(invalid)?;
        base.remove("profile");
        if let Some(seed) = seed.and_then(|seed| i64::try_from(seed).ok()) {
            base.insert("seed".into(), Value::Integer(seed));
        }
        let (profiles, name) = (&written.profiles, profile::choose(&written.profiles, profile)?);
        let expanded = |name: &str| profile::apply(&base, profiles, name).map(with_controls);
        let tables = [expanded(FULL)?, expanded(&name)?];
        let settings = tables.each_ref().map(Settings::of);
        let [_, table] = tables;
        let mut recipe: Self = table.try_into().map_err(|error: toml::de::Error| {
            let fails = |table: Table| with_controls(table).try_into::<Self>().is_err();
            let key = profile::culprit(&base, profiles, &name, fails);
            let key = key.unwrap_or_else(|| format!("profile.{name}"));
            Error::invalid(format!("{key}: {}", error.message()))
        })?;
        recipe.settings = settings;
        recipe.source = text.to_string();
        recipe.stages = repeat::expand(recipe.stages)?;
        recipe.check().map_err(|error| match profiles.contains_key(&name) {
            true => Error::invalid(format!("profile `{name}`: {error}")),
            false => error,
        })?;
        recipe.profile = name;
        Ok(recipe)
    }

    /// Returns an error if a stage reads a model file that does not exist. It says how to make it, if the recipe does.
    fn check_files(&self) -> Result<()> {
        for (i, stage) in self.stages.iter().enumerate() {
            let is_stage = |name: &str| self.stages[..i].iter().any(|earlier| earlier.name == name);
            let missing = stage.reads().find(|name| !is_stage(name) && !Path::new(name).exists());
            if let Some(name) = missing {
                let how = self.files.get(name).map(|how| format!("; to make it:\n{}", how.trim()));
                let how = how.unwrap_or_default();
                return Err(Error::invalid(format!(
                    "stage `{}`: `{name}` is neither an earlier stage nor a model file{how}",
                    stage.name
                )));
            }
        }
        Ok(())
    }

    /// Returns the names of the profiles, `full` last.
    pub fn profiles(text: &str) -> Result<Vec<String>> {
        let written: Self = toml::from_str(text).map_err(|e| Error::invalid(e.to_string()))?;
        let others = written.profiles.into_keys().filter(|name| name != FULL);
        Ok(others.chain([FULL.to_string()]).collect())
    }

    /// Returns what differs from the profile `full`, command line options included.
    pub fn scaling(&self) -> Scaling {
        let [full, here] = &self.settings;
        let mut here = here.clone();
        let DataConfig { size, limit, train_limit, batch, .. } = self.data;
        for (key, value) in [("size", size), ("limit", limit), ("train_limit", train_limit)] {
            value.iter().for_each(|value| here.set(None, key, value));
        }
        let mut full = full.clone();
        // The default is a setting, too.
        full.set_default("batch", DataConfig::new(self.data.name).batch);
        here.set(None, "batch", batch);
        for stage in &self.stages {
            let epochs = stage.train.iter().map(|train| train.epochs);
            epochs.for_each(|epochs| here.set(Some(&stage.name), "epochs", epochs));
        }
        full.changes(&here)
    }

    /// Shortens the recipe to a trial: few images, unless it already limits them, and one epoch per training.
    pub fn quick(mut self) -> Self {
        self.data.limit = self.data.limit.or(Some(QUICK_IMAGES_A_CLASS));
        for train in self.stages.iter_mut().filter_map(|s| s.train.as_mut()) {
            train.resize(1);
        }
        self
    }

    fn check(&self) -> Result<()> {
        if !(1..=MOST_SEEDS).contains(&self.seeds) {
            return Err(Error::invalid(format!("seeds: expected 1 to {MOST_SEEDS}, found {}", self.seeds)));
        }
        if self.stages.is_empty() {
            return Err(Error::invalid("a recipe needs at least one [[stage]]"));
        }
        for (i, stage) in self.stages.iter().enumerate() {
            stage
                .check(&self.stages[..i])
                .map_err(|e| Error::invalid(format!("stage `{}`: {e}", stage.name)))?;
        }
        Ok(())
    }
}

/// Adds the control stages to a recipe's table that asks for them.
fn with_controls(mut table: Table) -> Table {
    // A wrong value is reported when the whole recipe is read.
    let asked = table.get("controls").cloned().and_then(|asked| asked.try_into::<Controls>().ok());
    let seed = table.get("seed").and_then(Value::as_integer);
    if let (Some(asked), Some(Value::Array(stages))) = (asked, table.get_mut("stage")) {
        controls::add(stages, &asked, seed);
    }
    table
}

fn one() -> u32 {
    1
}

/// More runs than anyone waits for; a larger number is a typo.
const MOST_SEEDS: u32 = 100;

const QUICK_IMAGES_A_CLASS: usize = 100;

/// Returns the model file that stage `index` (from 0) writes in `dir`.
pub fn model_path(dir: &Path, index: usize, stage: &Stage) -> PathBuf {
    dir.join(format!("{}-{}.safetensors", index + 1, stage.name))
}
