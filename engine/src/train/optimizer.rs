//! Optimizers. Their state is keyed by parameter path.

use super::{EpochMetrics, Freezing, GroupRate, ParamGroup, RateFactors, Rates};
use crate::autograd::exec::ParamGradients;
use crate::channels::Slices;
use crate::number::{self, Range};
use crate::{Device, Error, Graph, Param, Result, Tensor};
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::cuda::{self, AdamTensor, Cuda, SgdTensor};
use lopper_kernels::params::{Adam, Sgd};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The choice of optimizer, with PyTorch's definitions and defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent; see [`Sgd`].
    Sgd {
        /// Share of the velocity that a step keeps.
        #[serde(default)]
        momentum: f64,
        /// Whether to use Nesterov momentum.
        #[serde(default)]
        nesterov: bool,
        /// L2 penalty, added to the gradient.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam; see [`Adam`].
    Adam {
        /// Decay rates of the first and second moment.
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// A constant added to the square root of the second moment.
        #[serde(default = "eps")]
        eps: f64,
        /// L2 penalty, added to the gradient.
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay, which shrinks the weights directly; see [`Adam::decoupled`].
    AdamW {
        /// Decay rates of the first and second moment.
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// A constant added to the square root of the second moment.
        #[serde(default = "eps")]
        eps: f64,
        /// Share of the weights, times the learning rate, that a step subtracts.
        #[serde(default = "adamw_decay")]
        weight_decay: f64,
    },
}

fn betas() -> [f64; 2] {
    [0.9, 0.999]
}

fn eps() -> f64 {
    1e-8
}

fn adamw_decay() -> f64 {
    0.01
}

impl OptimizerConfig {
    /// Number of state tensors for each parameter.
    pub fn moments(&self) -> usize {
        match self {
            Self::Sgd { .. } => 1,
            Self::Adam { .. } | Self::AdamW { .. } => 2,
        }
    }

    /// Checks the hyperparameters; the error names the first invalid one.
    pub fn check(&self) -> Result<()> {
        let check = |name: &str, value: f64, range: Range| {
            number::single(format_args!("optimizer {name}"), value, range).map(drop)
        };
        match *self {
            Self::Sgd { momentum, weight_decay, .. } => {
                check("momentum", momentum, Range::BelowOne)?;
                check("weight_decay", weight_decay, Range::AtLeastZero)
            }
            Self::Adam { betas, eps, weight_decay } | Self::AdamW { betas, eps, weight_decay } => {
                betas.into_iter().try_for_each(|beta| check("betas", beta, Range::BelowOne))?;
                // With `eps` 0, a parameter whose gradients are zero would step by 0 / 0.
                check("eps", eps, Range::AboveZero)?;
                check("weight_decay", weight_decay, Range::AtLeastZero)
            }
        }
    }
}

/// An optimizer with its state.
#[derive(Clone, Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    decay_vectors: bool,
    accumulate: usize,
    groups: Vec<ParamGroup>,
    rates: RateFactors,
    freezing: Freezing,
    states: HashMap<String, ParamState>,
}

/// The optimizer state of one parameter.
#[derive(Clone, Debug)]
pub struct ParamState {
    /// Number of steps taken.
    pub steps: u32,
    /// The velocity, or the two moments, each with the parameter's shape.
    pub moments: Vec<Tensor>,
}

impl Optimizer {
    /// Creates an optimizer that has taken no steps.
    pub fn new(config: OptimizerConfig) -> Self {
        Self {
            config,
            decay_vectors: true,
            accumulate: 1,
            groups: Vec::new(),
            rates: RateFactors::default(),
            freezing: Freezing::default(),
            states: HashMap::new(),
        }
    }

    /// The optimizer's configuration.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// Excludes parameters with one axis, that is, biases and batch norms, from weight decay.
    pub fn without_vector_decay(self) -> Self {
        Self { decay_vectors: false, ..self }
    }

    /// Lets a training take one step per `batches` batches, at least 1, with the mean gradient of their images: as with
    /// one batch of that size, except for batch norms, which see each batch on its own.
    pub fn accumulating(self, batches: usize) -> Self {
        Self { accumulate: batches.max(1), ..self }
    }

    /// Number of batches that make one step.
    pub fn accumulates(&self) -> usize {
        self.accumulate
    }

    /// Gives groups of parameters a learning rate and weight decay of their own.
    pub fn with_groups(self, groups: Vec<ParamGroup>) -> Self {
        Self { groups, ..self }
    }

    /// Gives parameters learning rates of their own, relative to the scheduled one.
    pub fn with_rates(self, rates: RateFactors) -> Self {
        Self { rates, ..self }
    }

    /// Lets a training leave some layers as they are.
    pub fn with_freezing(self, freezing: Freezing) -> Self {
        Self { freezing, ..self }
    }

    /// The layers that a training leaves as they are.
    pub fn freezing(&self) -> &Freezing {
        &self.freezing
    }

