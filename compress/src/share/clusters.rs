//! k-means of numbers on a line.
//!
//! ```text
//!   sorted weights   · ·· ···· │ ·· ·· ···· │ ·   ···
//!   clusters         runs; a boundary is halfway between two values
//! ```
//!
//! Sorted once, a cluster is a run of neighbors and its mean a difference of two prefix sums: a step of Lloyd's algorithm
//! (1982) takes a search for each boundary, whatever the number of weights. The first values are those of k-means++ (Arthur &
//! Vassilvitskii 2007): each is drawn with a probability that grows with the square of its distance to those before.

use lopper_engine::memory;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// The most steps of Lloyd's algorithm.
const STEPS: usize = 200;
/// The most weights among which first values are drawn: an even sample of the sorted ones.
const SAMPLE: usize = 1 << 14;

/// Bytes that [`values`] takes for `weights` numbers.
pub(super) fn bytes(weights: usize) -> u64 {
    memory::bytes_of::<f64>([weights, 2])
}

/// At most `most` values, ascending, close to the `weights`.
pub(super) fn values(weights: impl Iterator<Item = f32>, most: usize, seed: u64) -> Vec<f32> {
    let mut sorted: Vec<f32> = weights.collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let mut distinct: Vec<f32> = Vec::with_capacity(most + 1);
    for &w in &sorted {
        if distinct.last() != Some(&w) {
            distinct.push(w);
        }
        if distinct.len() > most {
            break;
        }
    }
    if distinct.len() <= most {
        return distinct;
    }
    let mut sums = Vec::with_capacity(sorted.len() + 1);
    sums.push(0.0);
    for &w in &sorted {
        sums.push(sums[sums.len() - 1] + f64::from(w));
    }
    let mut centers = first(&sorted, most, seed);
    for _ in 0..STEPS {
        let bounds = bounds(&sorted, &centers);
        let mean = |k: usize| {
            let (start, end) = (bounds[k], bounds[k + 1]);
            // A cluster that lost all its weights keeps its place.
            if start == end { centers[k] } else { (sums[end] - sums[start]) / (end - start) as f64 }
        };
        let next: Vec<f64> = (0..centers.len()).map(mean).collect();
        if next == centers {
            break;
        }
        centers = next;
    }
    let mut values: Vec<f32> = centers.into_iter().map(|center| center as f32).collect();
    values.sort_unstable_by(f32::total_cmp);
    values.dedup();
    values
}

/// Where the cluster of each center starts among `sorted`, and the end of the last.
fn bounds(sorted: &[f32], centers: &[f64]) -> Vec<usize> {
    let halves = centers.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
    let inner = halves.map(|half| sorted.partition_point(|&w| f64::from(w) <= half));
    std::iter::once(0).chain(inner).chain([sorted.len()]).collect()
}

/// The first centers, ascending.
fn first(sorted: &[f32], most: usize, seed: u64) -> Vec<f64> {
    let count = sorted.len().min(SAMPLE.max(4 * most));
    let sample: Vec<f64> =
        (0..count).map(|i| f64::from(sorted[i * (sorted.len() - 1) / (count - 1).max(1)])).collect();
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut centers = vec![sample[generator.random_range(0..count)]];
    let mut squares: Vec<f64> = sample.iter().map(|x| (x - centers[0]).powi(2)).collect();
    while centers.len() < most {
        let total: f64 = squares.iter().sum();
        if total <= 0.0 {
            break;
        }
        let mut rest = generator.random::<f64>() * total;
        let drawn = squares.iter().position(|square| {
            rest -= square;
            rest < 0.0
        });
        let center = sample[drawn.unwrap_or(count - 1)];
        squares.iter_mut().zip(&sample).for_each(|(square, x)| *square = square.min((x - center).powi(2)));
        centers.push(center);
    }
    centers.sort_unstable_by(f64::total_cmp);
    centers
}

/// The index of the nearest of the ascending `values`, the lower of two.
pub(super) fn nearest(values: &[f32], weight: f32) -> usize {
    let above = values.partition_point(|&value| value < weight);
    match above {
        0 => 0,
        above if above == values.len() => above - 1,
        above => {
            let half = f64::midpoint(f64::from(values[above - 1]), f64::from(values[above]));
            if f64::from(weight) <= half { above - 1 } else { above }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn squares(weights: &[f32], values: &[f32]) -> f64 {
        weights.iter().map(|&w| (f64::from(w) - f64::from(values[nearest(values, w)])).powi(2)).sum()
    }

    #[test]
    fn clear_clusters_are_found() {
        let weights: Vec<f32> = (0..300).map(|i| [-2.0, 0.5, 3.0][i % 3] + (i / 3) as f32 * 1e-4).collect();
        for seed in 0..8 {
            let found = values(weights.iter().copied(), 3, seed);
            let expected = [-2.0, 0.5, 3.0].map(|center: f32| center + 49.5e-4);
            assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-5), "{found:?}");
        }
    }

    #[test]
    fn few_different_weights_stay_as_they_are() {
        let weights = [0.25, -1.0, 0.25, 7.0, -1.0];
        assert_eq!(values(weights.into_iter(), 3, 0), [-1.0, 0.25, 7.0]);
        assert_eq!(values(weights.into_iter(), 100, 0), [-1.0, 0.25, 7.0]);
        assert!(values(std::iter::empty(), 4, 0).is_empty());
    }

    proptest! {
        #[test]
        fn each_value_is_the_mean_of_its_weights(weights in prop::collection::vec(-4.0f32..4.0, 2..200), bits in 1u32..4, seed: u64) {
            let found = values(weights.iter().copied(), 1 << bits, seed);
            prop_assert!(found.len() <= 1 << bits && !found.is_empty());
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(&found, &values(weights.iter().copied(), 1 << bits, seed));
            let error = squares(&weights, &found);
            for k in 0..found.len() {
                let members: Vec<f32> = weights.iter().copied().filter(|&w| nearest(&found, w) == k).collect();
                let mean = members.iter().map(|&w| f64::from(w)).sum::<f64>() / members.len().max(1) as f64;
                let of = |center: f64| members.iter().map(|&w| (f64::from(w) - center).powi(2)).sum::<f64>();
                prop_assert!(of(f64::from(found[k])) <= of(mean) + 1e-3 * error + 1e-6, "cluster {k}");
            }
            // No worse than one value for all.
            let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / weights.len() as f64;
            prop_assert!(error <= squares(&weights, &[mean as f32]) + 1e-9);
        }
    }
}
