//! Progress of training: a bar on a terminal, plain lines otherwise.

use crate::history::History;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lopper_engine::train::metrics::{LayerPruned, LayerSparsity, Pruned};
use lopper_engine::train::{Callback, EpochMetrics, Flow, Step};
use lopper_engine::{Graph, Result};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When the last line was written.
static LAST: LazyLock<Mutex<Instant>> = LazyLock::new(|| Mutex::new(Instant::now()));

/// Time without a line off a terminal, after which [`alive`] writes one: `LOPPER_PROGRESS_SECONDS`, or 30 s.
static QUIET: LazyLock<Duration> = LazyLock::new(|| {
    let seconds = std::env::var("LOPPER_PROGRESS_SECONDS").ok().and_then(|text| text.parse::<f64>().ok());
    Duration::try_from_secs_f64(seconds.unwrap_or(30.0)).unwrap_or(Duration::from_secs(30))
});

/// Writes a line to standard error. Unlike `eprintln!`, it does not panic if the reader has gone
/// (`lopper … 2>&1 | head`): the work continues.
pub fn note(text: impl Display) {
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes `text` to standard error if that is not a terminal and nothing was written there for half a minute, so that
/// a log shows that the work goes on.
pub fn alive(text: impl FnOnce() -> String) {
    let quiet = LAST.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
    if quiet >= *QUIET && !std::io::stderr().is_terminal() {
        note(text());
    }
}

/// Shows the steps of a training run and a line per epoch on standard error; standard output is for results.
pub struct Progress<'a> {
    title: String,
    bar: ProgressBar,
    history: Option<&'a mut History>,
    begun: Option<(Instant, usize)>,
}

impl<'a> Progress<'a> {
    /// Shows the progress of the training named `title`, and adds its epochs to `history`.
    pub fn new(title: &str, history: Option<&'a mut History>) -> Self {
        let bar = ProgressBar::new(0);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = "{prefix:>14} {bar:32} {pos}/{len} steps, {per_sec}, {eta} left  {msg}";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(title.to_string());
        Self { title: title.to_string(), bar, history, begun: None }
    }

    /// Prints a line, above the bar if there is one.
    pub fn line(&self, text: &str) {
        if self.bar.is_hidden() { note(text) } else { self.bar.println(text) }
    }
}

impl Callback for Progress<'_> {
    fn after_step(&mut self, step: &mut Step<'_>) -> Result<Flow> {
        let (at, step_loss) = (step.progress, step.loss);
        let (begin, first) = *self.begun.get_or_insert((Instant::now(), at.step));
        alive(|| {
            let left = match at.step - first {
                0 => String::new(),
                steps => {
                    let pace = begin.elapsed().as_secs_f64() / steps as f64;
                    format!(", {} left", spoken(pace * (at.steps - at.step - 1) as f64))
                }
            };
            let (epoch, step) = (at.epoch + 1, at.step + 1);
            let position = format!("epoch {epoch}/{}, step {step}/{}", at.epochs, at.steps);
            format!("{:>14}  {position}: loss {:.3}{left}", self.title, step_loss)
        });
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
            m.number(),
            m.epochs,
            m.train_loss,
            m.seconds,
            m.images_per_second
        ));
        let pruned = m.pruned.as_ref().map(pruned).unwrap_or_default();
        sparsity(&m.sparsity).iter().chain(&pruned).for_each(|text| self.line(text));
        m.notes.iter().for_each(|text| self.line(&format!("{:>16}{text}", "")));
        if let Some(history) = &mut self.history
            && let Err(error) = history.add(m.clone())
        {
            self.line(&format!("no history written: {error}; training continues"));
        }
        Ok(Flow::Continue)
    }

    fn on_end(&mut self, _: &mut Graph) -> Result<()> {
        self.bar.finish_and_clear();
        Ok(())
    }
}

/// The share of masked weights, of all layers and of each.
fn sparsity(layers: &[LayerSparsity]) -> Vec<String> {
    if layers.is_empty() {
        return Vec::new();
    }
    let percent = |layer: &LayerSparsity| format!("{:.2} %", 100.0 * layer.fraction());
    let heading = format!("sparsity {}:", percent(&LayerSparsity::total(layers)));
    listed(&heading, layers.iter().map(|layer| format!("{} {}", layer.layer, percent(layer))))
}

/// The share of channels that the training has removed, of all layers, and the number that each layer has lost.
fn pruned(pruned: &Pruned) -> Vec<String> {
    let (share, target) = (100.0 * pruned.fraction(), 100.0 * pruned.target);
    let heading = format!(
        "pruned {share:.2} % (schedule {target:.2} %), {} of {} channels:",
        pruned.removed, pruned.channels
    );
    let layer = |l: &LayerPruned| format!("{} {} of {}", l.layer, l.removed, l.channels);
    listed(&heading, pruned.layers.iter().map(layer))
}

/// A heading and items with commas, in lines of at most 80 columns unless an item is longer.
fn listed(heading: &str, items: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let (mut lines, count) = (Vec::new(), items.len());
    let mut line = format!("{:>16}{heading}", "");
    for (i, item) in items.enumerate() {
        let end = if i + 1 < count { "," } else { "" };
        let next = format!(" {item}{end}");
        if line.chars().count() + next.chars().count() > 80 {
            lines.push(std::mem::replace(&mut line, format!("{:>17}", "")));
        }
        line += &next;
    }
    lines.push(line);
    lines
}

/// A duration in the largest units that matter: `3 h 20 min`.
fn spoken(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0 => format!("{seconds:.0} s"),
        1..60 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparsity_is_listed_by_layer() {
        let layer = |name: &str, zeros| LayerSparsity { layer: name.into(), zeros, weights: 200 };
        let layers: Vec<LayerSparsity> = (0..12).map(|i| layer(&format!("features.{i}"), 10 * i)).collect();
        let lines = sparsity(&layers);
        assert!(
            lines[0].trim().starts_with("sparsity 27.50 %: features.0 0.00 %, features.1 5.00 %"),
            "{lines:?}"
        );
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert!(lines.last().unwrap().ends_with("features.11 55.00 %"), "{lines:?}");
        assert!(sparsity(&[]).is_empty());
    }

    #[test]
    fn removed_channels_are_listed_by_layer() {
        let layer = |i: u64| LayerPruned { layer: format!("features.{i}"), removed: i, channels: 64 };
        let layers: Vec<LayerPruned> = (0..9).map(layer).collect();
        let lines = pruned(&Pruned { target: 0.0477, removed: 36, channels: 576, layers });
        let heading = "pruned 6.25 % (schedule 4.77 %), 36 of 576 channels:";
        assert!(lines[0].trim().starts_with(heading), "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert!(lines.last().unwrap().ends_with("features.8 8 of 64"), "{lines:?}");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        assert_eq!([0.4, 29.0, 61.0, 12_000.0].map(spoken), ["0 s", "29 s", "1 min", "3 h 20 min"]);
    }
}
