//! The gradient with respect to the nonzero weights in row lanes, where the dense one would compute that of every weight.
//!
//! ```text
//!   for chunk of groups, range of filters                     a task
//!     for group in chunk
//!       convert the band's x and dy to lanes                  → workspace, in the L2 cache
//!       for tile of the band, block of channels
//!         for filter, weight in its lists
//!           sums[weight] += Σ_lane dy[lane] · x[lane of the weight]
//!   dw = the chunks' sums, at the places of the weights; zeros between
//! ```
//!
//! Chunks depend only on the shape, so the results are bit-identical for any number of threads.

use super::dots::{self, add_dots};
use super::load::{Load, Source};
use super::places::{Places, Slots};
use super::row_lanes::{RowLanes, Rows};
use super::taps::Taps;
use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use rayon::prelude::*;
use std::ops::Range;

/// The maximum number of chunks, each of which has its own sums.
const CHUNKS: usize = 8;

/// The weight gradient of a convolution in row lanes.
pub(in crate::cpu) struct LaneWeightGrad<'a> {
    pub(super) lanes: RowLanes,
    pub(super) g: Conv2d,
    pub(super) slots: Slots,
    /// Where dy lies, seen as the image of a kernel of one pixel.
    dy_taps: Taps,
    pattern: &'a Pattern,
}

impl<'a> LaneWeightGrad<'a> {
    /// Prepares the gradient of `g`, which [`super::refuses`] accepts.
    pub fn new(cpu: &Cpu, g: &Conv2d, pattern: &'a Pattern) -> Self {
        let lanes = RowLanes::of_teams(cpu, g, pattern, Rows::Joined, 1);
        let g = lanes.geometry(g);
        let slots = Slots::new(&g, &lanes.taps, lanes.shape);
        let dy_taps = Taps::new(&seen_by_one_pixel(&g)).expect("one tap fits three lanes");
        Self { lanes, g, slots, dy_taps, pattern }
    }

    /// Groups per chunk, and the number of chunks.
    fn chunks(&self) -> [usize; 2] {
        let groups = self.slots.groups();
        let each = groups.div_ceil(CHUNKS);
        [each, groups.div_ceil(each)]
    }

    /// Computes the gradient: `x` `[N, H, W, C]`, `dy` `[N, OH, OW, O]` → `dw` `[O, KH, KW, C]`, zero where the pattern
    /// is.
    pub fn run(&self, cpu: &Cpu, [x, dy]: [&[f32]; 2], dw: &mut [f32]) {
        let (lanes, lists) = (&self.lanes, &self.lanes.lists);
        let [each, chunks] = self.chunks();
        let mut scratch = cpu.scratch(lanes.len() + chunks * lists.entries() + self.g.c.max(self.g.o));
        let (packed, rest) = scratch.split_at_mut(lanes.len());
        let (sums, zeros) = rest.split_at_mut(chunks * lists.entries());
        zeros.fill(0.0);
        lanes.pack(cpu, self.pattern, |_, _| 0.0, packed);
        let packed: &[u32] = bytemuck::cast_slice(packed);
        let filters = self.filters_each(cpu, chunks);
        let parts = self.g.o.div_ceil(filters);
        let shared = Shared::new(&mut *sums);
        cpu.run(|| {
            (0..chunks * parts).into_par_iter().with_max_len(1).for_each(|task| {
                let first = task % parts * filters;
                let groups = task / parts * each..((task / parts + 1) * each).min(self.slots.groups());
                let filters = first..(first + filters).min(self.g.o);
                let task = Task { of: self, packed, zeros, x, dy, filters, sums: task / parts, shared };
                cpu.with_workspace(|workspace| task.run(cpu, groups, workspace));
            });
        });
        self.place(cpu, packed, sums, dw);
    }

    /// The number of filters of a task: all of them, unless there are too few chunks for all threads. The sums do not
    /// depend on it.
    fn filters_each(&self, cpu: &Cpu, chunks: usize) -> usize {
        let threads = cpu.thread_count();
        if threads == 1 || chunks >= 2 * threads {
            return self.g.o;
        }
        self.g.o.div_ceil((2 * threads).div_ceil(chunks))
    }

    /// Adds the chunks' sums at the places of their weights in `dw`.
    fn place(&self, cpu: &Cpu, packed: &[u32], sums: &[f32], dw: &mut [f32]) {
        let RowLanes { taps, shape, lists, .. } = &self.lanes;
        let filter_len = dw.len() / self.g.o;
        cpu.run(|| {
            dw.par_chunks_exact_mut(filter_len).enumerate().with_min_len(8).for_each(|(filter, dw)| {
                dw.fill(0.0);
                for block in 0..lists.blocks() {
                    let mut entry = lists.entries_before(packed, block, filter);
                    lists.each(self.pattern, (taps, shape), block, filter, |_, _, position| {
                        let chunks = sums.chunks_exact(lists.entries());
                        dw[position] = chunks.map(|sums| sums[entry]).sum();
                        entry += 1;
                    });
                }
            });
        });
    }
}

