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

use lopper_compress::distill::DistillConfig;
use lopper_compress::prune::{PruneConfig, PrunePlan};
use lopper_compress::sparsify::SparsifyConfig;
use lopper_compress::{CompactConfig, FactorizeConfig};
use lopper_engine::number::{self, Range};
use lopper_engine::train::{OptimizerConfig, Schedule};
use lopper_engine::{Error, Result, input};
use lopper_models::Head;
use lopper_models::data::DataConfig;
use serde::Deserialize;
use std::path::{Path, PathBuf};

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
}

/// A stage: the source of its network, at most one rewrite, then optional training.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Name of the stage, its row and its model file.
    pub name: String,
    /// Architecture to build.
    pub arch: Option<String>,
    /// Width multiplier of `arch`.
    pub width: Option<f64>,
    /// Classifier of `arch`: its `own` or `fastai`'s.
    #[serde(default)]
    pub head: Head,
    /// Earlier stage or model file to start from. Without this and `arch`, the previous stage.
    pub from: Option<String>,
    /// Channel pruning.
    pub prune: Option<PruneConfig>,
    /// Pruning plan to replay; it replaces the choice that `prune` would make.
    pub plan: Option<PrunePlan>,
    /// File to write the pruning plan to, for a later `plan`.
    pub save_plan: Option<PathBuf>,
    /// Batch-norm folding.
    pub fold: Option<Fold>,
    /// Factorization of linear layers.
    pub factorize: Option<FactorizeConfig>,
    /// Compaction: only live channels are computed.
    pub compact: Option<CompactConfig>,
    /// Distillation from `teacher` during training.
    pub distill: Option<DistillConfig>,
    /// Teacher: an earlier stage or a model file.
    pub teacher: Option<String>,
    /// Weight masking: during training, or at once if there is no `train`.
    pub sparsify: Option<SparsifyConfig>,
    /// Training after the rewrite.
    pub train: Option<TrainConfig>,
}

/// Options of folding; there are none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fold {}

/// Options of training.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Largest learning rate of the schedule.
    pub learning_rate: f64,
    /// Optimizer, by default AdamW. Biases and batch norms do not decay.
    #[serde(default = "adamw")]
    pub optimizer: OptimizerConfig,
    /// Learning rate schedule, by default one cycle.
    #[serde(default = "Schedule::one_cycle")]
    pub schedule: Schedule,
    /// Share of each target that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: f64,
}

/// More epochs than any training needs; a larger number is a typo.
const MAX_EPOCHS: usize = 1_000_000;

fn adamw() -> OptimizerConfig {
    OptimizerConfig::AdamW { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 }
}

impl Recipe {
    /// Reads and checks a recipe file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&input::read_to_string(path)?).map_err(|e| Error::file(path, e))
    }

    /// Parses and checks a recipe.
    pub fn parse(text: &str) -> Result<Self> {
        let recipe: Self =
            toml::from_str(text).map_err(|e| Error::invalid(e.to_string().trim_end().to_string()))?;
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

/// Maximum length of a stage's name, which names a file and heads a row of the table.
const LONGEST_NAME: usize = 64;

impl Stage {
    fn check(&self, earlier: &[Stage]) -> Result<()> {
        let refuse = |message: &str| Err(Error::invalid(message));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return refuse("a name consists of letters, digits, `-` and `_`");
        }
        if self.name.len() > LONGEST_NAME {
            let (found, short) = (self.name.len(), &self.name[..LONGEST_NAME]);
            return refuse(&format!(
                "expected a name of at most {LONGEST_NAME} characters, found {found}: {short}…"
            ));
        }
        if earlier.iter().any(|s| s.name == self.name) {
            return refuse("an earlier stage has the same name");
        }
        let rewrites =
            [self.prune.is_some(), self.fold.is_some(), self.factorize.is_some(), self.compact.is_some()];
        if rewrites.iter().filter(|&&r| r).count() > 1 {
            return refuse(
                "only one of prune, fold, factorize and compact is allowed: give each its own stage",
            );
        }
        if self.arch.is_some() && self.from.is_some() {
            return refuse("expected either `arch` or `from`, found both");
        }
        if self.arch.is_none() && self.from.is_none() && earlier.is_empty() {
            return refuse("the first stage needs `arch` or `from`");
        }
        if self.distill.is_some() != self.teacher.is_some() {
            return refuse("`distill` and `teacher` require each other");
        }
        if self.distill.is_some() && self.train.is_none() {
            return refuse("`distill` acts during training: add `train`");
        }
        if self.arch.is_none() && (self.width.is_some() || self.head != Head::Own) {
            return refuse("`width` and `head` require `arch`");
        }
        if self.prune.is_none() && (self.plan.is_some() || self.save_plan.is_some()) {
            return refuse("`plan` and `save_plan` require `prune`");
        }
        if self.summary().is_empty() && self.from.is_none() {
            return refuse("expected something to do: arch, from, a rewrite, sparsify or train");
        }
        for name in [&self.from, &self.teacher].into_iter().flatten() {
            if !earlier.iter().any(|s| s.name == *name) && !Path::new(name).exists() {
                return refuse(&format!("`{name}` is neither an earlier stage nor a model file"));
            }
        }
        self.check_options()
    }

    /// Checks the options of each technique.
    fn check_options(&self) -> Result<()> {
        self.prune.as_ref().map_or(Ok(()), PruneConfig::check)?;
        self.factorize.as_ref().map_or(Ok(()), FactorizeConfig::check)?;
        self.compact.as_ref().map_or(Ok(()), CompactConfig::check)?;
        self.distill.as_ref().map_or(Ok(()), DistillConfig::check)?;
        self.sparsify.as_ref().map_or(Ok(()), SparsifyConfig::check)?;
        self.train.as_ref().map_or(Ok(()), TrainConfig::check)
    }

    /// Summarizes the stage in a few words.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        if let Some(arch) = &self.arch {
            parts.push(arch.clone());
        }
        let rewrites = [
            (self.prune.is_some(), "prune"),
            (self.fold.is_some(), "fold"),
            (self.factorize.is_some(), "factorize"),
            (self.compact.is_some(), "compact"),
            (self.sparsify.is_some(), "sparsify"),
            (self.distill.is_some(), "distill"),
        ];
        parts.extend(rewrites.iter().filter(|(on, _)| *on).map(|(_, what)| what.to_string()));
        if let Some(train) = &self.train {
            parts.push(format!("{} epoch{}", train.epochs, if train.epochs == 1 { "" } else { "s" }));
        }
        parts.join(", ")
    }
}

impl TrainConfig {
    /// Returns an error that names the first invalid option.
    pub fn check(&self) -> Result<()> {
        if !(1..=MAX_EPOCHS).contains(&self.epochs) {
            return Err(Error::invalid(format!("epochs: expected 1 to {MAX_EPOCHS}, found {}", self.epochs)));
        }
        number::single("label_smoothing", self.label_smoothing, Range::BelowOne)?;
        self.schedule.check_rates(self.learning_rate)?;
        self.optimizer.check()
    }
}

/// Returns the model file that stage `index` (from 0) writes in `dir`.
pub fn model_path(dir: &Path, index: usize, stage: &Stage) -> PathBuf {
    dir.join(format!("{}-{}.safetensors", index + 1, stage.name))
}
