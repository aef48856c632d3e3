//! The best epoch of a training: keeping its network, and stopping when no better one comes.

use super::weights;
use super::{Callback, EpochMetrics, Flow, Shrunk, State};
use crate::{Error, Graph, Result, memory};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The metric of the validation images that makes an epoch better than another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// The accuracy.
    #[default]
    Top1,
    /// The cross entropy; smaller is better.
    Loss,
    /// The mean F1 of the classes.
    MacroF1,
    /// The mean F1, weighted by the images of each class.
    WeightedF1,
}

impl Monitor {
    /// The metric of an epoch, with the sign that makes larger better.
    fn score(self, epoch: &EpochMetrics) -> Option<f64> {
        match self {
            Self::Top1 => epoch.val.map(|accuracy| accuracy.top1()),
            Self::Loss => epoch.val_loss.map(|loss| -loss),
            Self::MacroF1 => epoch.macro_f1,
            Self::WeightedF1 => epoch.weighted_f1,
        }
    }
}

/// When to stop a training that no longer improves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Epochs without improvement after which the training stops, at least 1.
    pub patience: usize,
    /// The smallest gain over the best epoch that counts as an improvement, at least 0.
    #[serde(default)]
    pub min_delta: f64,
}

impl EarlyStopping {
    /// Checks the options; the error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        if self.patience == 0 {
            return Err(Error::invalid("early_stopping: expected a patience of at least 1 epoch, found 0"));
        }
        match self.min_delta >= 0.0 && self.min_delta.is_finite() {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "early_stopping: expected a min_delta of at least 0, found {}",
                self.min_delta
            ))),
        }
    }
}

/// Follows a metric over the epochs. Ties go to the earlier epoch, and an epoch whose metric is NaN is never the best.
#[derive(Clone, Debug)]
pub struct Best {
    monitor: Monitor,
    stopping: Option<EarlyStopping>,
    /// Whether the training ends with the network of the best epoch.
    keep: bool,
    layers: Option<Graph>,
    found: Option<Found>,
}

/// The best epoch so far.
#[derive(Clone, Debug)]
struct Found {
    epoch: usize,
    score: f64,
    /// The network, if it is to be kept.
    network: Option<Graph>,
}

impl Best {
    /// Follows `monitor`, stops the training by `stopping` if given, and ends it with the network of the best epoch if
    /// `keep` is set.
    pub fn new(monitor: Monitor, stopping: Option<EarlyStopping>, keep: bool) -> Self {
        Self { monitor, stopping, keep, layers: None, found: None }
    }

    /// The best epoch, from 0.
    pub fn epoch(&self) -> Option<usize> {
        self.found.as_ref().map(|found| found.epoch)
    }
}

impl Callback for Best {
    fn on_begin(&mut self, graph: &mut Graph) -> Result<()> {
        if self.keep {
            memory::require("the weights of the best epoch", weights::bytes(graph))?;
        }
        self.layers = Some(graph.clone());
        Ok(())
    }

    /// Epochs of the wider network no longer count.
    fn on_shrunk(&mut self, _before: &Graph, shrunk: &Shrunk) -> Result<()> {
        self.found = None;
        self.layers = Some(shrunk.graph.clone());
        Ok(())
    }

    fn on_evaluated(&mut self, network: &Graph, epoch: &EpochMetrics) -> Result<Flow> {
        let score = self.monitor.score(epoch).ok_or_else(|| {
            Error::invalid("the best epoch is found on validation images: this training has none")
        })?;
        let gain = self.stopping.map_or(0.0, |stopping| stopping.min_delta);
        let better = self.found.as_ref().is_none_or(|best| score > best.score + gain);
        if better && !score.is_nan() {
            let network = self.keep.then(|| network.clone());
            self.found = Some(Found { epoch: epoch.epoch, score, network });
        }
        // Epochs since the best one, or since the start if none had a score.
        let since = epoch.epoch + 1 - self.epoch().map_or(0, |best| best + 1);
        let over = self.stopping.is_some_and(|stopping| since >= stopping.patience);
        Ok(if over { Flow::Stop } else { Flow::Continue })
    }

    fn on_end(&mut self, graph: &mut Graph) -> Result<()> {
        match self.found.as_ref().and_then(|found| found.network.as_ref()) {
            Some(network) => weights::copy(network, graph),
            None => Ok(()),
        }
    }

    fn state(&self) -> State {
        let mut state = State::default();
        if let Some(Found { epoch, score, network }) = &self.found {
            state.value = json!({ "epoch": epoch });
            state.arrays.insert("score".into(), vec![*score]);
            network.iter().for_each(|network| weights::save(network, &mut state));
        }
        state
    }

    fn restore(&mut self, mut state: State) -> Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        let damaged = || Error::invalid("checkpoint: the state of the best epoch is damaged");
        let epoch = state.value["epoch"].as_u64().ok_or_else(damaged)? as usize;
        let score = state.arrays.remove("score").filter(|score| score.len() == 1).ok_or_else(damaged)?[0];
        let layers = self.layers.as_ref().filter(|_| self.keep);
        let network = layers.map(|layers| weights::load(layers, &mut state)).transpose()?;
        self.found = Some(Found { epoch, score, network });
        State { value: serde_json::Value::Null, ..state }.expect_empty("the best epoch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Accuracy;

    fn epoch(epoch: usize, correct: usize, loss: f64) -> EpochMetrics {
        let val = Some(Accuracy { correct, total: 100 });
        EpochMetrics { val, val_loss: Some(loss), ..EpochMetrics::unvalidated(epoch, 9) }
    }

    /// The best epoch, and the one after which the training stops.
    fn best(mut best: Best, epochs: &[(usize, f64)]) -> (Option<usize>, Option<usize>) {
        let graph = Graph::new(1);
        for (i, &(correct, loss)) in epochs.iter().enumerate() {
            if best.on_evaluated(&graph, &epoch(i, correct, loss)).unwrap() == Flow::Stop {
                return (best.epoch(), Some(i));
            }
        }
        (best.epoch(), None)
    }

    #[test]
    fn the_best_epoch_is_found_and_patience_ends() {
        let stopping = |patience, min_delta| Some(EarlyStopping { patience, min_delta });
        let epochs = [(50, 1.0), (60, 0.5), (60, 0.4), (55, 0.6), (62, 0.7)];
        let new = |monitor, stopping| Best::new(monitor, stopping, false);
        assert_eq!(best(new(Monitor::Top1, None), &epochs), (Some(4), None));
        assert_eq!(best(new(Monitor::Loss, None), &epochs), (Some(2), None));
        assert_eq!(best(new(Monitor::Top1, stopping(2, 0.0)), &epochs), (Some(1), Some(3)));
        assert_eq!(best(new(Monitor::Top1, stopping(3, 0.05)), &epochs), (Some(1), Some(4)));
        let lost = [(1, f64::NAN); 4];
        assert_eq!(best(new(Monitor::Loss, stopping(3, 0.0)), &lost), (None, Some(2)));
    }

    #[test]
    fn invalid_options_are_named() {
        for (patience, min_delta, words) in [
            (0, 0.0, "a patience of at least 1 epoch, found 0"),
            (1, -0.1, "a min_delta of at least 0, found -0.1"),
            (1, f64::NAN, "found NaN"),
        ] {
            let message = EarlyStopping { patience, min_delta }.check().unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
