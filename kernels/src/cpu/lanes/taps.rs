//! The taps of a kernel as rows, phases and shifts of lanes.
//!
//! Output `(y, x)` reads input `(y·s + d, x·s + d')` for a tap with the offsets `d = k·dilation − padding`. The input
//! is split into *phases*, `s` apart along each axis, so that neighboring outputs read neighboring pixels of a phase:
//!
//! ```text
//!   stride 2    input   0 1 2 3 4 5 6 7       even phase  0 2 4 6     kx = 1 reads lane x of even
//!   padding 1   output  0   1   2   3         odd phase   1 3 5 7     kx = 2 reads lane x of odd, kx = 0 lane x − 1
//! ```
//!
//! With stride 1 there is one phase. A tap is thus a phase, a row in it, and a shift by at most one lane.

use crate::shapes::Conv2d;

/// The lanes that a tap reads, relative to those that it adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The lane before: sums move up by one lane.
    Before,
    /// The lane after: sums move down by one lane.
    After,
    /// The same lane.
    Same,
}

impl Side {
    /// All sides, in the order of a filter's lists.
    pub const ALL: [Self; 3] = [Self::Before, Self::After, Self::Same];
}

/// The place of a tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tap {
    /// The index of the phase in [`Taps::phases`].
    pub phase: usize,
    /// The row of the phase, counted from the first row that any tap reads.
    pub row: usize,
    pub side: Side,
}

/// The taps of a kernel whose lanes shift by at most one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taps {
    /// `[KH · KW]`.
    pub list: Vec<Tap>,
    /// The phases that taps read, as offsets of their first row and column, `0..stride`.
    pub phases: Vec<[usize; 2]>,
    /// The first row that any tap reads, relative to the output row, in rows of a phase.
    pub first_row: isize,
    /// The number of rows that a column of outputs reads in addition to one row for each output.
    pub halo: usize,
    /// The column of a phase that lies in the lane of output column 0.
    pub center: isize,
}

/// Offsets of the taps along an axis, as pairs of phase and position in it.
fn offsets(taps: usize, stride: usize, padding: usize, dilation: usize) -> Vec<(usize, isize)> {
    let offset = |k: usize| (k * dilation) as isize - padding as isize;
    let stride = stride as isize;
    (0..taps).map(|k| (offset(k).rem_euclid(stride) as usize, offset(k).div_euclid(stride))).collect()
}

/// The first and the last position of some offsets.
fn extent(offsets: &[(usize, isize)]) -> [isize; 2] {
    let positions = || offsets.iter().map(|&(_, position)| position);
    [positions().min().unwrap_or(0), positions().max().unwrap_or(0)]
}

impl Taps {
    /// Returns `None` if the columns of a row of taps spread over more than three lanes.
    pub fn new(g: &Conv2d) -> Option<Self> {
        let rows = offsets(g.kh, g.stride[0], g.padding[0], g.dilation[0]);
        let columns = offsets(g.kw, g.stride[1], g.padding[1], g.dilation[1]);
        let ([first_row, last_row], [first, last]) = (extent(&rows), extent(&columns));
        if last - first > 2 {
            return None;
        }
        let center = if first == last { first } else { first + 1 };
        let (mut list, mut phases) = (Vec::new(), Vec::new());
        for &(phase_y, row) in &rows {
            for &(phase_x, column) in &columns {
                let phase = [phase_y, phase_x];
                let index = phases.iter().position(|&p| p == phase).unwrap_or_else(|| {
                    phases.push(phase);
                    phases.len() - 1
                });
                let side = match column - center {
                    -1 => Side::Before,
                    1 => Side::After,
                    _ => Side::Same,
                };
                list.push(Tap { phase: index, row: (row - first_row) as usize, side });
            }
        }
        Some(Self { list, phases, first_row, halo: (last_row - first_row) as usize, center })
    }

    /// Whether a tap reads the lane on this side.
    pub fn reads(&self, side: Side) -> bool {
        self.list.iter().any(|tap| tap.side == side)
    }

    /// Whether every pixel that taps on this side read beyond the columns of an output row lies in the padding of `g`.
    pub fn ends_in_padding(&self, g: &Conv2d, side: Side) -> bool {
        let column = match side {
            Side::Before => -1,
            Side::After => g.ow() as isize,
            Side::Same => return true,
        };
        self.list.iter().filter(|tap| tap.side == side).all(|tap| {
            let x = (column + self.center) * g.stride[1] as isize + self.phases[tap.phase][1] as isize;
            !(0..g.w as isize).contains(&x)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_3x3_kernel_shifts_by_one_lane() {
        let taps = Taps::new(&Conv2d::square([1, 8, 8, 1], 1, 3, 1, 1)).unwrap();
        assert_eq!((taps.phases.len(), taps.first_row, taps.halo, taps.center), (1, -1, 2, 0));
        let sides: Vec<Side> = taps.list.iter().map(|tap| tap.side).collect();
        assert_eq!(sides[..3], [Side::Before, Side::Same, Side::After]);
        assert_eq!(taps.list[8].row, 2);
    }

    #[test]
    fn stride_two_reads_four_phases() {
        let g = Conv2d::square([1, 8, 8, 1], 1, 3, 2, 1);
        let taps = Taps::new(&g).unwrap();
        assert_eq!((taps.phases.len(), taps.halo), (4, 1));
        assert!(taps.reads(Side::Before) && !taps.reads(Side::After));
        assert!(taps.ends_in_padding(&g, Side::Before));
        let pointwise = Taps::new(&Conv2d::square([1, 8, 8, 1], 1, 1, 2, 0)).unwrap();
        assert_eq!((pointwise.phases.len(), pointwise.halo), (1, 0));
    }

    #[test]
    fn wide_kernels_do_not_fit() {
        assert!(Taps::new(&Conv2d::square([1, 8, 8, 1], 1, 5, 1, 2)).is_none());
        assert!(Taps::new(&Conv2d::square([1, 8, 8, 1], 1, 5, 2, 2)).is_some());
        let inside = Conv2d::square([1, 8, 8, 1], 1, 3, 1, 0);
        assert!(!Taps::new(&inside).unwrap().ends_in_padding(&inside, Side::Before));
    }
}