/// A convolution with one tap whose image is the output of `g`.
fn seen_by_one_pixel(g: &Conv2d) -> Conv2d {
    let [h, w] = [g.oh(), g.ow()];
    Conv2d { h, w, c: g.o, kh: 1, kw: 1, stride: [1; 2], padding: [0; 2], dilation: [1; 2], ..*g }
}

/// The sums of some filters over a chunk of groups.
struct Task<'a> {
    of: &'a LaneWeightGrad<'a>,
    packed: &'a [u32],
    zeros: &'a [f32],
    x: &'a [f32],
    dy: &'a [f32],
    filters: Range<usize>,
    /// The index of the chunk's sums in `shared`.
    sums: usize,
    shared: Shared<'a>,
}

impl Task<'_> {
    fn run(&self, cpu: &Cpu, groups: Range<usize>, workspace: &mut Workspace) {
        let LaneWeightGrad { lanes, g, slots, dy_taps, .. } = self.of;
        let RowLanes { taps, shape, lists, .. } = lanes;
        let (x_len, plane) = (lanes.workspace(g)[0], shape.plane(dy_taps));
        let floats = Workspace::floats(&mut workspace.floats, x_len + g.o * plane);
        let (x_lanes, dy_lanes) = floats.split_at_mut(x_len);
        for sums in (0..lists.blocks()).map(|block| self.sums_of(block)) {
            // SAFETY: no other task has these filters in this chunk.
            unsafe { self.shared.range(sums.start, sums.len()) }.fill(0.0);
        }
        for group in groups {
            let places = &slots.places(group);
            let source = Source { x: self.x, height: g.h, origin: 0 };
            let (zeros, rows) = (self.zeros, shape.input_rows(taps));
            cpu.dispatch(Load { g, taps, shape, places, source, zeros, rows, lanes: &mut *x_lanes });
            self.load_dy(cpu, places, &mut *dy_lanes);
            for row in (0..shape.tiles()).map(|tile| tile * shape.rows) {
                self.add_tile(cpu, &x_lanes[row * shape.row()..], &dy_lanes[row * shape.row()..]);
            }
        }
    }

    /// Converts the gradients of a band to lanes, with zeros in lanes and rows that are not the band's.
    fn load_dy(&self, cpu: &Cpu, places: &Places, lanes: &mut [f32]) {
        let LaneWeightGrad { lanes: RowLanes { shape, .. }, g, dy_taps: taps, .. } = self.of;
        let g = &seen_by_one_pixel(g);
        let places = &places.map(|place| place.filter(|place| place.stored));
        let source = Source { x: self.dy, height: g.h, origin: 0 };
        let (zeros, rows) = (self.zeros, shape.input_rows(taps));
        cpu.dispatch(Load { g, taps, shape, places, source, zeros, rows, lanes: &mut *lanes });
        for plane in lanes.chunks_exact_mut(shape.plane(taps)) {
            plane[shape.band * shape.row()..].fill(0.0);
        }
    }

    /// Adds the dot products of a tile, whose pixels and gradients start at `x` and `dy`.
    fn add_tile(&self, cpu: &Cpu, x: &[f32], dy: &[f32]) {
        let LaneWeightGrad { lanes: RowLanes { shape, lists, .. }, slots, dy_taps, .. } = self.of;
        let step = shape.plane(dy_taps);
        for block in 0..lists.blocks() {
            let sums = self.sums_of(block);
            let mut tile = dots::Tile {
                lists: lists.of(self.packed, block, self.filters.clone()),
                filters: self.filters.len(),
                x: x.as_ptr(),
                dy: dy[self.filters.start * step..].as_ptr(),
                step,
                // SAFETY: no other task has these filters in this chunk.
                sums: unsafe { self.shared.range(sums.start, sums.len()) },
                unit: shape.unit(),
                enterable: slots.enterable(),
            };
            // SAFETY: `pack` wrote the lists of these filters for this shape. Its steps lead to a row of a plane of a
            // channel, of which `plane` has at least `halo` below the tile's first row, and as many more as the tile
            // has rows; `x` starts at most `(tiles − 1) · rows` rows into the first plane, and `plane` has that many
            // more. So does `dy`, which has a plane for each filter.
            unsafe { add_dots(cpu, shape.tile(), &mut tile) }
        }
    }

    /// The range of the sums of the task's filters in a block.
    fn sums_of(&self, block: usize) -> Range<usize> {
        let lists = &self.of.lanes.lists;
        let ends = [self.filters.start, self.filters.end];
        let [first, end] = ends.map(|filter| lists.entries_before(self.packed, block, filter));
        let chunk = self.sums * lists.entries();
        chunk + first..chunk + end
    }
}
