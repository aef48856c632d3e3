//! Images by gradient descent.

use super::SynthesisConfig;
use super::jitter::shifted;
use super::priors::{norm, total_variation};
use super::statistics::distance_of_statistics;
use lopper_engine::layer::{BatchNorm, Linear};
use lopper_engine::train::{Optimizer, OptimizerConfig, Schedule};
use lopper_engine::{
    Device, Error, Graph, Layer, Mode, NodeId, Param, ParamGradients, Result, Tape, Tensor, Var,
};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

/// The optimizer of DeepInversion's code.
const ADAM: OptimizerConfig = OptimizerConfig::Adam { betas: [0.5, 0.9], eps: 1e-8, weight_decay: 0.0 };

/// The layer that holds the images while they are optimized, and its weight `[N, H·W·C]`.
const LAYER: &str = "images";
const PATH: &str = "images.weight";

/// The terms of the loss, without their weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The cross entropy of the teacher's logits with the classes of choice.
    pub task: f64,
    /// The distance of the batch's statistics from those of all batch norms.
    pub statistics: f64,
    /// The total variation.
    pub total_variation: f64,
    /// The norm.
    pub norm: f64,
}

/// A batch of images.
#[derive(Clone, Debug)]
pub struct Synthesis {
    /// Normalized images `[N, H, W, C]`, whose pixels are colors between black and white.
    pub images: Tensor,
    /// The loss of the finished images, none of them shifted.
    pub terms: Terms,
}

/// Synthesizes images that a network takes for those that it was trained on.
#[derive(Debug)]
pub struct Synthesizer<'a> {
    config: SynthesisConfig,
    teacher: Graph,
    /// The batch norms with the nodes that they read.
    norms: Vec<(NodeId, BatchNorm)>,
    device: &'a Device,
}

impl<'a> Synthesizer<'a> {
    /// A synthesizer of images for `teacher`, of the size that it states.
    ///
    /// # Errors
    /// If an option is invalid, or the network does not classify images, has no batch norms, or does not state how its images
    /// are normalized.
    pub fn new(config: SynthesisConfig, teacher: &Graph, device: &'a Device) -> Result<Self> {
        config.check()?;
        let info = &teacher.info;
        let [h, w, c] = info.input;
        let refuse = |message: String| Err(Error::invalid(format!("synthesis: {message}")));
        let shapes = teacher.shapes([1, h, w, c])?;
        let output = &shapes[teacher.output()];
        if output.len() != 2 {
            return refuse(format!("expected a network with logits [N, K], found the output {output:?}"));
        }
        let stated = [&info.mean, &info.std].iter().all(|values| values.len() == c);
        if !stated || info.std.iter().any(|&std| std <= 0.0) {
            return refuse("expected a network that states the mean and the deviation of its images".into());
        }
        let mut teacher = teacher.clone();
        // Only the images learn.
        teacher.params_mut().for_each(|(_, param)| param.trainable = false);
        let norms: Vec<(NodeId, BatchNorm)> = teacher
            .nodes()
            .iter()
            .filter_map(|node| match &node.layer {
                Layer::BatchNorm(norm) => Some((node.inputs[0], norm.clone())),
                _ => None,
            })
            .collect();
        match norms.is_empty() {
            false => Ok(Self { config, teacher, norms, device }),
            true => refuse(
                "expected a network with batch norms, whose statistics stand for its images, found none: a folded network \
                 has lost them"
                    .into(),
            ),
        }
    }

