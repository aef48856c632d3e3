//! The interface of a technique.

use super::{Clock, Sketch};
use crate::criteria::{Criterion, Evidence, Site};
use crate::factorize::Spectrum;
use lopper_engine::rewrite::Rewrite;
use lopper_engine::train::{Callback, CrossEntropy, Objective};
use lopper_engine::{About, Error, Graph, Result};
use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The place of a technique in a stage of a recipe, in the order in which summaries list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Rewrites the network, before it is trained. A stage has at most one of these.
    Rewrite,
    /// Accompanies the training as a callback. Without training, it rewrites the network at once.
    Callback,
    /// Replaces the objective of the training, so it needs one. A stage has at most one of these.
    Objective,
}

/// The name and role of a technique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The key of its options in a recipe, its subcommand, and its name in summaries and reports.
    pub name: &'static str,
    /// Its place in a stage.
    pub role: Role,
    /// Its formula and its paper.
    pub about: About,
}

/// The evidence that a technique needs.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The criterion that evaluates it.
    pub criterion: Criterion,
    /// The layers to observe, in graph order.
    pub sites: Vec<Site>,
}

/// The result of applying a technique.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The network and the report.
    pub rewrite: Rewrite,
    /// The contents of the files in [`Technique::outputs`].
    pub files: Vec<(PathBuf, String)>,
    /// Singular values of the layers that were split.
    pub spectra: Vec<Spectrum>,
}

impl From<Rewrite> for Applied {
    fn from(rewrite: Rewrite) -> Self {
        Self { rewrite, files: Vec::new(), spectra: Vec::new() }
    }
}

/// A technique with its options.
///
/// A [`Role::Rewrite`] implements [`Self::apply`], a [`Role::Callback`] also [`Self::callback`], and a
/// [`Role::Objective`] only [`Self::objective`]. The `Debug` form contains all options. A `&dyn Technique` is also a
/// `&dyn Any`, which gives access to the options of a known type.
pub trait Technique: Any + fmt::Debug + Send + Sync {
    /// Returns the identity of the technique.
    fn kind(&self) -> Kind;

    /// Checks the options that can be checked without a network. The error names the first invalid one.
    fn check(&self) -> Result<()>;

    /// Checks the options against the network that it will be applied to, and returns a sketch of the result. `trains`
    /// is whether the stage trains, `teacher` the sketch of the first network that [`Self::teachers`] names.
    fn rehearse(&self, sketch: Sketch, trains: bool, teacher: Option<&Sketch>) -> Result<Sketch>;

    /// Returns everything that the bits of the result depend on, as text.
    fn identity(&self) -> String {
        format!("{self:?}")
    }

    /// Returns the names of the networks that the technique learns from: earlier stages or model files.
    fn teachers(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Checks the options against the network that it will be applied to and the sketches of its teachers, and returns a
    /// sketch of the result. By default, [`Self::rehearse`] with the first teacher.
    fn rehearse_taught(&self, sketch: Sketch, trains: bool, teachers: &[Sketch]) -> Result<Sketch> {
        self.rehearse(sketch, trains, teachers.first())
    }

    /// Returns the technique behind the stage, or the round of a stage, called `previous`; `None` if it refers to none that
    /// comes before.
    fn behind(&self, _previous: &str) -> Option<Arc<dyn Technique>> {
        None
    }

    /// Returns the name of another network that the options refer to, such as the one whose widths count: an earlier stage
    /// or a model file. [`Self::resolve`] must replace it before anything else is done with a network.
    fn reference(&self) -> Option<&str> {
        None
    }

    /// Returns the technique with all that it takes from `reference`, the network that [`Self::reference`] names.
    fn resolve(&self, _reference: &Graph) -> Result<Arc<dyn Technique>> {
        Err(Error::invalid(format!("{}: refers to no other network", self.kind().name)))
    }

    /// Returns the technique with `clock`, by which it reaches the latency that its options ask for; `None` if they ask for
    /// none.
    fn timed(&self, _clock: &Arc<dyn Clock>) -> Option<Arc<dyn Technique>> {
        None
    }

    /// Returns the number of images of the batch whose latency the technique promises, if it promises one.
    fn promises_latency(&self) -> Option<usize> {
        None
    }

    /// Returns the technique of round `round`, from 1, of a stage that repeats and whose first round starts from the
    /// network named `start`; `None` if it is the same in every round. An error if it cannot be repeated.
    fn repeated(&self, _round: usize, _start: &str) -> Result<Option<Arc<dyn Technique>>> {
        Ok(None)
    }

    /// Returns whether it acts only while a network trains.
    fn needs_training(&self) -> bool {
        self.kind().role == Role::Objective
    }

    /// Returns whether a training brings the network to its final form step by step, so that an earlier epoch is not
    /// done.
    fn gradual(&self) -> bool {
        false
    }

    /// Returns whether the network loses channels while it trains.
    fn shrinks(&self) -> bool {
        false
    }

    /// Returns the layers of the network in training whose outputs the technique compares, so that their shapes must not
    /// change.
    fn compares(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Returns the files that the technique writes besides the network, each with the option that names it.
    fn outputs(&self) -> Vec<(&'static str, &Path)> {
        Vec::new()
    }

    /// Returns whether the rewritten network computes the same function. The difference is then measured.
    fn keeps_function(&self) -> bool {
        false
    }

    /// Returns whether the network has masks afterwards. What a plan makes of them is then reported.
    fn masks(&self) -> bool {
        false
    }

    /// Returns the evidence that [`Self::apply`] needs to rewrite `graph`, if any.
    fn demand(&self, _graph: &Graph) -> Result<Option<Demand>> {
        Ok(None)
    }

    /// Rewrites `graph`, given the evidence that [`Self::demand`] asks for. The default is an error, for a technique
    /// that acts only on the training.
    fn apply(&self, _graph: &Graph, _evidence: Option<&Evidence>) -> Result<Applied> {
        Err(Error::invalid(format!("{}: acts during training, not at once", self.kind().name)))
    }

    /// Returns a new callback for one training.
    fn callback(&self) -> Result<Option<Box<dyn Callback>>> {
        Ok(None)
    }

    /// Returns the objective of training `student`, which includes `task`. `teachers` are the networks that
    /// [`Self::teachers`] names.
    fn objective(
        &self,
        _task: CrossEntropy,
        _student: &Graph,
        _teachers: Vec<Graph>,
    ) -> Result<Option<Box<dyn Objective>>> {
        Ok(None)
    }

    /// Describes the effect of a training with this technique, in lines of text.
    fn achieved(&self, _trained: &Graph) -> Result<Option<String>> {
        Ok(None)
    }
}
