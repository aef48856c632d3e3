//! Certificates: what a technique claims about the function of the network that it made, and what was measured.

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
        /// The largest change of a logit that rounding explains: see `rounding.rs`.
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

#[cfg(test)]
mod tests {
    use super::*;

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
