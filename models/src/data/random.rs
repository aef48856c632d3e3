//! Random numbers that depend on their purpose, not on the order in which they are drawn.

use rand::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

/// The small generator used for shuffling and augmentation.
pub type Generator = Xoshiro256PlusPlus;

/// The generator of sample `index` in `epoch` of a run seeded with `seed`. Each sample has a separate generator, so its
/// numbers do not depend on the worker that decodes it or on the order of decoding.
pub fn generator(seed: u64, epoch: u64, index: u64) -> Generator {
    let key = [epoch, index].into_iter().fold(seed, |key, part| mix(key) ^ part);
    Generator::seed_from_u64(key)
}

/// A bijection of 64 bits that spreads every input bit over all output bits.
fn mix(key: u64) -> u64 {
    SplitMix64::seed_from_u64(key).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn neighboring_keys_give_unrelated_streams() {
        let keys = (0..10u64).flat_map(|s| (0..10u64).flat_map(move |e| (0..10u64).map(move |i| (s, e, i))));
        let firsts: HashSet<u64> = keys.map(|(s, e, i)| generator(s, e, i).next_u64()).collect();
        assert_eq!(firsts.len(), 1000);
    }
}
