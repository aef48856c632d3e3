//! Lists of bits.

/// A packed list of bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// One bit per value, set unless the value is zero.
    pub fn of<'a>(values: impl Iterator<Item = &'a f32>) -> Self {
        let mut words = Vec::new();
        for (i, &value) in values.enumerate() {
            if i % 64 == 0 {
                words.push(0);
            }
            words[i / 64] |= u64::from(value != 0.0) << (i % 64);
        }
        Self(words)
    }

    /// `len` bits, none of which is set.
    pub fn zeros(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    pub fn set(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    pub fn get(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 == 1
    }

    /// Bits `i .. i + count`, at most 32, the first one in the lowest bit.
    pub fn range(&self, i: usize, count: usize) -> u32 {
        let word = |word: usize| self.0.get(word).copied().unwrap_or(0);
        let both = u128::from(word(i / 64)) | u128::from(word(i / 64 + 1)) << 64;
        ((both >> (i % 64)) as u64 & ((1 << count) - 1)) as u32
    }

    pub fn bytes(&self) -> usize {
        size_of::<u64>() * self.0.len()
    }
}
