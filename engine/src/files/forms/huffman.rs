//! Canonical Huffman codes (Huffman 1952; Schwartz & Kallick 1964): frequent symbols take few bits, and the lengths of the
//! codes are all that a reader needs.
//!
//! ```text
//!   counts    a 5   b 2   c 1   d 1
//!   lengths   a 1   b 2   c 3   d 3            codes of a length are consecutive, in the order of symbols
//!   codes     a 0   b 10  c 110 d 111
//! ```
//!
//! Bits fill bytes from the highest. Unused bits of the last byte are 0.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The longest code. Counts of symbols that fit into memory give none longer.
const LONGEST: usize = 63;

/// The length of each symbol's code in bits, given how often it occurs; 0 if it never does. A single symbol takes one bit.
pub(super) fn lengths(counts: &[u64]) -> Vec<u8> {
    // Leaves are numbered by symbol, inner nodes behind them: equal counts are merged in that order.
    let mut heap: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    heap.extend(
        counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(i, &count)| Reverse((count, i))),
    );
    let mut lengths = vec![0; counts.len()];
    if let (1, Some(Reverse((_, only)))) = (heap.len(), heap.peek()) {
        lengths[*only] = 1;
        return lengths;
    }
    let mut parents = vec![usize::MAX; counts.len()];
    while let (Some(Reverse((a, first))), Some(Reverse((b, second)))) = (heap.pop(), heap.pop()) {
        let node = parents.len();
        parents.push(usize::MAX);
        (parents[first], parents[second]) = (node, node);
        if heap.is_empty() {
            break;
        }
        heap.push(Reverse((a + b, node)));
    }
    for (symbol, length) in lengths.iter_mut().enumerate().filter(|(symbol, _)| counts[*symbol] > 0) {
        let mut node = symbol;
        while parents[node] != usize::MAX {
            node = parents[node];
            *length += 1;
        }
    }
    lengths
}

/// The bits that `symbols` take by codes of these `lengths`.
pub(super) fn encode(symbols: impl Iterator<Item = usize>, lengths: &[u8]) -> Vec<u8> {
    let codes = codes(lengths);
    let (mut bytes, mut pending, mut bits) = (Vec::new(), 0u64, 0);
    for symbol in symbols {
        for i in (0..lengths[symbol]).rev() {
            pending = pending << 1 | codes[symbol] >> i & 1;
            bits += 1;
            if bits == 8 {
                bytes.push(pending as u8);
                (pending, bits) = (0, 0);
            }
        }
    }
    if bits > 0 {
        bytes.push((pending << (8 - bits)) as u8);
    }
    bytes
}

/// The code of each symbol, in the low bits.
fn codes(lengths: &[u8]) -> Vec<u64> {
    let mut next = first_codes(lengths);
    let mut code = |&length: &u8| {
        let code = next[usize::from(length)];
        next[usize::from(length)] += u64::from(length > 0);
        code
    };
    lengths.iter().map(&mut code).collect()
}

/// The first code of each length.
fn first_codes(lengths: &[u8]) -> [u64; LONGEST + 1] {
    let (mut first, counts) = ([0; LONGEST + 1], counts_of(lengths));
    for length in 1..=LONGEST {
        first[length] = (first[length - 1] + if length > 1 { counts[length - 1] } else { 0 }) << 1;
    }
    first
}

/// The number of codes of each length.
fn counts_of(lengths: &[u8]) -> [u64; LONGEST + 1] {
    let mut counts = [0; LONGEST + 1];
    lengths.iter().filter(|&&length| length > 0).for_each(|&length| counts[usize::from(length)] += 1);
    counts
}

/// A reader of codes.
pub(super) struct Decoder {
    first: [u64; LONGEST + 1],
    counts: [u64; LONGEST + 1],
    /// Where the symbols of each length start in `symbols`.
    starts: [usize; LONGEST + 1],
    /// The symbols by length, then in order.
    symbols: Vec<usize>,
}

