//! Certificates of what a technique did to the function of a network: what it claims, and what is measured.

use crate::latency::test_images;
use lopper_compress::factorize::Spectrum;
use lopper_compress::squared_weights;
use lopper_compress::techniques::Technique;
use lopper_engine::certificate::{Certificate, Claim};
use lopper_engine::rounding::rounding_bound;
use lopper_engine::{Device, Error, Graph, Result, Tensor};

/// Number of synthetic images where there are no others.
const SYNTHETIC_IMAGES: usize = 4;

/// The change of the logits of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// The largest change.
    pub difference: f32,
    /// The largest magnitude before.
    pub largest: f32,
    /// Number of images.
    pub images: usize,
}

impl Difference {
    /// Compares the logits of two networks on `images` `[N, H, W, C]`.
    ///
    /// # Errors
    /// If a network does not run on these images, or memory is lacking.
    pub fn measure([before, after]: [&Graph; 2], images: Tensor, device: &Device) -> Result<Self> {
        let count = images.dim(0);
        let old = before.logits(device, images.clone())?;
        let difference = old.max_difference(&after.logits(device, images)?)?;
        let largest = old.data().iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
        Ok(Self { difference, largest, images: count })
    }
}

/// A few images of the size that `graph` is made for, which look normalized.
///
/// # Errors
/// If memory is lacking to run the network on them.
pub fn synthetic_images(graph: &Graph, device: &Device) -> Result<Tensor> {
    let [h, w, c] = graph.info.input;
    let shape = [SYNTHETIC_IMAGES, h, w, c];
    graph.require_inference(shape, device)?;
    Tensor::from_vec(&shape, test_images(shape.iter().product()))
}

/// The certificate of `technique`, which made `after` of `before`, reports these spectra, and whose change was `measured`.
///
/// # Errors
/// If it claims to keep the function, and nothing could be measured or a logit is not finite.
pub fn certify(
    technique: &dyn Technique,
    [before, after]: [&Graph; 2],
    spectra: &[Spectrum],
    measured: Result<Difference>,
) -> Result<Certificate> {
    let exact = technique.keeps_function();
    let Difference { difference, largest, images } = match measured {
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
