//! The mean of a few values with its interval, by Student's t ("The probable error of a mean", 1908).
//!
//! A handful of seeds says little about their spread, and t is wide for that: with three values, the interval reaches 2.5
//! standard deviations to either side.

/// The mean of `values` and its 95 % interval `mean ± t₀.₉₇₅(n − 1)·s / √n`, for values that are drawn independently
/// from a normal distribution. The interval is `None` for fewer than two values; both are `None` for none.
pub fn mean95(values: &[f64]) -> Option<(f64, Option<(f64, f64)>)> {
    let n = values.len() as f64;
    let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / n)?;
    if values.len() < 2 {
        return Some((mean, None));
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = t975(n - 1.0) * (variance / n).sqrt();
    Some((mean, Some((mean - half, mean + half))))
}

/// The 97.5 % quantile of Student's distribution with `freedom` degrees of freedom, at least 1.
pub fn t975(freedom: f64) -> f64 {
    // The tail falls with t: bisection between 1.9, below the normal quantile, and 13, above that of one degree.
    let (mut low, mut high) = (1.9, 13.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if tail(middle, freedom) > 0.025 { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// P(T > t) for t > 0: `½·I_x(ν/2, ½)` with `x = ν / (ν + t²)`.
fn tail(t: f64, freedom: f64) -> f64 {
    0.5 * incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// The regularized incomplete beta function, by Lentz's method on its continued fraction (DLMF 8.17.22).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (a * x.ln() + b * (1.0 - x).ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp() / a;
    let tiny = 1e-300;
    let bounded = |value: f64| if value.abs() < tiny { tiny } else { value };
    let (mut c, mut d) = (1.0, 1.0 / bounded(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = 1.0 / bounded(1.0 + term * d);
            c = bounded(1.0 + term / c);
            fraction *= c * d;
        }
        if (fraction - before).abs() <= 1e-15 * fraction.abs() {
            break;
        }
    }
    front * fraction
}

/// ln Γ(x) for x > 0, by Stirling's series (DLMF 5.11.1) behind the recurrence that lifts x above 15.
fn ln_gamma(mut x: f64) -> f64 {
    let mut product = 1.0;
    while x < 15.0 {
        product *= x;
        x += 1.0;
    }
    let square = x * x;
    let series =
        (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / (1680.0 * square)) / square) / square) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles as tables and `scipy.stats.t.ppf(0.975, df)` give them.
    #[test]
    fn quantiles_of_t() {
        for (freedom, expected) in [
            (1.0, 12.706_204_736_432_095),
            (2.0, 4.302_652_729_911_275),
            (4.0, 2.776_445_105_197_799),
            (9.0, 2.262_157_162_740_992),
            (30.0, 2.042_272_456_301_238),
            (100.0, 1.983_971_518_449_633),
            (1e6, 1.959_966_356_8),
        ] {
            let found = t975(freedom);
            assert!((found / expected - 1.0).abs() < 1e-7, "{freedom}: {found} {expected}");
        }
    }

    #[test]
    fn factorials_are_gammas() {
        let mut factorial = 1.0_f64;
        for n in 1..30 {
            assert!((ln_gamma(f64::from(n)) - factorial.ln()).abs() < 1e-13 * (1.0 + factorial.ln()), "{n}");
            factorial *= f64::from(n);
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-13);
    }

    /// 1, 2, 3: mean 2, s = 1, so ± 4.3027 / √3.
    #[test]
    fn an_interval_by_hand() {
        let (mean, interval) = mean95(&[1.0, 2.0, 3.0]).unwrap();
        let half = 4.302_652_729_911_275 / 3f64.sqrt();
        let (low, high) = interval.unwrap();
        assert!(mean == 2.0 && (low - (2.0 - half)).abs() < 1e-9 && (high - (2.0 + half)).abs() < 1e-9);
        assert_eq!(mean95(&[5.0]), Some((5.0, None)));
        assert_eq!(mean95(&[]), None);
        assert_eq!(mean95(&[0.25; 4]), Some((0.25, Some((0.25, 0.25)))));
    }
}
