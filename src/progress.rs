//! Progress of training: a bar on a terminal, plain lines otherwise.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lopper_engine::train::{Callback, EpochMetrics, Flow, Step};
use lopper_engine::{Graph, Result};
use std::fmt::Display;
use std::io::{IsTerminal, Write};

/// Writes a line to standard error. Unlike `eprintln!`, it does not panic if the reader has gone
/// (`lopper … 2>&1 | head`): the work continues.
pub fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Shows the steps of a training run and a line per epoch on standard error; standard output is for results.
pub struct Progress {
    title: String,
    bar: ProgressBar,
}

impl Progress {
    /// Shows the progress of the training named `title`.
    pub fn new(title: &str) -> Self {
        let bar = ProgressBar::new(0);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = "{prefix:>14} {bar:32} {pos}/{len} steps, {per_sec}, {eta} left  {msg}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(title.to_string());
        Self { title: title.to_string(), bar }
    }

    /// Prints a line, above the bar if there is one.
    pub fn line(&self, text: &str) {
        if self.bar.is_hidden() { note(text) } else { self.bar.println(text) }
    }
}

impl Callback for Progress {
    fn after_step(&mut self, step: &mut Step<'_>) -> Result<Flow> {
        self.bar.set_length(step.progress.steps as u64);
        self.bar.set_position(step.progress.step as u64 + 1);
        self.bar.set_message(format!("loss {:.3}", step.loss));
        Ok(Flow::Continue)
    }

    fn on_epoch_end(&mut self, _: &mut Graph, m: &EpochMetrics) -> Result<Flow> {
        let validation = match (&m.val, m.val_loss) {
            (Some(accuracy), Some(loss)) => {
                format!(", validation loss {loss:.3}, top-1 {:.2} %", 100.0 * accuracy.top1())
            }
            _ => String::new(),
        };
        self.line(&format!(
            "{:>14}  epoch {}/{}: training loss {:.3}{validation} ({:.1} s, {:.0} images/s)",
            self.title,
            m.epoch + 1,
            m.epochs,
            m.train_loss,
            m.seconds,
            m.images_per_second
        ));
        Ok(Flow::Continue)
    }

    fn on_end(&mut self, _: &mut Graph) -> Result<()> {
        self.bar.finish_and_clear();
        Ok(())
    }
}