    /// The rates of groups of parameters that have their own, in the last step of `epoch` of a training of `graph` with
    /// `batches` batches an epoch. A group that is frozen then has the rate 0; see [`GroupRate`].
    ///
    /// # Errors
    /// If a choice of frozen layers is empty.
    pub fn group_rates(&self, graph: &Graph, epoch: &EpochMetrics, batches: usize) -> Result<Vec<GroupRate>> {
        let steps = batches.div_ceil(self.accumulate);
        let frozen = self.freezing.at_end_of(graph, epoch.epoch, epoch.epochs, steps)?;
        Ok(self.rates.group_rates(&self.groups, epoch.learning_rate, &frozen))
    }

    /// Checks the hyperparameters for a training of `graph` with the maximum learning rate `max`. Returns an error if
    /// one is invalid, or if a group or a choice of frozen layers is empty.
    pub fn check(&self, max: f64, graph: &Graph) -> Result<()> {
        self.config.check()?;
        self.groups.iter().try_for_each(|group| group.check(max))?;
        ParamGroup::check_members(&self.groups, graph.params().map(|(path, _)| path))?;
        self.freezing.check(graph)
    }

    /// Updates every trainable parameter that has a gradient; masked weights stay zero.
    /// Returns an error if a gradient or an optimizer state differs in shape from its parameter.
    pub fn step(
        &mut self,
        graph: &mut Graph,
        gradients: &ParamGradients,
        rates: impl Into<Rates>,
        device: &Device,
    ) -> Result<()> {
        let mut due = self.due(graph, gradients, rates.into())?;
        let stepped = match device {
            // One pass over all parameters, most of which are too small to keep all threads busy.
            Device::Cpu(cpu) => {
                cpu.for_each(&mut due, |due| due.step_on_cpu(cpu));
                Ok(())
            }
            Device::Cuda(gpu) => step_on_gpu(gpu, &mut due),
        };
        for due in due {
            self.states.insert(due.path, due.state);
        }
        stepped
    }

    /// The parameters to update. Errors are reported before any parameter changes.
    fn due<'a>(
        &mut self,
        graph: &'a mut Graph,
        gradients: &'a ParamGradients,
        rates: Rates,
    ) -> Result<Vec<Due<'a>>> {
        let stepped = |(path, param): &(String, &mut Param)| param.trainable && gradients.contains_key(path);
        for (path, param) in graph.params_mut().filter(stepped) {
            let shape = param.value().shape();
            let state = self.states.get(&path).map(|state| &state.moments[0]);
            for (what, found) in [("gradient", Some(&gradients[&path])), ("state", state)] {
                if let Some(found) = found.filter(|found| found.shape() != shape) {
                    return Err(Error::shape(
                        "optimizer",
                        format!("{path}: a {what} of {:?} for a parameter of {shape:?}", found.shape()),
                    ));
                }
            }
        }
        let due = |(path, param): (String, &'a mut Param)| {
            let shape = param.value().shape();
            let group = self.groups.iter().find(|group| group.matches(&path));
            let factor = self.rates.of(&path);
            let rates = Rates { learning_rate: rates.learning_rate * factor, ..rates };
            let rule = self.config.rule(rates, group, self.decay_vectors || shape.len() > 1);
            let mut state = self.states.remove(&path).unwrap_or_else(|| ParamState::new(&rule, shape));
            state.steps = state.steps.saturating_add(1);
            Due { gradient: &gradients[&path], path, param, state, rule }
        };
        Ok(graph.params_mut().filter(stepped).map(due).collect())
    }

    /// Keeps the slices `slices` of every state, when the network loses channels. Step counts stay.
    pub(super) fn shrink(&mut self, slices: &Slices) -> Result<()> {
        for (path, state) in self.states.iter_mut().filter(|(path, _)| slices.cut(path)) {
            for moment in &mut state.moments {
                moment.fetch()?;
                *moment = slices.of_tensor(path, moment);
            }
        }
        Ok(())
    }

    /// The state tensors of the parameter at `path`: SGD's velocity, or Adam's first and second moment.
    pub fn moments(&self, path: &str) -> Option<&[Tensor]> {
        self.states.get(path).map(|s| s.moments.as_slice())
    }

    /// The states of all parameters, sorted by path. The tensors are shared, not copied.
    pub fn states(&self) -> Vec<(String, ParamState)> {
        let mut states: Vec<_> =
            self.states.iter().map(|(path, state)| (path.clone(), state.clone())).collect();
        states.sort_by(|a, b| a.0.cmp(&b.0));
        states
    }

    /// Restores `states`, which come from an optimizer of the same configuration for `graph`.
    ///
    /// # Errors
    /// [`Error::Invalid`], with the parameter's name, if a parameter is unknown or if the number or shape of its
    /// moments does not fit this optimizer.
    pub fn restore(&mut self, states: Vec<(String, ParamState)>, graph: &Graph) -> Result<()> {
        let moments = self.config.moments();
        for (path, state) in &states {
            let shape = graph.param(path)?.value().shape();
            let fits = state.moments.len() == moments && state.moments.iter().all(|m| m.shape() == shape);
            if !fits || state.steps == 0 {
                let found: Vec<&[usize]> = state.moments.iter().map(Tensor::shape).collect();
                return Err(Error::invalid(format!(
                    "optimizer: {path} after {} steps: expected {moments} moments of {shape:?}, found {found:?}",
                    state.steps
                )));
            }
        }
        self.states = states.into_iter().collect();
        Ok(())
    }
}

