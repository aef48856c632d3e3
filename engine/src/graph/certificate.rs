//! Certificates: what a technique claims about the function of the network that it made, and what was measured.

use crate::{Graph, Layer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The claim of a technique, and its measurement. A model file keeps those of all techniques that made its network, in
/// order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Name of the technique; `train` for a training.
    pub technique: String,
    /// What it claims.
    pub claim: Claim,
    /// The largest change of a logit that was measured; `None` for a training, whose purpose is to change them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit_difference: Option<f32>,
    /// Images on which it was measured; 0 if it was not.
    #[serde(default)]
    pub images: usize,
}

/// What a technique claims about the function of its network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Claim {
    /// The function stays, up to rounding.
    Exact {
        /// The largest change of a logit that rounding explains: see [`rounding_bound`].
        bound: f32,
    },
    /// The function changes.
    Approximate {
        /// The quantity that predicts by how much.
        what: String,
        /// Its value.
        predicted: f64,
    },
    /// The function is trained, for this number of epochs.
    Trained {
        /// Passes over the training images.
        epochs: usize,
    },
}

impl Certificate {
    /// Whether what was measured is what was claimed; `None` if that cannot be said.
    pub fn holds(&self) -> Option<bool> {
        match (&self.claim, self.logit_difference) {
            (Claim::Exact { bound }, Some(difference)) => Some(difference <= *bound),
            _ => None,
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { technique, claim, logit_difference, images } = self;
        match claim {
            Claim::Exact { bound } => write!(f, "{technique}: exact, rounding explains {bound:.1e}")?,
            Claim::Approximate { what, predicted } => {
                write!(f, "{technique}: approximate, {what} {predicted:.4}")?;
            }
            Claim::Trained { epochs } => {
                return write!(
                    f,
                    "{technique}: trained for {epochs} epoch{}",
                    if *epochs == 1 { "" } else { "s" }
                );
            }
        }
        match (logit_difference, self.holds()) {
            (None, _) => write!(f, "; not measured"),
            (Some(difference), Some(false)) => {
                write!(f, "; a logit changed by {difference:.1e} on {images} images, which is more")
            }
            (Some(difference), _) => {
                write!(f, "; the largest change of a logit is {difference:.1e} on {images} images")
            }
        }
    }
}

/// Unit roundoff of f32.
const ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

/// Multiples of the typical rounding error that count as rounding.
const SAFETY: f64 = 16.0;

/// The change of a logit that rounding explains where `graph` computes logits of at most `largest`: a sum of K products is
/// typically off by `u·√K` of its size, u = 2⁻²⁴, if its terms round independently (Higham & Mary 2019, "A new approach to
/// probabilistic rounding error analysis"). The errors of all layers add up, 16 times for a margin.
pub fn rounding_bound(graph: &Graph, largest: f32) -> f32 {
    let terms = |layer: &Layer| match layer {
        Layer::Conv2d(conv) => conv.weight.value().shape()[1..].iter().product(),
        Layer::CompactConv2d(compact) => compact.conv.weight.value().shape()[1..].iter().product(),
        Layer::Linear(linear) => linear.in_features(),
        Layer::BatchNorm(_) | Layer::Add | Layer::Pool(_) => 1,
        Layer::Input { .. }
        | Layer::Activation(_)
        | Layer::Flatten
        | Layer::Dropout { .. }
        | Layer::Concat
        | Layer::PadShortcut { .. } => 0,
    };
    let sum: f64 = graph.nodes().iter().map(|node| (terms(&node.layer) as f64).sqrt()).sum();
    (SAFETY * ROUNDOFF * f64::from(largest).max(f64::from(f32::MIN_POSITIVE)) * sum) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Linear;
    use crate::{Param, Tensor};

    #[test]
    fn a_bound_grows_with_the_length_of_sums_and_the_logits() {
        let network = |inputs: usize| {
            let mut graph = Graph::new(inputs);
            let weight = Param::new(Tensor::zeros(&[2, inputs]));
            graph.push("fc", Layer::Linear(Linear { weight, bias: None }), &[0]).unwrap();
            graph
        };
        // 16 · 2⁻²⁴ · 3 · √16.
        assert_eq!(rounding_bound(&network(16), 3.0), 192.0 / (1 << 24) as f32);
        assert_eq!(rounding_bound(&network(64), 3.0), 2.0 * rounding_bound(&network(16), 3.0));
        assert!(rounding_bound(&network(4), 0.0) >= 0.0);
    }

    #[test]
    fn a_certificate_says_whether_it_holds() {
        let exact = |difference| Certificate {
            technique: "fold".into(),
            claim: Claim::Exact { bound: 1e-5 },
            logit_difference: Some(difference),
            images: 64,
        };
        assert_eq!((exact(1e-6).holds(), exact(1e-4).holds()), (Some(true), Some(false)));
        assert!(
            exact(1e-4).to_string().ends_with("which is more") && !exact(1e-6).to_string().contains("more")
        );
        let json = serde_json::to_string(&exact(1e-6)).unwrap();
        assert_eq!(serde_json::from_str::<Certificate>(&json).unwrap(), exact(1e-6));
    }
}
