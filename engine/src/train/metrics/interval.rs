//! Intervals of proportions and of averages over classes.
//!
//! - A proportion, such as an accuracy, a recall or a precision: the score interval of Wilson ("Probable inference, the
//!   law of succession, and statistical inference", 1927). It stays inside `[0, 1]` and holds for few images and for
//!   proportions near 0 and 1, where the usual ± 1.96 standard errors have no width.
//! - The F1 of a class: with J = TP / (TP + FP + FN), a proportion, F1 = 2J / (1 + J) is monotone, so the ends of
//!   Wilson's interval of J map to those of F1.
//! - A macro or weighted average of class scores: its variance by the delta method over the multinomial distribution of the cells
//!   of the confusion matrix (Takahashi et al., "Confidence interval for micro-averaged F1 and macro-averaged F1 scores",
//!   2022), then Wilson's interval for the number of images that gives a proportion the same variance (Korn and
//!   Graubard, "Confidence intervals for proportions with small expected number of positive counts", 1998).
//!
//! All of them describe the choice of images, drawn independently. They say nothing of other seeds or other trainings.

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The value, in `[0, 1]`.
    pub value: f64,
    /// The lower and the upper end of its interval.
    pub interval: (f64, f64),
}

impl Estimate {
    /// The proportion `hits / total` with Wilson's interval, or `None` if `total` is 0.
    pub fn proportion(hits: u64, total: u64) -> Option<Self> {
        let value = (total > 0).then(|| hits as f64 / total as f64)?;
        Some(Self { value, interval: wilson95(value, total as f64) })
    }

    /// An average in `[0, 1]` over `images` images with this `variance`. Without a variance, as for a network that is
    /// always right, every image counts in full.
    pub(super) fn average(value: f64, variance: f64, images: u64) -> Self {
        let effective = if variance > 0.0 { value * (1.0 - value) / variance } else { images as f64 };
        Self { value, interval: wilson95(value, effective) }
    }

    /// The estimate of an increasing function of this value.
    pub(super) fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self { value: f(self.value), interval: (f(self.interval.0), f(self.interval.1)) }
    }
}

/// Wilson's 95 % score interval of the proportion `p` of `n` images: `(0, 1)` if there are none.
pub fn wilson95(p: f64, n: f64) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054; // the normal distribution's 97.5 % quantile
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let center = p + Z * Z / (2.0 * n);
    let margin = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((center - margin) / scale).max(0.0), ((center + margin) / scale).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Intervals from R's `binom::binom.confint(x, n, methods = "wilson")`.
    #[test]
    fn wilson_intervals() {
        for (correct, total, low, high) in
            [(0, 10, 0.0, 0.277_533), (5, 10, 0.236_593, 0.763_407), (10, 10, 0.722_467, 1.0)]
        {
            let (l, h) = Estimate::proportion(correct, total).unwrap().interval;
            assert!((l - low).abs() < 1e-6 && (h - high).abs() < 1e-6, "{correct} of {total}: {l}..{h}");
        }
        assert_eq!(Estimate::proportion(0, 0), None);
        assert_eq!(wilson95(0.0, 0.0), (0.0, 1.0));
    }

    #[test]
    fn an_average_with_the_variance_of_a_proportion_has_its_interval() {
        let (p, n) = (0.3, 200);
        let average = Estimate::average(p, p * (1.0 - p) / n as f64, n);
        let proportion = Estimate::proportion(60, n).unwrap();
        assert!((average.interval.0 - proportion.interval.0).abs() < 1e-12);
        assert!((average.interval.1 - proportion.interval.1).abs() < 1e-12);
        assert_eq!(Estimate::average(1.0, 0.0, 40), Estimate::proportion(40, 40).unwrap());
    }
}
