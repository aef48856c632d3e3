//! Certificates of what the techniques of a stage did to the function of the network.

use super::Pipeline;
use lopper_compress::factorize::Spectrum;
use lopper_compress::squared_weights;
use lopper_compress::techniques::Technique;
use lopper_engine::certificate::{Certificate, Claim};
use lopper_engine::rounding::rounding_bound;
use lopper_engine::{Error, Graph, Result};

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
        let exact = technique.keeps_function();
        let Measured { difference, largest, images } = match self.measured([before, after]) {
            // A network that changes anyway needs no images, and no memory for them.
            Err(error) if exact => return Err(error),
            measured => measured.unwrap_or_default(),
        };
        let claim = match exact {
            true if !difference.is_finite() => {
                return Err(Error::invalid(format!(
                    "a rewrite that keeps the function changed a logit by {difference}: expected a finite difference; the \
                     weights or running statistics of the network are not finite, or overflow"
                )));
            }
            true => Claim::Exact { bound: rounding_bound(before, largest) },
            false => predicted([before, after], spectra),
        };
        let logit_difference = Some(difference).filter(|difference| images > 0 && difference.is_finite());
        let technique = technique.kind().name.to_string();
        Ok(Certificate { technique, claim, logit_difference, images })
    }

    /// Compares the logits of two networks on some images.
    fn measured(&mut self, [before, after]: [&Graph; 2]) -> Result<Measured> {
        let images = self.some_images(before)?;
        let count = images.dim(0);
        let old = before.logits(self.device, images.clone())?;
        let difference = old.max_difference(&after.logits(self.device, images)?)?;
        let largest = old.data().iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
        Ok(Measured { difference, largest, images: count })
    }
}

/// The change of the logits of a network.
#[derive(Default)]
struct Measured {
    /// The largest change.
    difference: f32,
    /// The largest magnitude before.
    largest: f32,
    /// Number of images.
    images: usize,
}

/// What predicts the error of a technique that does not keep the function.
fn predicted([before, after]: [&Graph; 2], spectra: &[Spectrum]) -> Claim {
    let tail = |spectrum: &Spectrum| {
        let squares = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
        let (all, kept) = (squares(&spectrum.values), spectrum.rank.min(spectrum.values.len()));
        if all > 0.0 { (squares(&spectrum.values[kept..]) / all).sqrt() } else { 0.0 }
    };
    if let Some(largest) = spectra.iter().map(tail).reduce(f64::max) {
        let what = "largest relative error of a factorized weight (Eckart–Young)".into();
        return Claim::Approximate { what, predicted: largest };
    }
    let (old, new) = (squared_weights(before), squared_weights(after));
    let predicted = if old > 0.0 { (1.0 - new / old).max(0.0) } else { 0.0 };
    Claim::Approximate { what: "share of the squared weights that went".into(), predicted }
}
