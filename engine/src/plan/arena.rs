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

/// When a value is needed, and its size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    /// Step that writes it.
    pub first: usize,
    /// Last step that reads it.
    pub last: usize,
    /// Number of elements.
    pub len: usize,
}

impl Lifetime {
    /// Returns whether both are alive in some step. A step's inputs are alive together with its output.
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Returns the offset of each value, a multiple of `alignment`, and the total number of elements.
pub(super) fn place(values: &[Lifetime], alignment: usize) -> (Vec<usize>, usize) {
    let mut by_size: Vec<usize> = (0..values.len()).collect();
    by_size.sort_by_key(|&v| std::cmp::Reverse(values[v].len));
    let mut offsets = vec![0; values.len()];
    let mut placed: Vec<usize> = Vec::new(); // ordered by offset
    for v in by_size {
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
    let end = (0..values.len()).map(|v| offsets[v] + values[v].len).max().unwrap_or(0);
    (offsets, end)
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
            let (offsets, end) = place(&values, ALIGNMENT);
            for a in 0..values.len() {
                prop_assert!(offsets[a] % ALIGNMENT == 0 && offsets[a] + values[a].len <= end);
                for b in 0..a {
                    let apart = offsets[a] + values[a].len <= offsets[b] || offsets[b] + values[b].len <= offsets[a];
                    prop_assert!(apart || !values[a].meets(&values[b]), "values {} and {}", a, b);
                }
            }
            let padded: usize = values.iter().map(|v| v.len.next_multiple_of(ALIGNMENT)).sum();
            prop_assert!(end <= padded);
        }
    }

    #[test]
    fn a_chain_needs_its_two_largest_neighbors() {
        let lens = [100, 400, 200, 300, 50];
        let values: Vec<Lifetime> =
            lens.iter().enumerate().map(|(i, &len)| Lifetime { first: i, last: i + 1, len }).collect();
        assert_eq!(place(&values, ALIGNMENT).1, 600);
        assert_eq!(place(&[], ALIGNMENT), (vec![], 0));
    }
}