    /// Turns `noise` `[N, H, W, C]` into images of the classes `labels`. `seed` chooses the shifts. `watch` sees the number of
    /// each step and the loss ahead of it, and may end the work with an error.
    ///
    /// The same noise, labels and seed give the same bits, for any number of threads.
    ///
    /// # Errors
    /// If the noise has another shape, the loss is not finite, the memory does not suffice, or `watch` fails.
    pub fn images(
        &self,
        labels: &[u32],
        noise: &Tensor,
        seed: u64,
        watch: &mut dyn FnMut(usize, &Terms) -> Result<()>,
    ) -> Result<Synthesis> {
        let [h, w, c] = self.teacher.info.input;
        let shape = [labels.len(), h, w, c];
        if noise.shape() != shape {
            let found = noise.shape();
            return Err(Error::invalid(format!("synthesis: expected noise {shape:?}, found {found:?}")));
        }
        self.teacher.require_training(shape, ADAM.moments(), self.device)?;
        let mut store = Graph::new(c);
        let weight = Param::new(self.clipped(&noise.reshape(&[labels.len(), h * w * c])?)?);
        store.push(LAYER, Layer::Linear(Linear { weight, bias: None }), &[0])?;
        let mut optimizer = Optimizer::new(ADAM);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (steps, most) = (self.config.steps, self.config.jitter as i64);
        for step in 0..steps {
            let shift = [(); 2].map(|()| random.random_range(-most..=most) as isize);
            let (terms, gradient) = self.gradient(store.param(PATH)?.value(), labels, shape, shift)?;
            watch(step, &terms)?;
            let rates =
                Schedule::Cosine { warmup: 0.0 }.at(self.config.learning_rate, step as f64 / steps as f64);
            let gradients = ParamGradients::from([(PATH.to_string(), gradient)]);
            optimizer.step(&mut store, &gradients, rates, self.device)?;
            let param = store.param_mut(PATH)?;
            param.set_value(self.clipped(param.value())?)?;
        }
        let images = store.param(PATH)?.value().reshape(&shape)?;
        let mut tape = Tape::no_grad(self.device);
        let constant = tape.constant(images.clone());
        let terms = self.loss(&mut tape, &constant, labels)?.1;
        Ok(Synthesis { images, terms })
    }

    /// The terms for `images` that are shifted by `shift`, and the gradient of the images before the shift, in the shape of
    /// `images`.
    fn gradient(
        &self,
        images: &Tensor,
        labels: &[u32],
        shape: [usize; 4],
        shift: [isize; 2],
    ) -> Result<(Terms, Tensor)> {
        let mut tape = Tape::new(self.device);
        let leaf = tape.leaf(Tensor::from_vec(&shape, shifted(images.data(), shape, shift))?);
        let (loss, terms) = self.loss(&mut tape, &leaf, labels)?;
        let value = loss.value().item()?;
        if !value.is_finite() {
            return Err(Error::invalid(format!(
                "synthesis: the loss is {value}: expected a finite one; a lower learning rate may help"
            )));
        }
        let missing = || Error::invalid("synthesis: the network has no gradient by its images");
        let gradient = tape.backward(&loss)?.take(&leaf).ok_or_else(missing)?;
        gradient.fetch()?;
        let gradient = shifted(gradient.data(), shape, shift.map(|by| -by));
        Ok((terms, Tensor::from_vec(images.shape(), gradient)?))
    }

    /// The weighted loss of `images` on `tape`, and its terms.
    fn loss(&self, tape: &mut Tape, images: &Var, labels: &[u32]) -> Result<(Var, Terms)> {
        let taps: Vec<NodeId> = self.norms.iter().map(|(input, _)| *input).collect();
        let pass = self.teacher.forward_from(tape, Mode::Eval, images.clone(), &taps)?;
        let task = tape.cross_entropy(&pass.output, labels, 0.0)?;
        let mut terms = Terms { task: f64::from(task.value().item()?), ..Terms::default() };
        let mut loss = task;
        for (x, (_, norm)) in pass.taps.iter().zip(&self.norms) {
            let distance = distance_of_statistics(tape, x, norm)?;
            terms.statistics += f64::from(distance.value().item()?);
            let weighted = tape.scale(&distance, self.config.statistics)?;
            loss = tape.add(&loss, &weighted)?;
        }
        let [h, w, c] = self.teacher.info.input;
        let values = images.value().data();
        let priors = [
            (total_variation(values, [labels.len(), h, w, c]), self.config.total_variation),
            (norm(values), self.config.l2),
        ];
        [terms.total_variation, terms.norm] = [priors[0].0.value, priors[1].0.value];
        for (prior, weight) in priors {
            let weighted = prior.times(weight.into()).on(tape, images)?;
            loss = tape.add(&loss, &weighted)?;
        }
        Ok((loss, terms))
    }

    /// `images` with each value between those of black and white, `(0 − mean) / std` and `(1 − mean) / std`.
    fn clipped(&self, images: &Tensor) -> Result<Tensor> {
        images.fetch()?;
        let (info, mut clipped) = (&self.teacher.info, images.clone());
        let bounds: Vec<(f32, f32)> =
            info.mean.iter().zip(&info.std).map(|(mean, std)| (-mean / std, (1.0 - mean) / std)).collect();
        for (x, &(black, white)) in clipped.data_mut().iter_mut().zip(bounds.iter().cycle()) {
            *x = x.clamp(black, white);
        }
        Ok(clipped)
    }
}
