//! The networks that stages start from and learn from: built, read from a file, or made by an earlier stage.

use super::Pipeline;
use crate::images::{self, Fit};
use crate::progress::note;
use crate::recipe::Stage;
use lopper_engine::data::Batches;
use lopper_engine::{Error, Graph, Result, file};

impl Pipeline<'_> {
    /// Returns the network that a stage starts from.
    pub(super) fn start(&self, stage: &Stage) -> Result<Graph> {
        match (&stage.arch, &stage.from, self.done.last()) {
            (Some(arch), ..) => self.build(stage, arch, Some(stage.seed(self.seed))),
            (None, Some(from), _) => self.named(from, Fit::of_start(stage.new_head)),
            (None, None, Some((_, graph))) => Ok(graph.clone()),
            (None, None, None) => Err(Error::invalid("expected `arch` or `from`")),
        }
    }

    /// Puts the new head of `stage` on `graph`, for the classes of the images, and says what was kept and drawn. Without
    /// a seed, it only sketches the network, in silence.
    pub(crate) fn with_new_head(&self, stage: &Stage, graph: &Graph, seed: Option<u64>) -> Result<Graph> {
        let missing = || Error::invalid("a new head needs --data for its classes");
        let data = self.data.as_ref().ok_or_else(missing)?;
        let new = lopper_models::new_head(graph, data.classes.clone(), stage.head, seed)?;
        if seed.is_some() {
            note(&new);
            images::note_differences(graph, data);
        }
        Ok(new.graph)
    }

    /// Builds the architecture `arch` with the options of `stage`, for the images at hand.
    pub(crate) fn build(&self, stage: &Stage, arch: &str, seed: Option<u64>) -> Result<Graph> {
        let data = self.data.as_ref().ok_or_else(|| {
            Error::invalid(format!("building {arch} needs --data for its classes and image size"))
        })?;
        let options = lopper_models::Options {
            width: stage.width.unwrap_or(1.0),
            head: stage.head,
            seed,
            ..lopper_models::Options::new(data.classes.clone(), data.val.image_shape())
        };
        let mut graph = lopper_models::build(arch, &options)?;
        data.record(&mut graph.info);
        Ok(graph)
    }

    /// Returns the network of an earlier stage or of a model file, which must match the images as far as `fit` says.
    pub(super) fn named(&self, name: &str, fit: Fit) -> Result<Graph> {
        let stage = self.done.iter().find(|(stage, _)| stage == name);
        match stage.map(|(_, graph)| graph).or_else(|| self.files.get(name)) {
            Some(graph) => Ok(graph.clone()),
            None => self.load(name, fit),
        }
    }

    /// Loads the model file `name`, whose network must match the images as far as `fit` says.
    pub(crate) fn load(&self, name: &str, fit: Fit) -> Result<Graph> {
        let graph = file::load(name)?;
        self.check_images(name, &graph, fit)?;
        Ok(graph)
    }

    /// Checks that the network in the file `name` matches the images, if there are any, as far as `fit` says.
    pub(crate) fn check_images(&self, name: &str, graph: &Graph, fit: Fit) -> Result<()> {
        self.data
            .as_ref()
            .map_or(Ok(()), |data| images::check_fit(graph, data, fit).map_err(|e| Error::file(name, e)))
    }

    /// Returns the name of the earlier stage whose network a stage starts from.
    pub(super) fn origin(&self, stage: &Stage) -> Option<String> {
        let earlier = |name: &String| self.done.iter().any(|(stage, _)| stage == name);
        match (&stage.arch, &stage.from) {
            (Some(_), _) => None,
            (None, Some(from)) => Some(from.clone()).filter(earlier),
            (None, None) => self.done.last().map(|(stage, _)| stage.clone()),
        }
    }
}
