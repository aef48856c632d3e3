//! Runs the stages of a recipe: builds or loads a network, rewrites it, trains it, measures it, writes it.

use crate::findings::Findings;
use crate::history::History;
use crate::keeping::{Keeping, Label};
use crate::latency::Latency;
use crate::other_images::OtherImages;
use crate::progress::note;
use crate::recipe::{Recipe, Stage, TrainConfig, model_path};
use crate::row::Row;
use crate::run_directory::{Finished, RunDirectory};
use crate::stage_error::in_stage;
use crate::training::{Start, Stoppable, Training};
use crate::zeros::Zeros;
use crate::{images, rescue, signals};
use lopper_compress::criteria::Evidence;
use lopper_compress::techniques::{Applied, Demand};
use lopper_engine::data::Batches;
use lopper_engine::train::{
    Checkpoint, CrossEntropy, EpochMetrics, Objective, WeightedCrossEntropy, evaluate,
};
use lopper_engine::{Device, Error, Graph, Result, Tensor, atomic, file};
use lopper_models::data::Splits;
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

/// Number of validation images, rounded up to whole batches, on which the logit difference of a rewrite is measured.
const COMPARED_IMAGES: usize = 64;

/// Number of training batches that a criterion sees if the network is not being trained.
const EVIDENCE_BATCHES: usize = 16;

/// Runner of a recipe's stages.
pub struct Pipeline<'a> {
    /// Device to compute on.
    pub device: &'a Device,
    /// Images, if the recipe needs any.
    pub data: Option<Splits>,
    /// Seed of weights and dropout.
    pub seed: u64,
    /// Checkpointing of training, if enabled.
    pub keeping: Option<Keeping>,
    /// History of the trainings, if it is kept.
    pub history: Option<History>,
    /// Images of some stages.
    pub other: OtherImages,
    done: Vec<(String, Graph)>,
    /// Model files that stages read, by name.
    pub(crate) files: HashMap<String, Graph>,
}

/// Result of a stage.
pub struct Outcome {
    /// Network.
    pub graph: Graph,
    /// Row of the table.
    pub row: Row,
    /// Epochs of its training.
    pub epochs: Vec<EpochMetrics>,
}

impl<'a> Pipeline<'a> {
    /// Creates a pipeline that has run no stage yet.
    pub fn new(device: &'a Device, data: Option<Splits>, seed: u64) -> Self {
        Self {
            device,
            data,
            seed,
            keeping: None,
            history: None,
            other: OtherImages::default(),
            done: Vec::new(),
            files: HashMap::new(),
        }
    }

    /// Runs every stage of `recipe` that is not finished in `directory`, writes the models there, and passes each row
    /// to `show` as soon as it is known.
    pub fn run(
        mut self,
        recipe: &Recipe,
        directory: &mut RunDirectory,
        mut show: impl FnMut(Row) -> Result<()>,
    ) -> Result<()> {
        for (index, stage) in recipe.stages.iter().enumerate() {
            let path = model_path(directory.path(), index, stage);
            let outcome = match directory.finished(index) {
                Some(finished) => self.skip(finished, &path)?,
                None => {
                    signals::check()?;
                    let outcome = self.stage(stage, &path).map_err(|e| in_stage(stage, e))?;
                    directory.finish(&path, &outcome.row, &outcome.epochs)?;
                    self.keeping.as_ref().map_or(Ok(()), Keeping::remove)?;
                    outcome
                }
            };
            show(outcome.row)?;
            self.done.push((stage.name.clone(), outcome.graph));
        }
        self.report_skipped();
        Ok(())
    }

    /// Returns the outcome of a stage that an earlier run finished and whose network is in `path`.
    fn skip(&mut self, finished: &Finished, path: &Path) -> Result<Outcome> {
        if let Some(history) = &mut self.history
            && !finished.epochs.is_empty()
        {
            history.begin(&finished.row.stage, finished.epochs.clone());
            history.write()?;
        }
        Ok(Outcome { graph: file::load(path)?, row: finished.row.clone(), epochs: finished.epochs.clone() })
    }

    /// Lists the images that were skipped because they could not be decoded.
    pub fn report_skipped(&self) {
        if let Some(data) = &self.data {
            images::report_skipped(&[&data.train, &data.val]);
        }
    }

    /// Runs one stage and writes its network to `path`. If that fails, writes it elsewhere and returns an error that
    /// names the place.
    pub fn stage(&mut self, stage: &Stage, path: &Path) -> Result<Outcome> {
        let begin = Instant::now();
        let resumed = self.keeping.as_mut().and_then(|keeping| keeping.take(&stage.name));
        self.exchange_training_images(stage);
        let outcome = self.trained(stage, path, resumed, begin);
        self.exchange_training_images(stage);
        outcome
    }