impl Decoder {
    /// A reader of codes of these `lengths`. `Err` says why they are none.
    pub fn new(lengths: &[u8]) -> Result<Self, String> {
        if let Some(length) = lengths.iter().find(|&&length| usize::from(length) > LONGEST) {
            return Err(format!("expected codes of at most {LONGEST} bits, found one of {length}"));
        }
        let counts = counts_of(lengths);
        // Kraft's sum: the codes of all lengths fit into the binary tree.
        let mut free = 1u64;
        for count in &counts[1..] {
            free = (free.min(1 << 32) << 1)
                .checked_sub(*count)
                .ok_or("expected codes that differ, found too many short ones")?;
        }
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|&symbol| lengths[symbol] > 0).collect();
        symbols.sort_by_key(|&symbol| (lengths[symbol], symbol));
        let mut starts = [0; LONGEST + 1];
        for length in 1..=LONGEST {
            starts[length] = starts[length - 1] + counts[length - 1] as usize;
        }
        Ok(Self { first: first_codes(lengths), counts, starts, symbols })
    }

    /// The `count` symbols in `bytes`, which must hold no more. `Err` says what is damaged.
    pub fn decode(&self, bytes: &[u8], count: usize) -> Result<Vec<usize>, String> {
        // Each symbol takes at least a bit, which bounds the memory by the file.
        if count > bytes.len().saturating_mul(8) {
            return Err(format!("expected {count} codes, found {} bytes", bytes.len()));
        }
        let bit = |at: usize| u64::from(bytes[at / 8] >> (7 - at % 8) & 1);
        let (mut symbols, mut at) = (Vec::with_capacity(count), 0);
        while symbols.len() < count {
            let (mut code, mut length) = (0u64, 0);
            loop {
                if at == 8 * bytes.len() || length == LONGEST {
                    return Err(format!("expected {count} codes, found {} and a part of one", symbols.len()));
                }
                code = code << 1 | bit(at);
                (at, length) = (at + 1, length + 1);
                let offset = code.wrapping_sub(self.first[length]);
                if code >= self.first[length] && offset < self.counts[length] {
                    symbols.push(self.symbols[self.starts[length] + offset as usize]);
                    break;
                }
            }
        }
        if at.div_ceil(8) != bytes.len() || (at..8 * bytes.len()).any(|at| bit(at) != 0) {
            return Err(format!("expected {} bytes of codes, found {}", at.div_ceil(8), bytes.len()));
        }
        Ok(symbols)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_file_has_these_lengths() {
        assert_eq!(lengths(&[5, 2, 1, 1]), [1, 2, 3, 3]);
        assert_eq!(lengths(&[0, 7, 0]), [0, 1, 0]);
        assert_eq!(lengths(&[0; 3]), [0; 3]);
        assert_eq!(codes(&[1, 2, 3, 3]), [0b0, 0b10, 0b110, 0b111]);
        assert_eq!(encode([0, 2, 1].into_iter(), &[1, 2, 3, 3]), [0b0110_1000]);
    }

    /// Fibonacci's numbers give the longest codes.
    #[test]
    fn the_longest_codes_are_read() {
        let mut counts = vec![1u64, 1];
        while counts.len() < 40 {
            counts.push(counts[counts.len() - 1] + counts[counts.len() - 2]);
        }
        let lengths = lengths(&counts);
        assert_eq!(lengths.iter().max(), Some(&39));
        let all: Vec<usize> = (0..counts.len()).collect();
        let bytes = encode(all.iter().copied(), &lengths);
        assert_eq!(Decoder::new(&lengths).unwrap().decode(&bytes, all.len()).unwrap(), all);
    }

    #[test]
    fn lengths_that_are_no_code_are_refused() {
        for lengths in [&[1, 1, 1][..], &[1, 2, 2, 2], &[64], &[255, 1]] {
            assert!(Decoder::new(lengths).is_err(), "{lengths:?}");
        }
        let decoder = Decoder::new(&[2, 2]).unwrap();
        assert!(decoder.decode(&[0b1000_0000], 1).is_err(), "no such code");
        assert!(decoder.decode(&[], 1).is_err(), "no bits");
        assert!(decoder.decode(&[0, 0], 1).is_err(), "another byte");
        assert!(decoder.decode(&[0b0010_0000], 1).is_err(), "unused bits");
        assert!(decoder.decode(&[0], usize::MAX).is_err(), "nothing is allocated");
    }

    proptest! {
        #[test]
        fn symbols_are_read_as_they_were_written(symbols in prop::collection::vec(0usize..40, 0..300), skew in 1usize..40) {
            let symbols: Vec<usize> = symbols.iter().map(|s| s % skew).collect();
            let mut counts = vec![0u64; 40];
            symbols.iter().for_each(|&s| counts[s] += 1);
            let lengths = lengths(&counts);
            let bytes = encode(symbols.iter().copied(), &lengths);
            let bits: u64 = counts.iter().zip(&lengths).map(|(c, &l)| c * u64::from(l)).sum();
            prop_assert_eq!(bytes.len() as u64, bits.div_ceil(8));
            // Within a bit a symbol of the entropy.
            let all = symbols.len().max(1) as f64;
            let entropy: f64 = counts.iter().filter(|&&c| c > 0).map(|&c| -(c as f64) * (c as f64 / all).log2()).sum();
            prop_assert!(bits as f64 >= entropy - 1e-6 && bits as f64 <= entropy + all);
            prop_assert_eq!(Decoder::new(&lengths).unwrap().decode(&bytes, symbols.len()).unwrap(), symbols);
        }

        #[test]
        fn damaged_codes_never_panic(lengths in prop::collection::vec(0u8..70, 0..20), bytes in prop::collection::vec(any::<u8>(), 0..20), count in 0usize..200) {
            if let Ok(decoder) = Decoder::new(&lengths) {
                let _ = decoder.decode(&bytes, count);
            }
        }
    }
}
