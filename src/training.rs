//! Training of a stage: the objective, the callbacks, and the network that is saved if training fails.

use crate::history::History;
use crate::keeping::{Before, Keeping};
use crate::progress::{Progress, alive, note};
use crate::recipe::{Stage, TrainConfig};
use crate::{rescue, signals};
use lopper_engine::certificate::Certificate;
use lopper_engine::data::{Batch, Batches, Numbered};
use lopper_engine::train::{
    Best, Callback, Checkpoint, ClipGradients, EpochMetrics, Flow, Keeper, Objective, State, Step, Trainer,
};
use lopper_engine::{Device, Error, Graph, Result, file};
use lopper_models::data::{Splits, thousands};
use std::path::Path;

/// Starting point of a training run.
#[derive(Default)]
pub struct Start {
    /// Checkpoint to continue from.
    pub checkpoint: Option<Checkpoint>,
    /// The stage so far.
    pub before: Before,
}

/// The training of a stage, ready to run.
pub struct Training<'a> {
    /// The stage.
    pub stage: &'a Stage,
    /// Its options of training.
    pub config: &'a TrainConfig,
    /// Device to compute on.
    pub device: &'a Device,
    /// Seed of dropout.
    pub seed: u64,
    /// Images.
    pub data: &'a mut Splits,
    /// Checkpointing, if enabled.
    pub keeping: Option<&'a Keeping>,
    /// History that the epochs are added to, if it is kept.
    pub history: Option<&'a mut History>,
    /// Loss to minimize.
    pub objective: Box<dyn Objective>,
}

impl Training<'_> {
    /// Trains `graph`, which will be written to the file `path`. Returns the metrics of every epoch.
    pub fn run(self, graph: &mut Graph, path: &Path, start: Start) -> Result<Vec<EpochMetrics>> {
        let Self { stage, config, device, seed, data, keeping, mut history, mut objective } = self;
        // Images to score are read after an epoch: too late to learn that some cannot be.
        data.train.require_readable().and(data.val.require_readable())?;
        if let Some(history) = &mut history {
            let before = start.checkpoint.as_ref().map(|checkpoint| checkpoint.history.clone());
            history.begin(&stage.name, before.unwrap_or_default());
        }
        let frozen = described(config, graph)?;
        frozen.iter().for_each(|text| note(format_args!("{:>14}  {text}", stage.name)));
        let mut progress = Progress::new(&stage.name, history);
        let mut good = LastGood::new(start.checkpoint.as_ref());
        let mut of_techniques = Vec::new();
        for technique in &stage.techniques {
            of_techniques.extend(technique.callback()?);
        }
        // Behind the techniques: they observe the whole gradients.
        let mut clip = config.clip_norm.map(ClipGradients::new).transpose()?;
        let (mut average, mut best) = (config.average()?, config.best());
        let mut stop = config.stop_after.map(|epochs| StopAfter(epochs / config.epochs as f64));
        let mut callbacks: Vec<&mut dyn Callback> = Vec::new();
        callbacks.extend(of_techniques.iter_mut().map(|callback| &mut **callback as &mut dyn Callback));
        callbacks.extend(clip.as_mut().map(|clip| clip as &mut dyn Callback));
        callbacks.extend(average.as_mut().map(|average| average as &mut dyn Callback));
        callbacks.extend(best.as_mut().map(|best| best as &mut dyn Callback));
        callbacks.extend(stop.as_mut().map(|stop| stop as &mut dyn Callback));
        callbacks.extend([&mut good as &mut dyn Callback, &mut progress]);
        let trainer = Trainer {
            device,
            optimizer: &mut config.optimizer(graph)?,
            schedule: config.schedule.clone(),
            learning_rate: config.largest_rate()?,
            epochs: config.epochs,
            seed,
            objective: objective.as_mut(),
            callbacks,
            reduce: None,
        };
        let mut keeper = keeping.map(|keeping| keeping.keeper(&stage.name, &start.before));
        let trained = trainer.fit_kept(
            graph,
            &mut Drawn { batches: &mut data.train, draws: config.draws.unwrap_or(usize::MAX) },
            Some(&mut Stoppable(&mut data.val)),
            start.checkpoint,
            keeper.as_mut().map(|keeper| keeper as &mut dyn Keeper),
        );
        let epochs = trained.map_err(|error| {
            if let Some(keeper) = &keeper {
                keeper.announce();
            }
            match error {
                Error::Diverged { .. } | Error::NotFinite { .. } => good.rescue(path, error),
                other => other,
            }
        })?;
        if let Some(epoch) = best.as_ref().and_then(Best::epoch) {
            note_best(stage, config, epoch, epochs.len());
        }
        conclude(stage, &of_techniques, graph)?;
        Ok(epochs)
    }
}

/// Keeps what the techniques of a stage state about the trained `graph`, and tells what they achieved.
fn conclude(stage: &Stage, techniques: &[Box<dyn Callback>], graph: &mut Graph) -> Result<()> {
    let stated: Vec<Certificate> =
        techniques.iter().flat_map(|callback| callback.certificates(graph)).collect();
    graph.info.certificates.extend(stated);
    for technique in &stage.techniques {
        technique.achieved(graph)?.iter().for_each(|text| note(text.trim_end()));
    }
    Ok(())
}

