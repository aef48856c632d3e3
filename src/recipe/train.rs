//! The options of training in a stage.

use super::ClassWeights;
use lopper_engine::number::{self, Range};
use lopper_engine::train::{
    Best, EarlyStopping, Freezing, LayerRates, Layers, Monitor, MovingAverage, Optimizer, OptimizerConfig,
    ParamGroup, RateFactors, Schedule, Thaw, When,
};
use lopper_engine::{Error, Graph, Result};
use serde::{Deserialize, Deserializer};

/// Options of training.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Largest learning rate of the schedule, unless layers have `rates`.
    pub learning_rate: Option<f64>,
    /// Largest learning rates by layer.
    pub rates: Option<LayerRates>,
    /// Layers that are not trained: `body`, `head`, a pattern of names, or a list of them. Batch norms are trained.
    #[serde(default, deserialize_with = "one_or_more")]
    pub freeze: Vec<Layers>,
    /// Frozen layers that are trained from some time on, in the order of these times.
    #[serde(default)]
    pub unfreeze: Vec<Thaw>,
    /// Optimizer, by default AdamW. Biases and batch norms do not decay.
    #[serde(default = "adamw")]
    pub optimizer: OptimizerConfig,
    /// Learning rate schedule, by default one cycle.
    #[serde(default = "Schedule::one_cycle")]
    pub schedule: Schedule,
    /// Share of each target that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: f64,
    /// Weights of the classes in the loss. By default, all images count alike.
    pub class_weights: Option<ClassWeights>,
    /// Parameters with a learning rate and weight decay of their own.
    #[serde(default)]
    pub groups: Vec<ParamGroup>,
    /// Largest norm of all gradients together; a larger one is scaled down to it. By default, none is.
    pub clip_norm: Option<f64>,
    /// Batches whose gradients make one step.
    #[serde(default = "one_batch")]
    pub accumulate: usize,
    /// Decay of the moving average of the weights, which is validated and becomes the network of the stage. By default,
    /// the weights are not averaged.
    pub ema: Option<f64>,
    /// Number of different epochs: the images come in the order and augmentation of epoch e modulo this number. By default,
    /// every epoch is different.
    pub draws: Option<usize>,
    /// Epochs after which the training stops, although its schedule is that of all `epochs`; a fraction counts steps.
    pub stop_after: Option<f64>,
    /// Metric of the validation images by which epochs are compared, by default the accuracy. Only with `save_best` or
    /// `early_stopping`.
    pub monitor: Option<Monitor>,
    /// Whether the network of the best epoch, rather than that of the last, becomes the network of the stage.
    #[serde(default)]
    pub save_best: bool,
    /// When to stop a training that no longer improves.
    pub early_stopping: Option<EarlyStopping>,
}

/// More epochs than any training needs; a larger number is a typo.
const MAX_EPOCHS: usize = 1_000_000;

/// More batches a step than any training needs; a larger number is a typo.
const MAX_ACCUMULATED: usize = 65_536;

fn one_batch() -> usize {
    1
}

/// Reads one choice of layers or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Layers>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected `body`, `head`, a pattern of layer names, or a list of them")]
    enum Form {
        One(Layers),
        More(Vec<Layers>),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::One(layers) => vec![layers],
        Form::More(layers) => layers,
    })
}

fn adamw() -> OptimizerConfig {
    OptimizerConfig::AdamW { betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 }
}

impl TrainConfig {
    /// Returns an error that names the first invalid option.
    pub fn check(&self) -> Result<()> {
        if !(1..=MAX_EPOCHS).contains(&self.epochs) {
            return Err(Error::invalid(format!("epochs: expected 1 to {MAX_EPOCHS}, found {}", self.epochs)));
        }
        number::single("label_smoothing", self.label_smoothing, Range::BelowOne)?;
        self.clip_norm
            .map_or(Ok(()), |norm| number::single("clip_norm", norm, Range::AboveZero).map(drop))?;
        if !(1..=MAX_ACCUMULATED).contains(&self.accumulate) {
            let found = self.accumulate;
            return Err(Error::invalid(format!(
                "accumulate: expected 1 to {MAX_ACCUMULATED}, found {found}"
            )));
        }
        if self.draws == Some(0) {
            return Err(Error::invalid("draws: expected at least 1 epoch of images, found 0"));
        }
        if let Some(found) = self.stop_after.filter(|&stop| !(stop > 0.0 && stop <= self.epochs as f64)) {
            let epochs = self.epochs;
            return Err(Error::invalid(format!(
                "stop_after: expected more than 0 epochs and up to {epochs}, the whole training, found {found}"
            )));
        }
        self.average()?;
        self.class_weights.as_ref().map_or(Ok(()), ClassWeights::check)?;
        self.early_stopping.map_or(Ok(()), |stopping| stopping.check())?;
        if self.monitor.is_some() && self.asks_for_best().is_none() {
            return Err(Error::invalid(
                "monitor: nothing compares the epochs by it; expected save_best or early_stopping beside it",
            ));
        }
        self.check_thaws()?;
        let largest = self.largest_rate()?;
        self.rates.as_ref().map_or(Ok(()), LayerRates::check)?;
        self.schedule.check_rates(largest)?;
        self.optimizer.check()?;
        self.groups.iter().try_for_each(|group| group.check(largest))
    }

