//! Reproducible random numbers and subsets.

/// A SplitMix64 generator (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An integer below `bound`, which is far below 2⁵³.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.unit() * bound as f64) as usize
    }

    /// A number in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `len` values in −0.5..0.5, none of which is zero.
    pub(super) fn values(&mut self, len: usize) -> impl Iterator<Item = f32> {
        (0..len).map(|_| ((self.next() >> 41) as f32 + 0.5) / (1 << 23) as f32 - 0.5)
    }

    /// Flags of which exactly `count` of `len` are set, every subset equally likely (selection sampling: Knuth, The Art
    /// of Computer Programming 2, algorithm 3.4.2 S).
    pub(super) fn subset(&mut self, count: usize, len: usize) -> Vec<bool> {
        let mut left = count.min(len);
        let choose = |i| {
            let chosen = self.unit() * ((len - i) as f64) < left as f64;
            left -= usize::from(chosen);
            chosen
        };
        (0..len).map(choose).collect()
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
