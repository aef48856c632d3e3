//! Random numbers that depend on what they are for, never on who draws them first.

use rand::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

/// The small generator that shuffling and augmentation draw from.
pub type Generator = Xoshiro256PlusPlus;

/// The generator of sample `index` in `epoch` of a run seeded with `seed`. Every sample has one of its own,
/// so the numbers are the same whichever worker decodes it and in whatever order.
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
    fn neighbouring_keys_give_unrelated_streams() {
        let keys = (0..10u64).flat_map(|s| (0..10u64).flat_map(move |e| (0..10u64).map(move |i| (s, e, i))));
        let firsts: HashSet<u64> = keys.map(|(s, e, i)| generator(s, e, i).next_u64()).collect();
        assert_eq!(firsts.len(), 1000);
    }
}