/// Tells which of the `all` epochs was the best, counted from 0 in `best`, and whether its network is kept.
fn note_best(stage: &Stage, config: &TrainConfig, best: usize, all: usize) {
    let kept = if config.save_best { "the network is that of" } else { "the best was" };
    note(format_args!("{:>14}  {all} epochs trained; {kept} epoch {}", stage.name, best + 1));
}

/// Describes what the training of `graph` trains, if it leaves some layers as they are.
fn described(config: &TrainConfig, graph: &Graph) -> Result<Option<String>> {
    if config.freeze.is_empty() {
        return Ok(None);
    }
    let mut frozen = graph.clone();
    let _ = config.freezing().freeze_at_start(&mut frozen)?;
    let list = |layers: Vec<String>| layers.join(", ");
    let freeze = list(config.freeze.iter().map(ToString::to_string).collect());
    let later: Vec<String> =
        config.unfreeze.iter().map(|thaw| format!("{} {}", thaw.layers, thaw.when)).collect();
    let later = if later.is_empty() { String::new() } else { format!("; trains {}", list(later)) };
    let (trained, all) = (thousands(frozen.trainable_count()), thousands(frozen.param_count()));
    Ok(Some(format!("trains {trained} of {all} parameters; frozen but for batch norms: {freeze}{later}")))
}

/// Ends a training after this share of its steps, at least one.
struct StopAfter(f64);

impl Callback for StopAfter {
    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        let last = (self.0 * step.progress.steps as f64).round().max(1.0) as usize;
        Ok(if step.progress.step + 1 >= last { Flow::Stop } else { Flow::Continue })
    }
}

/// Batches whose epochs repeat after `draws`.
struct Drawn<'a> {
    batches: &'a mut dyn Batches,
    draws: usize,
}

impl Batches for Drawn<'_> {
    fn len(&self) -> usize {
        self.batches.len()
    }

    fn samples(&self) -> usize {
        self.batches.samples()
    }

    fn image_shape(&self) -> [usize; 3] {
        self.batches.image_shape()
    }

    fn classes(&self) -> &[String] {
        self.batches.classes()
    }

    fn epoch(&mut self, epoch: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        self.batches.epoch(epoch % self.draws)
    }

    fn epoch_from(&mut self, epoch: usize, first: usize) -> Result<Numbered<'_>> {
        self.batches.epoch_from(epoch % self.draws, first)
    }

    fn state(&self) -> State {
        self.batches.state()
    }

    fn restore(&mut self, state: State) -> Result<()> {
        self.batches.restore(state)
    }
}

/// Remembers the network after each epoch, when the trainer has checked its numbers, in case a later epoch fails.
struct LastGood(Option<(String, Graph)>);

impl LastGood {
    fn new(from: Option<&Checkpoint>) -> Self {
        Self(
            from.map(|c| {
                (format!("epoch {}, step {}", c.position.epoch + 1, c.position.batch), c.graph.clone())
            }),
        )
    }

    /// Writes the network next to `path` and adds the place to `error`.
    fn rescue(self, path: &Path, error: Error) -> Error {
        let Some((when, graph)) = self.0 else { return error };
        let beside = rescue::unused(path.parent().unwrap_or(Path::new("")), path);
        match rescue::write("it", &beside, |place| file::save(&graph, place)) {
            Ok(()) => Error::invalid(format!(
                "{error}; the last good network, from {when}, is in {}",
                beside.display()
            )),
            Err(e) => Error::invalid(format!("{error}; the last good network, from {when}: {e}")),
        }
    }
}

impl Callback for LastGood {
    fn on_epoch_end(&mut self, graph: &mut Graph, epoch: &EpochMetrics) -> Result<Flow> {
        self.0 = Some((format!("epoch {}", epoch.number()), graph.clone()));
        Ok(Flow::Continue)
    }
}

/// Batches that end with [`Error::Stopped`] if a signal requests a stop, and that let a log know how far they are.
pub struct Stoppable<'a>(pub &'a mut dyn Batches);

impl Batches for Stoppable<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn samples(&self) -> usize {
        self.0.samples()
    }

    fn image_shape(&self) -> [usize; 3] {
        self.0.image_shape()
    }

    fn classes(&self) -> &[String] {
        self.0.classes()
    }

    fn epoch(&mut self, epoch: usize) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        let batches = self.len();
        Ok(Box::new(self.0.epoch(epoch)?.enumerate().map(move |(number, batch)| {
            alive(|| format!("{:>16}batch {} of {batches}", "", number + 1));
            signals::check().and(batch)
        })))
    }

    fn epoch_from(&mut self, epoch: usize, first: usize) -> Result<Numbered<'_>> {
        let batches = self.len();
        Ok(Box::new(self.0.epoch_from(epoch, first)?.map(move |numbered| {
            if let Ok((number, _)) = &numbered {
                alive(|| format!("{:>16}batch {} of {batches}", "", number + 1));
            }
            signals::check().and(numbered)
        })))
    }

    fn state(&self) -> State {
        self.0.state()
    }

    fn restore(&mut self, state: State) -> Result<()> {
        self.0.restore(state)
    }
}