    /// The rest of [`Pipeline::stage`], with the images of the stage.
    fn trained(
        &mut self,
        stage: &Stage,
        path: &Path,
        resumed: Option<(Label, Checkpoint)>,
        begin: Instant,
    ) -> Result<Outcome> {
        let (mut graph, mut start) = match resumed {
            Some((label, checkpoint)) => {
                let Label { logit_difference, seconds, .. } = label;
                (checkpoint.graph.clone(), Start { checkpoint: Some(checkpoint), logit_difference, seconds })
            }
            None => {
                let (graph, logit_difference) = self.rewritten(stage)?;
                (graph, Start { logit_difference, ..Start::default() })
            }
        };
        let (logit_difference, seconds) = (start.logit_difference, start.seconds);
        start.seconds += begin.elapsed().as_secs_f64();
        let (mut epochs, mut lr_find) = (Vec::new(), None);
        if let Some(config) = &stage.train {
            lr_find = self.range_test_before(stage, config, &graph, start.checkpoint.is_some())?;
            let objective = self.objective(stage, config, &graph)?;
            let missing = || Error::invalid("training needs images: give --data");
            let data = self.data.as_mut().ok_or_else(missing)?;
            let (device, seed, keeping) = (self.device, self.seed, self.keeping.as_ref());
            let history = self.history.as_mut();
            let training = Training { stage, config, device, seed, data, keeping, history, objective };
            epochs = training.run(&mut graph, path, start)?;
        }
        rescue::write("the network", path, |place| file::save(&graph, place))?;
        if stage.techniques.iter().any(|technique| technique.masks()) {
            self.report_zeros(&graph);
        }
        let mut row = self.measure(&stage.name, &graph, path)?;
        row.what = stage.summary();
        row.logit_difference = logit_difference;
        let mut outcome = Outcome { graph, row, epochs };
        self.report_findings(stage, &mut outcome, lr_find)?;
        outcome.row.seconds = seconds + begin.elapsed().as_secs_f64();
        Ok(outcome)
    }

    /// Returns the network that a stage trains, and the largest logit difference of the rewrite that made it.
    pub(crate) fn rewritten(&mut self, stage: &Stage) -> Result<(Graph, Option<f32>)> {
        let mut start = self.start(stage)?;
        if let Some(data) = &self.data {
            images::record(data, &mut start.info);
        }
        self.rewrite(stage, start)
    }

    /// Notes what a plan makes of the masks of `graph`, which is already written: a report that does not fit into memory
    /// is no failure of the stage.
    fn report_zeros(&self, graph: &Graph) {
        match Zeros::of(graph, self.device) {
            Ok(zeros) => note(zeros),
            Err(error) => note(format_args!("what a plan makes of the masks is not known: {error}")),
        }
    }

