//! The losses of distillation by name, with their formulas and papers.

use crate::names::named;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};

/// How the student's logits z are compared with the teacher's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistillLoss {
    /// `T² · KL(softmax(teacher/T) ‖ softmax(student/T))` (Hinton et al. 2015). The factor T² keeps the size of
    /// the gradient independent of the temperature T.
    #[default]
    SoftTargets,
    /// The mean squared error of the logits (Ba & Caruana 2014).
    Logits,
    /// One minus the cosine of the logits: [`super::losses::cosine`].
    Cosine,
    /// Decoupled distillation: [`super::losses::decoupled`].
    Dkd,
    /// Normalized distillation: [`super::losses::normalized`].
    Nkd,
    /// A temperature for each image: [`super::losses::normkd`].
    Normkd,
    /// Correlations instead of equality: [`super::losses::dist()`].
    Dist,
    /// The logits are not compared, only features.
    None,
}

named!(DistillLoss, "distillation loss");

/// How the outputs of layers are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureLoss {
    /// The mean squared error (Romero et al. 2015, "FitNets"), through an adapter where the widths differ.
    #[default]
    Mse,
    /// Where the networks look: [`super::losses::attention`].
    Attention,
    /// Which neurons are active: [`super::losses::boundaries`].
    Boundaries,
    /// Which images are alike: [`super::losses::similarity`].
    Similarity,
    /// Distances between images: [`super::losses::distances`].
    Distances,
    /// Angles between images: [`super::losses::angles`].
    Angles,
    /// Probabilities of images to be neighbors: [`super::losses::probabilities`].
    Pkt,
    /// Where each channel is active: [`super::losses::channelwise`].
    Cwd,
    /// What passes the activation, and how far it is from passing: [`super::losses::partial`], of a teacher's batch norm,
    /// through an adapter with a batch norm.
    Ofd,
    /// Which image is which, among those of other classes: [`super::losses::Memory`], of embeddings by heads that are
    /// trained along.
    Crd,
}

named!(FeatureLoss, "feature loss");

impl DistillLoss {
    /// α and β: the given ones, or those of the paper.
    ///
    /// # Errors
    /// If one is negative or not finite, or given for a loss that has none.
    pub(super) fn factors(self, given: [Option<f64>; 2]) -> Result<[f64; 2]> {
        let published = match self {
            Self::Dkd => [Some(1.0), Some(8.0)],
            Self::Nkd => [None, Some(1.5)],
            Self::Dist => [Some(1.0), Some(1.0)],
            _ => [None, None],
        };
        let mut factors = [0.0; 2];
        for (i, key) in ["alpha", "beta"].into_iter().enumerate() {
            factors[i] = match (given[i], published[i]) {
                (Some(found), None) => {
                    return Err(Error::invalid(format!(
                        "distillation {key}: {self} has none, found {found}"
                    )));
                }
                (Some(found), _) if !(0.0..1e6).contains(&found) => {
                    return Err(Error::invalid(format!(
                        "distillation {key}: expected at least 0 and below 1e6, found {found}"
                    )));
                }
                (given, published) => given.or(published).unwrap_or(0.0),
            };
        }
        Ok(factors)
    }
}

impl FeatureLoss {
    /// Whether it compares value by value, so that both outputs need one shape.
    pub(super) fn compares_values(self) -> bool {
        matches!(self, Self::Mse | Self::Boundaries | Self::Cwd | Self::Ofd)
    }

    /// Whether it compares values ahead of an activation.
    pub(super) fn precedes_activation(self) -> bool {
        matches!(self, Self::Boundaries | Self::Ofd)
    }

    /// Whether outputs with `widths` channels go through an adapter unless it is chosen.
    pub(super) fn adapts(self, widths: [Option<&usize>; 2]) -> bool {
        self == Self::Ofd || (self.compares_values() && widths[0] != widths[1])
    }

    /// Whether it is about the pixels of feature maps, of which there must be several.
    pub(super) fn is_of_maps(self) -> bool {
        matches!(self, Self::Attention | Self::Cwd)
    }

    /// Whether it compares pixel by pixel, so that both outputs need one resolution.
    pub(super) fn compares_pixels(self) -> bool {
        self.compares_values() || self == Self::Attention
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_those_of_the_paper_unless_given() {
        assert_eq!(DistillLoss::Dkd.factors([None, Some(2.0)]).unwrap(), [1.0, 2.0]);
        assert_eq!(DistillLoss::Nkd.factors([None, None]).unwrap(), [0.0, 1.5]);
        let error = DistillLoss::Logits.factors([Some(1.0), None]).unwrap_err().to_string();
        assert!(error.contains("alpha: logits has none, found 1"), "{error}");
        assert!(DistillLoss::Dist.factors([None, Some(f64::NAN)]).is_err());
    }
}
