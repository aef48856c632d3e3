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
//! [[stage]]                      # takes the stage before and rewrites it
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
    /// What the walkthrough is called, in its table and picture.
    #[serde(default)]
    pub title: String,
    /// Seed of initial weights, of the order and augmentation of images, and of dropout.
    #[serde(default)]
    pub seed: u64,
    /// The images.
    pub data: DataConfig,
    /// What is done, in order.
    #[serde(rename = "stage")]
    pub stages: Vec<Stage>,
}

/// A stage: where its network comes from, at most one rewrite, then, where asked for, training.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Names the stage, its row and its model file.
    pub name: String,
    /// Builds this architecture afresh.
    pub arch: Option<String>,
    /// Width multiplier of `arch`.
    pub width: Option<f64>,
    /// Classifier of `arch`: its `own`, or `fastai`'s.
    #[serde(default)]
    pub head: Head,
    /// Starts from an earlier stage or a model file; without it and `arch`, from the stage before.
    pub from: Option<String>,
    /// Removes channels.
    pub prune: Option<PruneConfig>,
    /// What to prune, decided beforehand: it replaces the choice of `prune`.
    pub plan: Option<PrunePlan>,
    /// Where to write what was pruned, for a later `plan`.
    pub save_plan: Option<PathBuf>,
    /// Folds batch norms.
    pub fold: Option<Fold>,
    /// Splits linear layers in two.
    pub factorize: Option<FactorizeConfig>,
    /// Computes live channels only.
    pub compact: Option<CompactConfig>,
    /// Learns from `teacher` while training.
    pub distill: Option<DistillConfig>,
    /// The teacher: an earlier stage or a model file.
    pub teacher: Option<String>,
    /// Masks weights: while training, or at once where there is no `train`.
    pub sparsify: Option<SparsifyConfig>,
    /// Trains the network after the rewrite.
    pub train: Option<TrainConfig>,
}

/// Folding has no options.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fold {}

/// How a network is trained.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// The largest learning rate of the schedule.
    pub learning_rate: f64,
    /// How gradients become steps; by default AdamW. Biases and batch norms do not decay.
    #[serde(default = "adamw")]
    pub optimizer: OptimizerConfig,
    /// How the learning rate moves; by default one cycle.
    #[serde(default = "Schedule::one_cycle")]
    pub schedule: Schedule,
    /// Share of each target that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: f64,
}

/// Beyond any training; more is a slip of the keyboard.
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

    /// The same recipe cut to a trial: few images, unless it limits them itself, and one epoch a training.
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

/// Characters of a stage's name, which names a file and heads a row of the table.
const LONGEST_NAME: usize = 64;

impl Stage {
    fn check(&self, earlier: &[Stage]) -> Result<()> {
        let refuse = |message: &str| Err(Error::invalid(message));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return refuse("a name is made of letters, digits, `-` and `_`");
        }
        if self.name.len() > LONGEST_NAME {
            let (found, short) = (self.name.len(), &self.name[..LONGEST_NAME]);
            return refuse(&format!("a name of at most {LONGEST_NAME} characters, found {found}: {short}…"));
        }
        if earlier.iter().any(|s| s.name == self.name) {
            return refuse("an earlier stage has the same name");
        }
        let rewrites =
            [self.prune.is_some(), self.fold.is_some(), self.factorize.is_some(), self.compact.is_some()];
        if rewrites.iter().filter(|&&r| r).count() > 1 {
            return refuse("only one of prune, fold, factorize, compact: give each a stage of its own");
        }
        if self.arch.is_some() && self.from.is_some() {
            return refuse("either `arch` or `from`");
        }
        if self.arch.is_none() && self.from.is_none() && earlier.is_empty() {
            return refuse("the first stage needs `arch` or `from`");
        }
        if self.distill.is_some() != self.teacher.is_some() {
            return refuse("`distill` and `teacher` go together");
        }
        if self.distill.is_some() && self.train.is_none() {
            return refuse("`distill` acts while training: add `train`");
        }
        if self.arch.is_none() && (self.width.is_some() || self.head != Head::Own) {
            return refuse("`width` and `head` go with `arch`");
        }
        if self.prune.is_none() && (self.plan.is_some() || self.save_plan.is_some()) {
            return refuse("`plan` and `save_plan` go with `prune`");
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

    /// Lets each technique check its options.
    fn check_options(&self) -> Result<()> {
        self.prune.as_ref().map_or(Ok(()), PruneConfig::check)?;
        self.factorize.as_ref().map_or(Ok(()), FactorizeConfig::check)?;
        self.compact.as_ref().map_or(Ok(()), CompactConfig::check)?;
        self.distill.as_ref().map_or(Ok(()), DistillConfig::check)?;
        self.sparsify.as_ref().map_or(Ok(()), SparsifyConfig::check)?;
        self.train.as_ref().map_or(Ok(()), TrainConfig::check)
    }

    /// What the stage does, in a few words.
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
            (self.distill.is_some(), "distil"),
        ];
        parts.extend(rewrites.iter().filter(|(on, _)| *on).map(|(_, what)| what.to_string()));
        if let Some(train) = &self.train {
            parts.push(format!("{} epoch{}", train.epochs, if train.epochs == 1 { "" } else { "s" }));
        }
        parts.join(", ")
    }
}

impl TrainConfig {
    /// An error that names the option that makes no sense.
    pub fn check(&self) -> Result<()> {
        if !(1..=MAX_EPOCHS).contains(&self.epochs) {
            return Err(Error::invalid(format!("epochs: expected 1 to {MAX_EPOCHS}, found {}", self.epochs)));
        }
        number::single("label_smoothing", self.label_smoothing, Range::BelowOne)?;
        self.schedule.check_rates(self.learning_rate)?;
        self.optimizer.check()
    }
}

/// The file that stage `index` (from 0) writes in `dir`.
pub fn model_path(dir: &Path, index: usize, stage: &Stage) -> PathBuf {
    dir.join(format!("{}-{}.safetensors", index + 1, stage.name))
}
