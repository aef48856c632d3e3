//! A bounded sample of a long list.

/// Positions of at most `most` of `len` items, evenly spread, the first and the last included.
pub(super) fn positions(len: usize, most: usize) -> Vec<usize> {
    if len <= most {
        return (0..len).collect();
    }
    let last = (most - 1).max(1);
    (0..most).map(|i| i * (len - 1) / last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sample_is_bounded_ascending_and_keeps_both_ends(len in 0usize..500, most in 2usize..90) {
            let at = positions(len, most);
            prop_assert_eq!(at.len(), len.min(most));
            prop_assert!(at.is_sorted_by(|a, b| a < b));
            if len > 0 {
                prop_assert_eq!((at[0], *at.last().unwrap()), (0, len - 1));
            }
        }
    }
}
