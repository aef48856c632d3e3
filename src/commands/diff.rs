//! `lopper diff MODEL MODEL`.

use super::{Common, DataArgs};
use crate::images::report_skipped;
use crate::latency::test_images;
use clap::Args;
use lopper_engine::data::Batches;
use lopper_engine::tape::{Mode, Tape};
use lopper_engine::{Device, Error, Graph, Result, Tensor, file, memory};
use serde::Serialize;
use std::path::PathBuf;

/// Compare two networks by their largest logit difference.
#[derive(Args)]
pub struct Diff {
    /// A model file
    first: PathBuf,
    /// Another model file; layers of the same name and shape are compared too
    second: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Largest difference that counts as equal; a larger one is a failure (exit status 1)
    #[arg(long, default_value_t = 1e-3, value_parser = super::tolerance)]
    tolerance: f32,
}

#[derive(Serialize)]
struct Difference {
    largest_logit_difference: f32,
    same_class: f64,
    images: usize,
    first_layer_that_differs: Option<String>,
}

impl Diff {
    pub fn run(&self, common: &Common) -> Result<()> {
        let (a, b) = (file::load(&self.first)?, file::load(&self.second)?);
        if a.info.input != b.info.input {
            let (x, y) = (a.info.input, b.info.input);
            return Err(Error::invalid(format!(
                "the networks take images of different sizes: {x:?} and {y:?}"
            )));
        }
        let (x, y) = (a.info.classes.len(), b.info.classes.len());
        if x != y {
            return Err(Error::invalid(format!(
                "the networks have different numbers of classes: {x} and {y}"
            )));
        }
        let device = common.device()?;
        let images = self.images(&a, common, &device)?;
        let found = compare(&a, &b, &images, self.tolerance, &device)?;
        common.print(&found, || {
            let at = match &found.first_layer_that_differs {
                Some(layer) => format!("; it starts at layer `{layer}`"),
                None => String::new(),
            };
            let agree = 100.0 * found.same_class;
            format!(
                "largest logit difference {:.3e} over {} images, {agree:.1} % with the same class{at}",
                found.largest_logit_difference, found.images
            )
        })?;
        let largest = found.largest_logit_difference;
        match largest <= self.tolerance {
            // Regardless of the tolerance: if this is not finite, one of the networks produces infinities or NaN.
            _ if !largest.is_finite() => {
                Err(Error::invalid(format!("the networks differ by {largest}: expected a finite difference")))
            }
            true => Ok(()),
            false => Err(Error::invalid(format!("the networks differ by more than {}", self.tolerance))),
        }
    }

    fn images(&self, graph: &Graph, common: &Common, device: &Device) -> Result<Tensor> {
        if let Some(config) = self.data.config(Some(graph))? {
            let mut splits = super::open_data(&config, graph, common)?;
            let first = splits.val.epoch(0)?.next();
            report_skipped(&[&splits.val]);
            return first
                .ok_or_else(|| Error::invalid("the data has no validation images"))?
                .map(|b| b.images);
        }
        let [h, w, c] = graph.info.input;
        graph.require_inference([4, h, w, c], device)?;
        Tensor::from_vec(&[4, h, w, c], test_images(4 * h * w * c))
    }
}

fn compare(a: &Graph, b: &Graph, images: &Tensor, tolerance: f32, device: &Device) -> Result<Difference> {
    let pairs: Vec<(usize, usize)> =
        a.nodes().iter().enumerate().filter_map(|(i, node)| b.id(&node.name).ok().map(|j| (i, j))).collect();
    let taps = |side: fn(&(usize, usize)) -> usize| pairs.iter().map(side).collect::<Vec<_>>();
    let pass = |graph: &Graph, taps: &[usize]| {
        require_values(graph, images)?;
        graph.forward(&mut Tape::no_grad(device), Mode::Eval, images.clone(), taps)
    };
    let (first, second) = (pass(a, &taps(|p| p.0))?, pass(b, &taps(|p| p.1))?);
    let (x, y) = (first.output.value(), second.output.value());
    let differs = |k: &usize| {
        let (x, y) = (first.taps[*k].value(), second.taps[*k].value());
        x.shape() == y.shape() && x.max_difference(y).is_ok_and(|d| d.is_nan() || d > tolerance)
    };
    let largest = x.max_difference(y)?;
    // Networks that agree may differ inside: a folded convolution includes its batch norm.
    let start = if largest <= tolerance { None } else { (0..pairs.len()).find(differs) };
    let rows = x.dim(0);
    let same = (0..rows).filter(|&r| class(x, r) == class(y, r)).count();
    Ok(Difference {
        largest_logit_difference: largest,
        same_class: same as f64 / rows as f64,
        images: rows,
        first_layer_that_differs: start.map(|k| a.nodes()[pairs[k].0].name.clone()),
    })
}

/// Returns the index of the largest logit in row `row`.
fn class(logits: &Tensor, row: usize) -> Option<usize> {
    let k = logits.dim(1);
    let row = &logits.data()[row * k..][..k];
    (0..k).max_by(|&i, &j| row[i].total_cmp(&row[j]))
}

/// Checks that all values of a pass, which are kept for comparison, fit into memory.
fn require_values(graph: &Graph, images: &Tensor) -> Result<()> {
    let &[n, h, w, c] = images.shape() else { return Ok(()) };
    let values = graph.shapes([n, h, w, c])?;
    let bytes = values.into_iter().map(memory::bytes_of::<f32>).fold(0, u64::saturating_add);
    memory::require(format_args!("the values of all layers on images {:?}", images.shape()), bytes)
}
