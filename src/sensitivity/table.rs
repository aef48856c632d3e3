//! The table of prices, as `--json` prints it.

use super::{Cut, Cuts};
use crate::details::Paired;
use crate::machine::NetworkClock;
use lopper_engine::train::metrics::wilson95;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The prices of all cuts of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// The model file.
    pub model: String,
    /// How groups of weights were scored.
    pub criterion: String,
    /// Number of images that were scored, a stratified sample.
    pub images: usize,
    /// Number of images that it was drawn from.
    pub of_images: usize,
    /// Everything that the numbers depend on.
    pub binding: BTreeMap<String, String>,
    /// The clock by which milliseconds are estimated.
    pub clock: NetworkClock,
    /// Number of points that there will be.
    pub planned: usize,
    /// The network without a cut.
    pub uncut: Tally,
    /// The network with one cut, in the order of the layers.
    pub points: Vec<Point>,
    /// The plan that follows, once all groups of channels are priced.
    pub plan: Option<Following>,
}

/// What a network gets right, and what it costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Images whose class is found.
    pub correct: usize,
    /// Images that were scored.
    pub images: usize,
    /// Share of images whose class is found.
    pub top1: f64,
    /// Its 95 % Wilson interval.
    pub interval: (f64, f64),
    /// Estimated milliseconds of the plan for one image.
    pub ms: f64,
    /// Number of parameters.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub macs: u64,
}

/// For each group of channels, the deepest cut whose price is bearable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Following {
    /// The largest loss of accuracy of a single cut, 0 to 1.
    pub tolerance: f64,
    /// The groups that are cut.
    pub cuts: Vec<Followed>,
    /// The network with all of them: losses of single cuts do not add up.
    pub together: Option<Point>,
}

/// The cut of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    /// The layers whose channels are cut.
    pub layers: Vec<String>,
    /// The fraction of channels that goes.
    pub fraction: f64,
    /// Its loss of accuracy alone.
    pub loss: f64,
}

/// A network with one cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The technique, with the granularity of a sparsification.
    pub way: String,
    /// The layers that are cut together.
    pub layers: Vec<String>,
    /// The fraction that is cut.
    pub fraction: f64,
    /// What is left.
    #[serde(flatten)]
    pub tally: Tally,
    /// Accuracy of the network without the cut less that with it.
    pub loss: f64,
    /// The 95 % interval of `loss`, which is that of a difference on the same images: narrower than the accuracies'.
    pub loss_interval: (f64, f64),
    /// Images that only the network without the cut gets right.
    pub lost: u32,
    /// Images that only the network with the cut gets right.
    pub gained: u32,
    /// The p-value of McNemar's exact test.
    pub p: f64,
}

impl Point {
    /// The price of a cut after which `images` images are scored, given which were right before and after.
    pub fn new(way: String, layers: Vec<String>, fraction: f64, tally: Tally, pairs: [u32; 2]) -> Self {
        let [lost, gained] = pairs;
        let loss = (f64::from(lost) - f64::from(gained)) / tally.images.max(1) as f64;
        let Paired { interval: (low, high), p, .. } = Paired::of(gained, lost, tally.images as u64);
        Self { way, layers, fraction, tally, loss, loss_interval: (-high, -low), lost, gained, p }
    }
}

impl Sensitivity {
    /// The point of a cut, if it is known.
    pub fn find(&self, way: &str, layers: &[String], fraction: f64) -> Option<&Point> {
        let is = |point: &&Point| point.way == way && point.layers == layers && point.fraction == fraction;
        self.points.iter().find(is)
    }

    /// Puts the points in the order of `cuts`: an earlier call may have measured others first. Points of other cuts stay,
    /// at the end.
    pub fn sort(&mut self, cuts: &Cuts) {
        let place = |point: &Point| {
            let is = |cut: &Cut| cut.way.to_string() == point.way && cut.layers == point.layers;
            cuts.list().iter().position(is).unwrap_or(usize::MAX)
        };
        self.points.sort_by(|a, b| place(a).cmp(&place(b)).then(a.fraction.total_cmp(&b.fraction)));
    }

    /// The points of each place to cut, in order of their first point.
    pub fn rows(&self) -> Vec<(&str, &[String], Vec<&Point>)> {
        let mut rows: Vec<(&str, &[String], Vec<&Point>)> = Vec::new();
        for point in &self.points {
            match rows.iter_mut().find(|(way, layers, _)| *way == point.way && *layers == point.layers) {
                Some((.., points)) => points.push(point),
                None => rows.push((&point.way, &point.layers, vec![point])),
            }
        }
        rows
    }

    /// The table for a terminal: a line for each place, a column for each fraction.
    pub fn text(&self) -> String {
        let Tally { top1, interval: (low, high), ms, .. } = &self.uncut;
        let mut text = format!(
            "uncut: top-1 {:.2} % ({:.2}–{:.2}), {ms:.3} ms by the plan's estimate; {} of {} images\n\
             cells: accuracy lost in points / milliseconds saved in percent\n",
            100.0 * top1,
            100.0 * low,
            100.0 * high,
            self.images,
            self.of_images
        );
        let rows = self.rows();
        let title = |layers: &[String]| match layers {
            [] => String::new(),
            [one] => one.clone(),
            [first, ..] => format!("{first} +{}", layers.len() - 1),
        };
        let width = rows.iter().map(|(_, layers, _)| title(layers).chars().count()).max().unwrap_or(0);
        let mut ways: Vec<&str> = rows.iter().map(|(way, ..)| *way).collect();
        ways.sort_unstable();
        ways.dedup();
        for way in ways {
            text += &format!("\n{way}\n");
            for (_, layers, points) in rows.iter().filter(|(of, ..)| *of == way) {
                let cells: Vec<String> = points.iter().map(|point| cell(point, *ms)).collect();
                text += &format!("  {:width$}  {}\n", title(layers), cells.join("  "));
            }
        }
        text + &self.plan.as_ref().map(|plan| format!("\n{}", plan.text(self))).unwrap_or_default()
    }
}

/// `50 %:  1.25 /  8`.
fn cell(point: &Point, uncut_ms: f64) -> String {
    let saved = 100.0 * (1.0 - point.tally.ms / uncut_ms);
    format!("{:>3.0} %: {:>6.2} /{:>4.0}", 100.0 * point.fraction, 100.0 * point.loss, saved)
}

impl Tally {
    /// The tally of `correct` of `images` images.
    pub fn new(correct: usize, images: usize, [params, macs]: [u64; 2], ms: f64) -> Self {
        let top1 = correct as f64 / images.max(1) as f64;
        Self { correct, images, top1, interval: wilson95(top1, images as f64), ms, params, macs }
    }
}
