//! Certificates of what the techniques of a stage did to the function of the network.

use super::Pipeline;
use crate::certify::{Difference, certify};
use lopper_compress::factorize::Spectrum;
use lopper_compress::techniques::Technique;
use lopper_engine::certificate::Certificate;
use lopper_engine::{Graph, Result};

impl Pipeline<'_> {
    /// The certificate of `technique`, which made `after` of `before` and reports these spectra.
    ///
    /// # Errors
    /// If it claims to keep the function, and a logit is not finite.
    pub(super) fn certify(
        &mut self,
        technique: &dyn Technique,
        [before, after]: [&Graph; 2],
        spectra: &[Spectrum],
    ) -> Result<Certificate> {
        let images = self.some_images(before);
        let measured = images.and_then(|images| Difference::measure([before, after], images, self.device));
        certify(technique, [before, after], spectra, measured)
    }
}
