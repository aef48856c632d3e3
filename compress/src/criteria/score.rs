//! What a criterion has to say.

use super::{LayerView, Site, StepView};
use crate::granularity::Groups;
use lopper_engine::{Error, Graph, Result};
use std::fmt;

/// Evidence that a criterion needs besides the weights. Second moments need no kind of their own: they are the mean
/// over steps of the squares that [`Score::observe`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The weights at the beginning of the training.
    InitialWeights,
    /// The weights behind the last removal, or at the beginning of the training if there was none.
    UpdatedWeights,
    /// The gradients of the loss by the weights, step by step: also by those that are dropped, which tell which of them
    /// should return.
    Gradients,
    /// The gradients by the weights that are not dropped. Those of dropped weights may be zero, and need not be computed.
    LiveGradients,
    /// The outputs of the layer, batch by batch. A training step does not expose them: they are measured on a network
    /// that is not being trained.
    Activations,
    /// Instead of its outputs, the layer's responses: its outputs behind the batch norms and activations that are the
    /// only readers, one behind the other. They are the values that the next layer sees.
    Responses,
    /// Instead of its outputs, the layer's inputs.
    Inputs,
    /// Besides gradients, the product of the Hessian matrix with a vector, batch by batch. Like activations, it is measured
    /// on a network that is not being trained.
    Curvature(Direction),
}

/// The vector that the Hessian matrix is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The gradient.
    Gradient,
    /// Random signs, different ones for each batch.
    Signs,
}

/// The parameter that a criterion reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The weight of the convolution or linear layer.
    Weight,
    /// γ of the batch norm that scales the layer's output, one group a channel. Such a criterion scores whole filters
    /// only.
    BatchNorm,
}

/// A way to score groups of weights.
///
/// ```
/// use lopper_compress::criteria::{LayerView, Reduction, Score};
/// use lopper_compress::sparsify::{SparsifyConfig, sparsify};
/// use lopper_engine::{Graph, Layer, Param, Result, Tensor, layer::Linear};
///
/// /// The largest |w| of the group.
/// #[derive(Debug)]
/// struct LargestWeight;
///
/// impl Score for LargestWeight {
///     fn name(&self) -> &str {
///         "largest_weight"
///     }
///
///     fn score(&self, layer: &LayerView) -> Result<Vec<f32>> {
///         let largest = Reduction::Max.of(layer.groups(), |i| f64::from(layer.weight()[i].abs()));
///         Ok(largest.into_iter().map(|score| score as f32).collect())
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let weight = Param::new(Tensor::from_slice(&[2, 2], &[3.0, -3.0, -4.0, 0.5])?);
/// let mut graph = Graph::new(2);
/// graph.push("fc", Layer::Linear(Linear { weight, bias: None }), &[0])?;
/// let config = SparsifyConfig {
///     criterion: LargestWeight.into(),
///     granularity: "row".parse()?,
///     include: vec!["fc".into()],
///     ..SparsifyConfig::new(0.5)
/// };
/// let sparse = sparsify(&graph, &config, None)?.graph;
/// // By mean magnitude, the second row would have gone.
/// assert_eq!(sparse.param("fc.weight").unwrap().value().data(), [0.0, 0.0, -4.0, 0.5]);
/// # Ok(())
/// # }
/// ```
pub trait Score: fmt::Debug + Send + Sync {
    /// The name that recipes, command lines and errors use.
    fn name(&self) -> &str;

    /// The evidence that it needs besides the weights.
    fn needs(&self) -> &[Need] {
        &[]
    }

    /// The parameter that it reads.
    fn subject(&self) -> Subject {
        Subject::Weight
    }

    /// One number for each group from one training step or batch. [`LayerView::observed`] is their mean over the steps.
    /// Called only for criteria that need gradients or activations.
    fn observe(&self, _step: &StepView) -> Result<Vec<f64>> {
        Err(Error::invalid(format!(
            "criterion {}: it needs evidence but does not observe any: implement Score::observe",
            self.name()
        )))
    }

    /// The number of numbers that [`Self::observe`] gives: mostly one for each group.
    fn observations(&self, groups: &Groups) -> usize {
        groups.count()
    }

    /// The factor by which earlier observations fade at each step. If there is one, [`LayerView::observed`] is the faded sum
    /// instead of the mean.
    fn momentum(&self) -> Option<f64> {
        None
    }

    /// One number for each group of each of `sites` from the whole network, without images, for a criterion that looks
    /// beyond a layer: they are then what was observed.
    fn survey(&self, _graph: &Graph, _sites: &[Site]) -> Result<Option<Vec<Vec<f64>>>> {
        Ok(None)
    }

    /// The number of rounds in which a sparsification without training reaches its sparsity, scoring again in between.
    fn rounds(&self) -> usize {
        1
    }

    /// The score of each group, a finite number. The lowest goes first.
    fn score(&self, layer: &LayerView) -> Result<Vec<f32>>;
}
