//! Norms other than that of the weights: inputs and outputs of a layer that count for more than others.
//!
//! ```text
//!   minimize ‖D (W − Ŵ) S‖:    D W S ≈ B A,    Ŵ = D⁻¹ B · A S⁻¹        D: a scale for each output, S: for each input channel
//! ```
//!
//! Behind a convolution or linear layer whose only reader is a batch norm, D is the batch norm's `|γ| / √(σ² + ε)`: the
//! network is factorized as its folded form would be.

use super::whitening::Root;
use lopper_engine::{Graph, Layer, NodeId, Tensor};

/// The smallest scale, as a fraction of the largest: the inverse stays bounded.
const SMALLEST: f64 = 1e-3;

/// The scales of a layer; none where all are alike.
#[derive(Clone, Debug, Default)]
pub(super) struct Scales {
    /// For each output.
    pub rows: Option<Vec<f64>>,
    /// For each input channel.
    pub columns: Option<Vec<f64>>,
    /// The root of the products of input channels, instead of scales for them.
    pub root: Option<Root>,
}

impl Scales {
    /// The scales of outputs by the batch norm that alone reads `node`, if there is one.
    pub fn behind(graph: &Graph, node: NodeId) -> Self {
        let rows = match graph.readers()[node].as_slice() {
            &[reader] => match &graph.nodes()[reader].layer {
                Layer::BatchNorm(bn) => {
                    bounded(bn.affine().into_iter().map(|(scale, _)| f64::from(scale.abs())).collect())
                }
                _ => None,
            },
            _ => None,
        };
        Self { rows, ..Self::default() }
    }

    /// Whether weights stay as they are.
    pub fn are_plain(&self) -> bool {
        self.rows.is_none() && self.columns.is_none() && self.root.is_none()
    }

    /// `D W S` for a weight `[O, …, C]`.
    pub fn applied(&self, weight: &Tensor) -> Tensor {
        let mut scaled = match &self.root {
            Some(root) => root.applied(weight),
            None => weight.clone(),
        };
        scale(&mut scaled, self.rows.as_deref(), self.columns.as_deref(), |value, by| value * by);
        scaled
    }

    /// Divides what was scaled: the input channels of the first factor `[R, …, C]`, and the outputs of the last
    /// `[O, …, R]`.
    pub fn undo(&self, first: &mut Tensor, last: &mut Tensor) {
        if let Some(root) = &self.root {
            *first = root.undone(first);
        }
        scale(first, None, self.columns.as_deref(), |value, by| value / by);
        scale(last, self.rows.as_deref(), None, |value, by| value / by);
    }
}

/// `scales` with the smallest raised; none if they are all alike, or not finite.
pub(super) fn bounded(mut scales: Vec<f64>) -> Option<Vec<f64>> {
    let largest = scales.iter().copied().fold(0.0, f64::max);
    if !(largest.is_finite() && largest > 0.0) || scales.iter().any(|scale| scale.is_nan()) {
        return None;
    }
    scales.iter_mut().for_each(|scale| *scale = scale.max(SMALLEST * largest));
    (scales.iter().any(|&scale| scale != scales[0])).then_some(scales)
}

/// Changes each value of `[O, …, C]` by the scale of its first and of its last index.
fn scale(
    tensor: &mut Tensor,
    rows: Option<&[f64]>,
    columns: Option<&[f64]>,
    change: impl Fn(f64, f64) -> f64,
) {
    if rows.is_none() && columns.is_none() {
        return;
    }
    let (outputs, inputs) = (tensor.dim(0), tensor.shape().last().copied().unwrap_or(1));
    let len = tensor.len() / outputs.max(1);
    for (i, value) in tensor.data_mut().iter_mut().enumerate() {
        let row = rows.map_or(1.0, |rows| rows[i / len]);
        let column = columns.map_or(1.0, |columns| columns[i % inputs]);
        *value = change(f64::from(*value), row * column) as f32;
    }
}
