//! Runs the stages of a recipe: builds or loads a network, rewrites it, trains it, measures it, writes it.

mod again;
mod certify;
mod compared_images;
mod findings;
mod measure;
mod networks;

use crate::details::{Details, changes, spectra};
use crate::history::History;
use crate::images::Fit;
use crate::keeping::{Before, Keeping, Label};
use crate::latency::{FEW_ROUNDS, ROUNDS};
use crate::machine::MachineClock;
use crate::other_images::OtherImages;
use crate::progress::note;
use crate::recipe::{Recipe, Stage, TrainConfig, model_path};
use crate::report::Row;
use crate::run_directory::{Finished, RunDirectory};
use crate::stage_error::in_stage;
use crate::training::{Start, Training};
use crate::zeros::Zeros;
use crate::{images, rescue, signals};
use lopper_compress::criteria::Evidence;
use lopper_compress::techniques::{Applied, Clock, Demand, Kind};
use lopper_engine::certificate::{Certificate, Claim};
use lopper_engine::files::forms::Storage;
use lopper_engine::train::{Checkpoint, CrossEntropy, EpochMetrics, Objective, WeightedCrossEntropy};
use lopper_engine::{Device, Error, Graph, Result, atomic, file};
use lopper_kernels::cuda::cache;
use lopper_models::data::Splits;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Number of training batches that a criterion sees if the network is not being trained.
pub const EVIDENCE_BATCHES: usize = 16;

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
    /// The clock by which techniques reach a latency.
    pub clock: Arc<dyn Clock>,
    /// Whether stages are described layer by layer, and the latencies of all compared after each.
    pub detailed: bool,
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
            clock: Arc::new(MachineClock::new(device, Some(cache::folder()), |text| note(text))),
            detailed: false,
            done: Vec::new(),
            files: HashMap::new(),
        }
    }

    /// Runs every stage of `recipe` that is not finished in `directory`, writes the models there, and passes all rows so
    /// far to `show` as soon as one more is known. If the run is detailed, the latencies of all are then measured in turn.
    pub fn run(
        mut self,
        recipe: &Recipe,
        directory: &mut RunDirectory,
        mut show: impl FnMut(&[Row]) -> Result<()>,
    ) -> Result<()> {
        let mut rows: Vec<Row> = Vec::new();
        for (index, stage) in recipe.stages.iter().enumerate() {
            let path = model_path(directory.path(), index, stage);
            let outcome = match directory.finished(index) {
                Some(finished) => self.skip(finished, &path)?,
                None => {
                    signals::check()?;
                    let mut outcome = self.stage(stage, &path).map_err(|e| in_stage(stage, e))?;
                    let others = outcome.row.from.clone();
                    let others = others.iter().chain(&stage.reporting.against).map(String::as_str);
                    outcome.row.set_against(&rows, others);
                    outcome.row.hide_pictures_of(&rows);
                    directory.finish(&path, &outcome.row, &outcome.epochs)?;
                    self.keeping.as_ref().map_or(Ok(()), Keeping::remove)?;
                    outcome
                }
            };
            let mut row = outcome.row;
            if let Some(details) = &mut row.details {
                details.epochs = outcome.epochs;
            }
            rows.push(row);
            self.done.push((stage.name.clone(), outcome.graph));
            let networks: Vec<&Graph> = self.done.iter().map(|(_, graph)| graph).collect();
            let last = index + 1 == recipe.stages.len();
            if self.detailed {
                self.compare(&mut rows, &networks, if last { ROUNDS } else { FEW_ROUNDS });
            }
            show(&rows)?;
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
        let stage = &stage.resolve(|name| self.named(name, Fit::Images))?.timed(&self.clock);
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
        let origin = if stage.arch.is_some() { None } else { Some(self.start(stage)?) };
        let (mut graph, checkpoint, mut before) = match resumed {
            Some((label, checkpoint)) => {
                let Label { logit_difference, seconds, details, .. } = label;
                let before = Before { logit_difference, seconds, details };
                (checkpoint.graph.clone(), Some(checkpoint), before)
            }
            None => {
                let start = origin.clone().map_or_else(|| self.start(stage), Ok)?;
                let (graph, logit_difference, details) = self.rewritten(stage, start)?;
                (graph, None, Before { logit_difference, seconds: 0.0, details })
            }
        };
        let (logit_difference, seconds) = (before.logit_difference, before.seconds);
        let mut details = before.details.clone();
        before.seconds += begin.elapsed().as_secs_f64();
        let (mut epochs, mut lr_find) = (Vec::new(), None);
        if let Some(config) = &stage.train {
            lr_find = self.range_test_before(stage, config, &graph, checkpoint.is_some())?;
            let objective = self.objective(stage, config, &graph)?;
            let missing = || Error::invalid("training needs images: give --data");
            let data = self.data.as_mut().ok_or_else(missing)?;
            let (device, seed, keeping) = (self.device, stage.seed(self.seed), self.keeping.as_ref());
            let history = self.history.as_mut();
            let training = Training { stage, config, device, seed, data, keeping, history, objective };
            epochs = training.run(&mut graph, path, Start { checkpoint, before })?;
            graph.info.certificates.push(trained(epochs.len()));
        }
        rescue::write("the network", path, |place| file::save(&graph, place))?;
        if let Some(origin) = &origin {
            self.measure_promise(stage, [origin, &graph]);
        }
        let storage = Storage::of(&graph);
        if storage.is_shorter() {
            note(storage);
        }
        if stage.techniques.iter().any(|technique| technique.masks()) {
            self.report_zeros(&graph);
        }
        let mut row = self.measure(&stage.name, &graph, path)?;
        if let Some(scores) = row.details.take() {
            (details.metrics, details.right) = (scores.metrics, scores.right);
        }
        details.techniques = technique_names(stage);
        details.certificates = graph.info.certificates.clone();
        if self.detailed {
            self.describe(origin.as_ref(), &graph, stage.rewrites().next().is_some(), &mut details);
        }
        row.details = Some(details);
        row.from = self.origin(stage);
        row.what = stage.summary();
        row.logit_difference = logit_difference;
        let mut outcome = Outcome { graph, row, epochs };
        self.report_findings(stage, &mut outcome, lr_find)?;
        outcome.row.seconds = seconds + begin.elapsed().as_secs_f64();
        Ok(outcome)
    }

    /// Returns the network that a stage makes of `start` and then trains, the largest logit difference of the rewrite that
    /// made it, and what the rewrite reports.
    fn rewritten(&mut self, stage: &Stage, mut start: Graph) -> Result<(Graph, Option<f32>, Details)> {
        if stage.fresh {
            start = lopper_models::redraw(&start, stage.seed(self.seed))?;
        }
        if stage.new_head {
            start = self.with_new_head(stage, &start, Some(stage.seed(self.seed)))?;
        }
        if let Some(data) = &self.data {
            data.record(&mut start.info);
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

    /// Applies the techniques of the stage that rewrite `graph`, and returns what they report. If one claims to keep the
    /// function, also measures the largest logit difference.
    fn rewrite(&mut self, stage: &Stage, mut graph: Graph) -> Result<(Graph, Option<f32>, Details)> {
        let (mut difference, mut details) = (None, Details::default());
        for technique in stage.rewrites() {
            let evidence =
                technique.demand(&graph)?.map(|demand| self.evidence(demand, &graph)).transpose()?;
            let applied = technique.apply(&graph, evidence.as_ref())?;
            let Applied { rewrite, files, spectra: found } = applied;
            for (path, text) in files {
                atomic::write(path, |w| w.write_all(text.as_bytes()))?;
            }
            note(rewrite.report.to_string().trim_end());
            details.changes.extend(changes(&rewrite.report));
            details.spectra.extend(found.iter().map(spectra));
            let certificate = self.certify(technique, [&graph, &rewrite.graph], &found)?;
            if technique.keeps_function() {
                difference = certificate.logit_difference;
            }
            graph = rewrite.graph;
            graph.info.certificates.push(certificate);
        }
        Ok((graph, difference, details))
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
            let named = technique.teachers().into_iter().map(|teacher| self.named(teacher, Fit::Classes));
            let teachers: Vec<Graph> = named.collect::<Result<_>>()?;
            if let Some(data) = &self.data {
                teachers.iter().for_each(|teacher| images::note_teacher(teacher, data));
            }
            if let Some(objective) = technique.objective(task, graph, teachers)? {
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
}

/// The certificate of a training.
fn trained(epochs: usize) -> Certificate {
    Certificate {
        technique: "train".into(),
        claim: Claim::Trained { epochs },
        logit_difference: None,
        images: 0,
    }
}

/// The techniques of `stage` in the order of their roles, and `train` if it trains.
fn technique_names(stage: &Stage) -> Vec<String> {
    let mut kinds: Vec<Kind> = stage.techniques.iter().map(|technique| technique.kind()).collect();
    kinds.sort_by_key(|kind| kind.role);
    let train = stage.train.iter().map(|_| "train".to_string());
    kinds.iter().map(|kind| kind.name.to_string()).chain(train).collect()
}