    /// Returns the largest learning rate of the schedule.
    ///
    /// # Errors
    /// [`Error::Invalid`] if rates are given twice or not at all.
    pub fn largest_rate(&self) -> Result<f64> {
        match (self.learning_rate, &self.rates) {
            (Some(rate), None) => Ok(rate),
            (None, Some(_)) if self.groups.iter().any(|group| group.lr_factor != 1.0) => {
                Err(Error::invalid("rates: the `lr_factor` of a group sets rates, too: expected one of them"))
            }
            (None, Some(rates)) => Ok(rates.largest()),
            (Some(rate), Some(_)) => Err(Error::invalid(format!(
                "learning_rate: `rates` takes its place; expected one of them, found both, learning_rate {rate}"
            ))),
            (None, None) => {
                Err(Error::invalid("expected `learning_rate`, or `rates` by layer, found neither"))
            }
        }
    }

    /// Checks that layers are unfrozen in order and within the training.
    fn check_thaws(&self) -> Result<()> {
        if let (Some(thaw), true) = (self.unfreeze.first(), self.freeze.is_empty()) {
            let layers = &thaw.layers;
            return Err(Error::invalid(format!(
                "unfreeze: `{layers}`: nothing is frozen; expected `freeze`, too"
            )));
        }
        let share = |thaw: &Thaw| thaw.when.share(self.epochs);
        if let Some(thaw) = self.unfreeze.iter().find(|thaw| share(thaw) >= 1.0) {
            let (layers, epochs) = (&thaw.layers, self.epochs);
            return Err(Error::invalid(format!(
                "unfreeze: `{layers}`: expected an epoch up to {epochs}, the last one, found {}",
                thaw.when
            )));
        }
        match self.unfreeze.windows(2).find(|pair| share(&pair[0]) > share(&pair[1])) {
            Some([first, second]) => Err(Error::invalid(format!(
                "unfreeze: expected the order of time, found `{}` {} before `{}` {}",
                first.layers, first.when, second.layers, second.when
            ))),
            _ => Ok(()),
        }
    }

    /// Shortens or lengthens the training to `epochs` epochs. Layers are unfrozen at the same shares of it.
    pub fn resize(&mut self, epochs: usize) {
        for thaw in &mut self.unfreeze {
            thaw.when = When::Share(thaw.when.share(self.epochs));
        }
        let ratio = epochs as f64 / self.epochs as f64;
        self.stop_after = self.stop_after.map(|stop| stop * ratio);
        self.epochs = epochs;
    }

    /// Returns the layers that the training leaves as they are.
    pub fn freezing(&self) -> Freezing {
        Freezing::new(self.freeze.clone(), self.unfreeze.clone())
    }

    /// Returns the optimizer of a new training of `graph`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the rates by layer do not fit the network.
    pub fn optimizer(&self, graph: &Graph) -> Result<Optimizer> {
        let rates = self.rates.as_ref().map_or(Ok(RateFactors::default()), |rates| rates.factors(graph))?;
        Ok(Optimizer::new(self.optimizer)
            .without_vector_decay()
            .accumulating(self.accumulate)
            .with_groups(self.groups.clone())
            .with_rates(rates)
            .with_freezing(self.freezing()))
    }

    /// Returns the moving average of a new training, if the weights are to be averaged.
    pub fn average(&self) -> Result<Option<MovingAverage>> {
        self.ema.map(MovingAverage::new).transpose()
    }

    /// Returns the follower of a new training's best epoch, if one is wanted.
    pub fn best(&self) -> Option<Best> {
        self.asks_for_best()
            .map(|_| Best::new(self.monitor.unwrap_or_default(), self.early_stopping, self.save_best))
    }

    /// Returns the option that asks for the best epoch, if one does.
    pub fn asks_for_best(&self) -> Option<&'static str> {
        match self {
            Self { save_best: true, .. } => Some("save_best"),
            Self { early_stopping: Some(_), .. } => Some("early_stopping"),
            _ => None,
        }
    }

    /// Returns the number of copies of the weights that a checkpoint holds besides those of the network and the
    /// optimizer. They are stored in double precision.
    pub fn copies(&self) -> u64 {
        u64::from(self.ema.is_some()) + u64::from(self.save_best)
    }
}
