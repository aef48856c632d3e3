//! The entries of a list: the step to a weight's pixels, and the weight of each filter of the team.
//!
//! ```text
//!   group of four entries     step step step step     weight weight weight weight      of the first filter
//!                                                     weight weight weight weight      of the second
//!   each of the others        step weight weight
//! ```
//!
//! A load of four weights, each of which is then moved to all lanes, takes the place of four loads: the inner kernel is bound
//! by its loads.

/// The number of entries of a group.
pub(super) const GROUP: usize = 4;

/// Four entries.
#[repr(C)]
pub(super) struct Group<const T: usize> {
    /// The steps, in bytes.
    pub steps: [i32; GROUP],
    pub weights: [[f32; GROUP]; T],
}

/// One entry.
#[repr(C)]
pub(super) struct Entry<const T: usize> {
    /// The step to its pixels, in bytes.
    pub step: i32,
    pub weights: [f32; T],
}

/// The words of entry `i` in a list of `len` entries for `team` filters: that of its step, that of its first weight, and the
/// distance to its other weights.
pub(super) fn words(i: usize, len: usize, team: usize) -> [usize; 3] {
    let (entry, whole) = (1 + team, len / GROUP * GROUP);
    if i < whole {
        let step = i / GROUP * GROUP * entry + i % GROUP;
        [step, step + GROUP, GROUP]
    } else {
        [i * entry, i * entry + 1, 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every word of a list belongs to one entry.
    #[test]
    fn entries_fill_their_list() {
        for (len, team) in (0..14).flat_map(|len| [(len, 1), (len, 2)]) {
            let mut used = vec![0; len * (1 + team)];
            for i in 0..len {
                let [step, weight, distance] = words(i, len, team);
                used[step] += 1;
                (0..team).for_each(|filter| used[weight + filter * distance] += 1);
            }
            assert!(used.iter().all(|&count| count == 1), "{len} entries of {team} filters: {used:?}");
        }
    }

    /// The words are where the fields of groups and entries lie.
    #[test]
    fn words_are_those_of_groups_and_entries() {
        use std::mem::offset_of;
        let word = size_of::<u32>();
        let (steps, weights) = (offset_of!(Group<2>, steps) / word, offset_of!(Group<2>, weights) / word);
        for i in 0..GROUP {
            assert_eq!(words(i, 6, 2), [steps + i, weights + i, GROUP]);
        }
        let (step, weights) = (offset_of!(Entry<2>, step) / word, offset_of!(Entry<2>, weights) / word);
        let (group, entry) = (size_of::<Group<2>>() / word, size_of::<Entry<2>>() / word);
        for i in 0..2 {
            assert_eq!(words(GROUP + i, 6, 2), [group + i * entry + step, group + i * entry + weights, 1]);
        }
    }
}
