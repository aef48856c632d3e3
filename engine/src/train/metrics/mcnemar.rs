//! McNemar's test: whether two networks differ on the same images ("Note on the sampling error of the difference between
//! correlated proportions or percentages", 1947).
//!
//! Images that both find or both miss say nothing. Under the hypothesis that the networks are equally good, each of the
//! others is found by either with probability ½, so their number is binomial.

/// The two-sided p-value of `[b, c]`, the images that only one and only the other network finds: `min(1, 2·P(X ≤ min(b,
/// c)))` for X binomial with b + c trials of probability ½, exactly. 1 if no image tells the networks apart.
pub fn mcnemar([b, c]: [u64; 2]) -> f64 {
    let (trials, fewer) = ((b + c) as f64, b.min(c));
    if b == c {
        return 1.0;
    }
    // The largest term, by its logarithm: 2⁻ⁿ alone would underflow.
    let term = |k: u64| ((trials - k as f64) / (k + 1) as f64).ln();
    let largest = (0..fewer).map(term).sum::<f64>() - trials * std::f64::consts::LN_2;
    // The terms below it, as parts of it, from the largest on.
    let (mut part, mut sum) = (1.0, 1.0);
    for k in (1..=fewer).rev() {
        part *= k as f64 / (trials - k as f64 + 1.0);
        sum += part;
        if part < 1e-18 * sum {
            break;
        }
    }
    (2.0 * largest.exp() * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `2·Σ C(n, k) / 2ⁿ` in integers.
    fn exact(b: u64, c: u64) -> f64 {
        let mut row = vec![1u128];
        for _ in 0..b + c {
            let pairs = row.windows(2).map(|pair| pair[0] + pair[1]);
            row = [1].into_iter().chain(pairs).chain([1]).collect();
        }
        let below: u128 = row[..=b.min(c) as usize].iter().sum();
        (2.0 * below as f64 / (1u128 << (b + c)) as f64).min(1.0)
    }

    #[test]
    fn small_tables_agree_with_integers() {
        for b in 0..40 {
            for c in 0..40 {
                let (found, expected) = (mcnemar([b, c]), exact(b, c));
                assert!((found - expected).abs() <= 1e-12 * expected, "{b} {c}: {found} {expected}");
            }
        }
    }

    /// By hand: 2·(1 + 12 + 66) / 2¹² and 2 / 2⁵. The large ones by rational arithmetic.
    #[test]
    fn known_tables() {
        assert_eq!(mcnemar([0, 0]), 1.0);
        for ([b, c], expected) in [
            ([10, 2], 158.0 / 4096.0),
            ([0, 5], 1.0 / 16.0),
            ([450, 550], 0.001_730_536_084_976_317_6),
            ([2000, 2200], 0.002_132_355_671_991_234_6),
            ([1, 40], 3.819_877_747_446_298_6e-11),
        ] {
            let found = mcnemar([b, c]);
            assert!((found / expected - 1.0).abs() < 1e-9, "{b} {c}: {found} {expected}");
        }
        assert_eq!(mcnemar([0, 3000]), 0.0, "below the smallest number");
        assert_eq!(mcnemar([7, 3]), mcnemar([3, 7]));
    }
}
