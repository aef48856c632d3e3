//! Reproducible random numbers and subsets.

use lopper_models::data::{Generator, generator};
use rand::seq::index;
use rand::{Rng, RngExt};

/// A seeded generator.
pub(super) struct Random(Generator);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(generator(seed, 0, 0))
    }

    /// An integer below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    /// `len` values in −0.5..0.5, none of which is zero.
    pub(super) fn values(&mut self, len: usize) -> impl Iterator<Item = f32> {
        (0..len).map(|_| ((self.0.next_u64() >> 41) as f32 + 0.5) / (1 << 23) as f32 - 0.5)
    }

    /// Flags of which exactly `count` of `len` are set, every subset equally likely.
    pub(super) fn subset(&mut self, count: usize, len: usize) -> Vec<bool> {
        let mut flags = vec![false; len];
        index::sample(&mut self.0, len, count.min(len)).into_iter().for_each(|i| flags[i] = true);
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_have_the_requested_size_and_differ() {
        let mut random = Random::new(1);
        for len in [1, 2, 9, 1000] {
            for count in [0, 1, len / 2, len] {
                let subset = random.subset(count, len);
                assert_eq!((subset.len(), subset.iter().filter(|&&set| set).count()), (len, count));
            }
        }
        assert_ne!(random.subset(500, 1000), random.subset(500, 1000));
    }

    #[test]
    fn values_are_small_and_never_zero() {
        let values: Vec<f32> = Random::new(2).values(100_000).collect();
        assert!(values.iter().all(|v| *v != 0.0 && v.abs() <= 0.5));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!(mean.abs() < 0.01, "{mean}");
    }
}
