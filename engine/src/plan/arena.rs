//! One block of memory for every value of a run: values that are never alive together may share memory.
//!
//! ```text
//!   step      0    1    2    3          offset 0 ┌────┬────┬────┐
//!   value a   ████████                           │ a  │ c  │ …  │
//!   value b        ████████        ──►           ├────┼────┤    │
//!   value c             ████████                 │    │ b  │    │
//! ```
//!
//! Minimizing the total memory is a packing problem; *greedy by size* (Pisarchyk & Lee 2020, "Efficient Memory
//! Management for Deep Neural Net Inference") comes close: it places the largest value first, and each at the lowest
//! offset where it does not overlap a value that is alive at the same time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// When a value is needed, and its size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    /// Step that writes it.
    pub first: usize,
    /// Last step that reads it.
    pub last: usize,
    /// Number of bytes.
    pub len: usize,
}

impl Lifetime {
    /// Returns whether both are alive in some step. A step's inputs are alive together with its output.
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// At most this many values are placed by size, which takes quadratic time; longer lists are placed in the order of
/// time.
const BY_SIZE: usize = 4096;

/// Returns the offset of each value, a multiple of `alignment`, and the total number of bytes. `values` are in the
/// order of their first step.
pub(super) fn place(values: &[Lifetime], alignment: usize) -> (Vec<usize>, usize) {
    let offsets =
        if values.len() <= BY_SIZE { by_size(values, alignment) } else { by_time(values, alignment) };
    let end = (0..values.len()).map(|v| offsets[v] + values[v].len).max().unwrap_or(0);
    (offsets, end)
}

/// The largest value first.
fn by_size(values: &[Lifetime], alignment: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|&v| Reverse(values[v].len));
    let mut offsets = vec![0; values.len()];
    let mut placed: Vec<usize> = Vec::new(); // ordered by offset
    for v in order {
        let mut offset = 0;
        for &other in placed.iter().filter(|&&other| values[other].meets(&values[v])) {
            if offset + values[v].len <= offsets[other] {
                break;
            }
            offset = offset.max((offsets[other] + values[other].len).next_multiple_of(alignment));
        }
        offsets[v] = offset;
        placed.insert(placed.partition_point(|&other| offsets[other] <= offset), v);
    }
    offsets
}

/// Step by step, each value into the smallest gap that holds it, as an allocator would: n log n.
fn by_time(values: &[Lifetime], alignment: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|&v| values[v].first);
    let mut offsets = vec![0; values.len()];
    let mut gaps = Gaps::default();
    let mut alive: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new(); // by the last step
    // What is empty is nowhere in the way.
    for v in order.into_iter().filter(|&v| values[v].len > 0) {
        while let Some(&Reverse((last, dead))) = alive.peek()
            && last < values[v].first
        {
            alive.pop();
            gaps.give(offsets[dead], values[dead].len.next_multiple_of(alignment));
        }
        offsets[v] = gaps.take(values[v].len.next_multiple_of(alignment));
        alive.push(Reverse((values[v].last, v)));
    }
    offsets
}

/// The gaps between what is alive.
#[derive(Default)]
struct Gaps {
    /// Length by offset.
    by_offset: BTreeMap<usize, usize>,
    /// Lengths and offsets.
    by_len: BTreeSet<(usize, usize)>,
    /// Where everything ends.
    end: usize,
}

impl Gaps {
    /// The offset of `len` bytes, in the smallest gap that holds them or at the end.
    fn take(&mut self, len: usize) -> usize {
        let fitting = self.by_len.range((len, 0)..).next().copied();
        let Some((gap, offset)) = fitting else {
            self.end += len;
            return self.end - len;
        };
        self.remove(offset, gap);
        self.insert(offset + len, gap - len);
        offset
    }

    /// Makes a gap of `len` bytes at `offset`, joined with its neighbors.
    fn give(&mut self, mut offset: usize, mut len: usize) {
        if let Some((&before, &size)) = self.by_offset.range(..offset).next_back()
            && before + size == offset
        {
            self.remove(before, size);
            (offset, len) = (before, size + len);
        }
        if let Some(&size) = self.by_offset.get(&(offset + len)) {
            self.remove(offset + len, size);
            len += size;
        }
        self.insert(offset, len);
    }

    fn insert(&mut self, offset: usize, len: usize) {
        if len > 0 {
            self.by_offset.insert(offset, len);
            self.by_len.insert((len, offset));
        }
    }

    fn remove(&mut self, offset: usize, len: usize) {
        self.by_offset.remove(&offset);
        self.by_len.remove(&(len, offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALIGNMENT: usize = 16;

    proptest! {
        #[test]
        fn values_that_are_alive_together_do_not_overlap(
            spans in prop::collection::vec((0usize..20, 0usize..6, 0usize..100), 0..40),
        ) {
            let values: Vec<Lifetime> =
                spans.iter().map(|&(first, n, len)| Lifetime { first, last: first + n, len }).collect();
            let padded: usize = values.iter().map(|v| v.len.next_multiple_of(ALIGNMENT)).sum();
            for offsets in [by_size(&values, ALIGNMENT), by_time(&values, ALIGNMENT)] {
                for a in 0..values.len() {
                    prop_assert!(offsets[a] % ALIGNMENT == 0 && offsets[a] + values[a].len <= padded);
                    for b in 0..a {
                        let apart =
                            offsets[a] + values[a].len <= offsets[b] || offsets[b] + values[b].len <= offsets[a];
                        prop_assert!(apart || !values[a].meets(&values[b]), "values {} and {}", a, b);
                    }
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_its_two_largest_neighbors() {
        let lens = [100, 400, 200, 300, 50];
        let values: Vec<Lifetime> =
            lens.iter().enumerate().map(|(i, &len)| Lifetime { first: i, last: i + 1, len }).collect();
        assert_eq!(place(&values, ALIGNMENT).1, 600);
        let many: Vec<Lifetime> =
            (0..100_000).map(|i| Lifetime { first: i, last: i + 1, len: 16 * (1 + i % 3) }).collect();
        assert!(place(&many, ALIGNMENT).1 <= 16 * 3 * 3, "gaps are used again");
        assert_eq!(place(&[], ALIGNMENT), (vec![], 0));
    }
}
