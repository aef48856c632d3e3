//! A weight divided into groups of one size.

/// A division of a weight into boxes of one size. Seen along three axes `[OUT, POSITIONS, IN]` (a linear layer has one
/// position), a group is a box of `blocks` weights, and the groups are numbered row-major by the position of their box:
///
/// ```text
///              blocks                                   groups
///   weight     [1,   1,         1 ]                     OUT × POSITIONS × IN
///   kernel     [1,   POSITIONS, 1 ]                     OUT × IN
///   filter     [1,   POSITIONS, IN]      (linear: row)  OUT
///   column     [OUT, 1,         1 ]                     IN
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// The number of boxes along each axis.
    boxes: [usize; 3],
    /// The lengths of a box.
    blocks: [usize; 3],
}

impl Groups {
    /// Divides a weight of the given axes into boxes of `blocks`, which divide the axes evenly.
    pub(crate) fn new(axes: [usize; 3], blocks: [usize; 3]) -> Self {
        Self { boxes: [0, 1, 2].map(|axis| axes[axis] / blocks[axis]), blocks }
    }

    /// A group for each of `channels` values.
    pub(crate) fn of_channels(channels: usize) -> Self {
        Self::new([channels, 1, 1], [1; 3])
    }

    /// The number of groups.
    pub fn count(&self) -> usize {
        self.boxes.iter().product()
    }

    /// The number of weights in a group.
    pub fn size(&self) -> usize {
        self.blocks.iter().product()
    }

    /// The groups in which every weight satisfies `holds(i)`, `i` the position of a weight.
    pub fn all(&self, holds: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut all = vec![true; self.count()];
        self.for_each_weight(|i, group| all[group] &= holds(i));
        all
    }

    /// Zeroes the weights of the groups in `dropped`.
    ///
    /// # Panics
    /// If `dropped` or `values` belongs to another division.
    pub fn clear(&self, dropped: &[bool], values: &mut [f32]) {
        assert_eq!(dropped.len(), self.count(), "one entry for each group");
        assert_eq!(values.len(), self.count() * self.size(), "the weight that was divided");
        self.for_each_weight(|i, group| {
            if dropped[group] {
                values[i] = 0.0;
            }
        });
    }

    /// Calls `f(position, group)` for each weight, in the order of positions.
    pub fn for_each_weight(&self, mut f: impl FnMut(usize, usize)) {
        let ([outs, positions, ins], [out_block, position_block, in_block]) = (self.boxes, self.blocks);
        let mut i = 0;
        for out in 0..outs * out_block {
            for position in 0..positions * position_block {
                let first = (out / out_block * positions + position / position_block) * ins;
                for group in first..first + ins {
                    for _ in 0..in_block {
                        f(i, group);
                        i += 1;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_weight_is_in_the_box_of_its_coordinates(
            boxes in prop::array::uniform3(1usize..4),
            blocks in prop::array::uniform3(1usize..4),
        ) {
            let axes = [0, 1, 2].map(|axis| boxes[axis] * blocks[axis]);
            let groups = Groups::new(axes, blocks);
            let mut sizes = vec![0; groups.count()];
            let mut next = 0;
            groups.for_each_weight(|i, group| {
                assert_eq!(i, next);
                next += 1;
                let coordinates = [i / (axes[1] * axes[2]), i / axes[2] % axes[1], i % axes[2]];
                let [o, p, c] = [0, 1, 2].map(|axis| coordinates[axis] / blocks[axis]);
                assert_eq!(group, (o * boxes[1] + p) * boxes[2] + c);
                sizes[group] += 1;
            });
            prop_assert_eq!(next, axes.iter().product::<usize>());
            prop_assert!(sizes.iter().all(|&size| size == groups.size()));
        }
    }
}
