//! The loss of a student with teachers.

use super::cache::Cache;
use super::companion::Companion;
use super::compare::{Attached, compare_logits};
use super::contrastive::Contrast;
use super::pairs::{Pair, Shaped, pairs};
use super::renormalize::for_images_of;
use super::{DistillConfig, DistillLoss};
use lopper_engine::data::Batch;
use lopper_engine::train::{CrossEntropy, LossParts, Objective, OptimizerConfig, Progress, Rates, State};
use lopper_engine::{
    Device, Error, Gradients, Graph, Mode, NodeId, ParamGradients, Pass, Result, Tape, Tensor, Var,
};
use std::collections::BTreeMap;
use std::fmt;
use std::mem::take;

/// ```text
///   L = (1 − w)·task + w·(Σ teachers share·logits + Σ pairs weight·features)
///         + Σ branches ((1 − w)·task + w·logits against the network's own output + hint·‖features − its own‖²)
/// ```
///
/// The teachers see the same augmented images as the student, of the same size, in eval mode and without a tape; they
/// never change, unless learning is mutual. If one was made for another normalization, its images are converted exactly. At
/// a weight of 0 they do not run, and training equals plain training bit for bit. Validation measures only the task.
///
/// With mutual learning, the teacher is a peer: it has a loss of the same form against the student's output, and is trained
/// by an optimizer of the same configuration. The loss that is reported is the student's.
pub struct Distillation {
    pub(super) config: DistillConfig,
    pub(super) task: CrossEntropy,
    teachers: Vec<Graph>,
    /// The share of each teacher in the loss of the logits.
    shares: Vec<f32>,
    pub(super) pairs: Vec<Pair>,
    /// The banks of pairs, by their numbers.
    pub(super) contrasts: BTreeMap<usize, Contrast>,
    pub(super) branches: Vec<NodeId>,
    /// The node that makes the features that the network classifies, if branches imitate them.
    pub(super) deepest: Option<NodeId>,
    /// Adapters and heads of pairs, and classifiers of branches.
    pub(super) own: Companion,
    peer: Option<Companion>,
    peer_pass: Option<Pass>,
    cache: Option<Cache>,
    /// The weight of the current step.
    pub(super) weight: f32,
    parts: Option<LossParts>,
}