impl ParamState {
    fn new(rule: &Rule, shape: &[usize]) -> Self {
        let count = match rule {
            Rule::Sgd(_) => 1,
            Rule::Adam(_) => 2,
        };
        Self { steps: 0, moments: vec![Tensor::zeros(shape); count] }
    }
}

/// The hyperparameters of one step, in the form that the kernels take.
enum Rule {
    Sgd(Sgd),
    Adam(Adam),
}

/// A parameter to update. The step count of its state already includes this step.
struct Due<'a> {
    path: String,
    param: &'a mut Param,
    gradient: &'a Tensor,
    state: ParamState,
    rule: Rule,
}

impl Due<'_> {
    fn step_on_cpu(&mut self, cpu: &Cpu) {
        let (p, mask) = self.param.for_step();
        let (p, g, mask) = (p.data_mut(), self.gradient.data(), mask.map(Tensor::data));
        let steps = self.state.steps;
        match (&self.rule, self.state.moments.as_mut_slice()) {
            (Rule::Sgd(h), [velocity]) => cpu::sgd_step(cpu, h, steps == 1, p, g, velocity.data_mut(), mask),
            (Rule::Adam(h), [m, v]) => {
                cpu::adam_step(cpu, h, steps, p, g, [m.data_mut(), v.data_mut()], mask)
            }
            _ => unreachable!("{MOMENTS}"),
        }
    }
}

/// Updates all parameters in a few kernel launches.
fn step_on_gpu(gpu: &Cuda, due: &mut [Due]) -> Result<()> {
    let (mut sgd, mut first, mut sgd_tensors) = (Vec::new(), Vec::new(), Vec::new());
    let (mut adam, mut steps, mut adam_tensors) = (Vec::new(), Vec::new(), Vec::new());
    for Due { param, gradient, state, rule, .. } in due {
        let (p, mask) = param.for_step();
        let mask = mask.map(|mask| mask.on(gpu)).transpose()?;
        let (p, g) = (p.on_mut(gpu)?, gradient.on(gpu)?);
        match (rule, state.moments.as_mut_slice()) {
            (Rule::Sgd(h), [velocity]) => {
                sgd.push(*h);
                first.push(state.steps == 1);
                sgd_tensors.push(SgdTensor { p, g, velocity: velocity.on_mut(gpu)?, mask });
            }
            (Rule::Adam(h), [m, v]) => {
                adam.push(*h);
                steps.push(state.steps);
                adam_tensors.push(AdamTensor { p, g, m: m.on_mut(gpu)?, v: v.on_mut(gpu)?, mask });
            }
            _ => unreachable!("{MOMENTS}"),
        }
    }
    cuda::sgd_step_all(gpu, &sgd, &first, &mut sgd_tensors)?;
    Ok(cuda::adam_step_all(gpu, &adam, &steps, &mut adam_tensors)?)
}

const MOMENTS: &str = "the configuration does not change, so neither does the number of moments";

impl OptimizerConfig {
    /// The rule for a parameter of `group` that `decays` or not.
    fn rule(self, rates: Rates, group: Option<&ParamGroup>, decays: bool) -> Rule {
        let lr = (rates.learning_rate * group.map_or(1.0, |group| group.lr_factor)) as f32;
        let decay = |weight_decay: f64| match group.and_then(|group| group.weight_decay) {
            _ if !decays => 0.0,
            Some(own) => own as f32,
            None => weight_decay as f32,
        };
        let adam = |[beta1, beta2]: [f64; 2], eps: f64, weight_decay: f64, decoupled: bool| {
            Rule::Adam(Adam {
                lr,
                beta1: rates.momentum.unwrap_or(beta1) as f32,
                beta2: beta2 as f32,
                eps: eps as f32,
                weight_decay: decay(weight_decay),
                decoupled,
            })
        };
        match self {
            Self::Sgd { momentum, nesterov, weight_decay } => Rule::Sgd(Sgd {
                lr,
                momentum: rates.momentum.unwrap_or(momentum) as f32,
                nesterov,
                weight_decay: decay(weight_decay),
            }),
            Self::Adam { betas, eps, weight_decay } => adam(betas, eps, weight_decay, false),
            Self::AdamW { betas, eps, weight_decay } => adam(betas, eps, weight_decay, true),
        }
    }
}
