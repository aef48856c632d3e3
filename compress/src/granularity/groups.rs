//! A weight divided into groups.

/// A division of a weight into boxes. Seen along four axes `[OUT, KH, KW, IN]` (a linear layer has one position), a group is a
/// box of `blocks` weights, and the groups are numbered row-major by the position of their box. A block that does not divide
/// its axis leaves a smaller box at the end:
///
/// ```text
///              blocks                               groups
///   weight     [1,   1,  1,  1 ]                    OUT × KH × KW × IN
///   kernel     [1,   KH, KW, 1 ]                    OUT × IN
///   filter     [1,   KH, KW, IN]     (linear: row)  OUT
///   column     [OUT, 1,  1,  1 ]                    IN
///   block:4    [4,   1,  1,  1 ]                    ⌈OUT / 4⌉ × KH × KW × IN
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// The lengths of the weight.
    axes: [usize; 4],
    /// The lengths of a box.
    blocks: [usize; 4],
}

impl Groups {
    /// Divides a weight `[OUT, POSITIONS, IN]` into boxes of `blocks`, which are at least 1.
    pub(crate) fn new([out, positions, ins]: [usize; 3], blocks: [usize; 3]) -> Self {
        Self::of_taps([out, positions, 1, ins], [blocks[0], blocks[1], 1, blocks[2]])
    }

    /// Divides a weight `[OUT, KH, KW, IN]` into boxes of `blocks`, which are at least 1.
    pub(crate) fn of_taps(axes: [usize; 4], blocks: [usize; 4]) -> Self {
        Self { axes, blocks }
    }

    /// A group for each of `channels` values.
    pub(crate) fn of_channels(channels: usize) -> Self {
        Self::new([channels, 1, 1], [1; 3])
    }

    /// The number of boxes along each axis.
    fn boxes(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|axis| self.axes[axis].div_ceil(self.blocks[axis]))
    }

    /// The number of groups.
    pub fn count(&self) -> usize {
        self.boxes().iter().product()
    }

    /// The number of weights in a group. Those at the end of an axis may be smaller than the others.
    pub fn size_of(&self, group: usize) -> usize {
        let [_, rows, columns, ins] = self.boxes();
        let at = [
            group / (rows * columns * ins),
            group / (columns * ins) % rows,
            group / ins % columns,
            group % ins,
        ];
        let length = |axis: usize| self.blocks[axis].min(self.axes[axis] - at[axis] * self.blocks[axis]);
        (0..4).map(length).product()
    }

    /// The lengths of the weight along three axes: filters, positions, input channels.
    pub fn axes(&self) -> [usize; 3] {
        let [out, rows, columns, ins] = self.axes;
        [out, rows * columns, ins]
    }

    /// Whether each group is a whole filter, or a whole row of a linear layer.
    pub fn are_filters(&self) -> bool {
        self.boxes() == [self.axes[0], 1, 1, 1]
    }

    /// The number of weights in all groups.
    pub fn weights(&self) -> usize {
        self.axes.iter().product()
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
        assert_eq!(values.len(), self.weights(), "the weight that was divided");
        self.for_each_weight(|i, group| {
            if dropped[group] {
                values[i] = 0.0;
            }
        });
    }

    /// Calls `f(position, group)` for each weight, in the order of positions.
    pub fn for_each_weight(&self, mut f: impl FnMut(usize, usize)) {
        let ([_, row_boxes, column_boxes, ins], [out_block, row_block, column_block, in_block]) =
            (self.boxes(), self.blocks);
        let mut i = 0;
        for out in 0..self.axes[0] {
            for tap in 0..self.axes[1] * self.axes[2] {
                let (row, column) = (tap / self.axes[2], tap % self.axes[2]);
                let first =
                    (out / out_block * row_boxes + row / row_block) * column_boxes + column / column_block;
                for group in 0..ins {
                    for _ in 0..in_block.min(self.axes[3] - group * in_block) {
                        f(i, first * ins + group);
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
            axes in prop::array::uniform4(1usize..7),
            blocks in prop::array::uniform4(1usize..9),
        ) {
            let boxes = [0, 1, 2, 3].map(|axis| axes[axis].div_ceil(blocks[axis]));
            let groups = Groups::of_taps(axes, blocks);
            let mut sizes = vec![0; groups.count()];
            let mut next = 0;
            groups.for_each_weight(|i, group| {
                assert_eq!(i, next);
                next += 1;
                let [_, kh, kw, ins] = axes;
                let coordinates = [i / (kh * kw * ins), i / (kw * ins) % kh, i / ins % kw, i % ins];
                let [o, h, w, c] = [0, 1, 2, 3].map(|axis| coordinates[axis] / blocks[axis]);
                assert_eq!(group, ((o * boxes[1] + h) * boxes[2] + w) * boxes[3] + c);
                sizes[group] += 1;
            });
            prop_assert_eq!(next, axes.iter().product::<usize>());
            prop_assert_eq!(next, groups.weights());
            prop_assert!(sizes.iter().all(|&size| size > 0), "no group is empty");
            prop_assert_eq!(sizes, (0..groups.count()).map(|group| groups.size_of(group)).collect::<Vec<_>>());
        }
    }
}
