//! The Taylor criterion's evidence: gradients, observed while a network trains.

use super::{Groups, SparsifyConfig, layers};
use lopper_engine::data::Batches;
use lopper_engine::{Device, Error, Graph, Mode, ParamGradients, Result, Tape};
use std::collections::BTreeMap;

/// The running mean of |Σ w·∂L/∂w| of every group, over the steps that were observed. With the group gone,
/// its weights change by −w, and the loss, to first order, by −Σ w·∂L/∂w. A sum over the group, not a mean:
/// it is the loss that is estimated, and so groups of any size compare.
#[derive(Clone, Debug, Default)]
pub struct Taylor {
    /// By layer: how many steps, and the sum over them for each group.
    layers: BTreeMap<String, (usize, Vec<f64>)>,
}

impl Taylor {
    /// What `batches` batches of `data` say of a network that is not being trained: gradients of the cross
    /// entropy, with the batch norms' running statistics.
    pub fn measure(
        graph: &Graph,
        config: &SparsifyConfig,
        data: &mut dyn Batches,
        batches: usize,
        device: &Device,
    ) -> Result<Self> {
        let mut taylor = Self::default();
        for batch in data.epoch(0)?.take(batches) {
            let batch = batch?;
            if let &[n, h, w, c] = batch.images.shape() {
                graph.require_training([n, h, w, c], 0, device)?;
            }
            let mut tape = Tape::new(device);
            let pass = graph.forward(&mut tape, Mode::Eval, batch.images, &[])?;
            let loss = tape.cross_entropy(&pass.output, &batch.labels, 0.0)?;
            taylor.observe(graph, config, &pass.gradients(tape.backward(&loss)?))?;
        }
        Ok(taylor)
    }

    /// Adds the gradients of one step, taken at the weights that `graph` holds now, for every layer that
    /// `config` would sparsify. A layer whose groups are others than before (it was pruned) starts afresh.
    pub fn observe(
        &mut self,
        graph: &Graph,
        config: &SparsifyConfig,
        gradients: &ParamGradients,
    ) -> Result<()> {
        for (node, groups) in layers::chosen(graph, config)? {
            let name = &graph.nodes()[node].name;
            let weight = layers::weight(graph, node).value();
            let Some(gradient) = gradients.get(&format!("{name}.weight")) else { continue };
            if gradient.shape() != weight.shape() {
                return Err(Error::shape(
                    "taylor",
                    format!(
                        "layer `{name}`: a gradient {:?} of a weight {:?}",
                        gradient.shape(),
                        weight.shape()
                    ),
                ));
            }
            let change = groups.sum(|i| f64::from(weight.data()[i]) * f64::from(gradient.data()[i]));
            let (steps, sums) = self.layers.entry(name.clone()).or_default();
            if sums.len() != change.len() {
                (*steps, *sums) = (0, vec![0.0; change.len()]);
            }
            *steps += 1;
            sums.iter_mut().zip(&change).for_each(|(sum, c)| *sum += c.abs());
        }
        Ok(())
    }

    /// The mean of each group of `layer`; none where it was not observed in this division.
    pub fn scores(&self, layer: &str, groups: &Groups) -> Option<Vec<f32>> {
        let (steps, sums) = self.layers.get(layer).filter(|(_, sums)| sums.len() == groups.count())?;
        Some(sums.iter().map(|sum| (sum / *steps as f64) as f32).collect())
    }

    /// What a checkpoint keeps of it, by layer: the steps that were observed, and the sums.
    pub(super) fn state(&self) -> (BTreeMap<String, usize>, BTreeMap<String, Vec<f64>>) {
        let layers = || self.layers.iter();
        let steps = layers().map(|(layer, (steps, _))| (layer.clone(), *steps)).collect();
        (steps, layers().map(|(layer, (_, sums))| (layer.clone(), sums.clone())).collect())
    }

    /// Goes on from what [`Taylor::state`] gave. An error where the two parts differ in layers.
    pub(super) fn restore(
        &mut self,
        steps: BTreeMap<String, usize>,
        mut sums: BTreeMap<String, Vec<f64>>,
    ) -> Result<()> {
        let missing = |layer: &str| {
            Error::invalid(format!(
                "checkpoint: layer `{layer}` has sums of the Taylor criterion or steps, not both"
            ))
        };
        self.layers.clear();
        for (layer, steps) in steps {
            let sums = sums.remove(&layer).filter(|_| steps > 0).ok_or_else(|| missing(&layer))?;
            self.layers.insert(layer, (steps, sums));
        }
        sums.keys().next().map_or(Ok(()), |layer| Err(missing(layer)))
    }
}
