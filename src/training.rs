//! Training of a stage: the objective, the callbacks, and the network that is saved if training fails.

use crate::keeping::Keeping;
use crate::pipeline::Pipeline;
use crate::progress::{Progress, note};
use crate::recipe::{Stage, TrainConfig};
use crate::{rescue, signals};
use lopper_engine::data::{Batch, Batches, Numbered};
use lopper_engine::train::{
    Callback, Checkpoint, CrossEntropy, EpochMetrics, Keeper, Objective, Optimizer, State, Trainer,
};
use lopper_engine::{Error, Graph, Result, file};
use std::path::Path;

/// Starting point of a training run.
#[derive(Default)]
pub struct Start {
    /// Checkpoint to continue from.
    pub checkpoint: Option<Checkpoint>,
    /// Largest logit difference of the stage's rewrite.
    pub logit_difference: Option<f32>,
    /// Seconds that the stage has taken so far.
    pub seconds: f64,
}

impl Pipeline<'_> {
    /// Trains `graph`, which will be written to the file `path`, with the options of `train` and `stage`.
    pub(crate) fn train(
        &mut self,
        stage: &Stage,
        train: &TrainConfig,
        graph: &mut Graph,
        path: &Path,
        start: Start,
    ) -> Result<()> {
        let mut objective = self.objective(stage, train, graph)?;
        let (mut progress, mut good) = (Progress::new(&stage.name), LastGood::new(start.checkpoint.as_ref()));
        let mut of_techniques = Vec::new();
        for technique in &stage.techniques {
            of_techniques.extend(technique.callback()?);
        }
        let mut callbacks: Vec<&mut dyn Callback> = Vec::new();
        callbacks.extend(of_techniques.iter_mut().map(|callback| &mut **callback as &mut dyn Callback));
        callbacks.extend([&mut good as &mut dyn Callback, &mut progress]);
        let trainer = Trainer {
            device: self.device,
            optimizer: &mut Optimizer::new(train.optimizer).without_vector_decay(),
            schedule: train.schedule,
            learning_rate: train.learning_rate,
            epochs: train.epochs,
            seed: self.seed,
            objective: objective.as_mut(),
            callbacks,
        };
        let data = self.data.as_mut().ok_or_else(|| Error::invalid("training needs images: give --data"))?;
        let keeping = self.keeping.as_ref();
        let mut keeper =
            keeping.map(|k: &Keeping| k.keeper(&stage.name, start.logit_difference, start.seconds));
        let trained = trainer.fit_kept(
            graph,
            &mut data.train,
            Some(&mut Stoppable(&mut data.val)),
            start.checkpoint,
            keeper.as_mut().map(|keeper| keeper as &mut dyn Keeper),
        );
        if let Err(error) = trained {
            if let Some(keeper) = &keeper {
                keeper.announce();
            }
            return Err(match error {
                Error::Diverged { .. } | Error::NotFinite { .. } => good.rescue(path, error),
                other => other,
            });
        }
        for technique in &stage.techniques {
            technique.achieved(graph)?.iter().for_each(|text| note(text.trim_end()));
        }
        Ok(())
    }

    /// Returns the objective of training `graph` in `stage`: that of a technique, or else only the task. Returns an error if
    /// a teacher does not fit the network.
    fn objective(&self, stage: &Stage, train: &TrainConfig, graph: &Graph) -> Result<Box<dyn Objective>> {
        let task = CrossEntropy { smoothing: train.label_smoothing as f32 };
        for technique in &stage.techniques {
            let teacher = technique.teacher().map(|teacher| self.network(teacher)).transpose()?;
            if let Some(objective) = technique.objective(task, graph, teacher)? {
                return Ok(objective);
            }
        }
        Ok(Box::new(task))
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
    fn on_epoch_end(&mut self, graph: &mut Graph, epoch: &EpochMetrics) -> Result<()> {
        self.0 = Some((format!("epoch {}", epoch.epoch + 1), graph.clone()));
        Ok(())
    }
}

/// Batches that end with [`Error::Stopped`] if a signal requests a stop.
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
        Ok(Box::new(self.0.epoch(epoch)?.map(|batch| signals::check().and(batch))))
    }

    fn epoch_from(&mut self, epoch: usize, first: usize) -> Result<Numbered<'_>> {
        Ok(Box::new(self.0.epoch_from(epoch, first)?.map(|batch| signals::check().and(batch))))
    }

    fn state(&self) -> State {
        self.0.state()
    }

    fn restore(&mut self, state: State) -> Result<()> {
        self.0.restore(state)
    }
}
