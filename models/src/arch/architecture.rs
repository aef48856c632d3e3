//! What an architecture is.

use super::options::Options;
use super::pretraining::Pretraining;
use crate::builder::Builder;

/// A network: a body, which outputs an image, and its own classifier.
pub(super) trait Architecture: Sync {
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
}
