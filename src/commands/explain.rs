//! `lopper prune --explain`: which cut cost how much.
//!
//! ```text
//!   network ─ plan ─► pruned                        accuracy, estimated ms
//!          └─ plan without group g ─► g is undone   accuracy regained, milliseconds given back
//! ```
//!
//! The layers before a group compute what they compute in the pruned network, so that one's values are kept, and each
//! undone cut runs from its group on. What fine-tuning makes of the pruned network is not undone: the prices are those
//! at the moment of the cut.

use crate::latency::test_images;
use crate::progress::note;
use crate::signals;
use crate::tables::put_csv;
use crate::training::Stoppable;
use lopper::machine::{MachineClock, NetworkClock};
use lopper::sensitivity::{Options, Point, Prefix, Sweep};
use lopper_compress::prune::{Constants, PrunePlan, prune};
use lopper_engine::data::Batches;
use lopper_engine::{Device, Graph, NodeId, Result};
use lopper_kernels::cuda::cache;
use lopper_models::data::Loader;
use serde::Serialize;
use std::path::Path;

/// A cut that was undone, as a line of the CSV file.
#[derive(Serialize)]
struct Undone {
    layers: String,
    removed: usize,
    channels: usize,
    top1: f64,
    /// Accuracy that undoing the cut gives back, with its 95 % interval.
    regained: f64,
    regained_low: f64,
    regained_high: f64,
    p: f64,
    /// Estimated milliseconds that the cut saves.
    saved_ms: f64,
}

/// The cuts of `plan` on `graph`, undone one at a time and scored on the images of `loader`: a table on standard error,
/// and in the CSV file `path`.
pub fn explain(
    graph: &Graph,
    (plan, constants): (&PrunePlan, Constants),
    loader: &Loader,
    path: &Path,
    device: &Device,
) -> Result<()> {
    let pruned = prune(graph, plan, constants)?.graph;
    let mut loader = loader.clone();
    let image = loader.image_shape();
    let machine = MachineClock::new(device, Some(cache::folder()), |text| note(text));
    let clock = NetworkClock::measure(&machine, &pruned, image, &test_images(image.iter().product()))?;
    let prefix = Prefix::new(&pruned, Stoppable(&mut loader).epoch(0)?, device)?;
    let options = Options { clock: &clock, image, device };
    let mut check = signals::check;
    let (mut sweep, whole) = Sweep::begin(prefix, options, &mut check)?;
    let mut undone = Vec::new();
    for (group, node) in cut_groups(graph, plan)? {
        let kept = &plan.groups[group];
        let groups = plan.groups.iter().enumerate().filter(|(other, _)| *other != group);
        let rest = PrunePlan { groups: groups.map(|(_, group)| group.clone()).collect() };
        let restored = prune(graph, &rest, constants)?.graph;
        let point = sweep.changed(node, (&kept.layers, &restored), &mut check)?;
        undone.push(line(&point, [kept.units - kept.keep.len(), kept.units], whole.ms));
    }
    undone.sort_by(|a, b| b.regained.total_cmp(&a.regained));
    note(text(&undone, whole.top1));
    put_csv(path, |w| undone.iter().try_for_each(|line| w.serialize(line)))
}

/// The positions of the groups that `plan` cuts, with their first node, in the order of these.
fn cut_groups(graph: &Graph, plan: &PrunePlan) -> Result<Vec<(usize, NodeId)>> {
    let mut found = Vec::new();
    for (position, group) in
        plan.groups.iter().enumerate().filter(|(_, group)| group.keep.len() < group.units)
    {
        let ids = group.layers.iter().map(|layer| graph.id(layer)).collect::<Result<Vec<_>>>()?;
        found.extend(ids.into_iter().min().map(|node| (position, node)));
    }
    found.sort_by_key(|&(_, node)| node);
    Ok(found)
}

/// The line of a point, whose loss is that of the network with the cut undone.
fn line(point: &Point, [removed, channels]: [usize; 2], ms: f64) -> Undone {
    let (low, high) = point.loss_interval;
    Undone {
        layers: point.layers.join(" "),
        removed,
        channels,
        top1: point.tally.top1,
        regained: -point.loss,
        regained_low: -high,
        regained_high: -low,
        p: point.p,
        saved_ms: point.tally.ms - ms,
    }
}

fn text(undone: &[Undone], top1: f64) -> String {
    let name = |line: &Undone| match line.layers.split_once(' ') {
        Some((first, rest)) => format!("{first} +{}", rest.split(' ').count()),
        None => line.layers.clone(),
    };
    let width = undone.iter().map(|line| name(line).chars().count()).max().unwrap_or(0).max(6);
    let mut text = format!(
        "cuts undone one at a time, before any fine-tuning; with all cuts top-1 is {:.2} %\n{:width$}  {:>11}  points \
         regained      p  est. ms saved\n",
        100.0 * top1,
        "layers",
        "removed"
    );
    for line in undone {
        text += &format!(
            "{:width$}  {:>4} of {:>4}  {:>15.2}  {:>5.3}  {:>13.3}\n",
            name(line),
            line.removed,
            line.channels,
            100.0 * line.regained,
            line.p,
            line.saved_ms
        );
    }
    text
}
