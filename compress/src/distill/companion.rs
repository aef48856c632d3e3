//! Parameters that are trained along with a student and dropped afterwards: adapters, classifiers of branches, a peer.
//!
//! ```text
//!   forward   its parameters are leaves of the student's tape
//!   backward  their gradients are clipped, accumulated and scaled with the student's
//!   step      an optimizer of the student's configuration updates them
//! ```

use lopper_engine::layer::{BatchNorm, Conv2d, Linear};
use lopper_engine::train::{Optimizer, OptimizerConfig, ParamState, Rates, State};
use lopper_engine::{
    Device, Error, Gradients, Graph, Layer, Param, ParamGradients, Result, Tape, Tensor, Var,
};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Layers with an optimizer of their own.
pub(super) struct Companion {
    /// The layers. Where they are not a network, each reads node 0, and [`Companion::apply`] runs one of them.
    pub graph: Graph,
    optimizer: Option<Optimizer>,
    /// The optimizer's state in a checkpoint, until the optimizer is known.
    restored: Vec<(String, ParamState)>,
    /// What is on the tape of this step.
    leaves: Vec<(String, Var)>,
}

/// The JSON part of a state: steps of each parameter. The arrays hold parameters, moments and buffers by path.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    steps: BTreeMap<String, u32>,
}

impl Companion {
    /// The layers of `graph`, before the first step.
    pub fn new(graph: Graph) -> Self {
        Self { graph, optimizer: None, restored: Vec::new(), leaves: Vec::new() }
    }

    /// Adds a 1×1 convolution of feature maps, or a linear layer of features, as `shape` says, from `inputs` to `outputs`
    /// channels. Weights are uniform in ±1/√inputs, as PyTorch draws them, biases zero. Returns the name.
    pub fn add(&mut self, name: String, shape: &[usize], inputs: usize, outputs: usize) -> Result<String> {
        let bound = 1.0 / (inputs.max(1) as f32).sqrt();
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(self.graph.nodes().len() as u64);
        let mut draw =
            |shape: &[usize]| Param::new(Tensor::from_fn(shape, |_| generator.random_range(-bound..=bound)));
        let bias = Some(Param::new(Tensor::zeros(&[outputs])));
        let layer = match shape.len() {
            4 => Layer::Conv2d(Conv2d {
                weight: draw(&[outputs, 1, 1, inputs]),
                bias,
                stride: [1; 2],
                padding: [0; 2],
                extra_padding: [0; 2],
                dilation: [1; 2],
                groups: 1,
            }),
            _ => Layer::Linear(Linear { weight: draw(&[outputs, inputs]), bias }),
        };
        self.graph.push(name.clone(), layer, &[0])?;
        Ok(name)
    }

    /// Adds a batch norm over `channels`. It runs in training only, on the statistics of the batch, so that nobody reads its
    /// running ones.
    pub fn add_norm(&mut self, name: String, channels: usize) -> Result<()> {
        self.graph.push(name, Layer::BatchNorm(BatchNorm::new(channels)), &[0]).map(drop)
    }

    /// The layer `name` of `x`.
    pub fn apply(&mut self, tape: &mut Tape, name: &str, x: &Var) -> Result<Var> {
        let layer = self.graph.nodes()[self.graph.id(name)?].layer.clone();
        let mut leaf = |slot: &str, param: &Param| {
            let leaf = tape.leaf(param.value().clone());
            self.leaves.push((format!("{name}.{slot}"), leaf.clone()));
            leaf
        };
        match &layer {
            Layer::Conv2d(conv) => {
                let (w, b) = (leaf("weight", &conv.weight), conv.bias.as_ref().map(|b| leaf("bias", b)));
                tape.conv2d(x, &w, b.as_ref(), conv.options())
            }
            Layer::Linear(linear) => {
                let (w, b) = (leaf("weight", &linear.weight), linear.bias.as_ref().map(|b| leaf("bias", b)));
                tape.linear(x, &w, b.as_ref())
            }
            Layer::BatchNorm(norm) => {
                let (gamma, beta) = (leaf("weight", &norm.weight), leaf("bias", &norm.bias));
                Ok(tape.batch_norm_train(x, &gamma, &beta, norm.eps)?.0)
            }
            _ => Err(Error::invalid(format!("distillation: `{name}` is no adapter"))),
        }
    }

