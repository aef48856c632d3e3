//! What an architecture is.

use super::options::Options;
use super::pretraining::Pretraining;
use crate::builder::Builder;
use lopper_engine::About;

/// A network: a body, which outputs an image, and its own classifier.
pub(super) trait Architecture: Sync {
    /// Its idea in a line, and the paper.
    fn about(&self) -> About;

    /// Adds everything up to the last image.
    fn body(&self, net: &mut Builder, options: &Options);

    /// Adds the classifier.
    fn classifier(&self, net: &mut Builder, options: &Options);

    /// What its published weights expect.
    fn pretraining(&self) -> Pretraining {
        Pretraining::TORCHVISION
    }

    /// The name of a tensor that another repository calls `theirs`, if it differs.
    fn our_name(&self, _theirs: &str) -> Option<String> {
        None
    }

    /// Whether a tensor of published weights belongs to a part that only training uses, which the network does not
    /// have.
    fn is_auxiliary(&self, _theirs: &str) -> bool {
        false
    }
}
