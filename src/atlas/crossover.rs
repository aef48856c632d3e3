//! Crossovers: the sparsity from which a way is faster than dense.
//!
//! ```text
//!   time ÷ dense                        The time of a way is nearly linear in the share of nonzero weights, so between
//!   1 ┼─────×──────────                 two measured points its ratio to dense is interpolated linearly. A crossover
//!     │  o     ╲                        is where the ratio falls below 1 for good: at every sparsity measured above it,
//!     │           o──o                  the way is faster. Its interval comes from the lowest and the highest ratio
//!     └──────────────── zeros           over the rounds of each point.
//! ```

use super::record::Row;
use serde::Serialize;

/// From which sparsity a way is faster than something, in percent of zero weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Crossing {
    /// By the medians; `None` if it is not faster at the highest sparsity measured.
    pub at: Option<f64>,
    /// By the most favorable rounds.
    pub low: Option<f64>,
    /// By the least favorable rounds.
    pub high: Option<f64>,
}

/// The crossovers of one way on one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Crossover {
    /// The layer.
    pub layer: String,
    /// Its shape.
    pub shape: String,
    /// The device.
    pub device: String,
    /// Images in the batch.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// The way.
    pub way: String,
    /// `chosen` by the plan, or `forced`.
    pub packed: String,
    /// Whether the kernel multiplies as often at every sparsity: it skips nothing, and its crossover is noise.
    pub skips_nothing: bool,
    /// The lowest and the highest share of zeros measured, in percent.
    pub measured: [f64; 2],
    /// Against the direct dense kernel.
    pub direct: Crossing,
    /// Against the fastest dense kernel.
    pub best: Crossing,
}

/// Finds the crossovers of every layer, batch, number of threads and way in `rows`, in the order of first occurrence.
/// Dense ways have none.
pub fn crossovers(rows: &[Row]) -> Vec<Crossover> {
    let mut curves: Vec<Vec<&Row>> = Vec::new();
    let same = |a: &Row, b: &Row| a.same_place(b) && (&a.way, &a.packed) == (&b.way, &b.packed);
    // A sweep writes the rows of one place together, so that the curve is among the last.
    let mut first = 0;
    for row in rows.iter().filter(|row| row.is_sparse()) {
        if curves.get(first).is_some_and(|curve| !curve[0].same_place(row)) {
            first = curves.len();
        }
        match curves[first..].iter_mut().find(|curve| same(curve[0], row)) {
            Some(curve) => curve.push(row),
            None => curves.push(vec![row]),
        }
    }
    curves.into_iter().map(|curve| crossover(curve)).collect()
}

fn crossover(mut curve: Vec<&Row>) -> Crossover {
    curve.sort_by(|a, b| a.zeros.total_cmp(&b.zeros));
    let crossing = |speedup: fn(&Row) -> [f64; 3]| {
        let [low, at, high] = [2, 1, 0].map(|i| {
            let points: Vec<(f64, f64)> = curve.iter().map(|row| (row.zeros, speedup(row)[i])).collect();
            faster_from(&points)
        });
        Crossing { at, low, high }
    };
    let first = curve[0];
    Crossover {
        layer: first.layer.clone(),
        shape: first.shape.clone(),
        device: first.device.clone(),
        batch: first.batch,
        threads: first.threads,
        way: first.way.clone(),
        packed: first.packed.clone(),
        skips_nothing: curve.len() > 1 && curve.iter().all(|row| row.products == first.products),
        measured: [first.zeros, curve[curve.len() - 1].zeros],
        direct: crossing(|row| [row.over_direct_low, row.over_direct, row.over_direct_high]),
        best: crossing(|row| [row.over_best_low, row.over_best, row.over_best_high]),
    }
}

/// The smallest x from which on every speedup of `points`, sorted by x, is above 1.
fn faster_from(points: &[(f64, f64)]) -> Option<f64> {
    let slow = points.iter().rposition(|&(_, speedup)| speedup <= 1.0);
    let Some(slow) = slow else { return points.first().map(|point| point.0) };
    let (before, after) = (points[slow], points.get(slow + 1)?);
    // Of the times relative to dense.
    let (above, below) = (1.0 / before.1 - 1.0, 1.0 - 1.0 / after.1);
    Some(before.0 + (after.0 - before.0) * above / (above + below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_crossover_is_interpolated_and_final() {
        // Times 1.5, 1.0 + 0.25, 0.5 relative to dense.
        let speedups = |values: [f64; 3]| [(0.0, values[0]), (50.0, values[1]), (90.0, values[2])];
        assert_eq!(faster_from(&speedups([0.5, 0.8, 2.0])), Some(50.0 + 40.0 * 0.25 / 0.75));
        assert_eq!(faster_from(&speedups([0.5, 1.5, 0.9])), None, "slower again");
        assert_eq!(faster_from(&speedups([1.1, 1.5, 2.0])), Some(0.0), "always");
        assert_eq!(faster_from(&speedups([0.5, 1.0, 2.0])), Some(50.0), "equal is not faster");
        assert_eq!(faster_from(&[]), None);
    }

    proptest! {
        /// A kernel whose time is a + b·(1 − s) of dense crosses where that is 1.
        #[test]
        fn linear_times_cross_exactly(a in 0.01f64..0.9, b in 1.0f64..4.0) {
            let time = |s: f64| a + b * (1.0 - s / 100.0);
            let points = [0.0, 25.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0].map(|s| (s, 1.0 / time(s)));
            let expected = 100.0 * (1.0 - (1.0 - a) / b);
            let found = faster_from(&points);
            if time(98.0) >= 1.0 {
                prop_assert_eq!(found, None);
            } else {
                prop_assert!((found.unwrap() - expected.max(0.0)).abs() < 1e-6, "{:?} {}", found, expected);
            }
        }
    }
}