    /// The gradients of the layers that ran.
    pub fn gradients(&mut self, gradients: &mut Gradients) -> ParamGradients {
        let of_leaf = |(path, leaf): (String, Var)| Some((path, gradients.take(&leaf)?));
        self.leaves.drain(..).filter_map(of_leaf).collect()
    }

    /// Forgets a step whose gradients nobody asks for.
    pub fn clear(&mut self) {
        self.leaves.clear();
    }

    /// Updates the parameters that have gradients.
    pub fn step(
        &mut self,
        config: &OptimizerConfig,
        gradients: &ParamGradients,
        rates: Rates,
        device: &Device,
    ) -> Result<()> {
        if !self.graph.params().any(|(path, _)| gradients.contains_key(&path)) {
            return Ok(());
        }
        if self.optimizer.is_none() {
            let mut optimizer = Optimizer::new(*config).without_vector_decay();
            optimizer.restore(std::mem::take(&mut self.restored), &self.graph)?;
            self.optimizer = Some(optimizer);
        }
        match &mut self.optimizer {
            Some(optimizer) => optimizer.step(&mut self.graph, gradients, rates, device),
            None => Ok(()),
        }
    }

    /// Adds its state to `state`, under `name`. An error if a device does not give it.
    pub fn remember(&self, name: &str, state: &mut State) -> Result<()> {
        let mut put = |kind: &str, path: &str, tensor: &Tensor| {
            tensor.fetch()?;
            let values = tensor.data().iter().copied().map(f64::from).collect();
            state.arrays.insert(format!("{name}/{kind}/{path}"), values);
            Ok::<_, Error>(())
        };
        self.graph.params().try_for_each(|(path, param)| put("param", &path, param.value()))?;
        self.graph.buffers().try_for_each(|(path, buffer)| put("buffer", &path, buffer))?;
        let states = self.optimizer.as_ref().map_or_else(|| self.restored.clone(), Optimizer::states);
        let mut steps = BTreeMap::new();
        for (path, param) in states {
            let mut moments = param.moments.iter().enumerate();
            moments.try_for_each(|(i, moment)| put(&format!("moment{i}"), &path, moment))?;
            steps.insert(path, param.steps);
        }
        state.value[name] = serde_json::json!(Remembered { steps });
        Ok(())
    }

    /// Restores what [`Companion::remember`] added, and removes it from `state`.
    ///
    /// # Errors
    /// If a part is missing or has another length.
    pub fn recall(&mut self, name: &str, state: &mut State) -> Result<()> {
        let damaged = |what: String| {
            Error::invalid(format!("checkpoint: the state of distillation is damaged: {what}"))
        };
        let value = state.value.get_mut(name).map(serde_json::Value::take).unwrap_or_default();
        let Remembered { steps } = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        let arrays = &mut state.arrays;
        let mut take = |kind: &str, path: &str, shape: &[usize]| {
            let key = format!("{name}/{kind}/{path}");
            let values = arrays.remove(&key).ok_or_else(|| damaged(format!("`{key}` is missing")))?;
            let values = values.into_iter().map(|value| value as f32).collect();
            Tensor::from_vec(shape, values).map_err(|e| damaged(format!("`{key}`: {e}")))
        };
        for (path, param) in self.graph.params_mut() {
            let value = take("param", &path, param.value().shape())?;
            param.set_value(value)?;
        }
        for (path, buffer) in self.graph.buffers_mut() {
            *buffer = take("buffer", &path, buffer.shape())?;
        }
        self.optimizer = None;
        self.restored.clear();
        for (path, steps) in steps {
            let shape = self.graph.param(&path)?.value().shape().to_vec();
            let mut moments = vec![take("moment0", &path, &shape)?];
            moments.extend(take("moment1", &path, &shape).ok());
            self.restored.push((path, ParamState { steps, moments }));
        }
        Ok(())
    }
}