    /// Returns the network that a stage starts from.
    fn start(&self, stage: &Stage) -> Result<Graph> {
        let graph = match (&stage.arch, &stage.from, self.done.last()) {
            (Some(arch), ..) => self.build(stage, arch, Some(self.seed)),
            (None, Some(from), _) => self.named(from, stage.new_head),
            (None, None, Some((_, graph))) => Ok(graph.clone()),
            (None, None, None) => Err(Error::invalid("expected `arch` or `from`")),
        };
        match stage.new_head {
            true => self.with_new_head(stage, &graph?, Some(self.seed)),
            false => graph,
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
        images::record(data, &mut graph.info);
        Ok(graph)
    }

    /// Returns the network of an earlier stage or of a model file, whose classes must be those of the images.
    pub(crate) fn network(&self, name: &str) -> Result<Graph> {
        self.named(name, false)
    }

    /// Returns the network of an earlier stage or of a model file, which must match the images unless its head is to be
    /// replaced.
    fn named(&self, name: &str, new_head: bool) -> Result<Graph> {
        let stage = self.done.iter().find(|(stage, _)| stage == name);
        match stage.map(|(_, graph)| graph).or_else(|| self.files.get(name)) {
            Some(graph) => Ok(graph.clone()),
            None => self.load(name, new_head),
        }
    }

    /// Loads the model file `name`, whose network must match the images unless its head is to be replaced.
    pub(crate) fn load(&self, name: &str, new_head: bool) -> Result<Graph> {
        let graph = file::load(name)?;
        if !new_head {
            self.check_images(name, &graph)?;
        }
        Ok(graph)
    }

    /// Checks that the network in the file `name` matches the images, if there are any.
    pub(crate) fn check_images(&self, name: &str, graph: &Graph) -> Result<()> {
        self.data
            .as_ref()
            .map_or(Ok(()), |data| images::check_images(graph, data).map_err(|e| Error::file(name, e)))
    }

    /// Applies the techniques of the stage that rewrite `graph`. If one claims to keep the function, also measures the
    /// largest logit difference.
    fn rewrite(&mut self, stage: &Stage, mut graph: Graph) -> Result<(Graph, Option<f32>)> {
        let mut difference = None;
        for technique in stage.rewrites() {
            let evidence =
                technique.demand(&graph)?.map(|demand| self.evidence(demand, &graph)).transpose()?;
            let Applied { rewrite, files } = technique.apply(&graph, evidence.as_ref())?;
            for (path, text) in files {
                atomic::write(path, |w| w.write_all(text.as_bytes()))?;
            }
            note(rewrite.report.to_string().trim_end());
            if technique.keeps_function() {
                difference = Some(self.require_equivalence(&graph, &rewrite.graph)?);
            }
            graph = rewrite.graph;
        }
        Ok((graph, difference))
    }

    /// Returns the largest logit difference of two networks that compute the same function. Returns an error if it is
    /// not finite.
    fn require_equivalence(&mut self, before: &Graph, after: &Graph) -> Result<f32> {
        match self.logit_difference(before, after)? {
            difference if difference.is_finite() => Ok(difference),
            found => Err(Error::invalid(format!(
                "a rewrite that keeps the function changed a logit by {found}: expected a finite difference; the weights or \
                 running statistics of the network are not finite, or overflow"
            ))),
        }
    }

    /// Returns the objective of training `graph` in `stage`: that of a technique, or else only the task. Returns an
    /// error if a teacher does not fit the network.
    pub(crate) fn objective(
        &self,
        stage: &Stage,
        train: &TrainConfig,
        graph: &Graph,
    ) -> Result<Box<dyn Objective>> {
        let task = CrossEntropy { smoothing: train.label_smoothing as f32 };
        for technique in &stage.techniques {
            let teacher = technique.teacher().map(|teacher| self.network(teacher)).transpose()?;
            if let Some(objective) = technique.objective(task, graph, teacher)? {
                return Ok(objective);
            }
        }
        match (&train.class_weights, &self.data) {
            (Some(weights), Some(data)) => {
                let weights = weights.weights(&data.train.class_counts())?;
                Ok(Box::new(WeightedCrossEntropy::new(task.smoothing, weights)?))
            }
            _ => Ok(Box::new(task)),
        }
    }

    /// Measures the evidence in `demand` about `graph` on some training images. Empty if the criterion needs no images.
    fn evidence(&mut self, demand: Demand, graph: &Graph) -> Result<Evidence> {
        let Demand { criterion, sites } = demand;
        if !criterion.needs_data() {
            return Ok(Evidence::default());
        }
        let device = self.device;
        let data = self
            .data
            .as_mut()
            .ok_or_else(|| Error::invalid(format!("the {criterion} criterion needs images: give --data")))?;
        Evidence::measure(&criterion, graph, &sites, &mut data.train, EVIDENCE_BATCHES, device)
    }

    /// Returns the largest logit difference of two networks over some validation images.
    fn logit_difference(&mut self, before: &Graph, after: &Graph) -> Result<f32> {
        let images = self.some_images(before)?;
        before.logits(self.device, images.clone())?.max_difference(&after.logits(self.device, images)?)
    }

    /// Returns the first validation images, or synthetic images if there is no data.
    fn some_images(&mut self, graph: &Graph) -> Result<Tensor> {
        let Some(data) = &mut self.data else {
            let [h, w, c] = graph.info.input;
            graph.require_inference([4, h, w, c], self.device)?;
            return Tensor::from_vec(&[4, h, w, c], crate::latency::test_images(4 * h * w * c));
        };
        let [h, w, c] = data.val.image_shape();
        let (mut values, mut count) = (Vec::new(), 0);
        for batch in data.val.epoch(0)? {
            let images = batch?.images;
            count += images.dim(0);
            values.extend_from_slice(images.data());
            if count >= COMPARED_IMAGES {
                break;
            }
        }
        Tensor::from_vec(&[count, h, w, c], values)
    }

    /// Measures a network that is stored in the file `path` and returns its row. Costs, latency and accuracy are those
    /// of the images at hand, or else of the images that the network is made for.
    pub fn measure(&mut self, name: &str, graph: &Graph, path: &Path) -> Result<Row> {
        let image = self.data.as_ref().map_or(graph.info.input, |data| data.val.image_shape());
        let mut row = Row {
            stage: name.to_string(),
            what: String::new(),
            top1: None,
            interval: None,
            params: graph.param_count(),
            macs: graph.costs(image)?.iter().map(|c| c.macs).sum(),
            bytes: std::fs::metadata(path).map_err(|e| Error::file(path, e))?.len(),
            latency_ms: Latency::of_one_image(graph, image, self.device)?.median(),
            logit_difference: None,
            seconds: 0.0,
            findings: Findings::default(),
        };
        if let Some(data) = &mut self.data {
            let mut val = Stoppable(&mut data.val);
            row.set_accuracy(&evaluate(graph, &mut val, self.device)?.accuracy);
        }
        Ok(row)
    }
}
