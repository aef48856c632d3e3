//! Execution of a graph, node by node, through the same tape operations that losses and users call. Operations that
//! follow a batch norm and are its only readers are fused with it (`fusion.rs`).

use crate::autograd::fusion::operations;
use crate::autograd::ops::{BatchStats, Tail, move_running};
use crate::autograd::tape::{Gradients, Mode, Tape, Var};
use crate::graph::layer::BatchNorm;
use crate::plan::check_finite;
use crate::{Device, Error, Graph, Layer, Node, NodeId, Param, Result, Tensor};
use std::collections::BTreeMap;

/// Gradients by parameter path (`layer1.0.conv1.weight`). Parameters that are not trainable are absent.
pub type ParamGradients = BTreeMap<String, Tensor>;

/// Values of nodes that were computed before.
pub type Known = BTreeMap<NodeId, Tensor>;

/// One run of a graph on a tape.
pub struct Pass {
    /// Output of the network.
    pub output: Var,
    /// Outputs of the requested nodes, in the requested order.
    pub taps: Vec<Var>,
    params: Vec<(String, Var)>,
    stats: BTreeMap<NodeId, BatchStats>,
    device: Device,
}

impl Pass {
    /// Returns the gradient of each trainable parameter that the loss depends on.
    pub fn gradients(&self, mut gradients: Gradients) -> ParamGradients {
        self.take_gradients(&mut gradients)
    }

    /// Removes the gradients of the trainable parameters from `gradients`, those of a tape with several passes, and returns
    /// them.
    pub fn take_gradients(&self, gradients: &mut Gradients) -> ParamGradients {
        let of_param = |(path, v): &(String, Var)| Some((path.clone(), gradients.take(v)?));
        self.params.iter().filter_map(of_param).collect()
    }
}

impl Graph {
    /// Runs the network on `images` `[N, H, W, C]` and keeps the outputs of the nodes `taps`. On a recording tape,
    /// trainable parameters are leaves and others are constants. The value of a node is freed after its last reader;
    /// nodes that neither the output nor a tap depends on do not run.
    ///
    /// # Errors
    /// If a layer does not take its input, or the device is strict and an image holds a value that is not finite.
    pub fn forward(&self, tape: &mut Tape, mode: Mode, images: Tensor, taps: &[NodeId]) -> Result<Pass> {
        let images = tape.constant(images);
        self.forward_from(tape, mode, images, taps)
    }

    /// Like [`Graph::forward`], of a variable: if `images` is a leaf of `tape`, the images have a gradient, too.
    pub fn forward_from(&self, tape: &mut Tape, mode: Mode, images: Var, taps: &[NodeId]) -> Result<Pass> {
        if let Some(tap) = taps.iter().find(|&&t| t >= self.nodes().len()) {
            return Err(Error::invalid(format!("tap: the network has no node {tap}")));
        }
        if tape.device().is_strict() {
            check_finite(images.value().data())?;
        }
        // Run entirely inside the thread pool, so that no kernel has to enter it.
        tape.device().clone().run(|| self.run(tape, mode, (Some(images), &Known::new()), taps))
    }

    /// Runs the network in eval mode, without gradients, from the values `known` of some nodes on, and returns those of
    /// the nodes `wanted`. Nodes that only lead to known ones do not run. The values are those of a run from the images
    /// on, bit for bit, if the known ones are.
    ///
    /// # Errors
    /// If a node does not exist or a value that is needed is not known.
    pub fn values_from(&self, device: &Device, known: &Known, wanted: &[NodeId]) -> Result<Vec<Tensor>> {
        if let Some(id) = known.keys().chain(wanted).find(|&&id| id >= self.nodes().len()) {
            return Err(Error::invalid(format!("the network has no node {id}")));
        }
        let mut tape = Tape::no_grad(device);
        let run = |tape: &mut Tape| self.run_some(tape, Mode::Eval, (None, known), wanted);
        let values = device.clone().run(|| run(&mut tape))?.values;
        let value = |id: &NodeId| values[*id].as_ref().expect("wanted nodes count as read").value().clone();
        Ok(wanted.iter().map(value).collect())
    }

    /// Returns the network's output for `images` `[N, H, W, C]`, in eval mode without a tape, fetched from the device.
    pub fn logits(&self, device: &Device, images: Tensor) -> Result<Tensor> {
        if let &[n, h, w, c] = images.shape() {
            self.require_inference([n, h, w, c], device)?;
        }
        self.infer(device, images)
    }

    /// Like [`Graph::logits`], for a caller that has checked the memory.
    pub(crate) fn infer(&self, device: &Device, images: Tensor) -> Result<Tensor> {
        let pass = self.forward(&mut Tape::no_grad(device), Mode::Eval, images, &[])?;
        let logits = pass.output.value();
        logits.fetch()?;
        Ok(logits.clone())
    }

