//! Hooks between training steps.

use super::{EpochMetrics, Rates, Shrunk, State};
use crate::autograd::exec::ParamGradients;
use crate::graph::certificate::Certificate;
use crate::{Error, Graph, Result};

/// The progress of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Total number of epochs.
    pub epochs: usize,
    /// The step, from 0, counted over the whole training.
    pub step: usize,
    /// Total number of steps.
    pub steps: usize,
}

impl Progress {
    /// The share of the whole training that precedes this step, in `[0, 1)`: 0 at the first step.
    pub fn fraction(&self) -> f64 {
        self.step as f64 / self.steps as f64
    }

    /// The share that is complete after this step, in `(0, 1]`: 1 at the last step.
    pub fn end_of_step(&self) -> f64 {
        (self.step + 1) as f64 / self.steps as f64
    }
}

/// Whether a training goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    #[default]
    Continue,
    /// It ends, without an error, as if this step or epoch were its last.
    Stop,
}

/// A training step, as callbacks see it.
pub struct Step<'a> {
    /// The network.
    pub graph: &'a mut Graph,
    /// The gradients of this step.
    pub gradients: &'a mut ParamGradients,
    /// The position in the training.
    pub progress: Progress,
    /// The loss of this step's batch.
    pub loss: f32,
    /// The rates of this step. A callback may change them before the update.
    pub rates: Rates,
}

/// A hook into training. By default, hooks do nothing. If one of several callbacks stops the training, the others are
/// still called for the same step or epoch, and [`Callback::on_end`] of all of them. A callback that keeps state
/// between steps implements both [`Callback::state`] and [`Callback::restore`]; otherwise, a training resumed from a
/// checkpoint would end with different bits.
pub trait Callback {
    /// Called before the first step.
    fn on_begin(&mut self, _graph: &mut Graph) -> Result<()> {
        Ok(())
    }

    /// Whether it reads the gradients of masked weights, which are otherwise not computed but zero: to decide which of
    /// them return.
    fn reads_masked_gradients(&self) -> bool {
        false
    }

    /// Called when the gradients are ready, before the weights are updated.
    fn before_step(&mut self, _step: &mut Step) -> Result<()> {
        Ok(())
    }

    /// Called after the weights are updated.
    fn after_step(&mut self, _step: &mut Step) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// Called when the steps of an epoch are over, before validation, with the `progress` of its last step. That step may
    /// not have been taken: its batch may be unreadable, or its gradients too large for half precision. A callback that
    /// follows a schedule catches up here. It may be called again for an epoch that a checkpoint has at its end.
    fn on_steps_over(&mut self, _graph: &mut Graph, _progress: Progress) -> Result<()> {
        Ok(())
    }

    /// The network with which the training goes on, if it loses channels now. Called after each step, behind
    /// [`Callback::after_step`] of every callback, and once more at the end of each epoch, whose last batches may be
    /// missing: `progress` may be the same as before. The trainer cuts the optimizer's state along the same channels and
    /// passes the change to [`Callback::on_shrunk`] of every callback.
    fn shrink(&mut self, _graph: &Graph, _progress: Progress) -> Result<Option<Shrunk>> {
        Ok(None)
    }

    /// Called when `shrunk` takes the place of the network `before`. A callback that remembers anything about parameters
    /// or channels cuts it here.
    fn on_shrunk(&mut self, _before: &Graph, _shrunk: &Shrunk) -> Result<()> {
        Ok(())
    }

    /// Adds what the callback knows about an epoch to its metrics, before validation.
    fn measure(&self, _epoch: &mut EpochMetrics) {}

    /// The network to validate and to keep in place of the one in training. If several callbacks have one, the last
    /// counts.
    fn network(&self) -> Option<&Graph> {
        None
    }

    /// Called after each epoch and its validation, before [`Callback::on_epoch_end`], with the network that was
    /// validated.
    fn on_evaluated(&mut self, _network: &Graph, _epoch: &EpochMetrics) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// Called after each epoch and its validation.
    fn on_epoch_end(&mut self, _graph: &mut Graph, _epoch: &EpochMetrics) -> Result<Flow> {
        Ok(Flow::Continue)
    }

    /// What the callback can state about what it did to the function of the network, which is `trained` now.
    fn certificates(&self, _trained: &Graph) -> Vec<Certificate> {
        Vec::new()
    }

    /// Called after the last step.
    fn on_end(&mut self, _graph: &mut Graph) -> Result<()> {
        Ok(())
    }

    /// The callback's state, for a checkpoint.
    fn state(&self) -> State {
        State::default()
    }

    /// Restores the state returned by [`Callback::state`]. Called after [`Callback::on_begin`].
    fn restore(&mut self, state: State) -> Result<()> {
        state.expect_empty("a callback")
    }
}

/// Scales down the gradients of all parameters by a common factor if their joint Euclidean norm exceeds `max_norm`
/// (Pascanu et al. 2013).
#[derive(Clone, Copy, Debug)]
pub struct ClipGradients {
    max_norm: f64,
}

impl ClipGradients {
    /// Clips to `max_norm`; an error unless `max_norm` is above 0.
    pub fn new(max_norm: f64) -> Result<Self> {
        match max_norm > 0.0 {
            true => Ok(Self { max_norm }),
            false => {
                Err(Error::invalid(format!("gradient clipping: expected a norm above 0, found {max_norm}")))
            }
        }
    }
}

impl Callback for ClipGradients {
    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        let squares = |g: &crate::Tensor| g.data().iter().map(|&d| f64::from(d).powi(2)).sum::<f64>();
        let norm = step.gradients.values().map(squares).sum::<f64>().sqrt();
        if norm > self.max_norm {
            let factor = (self.max_norm / norm) as f32;
            step.gradients.values_mut().flat_map(|g| g.data_mut()).for_each(|d| *d *= factor);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;

    fn clipped(max_norm: f64) -> ParamGradients {
        let mut gradients = ParamGradients::from([
            ("a".to_string(), Tensor::full(&[1], 3.0)),
            ("b".to_string(), Tensor::full(&[1], -4.0)),
        ]);
        let progress = Progress { epoch: 0, epochs: 1, step: 0, steps: 1 };
        let mut graph = Graph::new(1);
        let mut step =
            Step { graph: &mut graph, gradients: &mut gradients, progress, loss: 0.0, rates: 0.1.into() };
        ClipGradients::new(max_norm).unwrap().before_step(&mut step).unwrap();
        gradients
    }

    #[test]
    fn clipping_scales_all_gradients_together() {
        assert_eq!(clipped(2.5).values().map(|g| g.data()[0]).collect::<Vec<_>>(), [1.5, -2.0]);
        assert_eq!(clipped(5.0).values().map(|g| g.data()[0]).collect::<Vec<_>>(), [3.0, -4.0]);
        assert!(ClipGradients::new(0.0).is_err() && ClipGradients::new(f64::NAN).is_err());
    }

    #[test]
    fn progress_runs_from_zero_to_one() {
        let first = Progress { epoch: 0, epochs: 2, step: 0, steps: 10 };
        let last = Progress { epoch: 1, step: 9, ..first };
        assert_eq!((first.fraction(), first.end_of_step()), (0.0, 0.1));
        assert_eq!((last.fraction(), last.end_of_step()), (0.9, 1.0));
    }
}
