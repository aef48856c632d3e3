//! Checkpoints of a run: when they are written, where, and how a run goes on from one.

use crate::binding::Binding;
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
pub struct KeepArgs {
    /// Go on from the checkpoint that an interrupted run left behind; from the start where there is none
    #[arg(long)]
    pub resume: bool,
    /// With --resume: even where options, images, device or version changed, so that the bits will differ
    #[arg(long, requires = "resume")]
    pub resume_anyway: bool,
    /// Minutes between checkpoints, besides one after each epoch; 0 for one after each step
    #[arg(long, value_name = "MINUTES", default_value = "10", value_parser = minutes)]
    pub checkpoint_every: Duration,
}

impl Default for KeepArgs {
    /// What a command line without these options asks for.
    fn default() -> Self {
        Self { resume: false, resume_anyway: false, checkpoint_every: Duration::from_secs(600) }
    }
}

/// More than this is as good as never.
const MOST_MINUTES: f64 = 1e6;

fn minutes(text: &str) -> std::result::Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.0..=MOST_MINUTES).contains(&minutes) => Ok(Duration::from_secs_f64(60.0 * minutes)),
        _ => Err(format!("expected a number of minutes, 0 to {MOST_MINUTES}")),
    }
}

/// How the trainings of a run are kept.
#[derive(Debug)]
pub struct Keeping {
    path: PathBuf,
    every: Duration,
    binding: Binding,
    from: Option<(Label, Checkpoint)>,
}

/// What a run finds again in its checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Of which run.
    pub binding: Binding,
    /// The stage that was being trained.
    pub stage: String,
    /// How far its rewrite moved the logits, where that was measured.
    pub logit_difference: Option<f32>,
    /// Seconds that the stage took before the checkpoint.
    pub seconds: f64,
}

impl Keeping {
    /// Checkpoints in the file `path` of the run that `binding` describes. Where it is to be resumed and the file is
    /// there, the run goes on from it: an error where it is damaged, or of another run.
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

    /// The checkpoint to go on from, where it is one of `stage`.
    pub fn take(&mut self, stage: &str) -> Option<(Label, Checkpoint)> {
        let (label, checkpoint) = self.from.take_if(|(label, _)| label.stage == stage)?;
        let at = checkpoint.position;
        note(format_args!(
            "{stage:>14}  goes on in epoch {} after step {}, from {}",
            at.epoch + 1,
            at.batch,
            self.path.display()
        ));
        Some((label, checkpoint))
    }

    /// Who keeps the training of `stage`.
    pub fn keeper(&self, stage: &str, logit_difference: Option<f32>, seconds: f64) -> StageKeeper<'_> {
        let label =
            Label { binding: self.binding.clone(), stage: stage.to_string(), logit_difference, seconds };
        StageKeeper { keeping: self, label, started: Instant::now(), last: Instant::now(), kept: None }
    }

    /// Removes the checkpoint, once what came of it is written.
    pub fn remove(&self) -> Result<()> {
        atomic::remove(&self.path)
    }
}

/// Keeps the training of one stage.
pub struct StageKeeper<'a> {
    keeping: &'a Keeping,
    label: Label,
    started: Instant,
    last: Instant,
    kept: Option<(usize, usize)>,
}

impl StageKeeper<'_> {
    /// Says where the training can be gone on from, if it can.
    pub fn tell(&self) {
        if let Some((epoch, step)) = self.kept {
            let path = self.keeping.path.display();
            note(format_args!(
                "{path} holds the training up to epoch {epoch}, step {step}: --resume goes on from it"
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
            // It is the last one: better in another place than in none.
            Why::Stopping | Why::BadData => {
                rescue::write("the checkpoint", path, |place| checkpoint.write(place))
            }
            Why::EpochOver | Why::Asked => checkpoint.write(path),
        };
        self.last = Instant::now();
        match (written, why) {
            (Ok(()), _) => self.kept = Some((checkpoint.position.epoch + 1, checkpoint.position.batch)),
            (Err(error), Why::EpochOver | Why::Asked) => {
                note(format_args!("no checkpoint: {error}; the training goes on"));
            }
            (Err(error), _) => return Err(error),
        }
        Ok(())
    }
}
