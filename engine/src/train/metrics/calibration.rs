//! Calibration: whether images classified with confidence 0.8 are correct in 80 % of all cases.

use super::Outcome;

/// Images whose confidences lie in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Number of images.
    pub images: u64,
    /// Number of images that are classified correctly.
    pub correct: u64,
    /// Sum of their confidences.
    pub confidence: f64,
}

/// Confidences against accuracies.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Bin i of B holds the confidences in `(i / B, (i + 1) / B]`.
    pub bins: Vec<Bin>,
}

impl Calibration {
    /// Sorts `outcomes` into `bins` bins of equal width. Images without a prediction are left out.
    ///
    /// # Panics
    /// Panics if `bins` is 0.
    pub fn of(outcomes: &[Outcome], bins: usize) -> Self {
        assert!(bins > 0, "calibration needs a bin");
        let mut found = vec![Bin::default(); bins];
        for outcome in outcomes.iter().filter(|outcome| outcome.predicted.is_some()) {
            let at = (outcome.confidence * bins as f64).ceil() as usize;
            let bin = &mut found[at.clamp(1, bins) - 1];
            bin.images += 1;
            bin.correct += u64::from(outcome.is_among(1));
            bin.confidence += outcome.confidence;
        }
        Self { bins: found }
    }

    /// The expected calibration error (Guo et al., "On calibration of modern neural networks", 2017): the mean over all
    /// images of the distance between accuracy and mean confidence in their bin. NaN if there are no images. It has no
    /// interval: the estimate is biased upward, and more so with fewer images in a bin.
    pub fn error(&self) -> f64 {
        let total: u64 = self.bins.iter().map(|bin| bin.images).sum();
        let gaps = self.bins.iter().map(|bin| (bin.correct as f64 - bin.confidence).abs());
        gaps.sum::<f64>() / total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_by_hand() {
        let with = |confidence, rank| Outcome {
            label: 0,
            predicted: Some(rank),
            rank: Some(rank),
            confidence,
            loss: 0.0,
        };
        // Two bins: (0, 0.5] with one of two correct at 0.4, and (0.5, 1] with both correct at 0.75 and 1.
        let nan = Outcome { predicted: None, rank: None, ..with(f64::NAN, 0) };
        let outcomes = [with(0.5, 0), with(0.3, 1), with(0.75, 0), with(1.0, 0), nan];
        let calibration = Calibration::of(&outcomes, 2);
        assert_eq!(calibration.bins[0], Bin { images: 2, correct: 1, confidence: 0.8 });
        assert_eq!(calibration.bins[1], Bin { images: 2, correct: 2, confidence: 1.75 });
        assert!((calibration.error() - (0.2 + 0.25) / 4.0).abs() < 1e-15);
        assert!(Calibration::of(&[], 15).error().is_nan());
        assert_eq!(Calibration::of(&[with(0.0, 0)], 3).bins[0].images, 1);
    }
}
