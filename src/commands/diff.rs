//! `lopper diff MODEL MODEL`.

mod compare;

use super::{Common, DataArgs};
use crate::images::report_skipped;
use crate::latency::test_images;
use clap::Args;
use compare::{Difference, Widths, compare};
use lopper_engine::data::Batches;
use lopper_engine::{Device, Error, Graph, Result, Tensor, file};
use std::path::PathBuf;

/// Compare two networks by their largest logit difference.
#[derive(Args)]
pub struct Diff {
    /// A model file
    first: PathBuf,
    /// Another model file; layers of the same name are compared over the channels that both have
    second: PathBuf,
    /// Largest difference that counts as equal; a larger one is a failure (exit status 1)
    #[arg(long, default_value_t = 1e-3, value_parser = super::tolerance)]
    tolerance: f32,
    #[command(flatten)]
    data: DataArgs,
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
        common.print(&found, || text(&found))?;
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

fn text(found: &Difference) -> String {
    let Difference { largest_logit_difference: largest, same_class, images, .. } = found;
    let at = match &found.first_layer_that_differs {
        Some(layer) => format!("; it starts at layer `{layer}`"),
        None => String::new(),
    };
    let agree = 100.0 * same_class;
    let mut text = format!(
        "largest logit difference {largest:.3e} over {images} images, {agree:.1} % with the same class{at}\n"
    );
    if let Some(Widths { layer, first, second }) = &found.widths {
        text += &format!(
            "widths differ from layer `{layer}` on, with {first} and {second} channels: layers are compared over the \
             channels that both networks have\n"
        );
    }
    text
}