impl fmt::Debug for Distillation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distillation").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Distillation {
    /// The objective of `student`, taught by `teacher`, on images `[H, W, C]`. Fails if an option is invalid, the
    /// networks differ in classes, a hint names a layer that does not exist, or its two outputs differ in shape.
    ///
    /// The student must not be rewritten while the objective is in use: hints refer to its layers by position.
    pub fn new(
        config: DistillConfig,
        task: CrossEntropy,
        student: &Graph,
        teacher: Graph,
        image: [usize; 3],
    ) -> Result<Self> {
        Self::of_teachers(config, task, student, vec![(teacher, 1.0)], image)
    }

    /// [`Self::new`] with several `teachers`, each with its share in the loss of the logits. Features are compared with
    /// those of the first. Without teachers, the branches of the configuration learn from the network itself.
    pub fn of_teachers(
        config: DistillConfig,
        task: CrossEntropy,
        student: &Graph,
        teachers: Vec<(Graph, f32)>,
        [h, w, c]: [usize; 3],
    ) -> Result<Self> {
        config.check()?;
        let shapes = |who: &str, graph: &Graph| {
            graph.shapes([1, h, w, c]).map_err(|e| Error::invalid(format!("distillation, {who}: {e}")))
        };
        let ours = shapes("student", student)?;
        let mut objective = Self {
            weight: config.weight_at(0.0),
            cache: (config.cache > 0).then(|| Cache::new(config.cache << 20)),
            task,
            teachers: Vec::new(),
            shares: Vec::new(),
            pairs: Vec::new(),
            contrasts: BTreeMap::new(),
            branches: Vec::new(),
            deepest: None,
            own: Companion::new(Graph::new(c)),
            peer: None,
            peer_pass: None,
            parts: None,
            config,
        };
        objective.check_sources(teachers.len())?;
        let silent = objective.config.silent();
        for (index, (teacher, share)) in teachers.into_iter().enumerate() {
            let layers = teacher.nodes().len();
            let teacher = for_images_of(&student.info, teacher)?;
            if objective.config.mutual && teacher.nodes().len() != layers {
                return Err(Error::invalid(
                    "distillation mutual: the networks see images that are normalized differently: train both on one data \
                     set",
                ));
            }
            let theirs = shapes("teacher", &teacher)?;
            same_classes(&ours[student.output()], &theirs[teacher.output()])?;
            if index == 0 {
                let [student, teacher] =
                    [(student, &ours), (&teacher, &theirs)].map(|(graph, shapes)| Shaped { graph, shapes });
                objective.pairs = pairs(&objective.config, student, teacher)?;
                objective.add_adapters(&ours, &theirs)?;
            }
            objective.teachers.push(teacher);
            objective.shares.push(share);
        }
        objective.add_branches(student, &ours)?;
        if objective.config.mutual {
            objective.make_peer()?;
        }
        if silent {
            (objective.teachers, objective.pairs) = (Vec::new(), Vec::new());
            objective.contrasts.clear();
        }
        Ok(objective)
    }

    /// An error if nothing is compared, or options contradict the number of teachers.
    fn check_sources(&self, teachers: usize) -> Result<()> {
        let DistillConfig { loss, hints, features, branches, mutual, .. } = &self.config;
        let features = !(hints.is_empty() && features.is_empty());
        let refuse = |message: &str| Err(Error::invalid(format!("distillation {message}")));
        match (teachers, *loss) {
            (0, _) if branches.is_empty() => {
                refuse("needs a teacher, or branches that learn from the network itself")
            }
            (0, _) if features => {
                refuse("hints and features: expected a teacher to compare them with, found none")
            }
            (n, _) if *mutual && n != 1 => {
                refuse(&format!("mutual: expected one network that learns, too, found {n}"))
            }
            (1.., DistillLoss::None) if !features => {
                refuse("loss: none compares no logits: expected hints or features beside it")
            }
            (_, DistillLoss::None) if !branches.is_empty() => {
                refuse("branches: they learn from logits, which the loss none does not compare")
            }
            _ => Ok(()),
        }
    }

    /// Makes the teacher a peer. Its layers get names that the student's do not have.
    fn make_peer(&mut self) -> Result<()> {
        let Some(mut peer) = self.teachers.pop() else { return Ok(()) };
        for id in 0..peer.nodes().len() {
            let name = format!("peer: {}", peer.nodes()[id].name);
            peer.rename(id, name)?;
        }
        self.peer = Some(Companion::new(peer));
        Ok(())
    }

    /// The first teacher, for images that are normalized as the student's, if one is heard.
    pub fn teacher(&self) -> Option<&Graph> {
        self.peer.as_ref().map(|peer| &peer.graph).or(self.teachers.first())
    }

    /// The logits of every teacher, and the outputs of the first one's layers in pairs.
    fn taught(&mut self, tape: &Tape, images: &Tensor) -> Result<(Vec<Tensor>, Vec<Var>)> {
        let (teachers, device) = (&self.teachers, tape.device());
        let run = |teacher: &Graph, taps: &[NodeId]| -> Result<(Tensor, Vec<Var>)> {
            let mut silent = Tape::no_grad(device);
            let pass = teacher.forward(&mut silent, Mode::Eval, images.clone(), taps)?;
            Ok((pass.output.value().clone(), pass.taps))
        };
        if let Some(cache) = &mut self.cache {
            let all = || teachers.iter().map(|teacher| Ok(run(teacher, &[])?.0)).collect::<Result<_>>();
            return Ok((cache.get(images, all)?, Vec::new()));
        }
        let (mut logits, mut outputs) = (Vec::new(), Vec::new());
        let taps: Vec<NodeId> = self.pairs.iter().map(|pair| pair.teacher).collect();
        for (index, teacher) in teachers.iter().enumerate() {
            let (output, tapped) = run(teacher, if index == 0 { &taps } else { &[] })?;
            logits.push(output);
            outputs.extend(tapped);
        }
        Ok((logits, outputs))
    }

    /// The teachers' part of the loss.
    fn lesson(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var> {
        let (logits, outputs) = self.taught(tape, &batch.images)?;
        let mut sum = None;
        if self.config.loss != DistillLoss::None {
            for (theirs, &share) in logits.iter().zip(&self.shares) {
                let loss = compare_logits(&self.config, tape, &pass.output, theirs, batch)?;
                let loss = if share == 1.0 { loss } else { tape.scale(&loss, share)? };
                sum = Some(added(tape, sum, loss)?);
            }
        }
        if let Some(features) = self.compare_pairs(tape, &pass.taps, &outputs, batch)? {
            sum = Some(added(tape, sum, features)?);
        }
        sum.ok_or_else(|| Error::invalid("distillation: nothing is compared"))
    }

    /// The loss of the peer, and its logits for the student.
    fn peer(&mut self, tape: &mut Tape, student: &Var, batch: &Batch) -> Result<Option<(Var, Tensor)>> {
        let Some(peer) = &self.peer else { return Ok(None) };
        let pass = peer.graph.forward(tape, Mode::Train, batch.images.clone(), &[])?;
        let task = self.task.loss(tape, &pass, batch)?;
        let lesson = compare_logits(&self.config, tape, &pass.output, student.value(), batch)?;
        let loss = mixed(tape, self.weight, &task, &lesson)?;
        let logits = pass.output.value().clone();
        self.peer_pass = Some(pass);
        Ok(Some((loss, logits)))
    }
}

