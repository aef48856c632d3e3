//! `lopper schedule`.

use super::Common;
use super::file_names::{is_picture, table_or_picture};
use super::parsers::share;
use super::step::schedule;
use crate::output_file::refuse_existing;
use crate::plots::{Curve, Curves};
use crate::tables::{put, put_csv};
use clap::Args;
use lopper_compress::sparsify::SparsitySchedule;
use lopper_engine::number::{self, Range};
use lopper_engine::{Error, Result, atomic};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Points of a curve.
const POINTS: usize = 240;

/// Columns and lines of a picture in the terminal.
const SIZE: [usize; 2] = [60, 8];

/// Draw schedules of sparsity, or of the learning rate.
#[derive(Args)]
pub struct DrawSchedule {
    /// Schedules (`lopper list schedules`), such as cosine or iterative:4
    #[arg(required = true)]
    names: Vec<String>,
    /// Final sparsity, 0 to 1
    #[arg(long, default_value_t = 0.5, conflicts_with = "learning_rate", value_parser = share)]
    sparsity: f64,
    /// Draw schedules of the learning rate with this maximum [default: schedules of sparsity]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Share of the training at which sparsity starts to grow
    #[arg(long, default_value_t = 0.0, conflicts_with = "learning_rate", value_parser = share)]
    start: f64,
    /// Share of the training at which it stops
    #[arg(long, default_value_t = 1.0, conflicts_with = "learning_rate", value_parser = share)]
    end: f64,
    /// Epochs of the training
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    epochs: u32,
    /// Write the curves as .svg or .csv [default: none; they are drawn in the terminal]
    #[arg(long, value_name = "FILE", value_parser = table_or_picture)]
    plot: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
}

/// A schedule over a training.
#[derive(Serialize)]
struct Drawn {
    name: String,
    /// Its value at the end of each epoch.
    by_epoch: Vec<f64>,
    #[serde(skip)]
    points: Vec<(f64, f64)>,
}

/// A line of the table.
#[derive(Serialize)]
struct Line<'a> {
    schedule: &'a str,
    epoch: f64,
    value: f64,
}

impl DrawSchedule {
    pub fn run(&self, common: &Common) -> Result<()> {
        if let Some(path) = &self.plot {
            refuse_existing(path, self.force)?;
            atomic::check(path)?;
        }
        let drawn = self.names.iter().map(|name| self.drawn(name)).collect::<Result<Vec<Drawn>>>()?;
        if let Some(path) = &self.plot {
            self.write(&drawn, path)?;
        }
        common.print(&drawn, || drawn.iter().map(|drawn| self.text(drawn)).collect())
    }

    /// The schedule called `name`.
    fn drawn(&self, name: &str) -> Result<Drawn> {
        let epochs = f64::from(self.epochs);
        let value = self.value(name)?;
        let points = (0..=POINTS).map(|i| i as f64 / POINTS as f64);
        Ok(Drawn {
            name: name.to_string(),
            by_epoch: (1..=self.epochs).map(|epoch| value(f64::from(epoch) / epochs)).collect(),
            points: points.map(|t| (t * epochs, value(t))).collect(),
        })
    }

    /// The value of a schedule as a function of the share of the training.
    fn value(&self, name: &str) -> Result<Box<dyn Fn(f64) -> f64>> {
        let Some(max) = self.learning_rate else {
            let schedule: SparsitySchedule = name.parse()?;
            schedule.check()?;
            let (window, sparsity) = ([self.start, self.end], self.sparsity);
            if self.start > self.end {
                return Err(Error::invalid(format!("expected --start up to --end, found {window:?}")));
            }
            return Ok(Box::new(move |t| sparsity * schedule.share_within(t, window)));
        };
        number::single("--learning-rate", max, Range::AboveZero)?;
        let schedule = schedule(name).map_err(Error::invalid)?;
        schedule.check_rates(max)?;
        Ok(Box::new(move |t| schedule.at(max, t).learning_rate))
    }

    fn axis(&self) -> &'static str {
        if self.learning_rate.is_some() { "learning rate" } else { "sparsity" }
    }

    fn write(&self, drawn: &[Drawn], path: &Path) -> Result<()> {
        if !is_picture(path) {
            let lines = drawn.iter().flat_map(|Drawn { name, points, .. }| {
                points.iter().map(move |&(epoch, value)| Line { schedule: name, epoch, value })
            });
            return put_csv(path, |w| lines.into_iter().try_for_each(|line| w.serialize(line)));
        }
        let curve = |Drawn { name, points, .. }: &Drawn| Curve {
            name: name.clone(),
            points: points.clone(),
            intervals: Vec::new(),
        };
        let curves = Curves {
            title: "Schedules",
            x: "epoch",
            y: self.axis(),
            logarithmic: false,
            range: None,
            curves: drawn.iter().map(curve).collect(),
            marks: Vec::new(),
        };
        put(path, curves.svg()?.as_bytes())
    }

    /// The picture of a schedule for a terminal.
    fn text(&self, Drawn { name, points, .. }: &Drawn) -> String {
        let top = points.iter().map(|point| point.1).fold(0.0, f64::max);
        let scale = if top > 0.0 { top } else { 1.0 };
        let [columns, lines] = SIZE;
        let heights: Vec<f64> = (0..columns)
            .map(|column| points[column * POINTS / (columns - 1)].1.max(0.0) / scale * lines as f64)
            .collect();
        let mut text = format!("{name}: {} up to {}\n", self.axis(), short(top));
        for line in (0..lines).rev() {
            let bars: String = heights.iter().map(|height| bar(height - line as f64)).collect();
            let label = if line + 1 == lines { short(top) } else { String::new() };
            text += &format!("{label:>9} ┤{bars}\n");
        }
        let end = format!("epoch {}", self.epochs);
        text + &format!("{:>9} └{}\n{:>9}  0{end:>width$}\n", 0, "─".repeat(columns), "", width = columns - 1)
    }
}

/// A bar of `height` lines, of which one line shows at most 1.
fn bar(height: f64) -> char {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    BARS[(height.clamp(0.0, 1.0) * 8.0).round() as usize]
}

/// A value in few digits.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    match value {
        v if v != 0.0 && v < 1e-3 => format!("{v:.1e}"),
        _ => text.trim_end_matches('0').trim_end_matches('.').to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_value() {
        assert_eq!([-1.0, 0.0, 0.5, 1.0, 3.0].map(bar), [' ', ' ', '▄', '█', '█']);
        assert_eq!([0.0, 0.5, 1.0, 1e-5].map(short), ["0", "0.5", "1", "1.0e-5"]);
    }
}
