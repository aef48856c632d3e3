//! The classification of one image.

/// How a network classified one image, as far as metrics need it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The class of the image.
    pub label: u32,
    /// The class with the largest logit, the first one in a tie; `None` if a logit is NaN.
    pub predicted: Option<u32>,
    /// Number of classes that come before the label when classes are ordered by logit, ties by class: 0 if the
    /// prediction is correct, below k if the label is among the first k.
    pub rank: Option<u32>,
    /// Probability of the predicted class by softmax; NaN if a logit is.
    pub confidence: f64,
    /// Cross entropy, −ln of the probability of the label; NaN if a logit is.
    pub loss: f64,
}

impl Outcome {
    /// The outcome for the `logits` of one image, in double precision.
    ///
    /// # Panics
    /// Panics if `label` is not below the number of logits.
    pub fn of_logits(logits: &[f32], label: u32) -> Self {
        let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        // Infinite logits share all of the probability, which is the limit of softmax.
        let shifted = |x: f64| if x == largest { 0.0 } else { x - largest };
        let log_sum = logits.iter().map(|&x| shifted(x.into()).exp()).sum::<f64>().ln();
        let confidence = (-log_sum).exp();
        let loss = log_sum - shifted(logits[label as usize].into());
        Self::ordered(logits.iter().map(|&x| f64::from(x)), label, confidence, loss)
    }

    /// The outcome for the `probabilities` of one image.
    ///
    /// # Panics
    /// Panics if `label` is not below the number of probabilities.
    pub fn of_probabilities(probabilities: &[f64], label: u32) -> Self {
        let confidence = probabilities.iter().copied().fold(0.0, f64::max);
        let loss = -probabilities[label as usize].ln();
        Self::ordered(probabilities.iter().copied(), label, confidence, loss)
    }

    fn ordered(scores: impl Iterator<Item = f64> + Clone, label: u32, confidence: f64, loss: f64) -> Self {
        if scores.clone().any(f64::is_nan) {
            return Self { label, predicted: None, rank: None, confidence: f64::NAN, loss: f64::NAN };
        }
        let own = scores.clone().nth(label as usize).expect("a label is below the number of classes");
        let (mut best, mut rank) = ((f64::NEG_INFINITY, 0), 0);
        for (class, score) in (0..).zip(scores) {
            rank += u32::from(score > own || (score == own && class < label));
            if score > best.0 {
                best = (score, class);
            }
        }
        Self { label, predicted: Some(best.1), rank: Some(rank), confidence, loss }
    }

    /// Whether the label is among the first `k` classes.
    pub fn is_among(&self, k: u32) -> bool {
        self.rank.is_some_and(|rank| rank < k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn outcomes_by_hand() {
        let ln = |x: f64| x.ln() as f32;
        // Probabilities 1/8, 5/8, 2/8.
        let outcome = Outcome::of_logits(&[0.0, ln(5.0), ln(2.0)], 2);
        assert_eq!((outcome.predicted, outcome.rank), (Some(1), Some(1)));
        assert!((outcome.confidence - 0.625).abs() < 1e-7 && (outcome.loss - 4f64.ln()).abs() < 1e-7);
        assert!(!outcome.is_among(1) && outcome.is_among(2));
        let same = Outcome::of_probabilities(&[0.125, 0.625, 0.25], 2);
        assert!(close(same.loss, 4f64.ln()) && same.confidence == 0.625 && same.rank == Some(1));
        let tie = Outcome::of_logits(&[1.0; 4], 2);
        assert_eq!((tie.predicted, tie.rank), (Some(0), Some(2)));
        assert!(close(tie.confidence, 0.25) && close(tie.loss, 4f64.ln()));
    }

    #[test]
    fn logits_that_are_not_finite_have_an_outcome() {
        let nan = Outcome::of_logits(&[0.0, f32::NAN], 0);
        assert!(
            nan.predicted.is_none() && nan.rank.is_none() && nan.loss.is_nan() && nan.confidence.is_nan()
        );
        let inf = f32::INFINITY;
        let certain = Outcome::of_logits(&[0.0, inf, -inf], 1);
        assert_eq!((certain.predicted, certain.confidence, certain.loss), (Some(1), 1.0, 0.0));
        assert_eq!(Outcome::of_logits(&[0.0, inf, -inf], 0).loss, f64::INFINITY);
        let none = Outcome::of_logits(&[-inf, -inf], 1);
        assert!(close(none.confidence, 0.5) && close(none.loss, 2f64.ln()));
        // Far apart, but not infinite: no overflow.
        assert!(Outcome::of_logits(&[f32::MAX, f32::MIN], 1).loss.is_finite());
    }
}
