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

    /// What the tensor `ours` is called where this network is published, and its number of axes there, if it differs by axes of
    /// one element at the end; `None` if it is published as it is. [`Self::our_name`] reads the name.
    fn published(&self, _ours: &str) -> Option<(String, Option<usize>)> {
        None
    }

    /// Whether a tensor of published weights belongs to a part that only training uses, which the network does not
    /// have.
    fn is_auxiliary(&self, _theirs: &str) -> bool {
        false
    }
}
