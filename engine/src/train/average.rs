//! The exponential moving average of a training's weights.

use super::weights;
use super::{Callback, Flow, Progress, Shrunk, State, Step};
use crate::number::{self, Range};
use crate::{Error, Graph, Param, Result, Tensor, memory};

/// Averages weights and running statistics over the steps (Polyak and Juditsky 1992; exponentially, as TensorFlow's
/// `ExponentialMovingAverage` with `num_updates`): after step t, from 1,
///
/// ```text
///   average ← average + (1 − min(decay, (1 + t) / (10 + t))) · (weights − average)
/// ```
///
/// so that a short training does not keep its random start. The training goes on with its own weights; validation, and
/// the network at the end, have the averages. Masked weights stay zero.
#[derive(Clone, Debug)]
pub struct MovingAverage {
    decay: f64,
    steps: u64,
    average: Option<Graph>,
}

impl MovingAverage {
    /// Averages with `decay`, in `[0, 1)`.
    pub fn new(decay: f64) -> Result<Self> {
        number::single("ema", decay, Range::BelowOne)?;
        Ok(Self { decay, steps: 0, average: None })
    }
}

/// Sets the values to zero that `param`'s mask drops.
fn drop_masked(values: &mut [f32], param: &Param) {
    let mask = param.mask().map_or(&[][..], Tensor::data);
    values.iter_mut().zip(mask).filter(|(_, kept)| **kept == 0.0).for_each(|(v, _)| *v = 0.0);
}

/// Moves `average` towards `value` by `part` of the distance.
fn approach(average: &mut [f32], value: &[f32], part: f32) {
    average.iter_mut().zip(value).for_each(|(average, &value)| *average += part * (value - *average));
}

impl Callback for MovingAverage {
    fn on_begin(&mut self, graph: &mut Graph) -> Result<()> {
        memory::require("the averages of the weights", weights::bytes(graph))?;
        let mut average = graph.clone();
        // The masks of the network count, not those of its start.
        average.params_mut().try_for_each(|(_, param)| param.set_mask(None))?;
        self.average = Some(average);
        Ok(())
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        let Some(average) = &mut self.average else { return Ok(Flow::Continue) };
        self.steps += 1;
        let t = self.steps as f64;
        let part = (1.0 - self.decay.min((1.0 + t) / (10.0 + t))) as f32;
        step.graph.fetch()?;
        for ((_, average), (_, param)) in average.params_mut().zip(step.graph.params()) {
            average.update(|values| {
                approach(values, param.value().data(), part);
                drop_masked(values, param);
            });
        }
        for ((_, average), (_, buffer)) in average.buffers_mut().zip(step.graph.buffers()) {
            approach(average.data_mut(), buffer.data(), part);
        }
        Ok(Flow::Continue)
    }

    fn on_steps_over(&mut self, graph: &mut Graph, _progress: Progress) -> Result<()> {
        // A callback before this one may have dropped weights since the last step.
        let Some(average) = &mut self.average else { return Ok(()) };
        graph.fetch()?;
        for ((_, average), (_, param)) in average.params_mut().zip(graph.params()) {
            average.update(|values| drop_masked(values, param));
        }
        Ok(())
    }

    fn on_shrunk(&mut self, before: &Graph, shrunk: &Shrunk) -> Result<()> {
        match self.average.take() {
            Some(average) => shrunk.follow(before, &average).map(|average| self.average = Some(average)),
            None => Ok(()),
        }
    }

    fn network(&self) -> Option<&Graph> {
        self.average.as_ref()
    }

    fn on_end(&mut self, graph: &mut Graph) -> Result<()> {
        self.average.as_ref().map_or(Ok(()), |average| weights::copy(average, graph))
    }

    fn state(&self) -> State {
        let mut state = State { value: self.steps.into(), ..State::default() };
        self.average.iter().for_each(|average| weights::save(average, &mut state));
        state
    }

    fn restore(&mut self, mut state: State) -> Result<()> {
        let damaged = || Error::invalid("checkpoint: the state of the moving average is damaged");
        self.steps = state.value.as_u64().ok_or_else(damaged)?;
        let layers = self.average.take().ok_or_else(damaged)?;
        self.average = Some(weights::load(&layers, &mut state)?);
        State { value: serde_json::Value::Null, ..state }.expect_empty("the moving average")
    }
}
