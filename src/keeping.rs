//! Checkpoints of a run: when and where they are written, and how a run resumes from one.

use crate::binding::Binding;
use crate::details::Details;
use crate::progress::note;
use crate::rescue;
use crate::signals;
use clap::Args;
use lopper_engine::train::{Checkpoint, Keeper, Progress, Why, Wish};
use lopper_engine::{Error, Result, atomic};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Options of every command that trains.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Checkpoints")]
pub struct KeepArgs {
    /// Continue from the checkpoint of an interrupted run, or from the beginning if there is none
    #[arg(long)]
    pub resume: bool,
    /// With --resume: continue even if options, images, device or version changed; the bits will differ
    #[arg(long, requires = "resume")]
    pub resume_anyway: bool,
    /// Minutes between checkpoints, in addition to one after each epoch; 0 for one after each step
    #[arg(long, value_name = "MINUTES", default_value = "10", value_parser = minutes)]
    pub checkpoint_every: Duration,
}

impl Default for KeepArgs {
    /// Returns the values of a command line without these options.
    fn default() -> Self {
        Self { resume: false, resume_anyway: false, checkpoint_every: Duration::from_secs(600) }
    }
}

/// Upper bound of `--checkpoint-every`; anything longer amounts to never.
const MOST_MINUTES: f64 = 1e6;

fn minutes(text: &str) -> std::result::Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.0..=MOST_MINUTES).contains(&minutes) => Ok(Duration::from_secs_f64(60.0 * minutes)),
        _ => Err(format!("expected a number of minutes, 0 to {MOST_MINUTES}")),
    }
}

/// Checkpointing of a run's training.
#[derive(Debug)]
pub struct Keeping {
    path: PathBuf,
    every: Duration,
    binding: Binding,
    from: Option<(Label, Checkpoint)>,
}

/// State of the run that is stored in its checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Binding of the run.
    pub binding: Binding,
    /// Stage that was being trained.
    pub stage: String,
    /// Largest logit difference of the stage's rewrite, if it was measured.
    pub logit_difference: Option<f32>,
    /// Seconds that the stage had taken before the checkpoint.
    pub seconds: f64,
    /// What the stage's rewrites reported.
    #[serde(default)]
    pub details: Details,
}

/// What happened in a stage before its training, or before its checkpoint.
#[derive(Default)]
pub struct Before {
    /// Largest logit difference of the stage's rewrite, if it was measured.
    pub logit_difference: Option<f32>,
    /// Seconds that the stage has taken.
    pub seconds: f64,
    /// What its rewrites reported.
    pub details: Details,
}

impl Keeping {
    /// Sets up checkpoints in the file `path` for the run that `binding` describes. With `--resume`, the run continues
    /// from that file if it exists; it is an error if the file is damaged or belongs to another run.
    pub fn new(path: PathBuf, args: &KeepArgs, binding: Binding) -> Result<Self> {
        let mut from = None;
        if args.resume && path.symlink_metadata().is_ok() {
            let checkpoint = Checkpoint::read(&path)?;
            let label: Label = serde_json::from_value(checkpoint.label.clone())
                .map_err(|e| Error::file(&path, format!("its label is damaged: {e}")))?;
            binding.check(&label.binding, &path, args.resume_anyway)?;
            from = Some((label, checkpoint));
        }
        Ok(Self { path, every: args.checkpoint_every, binding, from })
    }

    /// Returns the stage, the epoch and the step of the checkpoint to continue from, if there is one.
    pub fn position(&self) -> Option<(&str, usize, usize)> {
        let (label, checkpoint) = self.from.as_ref()?;
        Some((&label.stage, checkpoint.position.epoch, checkpoint.position.batch))
    }

    /// Takes the checkpoint to continue from, if it belongs to `stage`.
    pub fn take(&mut self, stage: &str) -> Option<(Label, Checkpoint)> {
        let (label, checkpoint) = self.from.take_if(|(label, _)| label.stage == stage)?;
        let at = checkpoint.position;
        note(format_args!(
            "{stage:>14}  continues in epoch {} after step {}, from {}",
            at.epoch + 1,
            at.batch,
            self.path.display()
        ));
        Some((label, checkpoint))
    }

    /// Returns the keeper of the training of `stage`.
    pub fn keeper(&self, stage: &str, before: &Before) -> StageKeeper<'_> {
        let &Before { logit_difference, seconds, ref details } = before;
        let (binding, stage, details) = (self.binding.clone(), stage.to_string(), details.clone());
        let label = Label { binding, stage, logit_difference, seconds, details };
        StageKeeper { keeping: self, label, started: Instant::now(), last: Instant::now(), kept: None }
    }

    /// Removes the checkpoint, once the result is written.
    pub fn remove(&self) -> Result<()> {
        atomic::remove(&self.path)
    }
}

/// Writes the checkpoints of one stage's training.
pub struct StageKeeper<'a> {
    keeping: &'a Keeping,
    label: Label,
    started: Instant,
    last: Instant,
    kept: Option<(usize, usize)>,
}

impl StageKeeper<'_> {
    /// Prints where training can be resumed from, if a checkpoint was written.
    pub fn announce(&self) {
        if let Some((epoch, step)) = self.kept {
            let path = self.keeping.path.display();
            note(format_args!(
                "{path} holds the training up to epoch {epoch}, step {step}: --resume continues from it"
            ));
        }
    }
}

impl Keeper for StageKeeper<'_> {
    fn wish(&mut self, _: Progress) -> Wish {
        if signals::received().is_some() {
            Wish::Stop
        } else if self.last.elapsed() >= self.keeping.every {
            Wish::Keep
        } else {
            Wish::GoOn
        }
    }

    fn keep(&mut self, mut checkpoint: Checkpoint, why: Why) -> Result<()> {
        let seconds = self.label.seconds + self.started.elapsed().as_secs_f64();
        let label = serde_json::to_value(Label { seconds, ..self.label.clone() });
        checkpoint.label = label.map_err(|e| Error::file(&self.keeping.path, e))?;
        let path = &self.keeping.path;
        let written = match why {
            // This is the last checkpoint: better written elsewhere than lost.
            Why::Stopping | Why::BadData => {
                rescue::write("the checkpoint", path, |place| checkpoint.write(place))
            }
            Why::EpochOver | Why::Asked => checkpoint.write(path),
        };
        self.last = Instant::now();
        match (written, why) {
            (Ok(()), _) => self.kept = Some((checkpoint.position.epoch + 1, checkpoint.position.batch)),
            (Err(error), Why::EpochOver | Why::Asked) => {
                note(format_args!("no checkpoint written: {error}; training continues"));
            }
            (Err(error), _) => return Err(error),
        }
        Ok(())
    }
}
