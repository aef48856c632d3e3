//! The curves that schedules are made of.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How a table's values change between its points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Along a line.
    #[default]
    Linear,
    /// Along half a cosine.
    Cosine,
    /// Not at all: each value holds until the next point.
    None,
}

/// Half a cosine from `start` at 0 to `end` at 1.
pub(super) fn half_cosine(start: f64, end: f64, at: f64) -> f64 {
    start + (1.0 + (PI * (1.0 - at)).cos()) * (end - start) / 2.0
}

/// Half a cosine from the first level to the second until `split`, then one from the second to the third.
pub(super) fn two_phases(fraction: f64, split: f64, [first, second, third]: [f64; 3]) -> f64 {
    if fraction < split {
        half_cosine(first, second, fraction / split)
    } else {
        let rest = (1.0 - split).max(f64::MIN_POSITIVE);
        half_cosine(second, third, (fraction - split) / rest)
    }
}

/// The position in `[0, 1]` within its cycle at `fraction` of a training of `cycles` cycles, each `growth` times as long
/// as the one before.
pub(super) fn warm_restarts(cycles: u32, growth: f64, fraction: f64) -> f64 {
    let total: f64 = (0..cycles).map(|cycle| growth.powi(cycle as i32)).sum();
    let mut left = fraction * total;
    for cycle in 0..cycles {
        let length = growth.powi(cycle as i32);
        if left < length || cycle + 1 == cycles {
            return (left / length).min(1.0);
        }
        left -= length;
    }
    1.0
}

/// The value of the table `points`, `[position, value]` by increasing position, at `at`.
pub(super) fn piecewise(points: &[[f64; 2]], between: Interpolation, at: f64) -> f64 {
    let behind = points.partition_point(|[position, _]| *position <= at);
    let (Some(&[from, start]), Some(&[to, end])) = (points[..behind].last(), points.get(behind)) else {
        // Before the first or behind the last.
        return points[behind.saturating_sub(1).min(points.len() - 1)][1];
    };
    let part = (at - from) / (to - from);
    match between {
        Interpolation::Linear => start + (end - start) * part,
        Interpolation::Cosine => half_cosine(start, end, part),
        Interpolation::None => start,
    }
}
