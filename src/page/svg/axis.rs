//! Ticks of an axis.

/// How the values of an axis are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// Evenly, and only whole numbers have ticks.
    Whole,
    /// By their logarithms.
    Logarithmic,
}

/// An axis.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// Value at the low end.
    pub low: f64,
    /// Value at the high end.
    pub high: f64,
    /// How its values are spread. Both ends of a logarithmic one are positive.
    pub scale: Scale,
}

impl Axis {
    /// An axis of the numbers `first..=last`, such as epochs, with ticks at whole numbers.
    pub fn numbers(first: usize, last: usize) -> Self {
        Self { low: first as f64 - 0.5, high: last as f64 + 0.5, scale: Scale::Whole }
    }

    /// A linear axis over `values` with a margin; values that are not finite do not count.
    pub fn over(values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = range(values);
        let margin = if high > low { 0.06 * (high - low) } else { 0.5 * high.abs().max(0.1) };
        Self { low: low - margin, high: high + margin, scale: Scale::Linear }
    }

    /// A linear axis from 0.
    pub fn from_zero(values: impl IntoIterator<Item = f64>) -> Self {
        let high = range(values).1.max(0.0);
        Self { low: 0.0, high: if high > 0.0 { 1.06 * high } else { 1.0 }, scale: Scale::Linear }
    }

    /// A logarithmic axis over the positive ones of `values`, with a margin.
    pub fn logarithmic(values: impl IntoIterator<Item = f64>) -> Self {
        // With a margin, the ends are still normal numbers.
        let positive = values.into_iter().filter(|&v| v > 0.0 && v.is_finite());
        let (low, high) = range(positive.map(|v| v.clamp(1e-250, 1e250)));
        let (low, high) = if low > 0.0 { (low, high) } else { (1.0, 1.0) };
        let margin = (0.06 * (high.ln() - low.ln())).exp().max(1.15);
        Self { low: low / margin, high: high * margin, scale: Scale::Logarithmic }
    }

    /// The position of `value`, 0 at the low end and 1 at the high end; 0 for what a logarithm does not have.
    pub fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
            Scale::Linear | Scale::Whole => (value - self.low) / (self.high - self.low),
        };
        if share.is_finite() { share } else { 0.0 }
    }

    /// About `most` round values on the axis.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        if self.scale == Scale::Logarithmic {
            let ticks = self.log_ticks(&[1.0, 2.0, 5.0]);
            let fewer = if ticks.len() > most { self.log_ticks(&[1.0]) } else { ticks };
            let step = fewer.len().div_ceil(most.max(1)).max(1);
            return fewer.into_iter().step_by(step).collect();
        }
        let least = if self.scale == Scale::Whole { 1.0 } else { 0.0 };
        let rough = ((self.high - self.low) / most.max(1) as f64).max(least);
        // A quarter of ten is no whole number.
        let half = if least > 0.0 { 5.0 } else { 2.5 };
        let power = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, half, 5.0, 10.0].map(|m| m * power).into_iter().find(|&step| step >= rough * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
        (first..=last).map(|i| i as f64 * step).collect()
    }

    fn log_ticks(&self, digits: &[f64]) -> Vec<f64> {
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let ticks = decades.flat_map(|decade| digits.iter().map(move |d| d * 10f64.powi(decade)));
        ticks.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// The smallest and the largest value, or zeros. Values whose differences or fractions might not be normal numbers, which a
/// damaged report may have, do not count, or are zero.
fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let finite =
        values.into_iter().filter(|v| v.abs() <= 1e300).map(|v| if v.abs() < 1e-290 { 0.0 } else { v });
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low <= high { (low, high) } else { (0.0, 0.0) }
}

/// A tick as text.
pub fn tick(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if !(1e-3..1e6).contains(&v) => format!("{value:.0e}"),
        _ => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ticks_are_on_the_axis(values in prop::collection::vec(-1e6f64..1e6, 0..5), most in 2usize..9) {
            let positive: Vec<f64> = values.iter().map(|v| v.abs() + 1e-6).collect();
            for axis in [Axis::over(values.clone()), Axis::from_zero(values.clone()), Axis::logarithmic(positive)] {
                let ticks = axis.ticks(most);
                prop_assert!(ticks.len() <= 2 * most + 2, "{:?} {:?}", axis, ticks);
                prop_assert!(ticks.iter().all(|&t| (-1e-9..=1.0 + 1e-9).contains(&axis.at(t))), "{:?}", ticks);
                prop_assert!(axis.low < axis.high);
            }
        }
    }

    #[test]
    fn extreme_values_have_few_ticks() {
        let extremes =
            [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -5e-324, 1e300, -1e300, 1e-290, 1.0, 0.0];
        for a in extremes {
            for b in extremes {
                for axis in [Axis::over([a, b]), Axis::from_zero([a, b]), Axis::logarithmic([a, b])] {
                    assert!(axis.low < axis.high && axis.ticks(5).len() <= 12, "{axis:?} of {a:e} and {b:e}");
                }
            }
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(Axis { low: 0.0, high: 10.6, scale: Scale::Linear }.ticks(5), [0.0, 2.5, 5.0, 7.5, 10.0]);
        assert_eq!(Axis { low: 0.9, high: 12.0, scale: Scale::Logarithmic }.ticks(6), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(Axis::numbers(1, 2).ticks(6), [1.0, 2.0]);
        assert_eq!(Axis::numbers(1, 12).ticks(5), [5.0, 10.0]);
        let shown = [0.0, 0.5, 12.0, 0.125, 1e-5, 2e6].map(tick);
        assert_eq!(shown, ["0", "0.5", "12", "0.125", "1e-5", "2e6"]);
    }

    #[test]
    fn nothing_to_show_is_an_axis_nevertheless() {
        for axis in [Axis::over([]), Axis::from_zero([f64::NAN]), Axis::logarithmic([0.0, -1.0])] {
            assert!(axis.low < axis.high && axis.at(f64::NAN) == 0.0, "{axis:?}");
        }
    }
}
