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
//! ```

mod class_weights;
mod keys;
mod repeat;
mod stage;
mod train;

use lopper_engine::{Error, Result, input};
use lopper_models::data::DataConfig;
use serde::Deserialize;
use std::path::{Path, PathBuf};

pub use class_weights::ClassWeights;
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
    /// Stages, in order.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
    /// The text that the recipe was read from.
    #[serde(skip)]
    pub source: String,
}

impl Recipe {
    /// Reads and checks a recipe file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&input::read_to_string(path)?).map_err(|e| Error::file(path, e))
    }

    /// Parses and checks a recipe.
    pub fn parse(text: &str) -> Result<Self> {
        let mut recipe: Self =
            toml::from_str(text).map_err(|e| Error::invalid(e.to_string().trim_end().to_string()))?;
        recipe.source = text.to_string();
        recipe.stages = repeat::expand(recipe.stages)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// Shortens the recipe to a trial: few images, unless it already limits them, and one epoch per training.
    pub fn quick(mut self) -> Self {
        self.data.limit = self.data.limit.or(Some(QUICK_IMAGES_A_CLASS));
        for train in self.stages.iter_mut().filter_map(|s| s.train.as_mut()) {
            train.epochs = 1;
        }
        self
    }

    fn check(&self) -> Result<()> {
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

const QUICK_IMAGES_A_CLASS: usize = 100;

/// Returns the model file that stage `index` (from 0) writes in `dir`.
pub fn model_path(dir: &Path, index: usize, stage: &Stage) -> PathBuf {
    dir.join(format!("{}-{}.safetensors", index + 1, stage.name))
}
