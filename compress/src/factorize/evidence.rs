//! What the metrics measure on images: how large the inputs of a layer are, and how much its outputs matter.

use super::Metric;
use super::scales::{Scales, bounded};
use super::whitening::{InputProducts, Root};
use crate::criteria::{Evidence, LayerView, Need, Reduction, Score, Site, StepView};
use crate::granularity::Groups;
use lopper_engine::channels::Filters;
use lopper_engine::{Error, Graph, NodeId, Result};

/// The mean square of each input channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct InputPower;

impl Score for InputPower {
    fn name(&self) -> &str {
        "activations"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Inputs]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let inputs = step.activations()?;
        let channels = step.groups().count();
        let mut sums = vec![0.0; channels];
        for pixel in inputs.data().chunks_exact(channels) {
            sums.iter_mut().zip(pixel).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
        }
        let pixels = (inputs.len() / channels.max(1)).max(1) as f64;
        Ok(sums.into_iter().map(|sum| sum / pixels).collect())
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        Ok(layer.observed()?.iter().map(|&mean| mean as f32).collect())
    }
}

/// The Fisher information of the weights of each output: `Σ_j (∂L/∂w_oj)²`.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputFisher;

impl Score for OutputFisher {
    fn name(&self) -> &str {
        "fisher"
    }

    fn needs(&self) -> &[Need] {
        &[Need::Gradients]
    }

    fn observe(&self, step: &StepView) -> Result<Vec<f64>> {
        let gradient = step.gradient()?;
        Ok(Reduction::Sum.of(step.groups(), |i| f64::from(gradient[i]).powi(2)))
    }

    fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
        Ok(layer.observed()?.iter().map(|&mean| mean as f32).collect())
    }
}

impl Metric {
    /// Where it is measured of the convolution or linear layer `node`.
    pub(super) fn site(self, graph: &Graph, node: NodeId) -> Option<Site> {
        let filters = Filters::of(&graph.nodes()[node].layer)?;
        let (outputs, depth) = (filters.outputs(), filters.depth());
        let taps = filters.weight.value().len() / (outputs * depth).max(1);
        let axes = [outputs, taps, depth];
        let groups = match self {
            Self::Plain => return None,
            Self::Activations | Self::Whitened => Groups::new(axes, [outputs, taps, 1]),
            Self::Fisher => Groups::new(axes, [1, taps, depth]),
        };
        Some(Site { node, groups })
    }

    /// The scales of the layer `node`, given what was measured.
    ///
    /// # Errors
    /// If the metric needs evidence that `evidence` does not hold.
    pub(super) fn scales(self, graph: &Graph, node: NodeId, evidence: Option<&Evidence>) -> Result<Scales> {
        let behind = Scales::behind(graph, node);
        let Some(site) = self.site(graph, node) else { return Ok(behind) };
        let name = &graph.nodes()[node].name;
        let count = match self {
            Self::Whitened => InputProducts.observations(&site.groups),
            Self::Plain | Self::Activations | Self::Fisher => site.groups.count(),
        };
        let means = evidence.and_then(|evidence| evidence.means(name, count));
        let means = means.ok_or_else(|| {
            Error::invalid(format!("factorize metric {self}: layer `{name}` was not measured on images"))
        })?;
        if self == Self::Whitened {
            // Inputs that are all zero, as behind a dead layer, count alike.
            return Ok(Scales { root: Root::of(&means), ..behind });
        }
        let roots = bounded(means.into_iter().map(f64::sqrt).collect());
        Ok(match self {
            Self::Plain | Self::Whitened => behind,
            Self::Activations => Scales { columns: roots, ..behind },
            // A gradient has passed the batch norm, so it knows its scale.
            Self::Fisher => Scales { rows: roots, ..Scales::default() },
        })
    }
}