    /// Moves the running statistics of batch norms towards those of `pass`, a run of this graph in training mode:
    /// `r ← (1 − momentum)·r + momentum·s`, where the variance is unbiased.
    pub fn commit(&mut self, pass: &Pass) -> Result<()> {
        let mut moves = Vec::with_capacity(2 * pass.stats.len());
        for (id, layer) in self.layers_mut().enumerate() {
            if let (Some(stats), Layer::BatchNorm(bn)) = (pass.stats.get(&id), layer)
                && bn.channels() == stats.mean.len()
            {
                moves.extend(stats.moves(&mut bn.running_mean, &mut bn.running_var, bn.momentum));
            }
        }
        match moves.len() == 2 * pass.stats.len() {
            true => move_running(&pass.device, moves),
            false => Err(Error::invalid("commit: the statistics belong to another network")),
        }
    }

    fn run(
        &self,
        tape: &mut Tape,
        mode: Mode,
        start: (Option<Var>, &Known),
        taps: &[NodeId],
    ) -> Result<Pass> {
        let kept: Vec<NodeId> = taps.iter().copied().chain([self.output()]).collect();
        let device = tape.device().clone();
        let Ran { values, params, stats } = self.run_some(tape, mode, start, &kept)?;
        let kept = |id: NodeId| values[id].clone().expect("the output and taps count as read");
        let (output, taps) = (kept(self.output()), taps.iter().map(|&t| kept(t)).collect());
        Ok(Pass { output, taps, params, stats, device })
    }

    /// Runs the nodes that `kept` depends on and that are not known, and returns the values of all nodes that are kept.
    fn run_some(
        &self,
        tape: &mut Tape,
        mode: Mode,
        (mut images, known): (Option<Var>, &Known),
        kept: &[NodeId],
    ) -> Result<Ran> {
        let mut reads = self.reads_of(kept, known);
        let mut values: Vec<Option<Var>> = vec![None; self.nodes().len()];
        let mut to_run = reads.clone();
        for (&id, value) in known {
            (values[id], to_run[id]) = (Some(tape.constant(value.clone())), 0);
        }
        let mut run = Run { tape, mode, params: Vec::new(), stats: BTreeMap::new() };
        for op in operations(self, &to_run) {
            let (id, last) = (op.nodes[0], op.nodes[op.nodes.len() - 1]);
            let node = &self.nodes()[id];
            run.tape.enter(&node.name, node.layer.kind());
            let inputs: Vec<&Var> = node.inputs.iter().filter_map(|&i| values[i].as_ref()).collect();
            let residual = op.residual.and_then(|id| values[id].as_ref());
            let value = match &node.layer {
                Layer::Input { channels } => run.input(*channels, images.take()),
                _ => run.layer(id, node, &inputs, Tail { residual, activation: op.activation }),
            };
            let what = || format!("{} of {:?}", node.layer.kind(), shapes_of(&inputs));
            values[last] = Some(value.map_err(|e| e.of_operation(what).in_node(&node.name))?);
            for &input in op.nodes.iter().flat_map(|&id| &self.nodes()[id].inputs) {
                reads[input] -= 1;
                if reads[input] == 0 {
                    values[input] = None;
                }
            }
        }
        Ok(Ran { values, params: run.params, stats: run.stats })
    }

    /// Counts the reads of each node by nodes that run, and as one of `kept`. A known node does not run.
    fn reads_of(&self, kept: &[NodeId], known: &Known) -> Vec<usize> {
        let mut reads = vec![0; self.nodes().len()];
        kept.iter().for_each(|&id| reads[id] += 1);
        for (id, node) in self.nodes().iter().enumerate().rev() {
            if reads[id] > 0 && !known.contains_key(&id) {
                node.inputs.iter().for_each(|&input| reads[input] += 1);
            }
        }
        reads
    }

    /// Counts the reads of each node by nodes that run, as the output and as a tap. A node without reads need not run.
    /// `source` maps a node to the one whose value it passes on: itself, unless it computes nothing. Only sources are
    /// read.
    pub(crate) fn reads(&self, taps: &[NodeId], source: impl Fn(NodeId) -> NodeId) -> Vec<usize> {
        let mut reads = vec![0; self.nodes().len()];
        for &kept in taps.iter().chain([&self.output()]) {
            reads[source(kept)] += 1;
        }
        for (id, node) in self.nodes().iter().enumerate().rev() {
            if source(id) == id && reads[id] > 0 {
                node.inputs.iter().for_each(|&i| reads[source(i)] += 1);
            }
        }
        reads
    }
}

fn shapes_of(values: &[&Var]) -> Vec<Vec<usize>> {
    values.iter().map(|v| v.shape().to_vec()).collect()
}

/// What a run leaves.
struct Ran {
    /// The values of the nodes that were to be kept.
    values: Vec<Option<Var>>,
    params: Vec<(String, Var)>,
    stats: BTreeMap<NodeId, BatchStats>,
}