/// An error unless both networks have logits of one shape.
fn same_classes(student: &[usize], teacher: &[usize]) -> Result<()> {
    match student == teacher {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "distillation: the student's logits are {student:?}, the teacher's {teacher:?}; both need the same classes: \
             train the teacher on the student's images, or give it a head for them"
        ))),
    }
}

/// `(1 − weight) · task + weight · lesson`.
pub(super) fn mixed(tape: &mut Tape, weight: f32, task: &Var, lesson: &Var) -> Result<Var> {
    let (task, lesson) = (tape.scale(task, 1.0 - weight)?, tape.scale(lesson, weight)?);
    tape.add(&task, &lesson)
}

pub(super) fn added(tape: &mut Tape, sum: Option<Var>, more: Var) -> Result<Var> {
    sum.map_or(Ok(more.clone()), |sum| tape.add(&sum, &more))
}

impl Objective for Distillation {
    fn loss(&mut self, tape: &mut Tape, pass: &Pass, batch: &Batch) -> Result<Var> {
        self.own.clear();
        let task = self.task.loss(tape, pass, batch)?;
        let mut parts = LossParts { task: f64::from(task.value().item()?), distillation: 0.0 };
        let weight = self.weight;
        let mut loss = task.clone();
        let peer = self.peer(tape, &pass.output, batch)?;
        let taught = !self.teachers.is_empty() || peer.is_some();
        if taught && weight != 0.0 {
            let lesson = match &peer {
                Some((_, logits)) => compare_logits(&self.config, tape, &pass.output, logits, batch)?,
                None => self.lesson(tape, pass, batch)?,
            };
            parts.distillation = f64::from(lesson.value().item()?);
            loss = mixed(tape, weight, &task, &lesson)?;
        }
        if let Some((branches, distance)) = self.branches(tape, pass, batch)? {
            parts.distillation += distance;
            loss = tape.add(&loss, &branches)?;
        }
        if let Some((peer, _)) = &peer {
            loss = tape.record(&[&loss, peer], loss.value().clone(), Attached);
        }
        self.parts = (!self.config.silent() || !self.branches.is_empty()).then_some(parts);
        Ok(loss)
    }

    fn taps(&self) -> Vec<NodeId> {
        let pairs = self.pairs.iter().map(|pair| pair.student);
        pairs.chain(self.branches.iter().copied()).chain(self.deepest).collect()
    }

    fn begin_step(&mut self, progress: Progress) {
        self.weight = self.config.weight_at(progress.fraction());
    }

    fn parts(&self) -> Option<LossParts> {
        self.parts
    }

    fn own_gradients(&mut self, gradients: &mut Gradients) -> Result<ParamGradients> {
        let mut own = self.own.gradients(gradients);
        if let (Some(peer), Some(pass)) = (&mut self.peer, take(&mut self.peer_pass)) {
            own.extend(pass.take_gradients(gradients));
            peer.graph.commit(&pass)?;
        }
        Ok(own)
    }

    fn update(
        &mut self,
        optimizer: &OptimizerConfig,
        gradients: &ParamGradients,
        rates: Rates,
        device: &Device,
    ) -> Result<()> {
        let mut companions = std::iter::once(&mut self.own).chain(&mut self.peer);
        companions.try_for_each(|companion| companion.step(optimizer, gradients, rates, device))
    }

    fn state(&self) -> Result<State> {
        let mut state = State::default();
        if self.own.graph.nodes().len() > 1 {
            self.own.remember("own", &mut state)?;
        }
        self.contrasts.values().for_each(|contrast| contrast.remember(&mut state));
        self.peer.iter().try_for_each(|peer| peer.remember("peer", &mut state))?;
        Ok(state)
    }

    fn restore(&mut self, mut state: State) -> Result<()> {
        if self.own.graph.nodes().len() > 1 {
            self.own.recall("own", &mut state)?;
        }
        self.contrasts.values_mut().try_for_each(|contrast| contrast.recall(&mut state))?;
        self.peer.iter_mut().try_for_each(|peer| peer.recall("peer", &mut state))?;
        let left = state.arrays.keys().next();
        left.map_or(Ok(()), |name| {
            Err(Error::invalid(format!(
                "checkpoint: the state of distillation is damaged: `{name}` belongs to nothing"
            )))
        })
    }
}