/// State of a run in progress.
struct Run<'a> {
    tape: &'a mut Tape,
    mode: Mode,
    params: Vec<(String, Var)>,
    stats: BTreeMap<NodeId, BatchStats>,
}

impl Run<'_> {
    fn input(&self, channels: usize, images: Option<Var>) -> Result<Var> {
        let images = images.ok_or_else(|| Error::invalid("the network has more than one input"))?;
        match images.shape() {
            [_, _, _, c] if *c == channels => Ok(images),
            shape => Err(Error::shape("input", format!("expected [N, H, W, {channels}], found {shape:?}"))),
        }
    }

    /// Computes the value of a layer; only a batch norm has a `tail`.
    fn layer(&mut self, id: NodeId, node: &Node, inputs: &[&Var], tail: Tail) -> Result<Var> {
        let &x = inputs.first().ok_or_else(|| Error::shape(node.layer.kind(), "has no input"))?;
        match &node.layer {
            Layer::Input { .. } => Err(Error::shape("input", "takes no input")),
            Layer::Conv2d(conv) => {
                let (w, b) = self.weight_and_bias(node, &conv.weight, conv.bias.as_ref());
                let mask = conv.weight.mask().zip(conv.weight.pattern());
                self.tape.conv2d_masked(x, &w, b.as_ref(), conv.options(), mask)
            }
            Layer::CompactConv2d(compact) => self.tape.conv2d_compact(x, compact),
            Layer::Linear(linear) => {
                let (w, b) = self.weight_and_bias(node, &linear.weight, linear.bias.as_ref());
                let mask = linear.weight.mask().zip(linear.weight.pattern());
                self.tape.linear_masked(x, &w, b.as_ref(), mask)
            }
            Layer::BatchNorm(bn) => self.batch_norm(id, node, bn, x, tail),
            Layer::LayerNorm(norm) => {
                let gamma = self.param(node, "weight", &norm.weight);
                let beta = self.param(node, "bias", &norm.bias);
                self.tape.layer_norm(x, &gamma, &beta, &norm.geometry(x.shape())?)
            }
            Layer::GroupNorm(norm) => {
                let gamma = self.param(node, "weight", &norm.weight);
                let beta = self.param(node, "bias", &norm.bias);
                self.tape.group_norm(x, &gamma, &beta, &norm.geometry(x.shape())?)
            }
            Layer::Activation(activation) => self.tape.activation(x, *activation),
            Layer::PRelu(prelu) => {
                let slope = self.param(node, "weight", &prelu.weight);
                self.tape.prelu(x, &slope)
            }
            Layer::Softmax { log: false } => self.tape.softmax(x),
            Layer::Softmax { log: true } => self.tape.log_softmax(x),
            Layer::Pool(pool) => self.tape.pool2d(x, *pool),
            Layer::Flatten => self.tape.flatten(x),
            Layer::Dropout { p } => self.tape.dropout(x, *p, self.mode),
            Layer::Add => inputs[1..].iter().try_fold(x.clone(), |sum, other| self.tape.add(&sum, other)),
            Layer::Multiply => match inputs {
                [_, gate] => self.tape.multiply(x, gate),
                _ => Err(Error::shape("multiply", format!("expected two inputs, found {}", inputs.len()))),
            },
            Layer::Concat => self.tape.concat(inputs),
            Layer::Gather { channels } => self.tape.gather(x, channels),
            Layer::Resize(resize) => self.tape.resize(x, resize),
            Layer::Dilate { stride } => self.tape.dilate(x, *stride),
            Layer::PadShortcut { stride, before, after } => {
                self.tape.pad_shortcut(x, *stride, *before, *after)
            }
        }
    }

    fn batch_norm(&mut self, id: NodeId, node: &Node, bn: &BatchNorm, x: &Var, tail: Tail) -> Result<Var> {
        let gamma = self.param(node, "weight", &bn.weight);
        let beta = self.param(node, "bias", &bn.bias);
        if self.mode == Mode::Eval {
            let (mean, var) = (&bn.running_mean, &bn.running_var);
            return self.tape.batch_norm_eval_then(x, &gamma, &beta, [mean, var], bn.eps, tail);
        }
        let (y, stats) = self.tape.batch_norm_train_then(x, &gamma, &beta, bn.eps, tail)?;
        self.stats.insert(id, stats);
        Ok(y)
    }

    fn weight_and_bias(&mut self, node: &Node, weight: &Param, bias: Option<&Param>) -> (Var, Option<Var>) {
        (self.param(node, "weight", weight), bias.map(|b| self.param(node, "bias", b)))
    }

    /// Puts the parameter of `node` called `slot` on the tape.
    fn param(&mut self, node: &Node, slot: &str, param: &Param) -> Var {
        if !(param.trainable && self.tape.is_recording()) {
            return self.tape.constant(param.value().clone());
        }
        let v = self.tape.leaf(param.value().clone());
        self.params.push((format!("{}.{slot}", node.name), v.clone()));
        v
    }
}
