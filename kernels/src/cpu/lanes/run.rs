//! A convolution in row lanes, whose input and output are channels-last or stay in lanes.
//!
//! ```text
//!   for group of slots, range of teams                        a task
//!     convert the band's input to lanes, or copy its rows     → workspace, in the L2 cache; rows of lanes stay where they are
//!                                                               if outputs read the pixel in their own place only
//!     for tile of the band
//!       for some teams                                        all, or as many as leave their sums in the L1 cache
//!         for block of channels
//!           add the products                                  → workspace
//!         convert the sums to pixels, or store them as rows, with bias, residual and activation
//! ```
//!
//! The order of each output's sum depends on the shape and on the pattern, but not on how tasks divide the output.

use super::finish::{Finish, Targets};
use super::images::{ImageLayout, ImageLayouts, LaneImages};
use super::lists::{Lists, team};
use super::load::Load;
use super::places::{Places, Slots};
use super::residual::{AddPixels, AddRows};
use super::rows::{FinishRows, LoadRows, RowsEnd, Section};
use super::shape::{LINE, MAX_VECTORS, Shape};
use super::taps::Taps;
use super::tile::{Tile, kernel};
use crate::cpu::conv2d::Epilogue;
use crate::cpu::device::cache::l1;
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::{Cpu, Isa};
use crate::pattern::{Pattern, Structure};
use crate::shapes::Conv2d;
use rayon::prelude::*;
use std::ops::Range;

/// The number of cache lines of sums that are computed and stored at once: at least two vectors of filters.
const SUMS: usize = 256;

/// The layout of weights packed as lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cpu) struct RowLanes {
    pub(super) taps: Taps,
    pub(super) shape: Shape,
    pub(super) lists: Lists,
    /// Whether all pixels of the batch are one row.
    joined: bool,
    /// Whether images in lanes are read where they are: each output reads the pixel in its own place only.
    pub(super) in_place: bool,
    name: &'static str,
}

/// The rows of a kernel of one pixel, which does not see where they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cpu) enum Rows {
    /// All pixels of the batch are one row, so that no lane is left over.
    Joined,
    /// Those of the images, as for every other kernel, so that images may stay in lanes.
    OfImages,
}

/// The reason why a convolution cannot be computed in row lanes, or has no reason to be, if there is one.
pub(in crate::cpu) fn refuses(g: &Conv2d, pattern: &Pattern) -> Option<&'static str> {
    // A step between two pixels of a band is a 32-bit number of bytes.
    const MOST: usize = 1 << 13;
    let needs = [
        (pattern.structure() != Structure::Dense, "no single weight is zero"),
        (g.groups == 1, "channels are grouped"),
        (g.extra_padding == [0; 2], "the padding is larger behind than before"),
        (Taps::new(g).is_some(), "a row of taps reads more than three lanes"),
        (g.c <= MOST && g.kh <= 16 && g.kh * g.dilation[0] <= 64, "a band of its input is too large"),
    ];
    needs.into_iter().find(|(holds, _)| !holds).map(|(_, why)| why)
}

impl RowLanes {
    /// Chooses the layout for `g`, which [`refuses`] accepts.
    pub fn new(cpu: &Cpu, g: &Conv2d, pattern: &Pattern, rows: Rows) -> Self {
        Self::of_teams(cpu, g, pattern, rows, team(pattern))
    }

    /// Chooses the layout for teams of `team` filters, at most as many as share their positions.
    pub(super) fn of_teams(cpu: &Cpu, g: &Conv2d, pattern: &Pattern, rows: Rows, team: usize) -> Self {
        let pointwise = [g.kh, g.kw, g.stride[0], g.stride[1]] == [1; 4] && g.padding == [0; 2];
        let joined = pointwise && rows == Rows::Joined;
        let in_place = pointwise && !joined;
        let g = with_rows(g, joined);
        let taps = Taps::new(&g).expect("the taps fit three lanes");
        let lanes = cpu.backend.tiles(Types::F32)[0].nr;
        // With 16 registers, the sums of two filters take eight.
        let (most, name) = match (cpu.isa(), team) {
            (Isa::Avx512, 1) => (MAX_VECTORS, "row_lanes_1x8_avx512"),
            (Isa::Avx512, _) => (MAX_VECTORS, "row_lanes_2x8_avx512"),
            (Isa::Avx2, 1) => (MAX_VECTORS, "row_lanes_1x8_avx2"),
            (Isa::Avx2, _) => (MAX_VECTORS / 2, "row_lanes_2x4_avx2"),
            (Isa::Portable, 1) => (MAX_VECTORS / 2, "row_lanes_1x4_portable"),
            (Isa::Portable, _) => (MAX_VECTORS / 2, "row_lanes_2x4_portable"),
        };
        let mut shape = Shape::new(&g, &taps, lanes, most, l1());
        if in_place && let Some(images) = Slots::new(&g, &taps, shape).images(g.oh()) {
            // The lists then lead from channel to channel of the images.
            shape = shape.with_plane(&taps, images.plane());
        }
        let lists = Lists::new(pattern, &taps, &shape, team);
        Self { taps, shape, lists, joined, in_place, name }
    }

    /// The layout of `factor` times as many nonzero weights.
    pub fn scaled(&self, factor: f64) -> Self {
        Self { lists: self.lists.scaled(&self.shape, &self.taps, factor), ..self.clone() }
    }

    /// The geometry with the same result and the rows that lanes run along.
    pub(super) fn geometry(&self, g: &Conv2d) -> Conv2d {
        with_rows(g, self.joined)
    }

    /// The name of the kernel.
    pub fn kernel(&self) -> &'static str {
        self.name
    }

    /// The size of the packed weights, in floats.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// The number of multiply-accumulates for each output pixel.
    pub fn products(&self) -> usize {
        self.lists.products()
    }

    /// Packs the weights of `pattern` into the first [`len`](Self::len) floats of `packed`. `weight` returns that of a
    /// filter at a position `tap · C + channel`.
    pub fn pack(
        &self,
        cpu: &Cpu,
        pattern: &Pattern,
        weight: impl Fn(usize, usize) -> f32 + Sync,
        packed: &mut [f32],
    ) {
        let packed = bytemuck::cast_slice_mut(&mut packed[..self.len()]);
        self.lists.pack(cpu, pattern, (&self.taps, &self.shape), weight, packed);
    }

    /// The lengths of a task's input and of its sums, in floats.
    pub fn workspace(&self, g: &Conv2d) -> [usize; 2] {
        let input = g.c * self.taps.phases.len() * self.shape.plane(&self.taps);
        [input, self.teams_at_once().min(self.lists.teams()) * self.team_len()]
    }

    /// The number of vectors of a task's input.
    pub(super) fn loads(&self, g: &Conv2d) -> usize {
        g.c * self.taps.phases.len() * self.shape.input_rows(&self.taps) * self.shape.vectors
    }

    /// The layouts in row lanes that a convolution of `g` can read and write, if there are any.
    pub fn images(&self, g: &Conv2d) -> [Option<LaneImages>; 2] {
        if self.geometry(g) != *g {
            return [None; 2];
        }
        let written = Slots::new(g, &self.taps, self.shape).images(g.oh());
        // Each lane must read the pixel in its own place.
        let aligned = g.stride == [1; 2] && self.taps.center == 0 && [g.h, g.w] == [g.oh(), g.ow()];
        [written.filter(|_| aligned), written]
    }

    /// The number of teams whose sums of a tile are computed and stored before those of the next ones: as many as leave
    /// their sums in the L1 cache beside the tile's input. If the input leaves too little of it, they are all: its blocks
    /// are read once for all teams.
    fn teams_at_once(&self) -> usize {
        let fit = self.shape.lines_left(&self.taps, self.lists.block()) >= SUMS;
        let lanes = self.shape.lanes;
        let teams = SUMS * LINE / self.team_len() / lanes * lanes;
        if self.lists.blocks() == 1 && fit { teams } else { self.lists.teams() }
    }

    /// The length of a team's sums in a tile.
    fn team_len(&self) -> usize {
        self.lists.team * self.shape.rows * self.shape.row()
    }

    /// Computes the whole output of `g`.
    pub fn run(&self, cpu: &Cpu, g: &Conv2d, product: &Product, y: Shared) {
        let g = &self.geometry(g);
        let slots = Slots::new(g, &self.taps, self.shape);
        let groups = slots.groups();
        let teams = self.teams_each(cpu, groups);
        let parts = self.lists.teams().div_ceil(teams);
        cpu.run(|| {
            cpu.divide((0..groups * parts).into_par_iter().with_max_len(1)).for_each(|task| {
                let first = task % parts * teams;
                let teams = first..(first + teams).min(self.lists.teams());
                let task = Task { lanes: self, g, slots: &slots, group: task / parts, teams, product };
                cpu.with_workspace(|workspace| task.run(cpu, workspace, y));
            });
        });
    }

    /// The number of teams of a task: all of them, unless there are too few groups for all threads. Each part of the
    /// teams converts the input again, so there are as few parts as keep all threads busy.
    fn teams_each(&self, cpu: &Cpu, groups: usize) -> usize {
        let (teams, threads) = (self.lists.teams(), cpu.thread_count());
        let even = |parts: usize| (groups * parts).is_multiple_of(threads) || groups * parts >= 4 * threads;
        let parts = (1..=4 * threads).find(|&parts| even(parts)).unwrap_or(1);
        // Whole vectors of output channels.
        if parts == 1 { teams } else { teams.div_ceil(parts).next_multiple_of(self.shape.lanes).min(teams) }
    }
}

/// `g`, or a geometry with the same result whose only row has all pixels.
fn with_rows(g: &Conv2d, joined: bool) -> Conv2d {
    if joined { Conv2d { n: 1, h: 1, w: g.n * g.h * g.w, ..*g } } else { *g }
}

/// The operands of a convolution.
pub(in crate::cpu) struct Product<'a> {
    /// The images, in the first layout.
    pub x: &'a [f32],
    /// At least `C` zeros.
    pub zeros: &'a [f32],
    /// The packed weights.
    pub packed: &'a [f32],
    pub epilogue: Epilogue<'a>,
    pub layouts: ImageLayouts,
}

/// The output of some teams for a group of slots.
struct Task<'a> {
    lanes: &'a RowLanes,
    g: &'a Conv2d,
    slots: &'a Slots,
    group: usize,
    teams: Range<usize>,
    product: &'a Product<'a>,
}

impl Task<'_> {
    fn run(&self, cpu: &Cpu, workspace: &mut Workspace, y: Shared) {
        if !self.converts() {
            return self.run_at(cpu, workspace, None, y);
        }
        // Places are thousands of bytes, which are better not moved.
        let places = self.slots.places(self.group);
        let targets = Targets::new(self.g, &self.lanes.shape, &places);
        self.run_at(cpu, workspace, Some((&places, &targets)), y);
    }

    /// Computes the output; lanes that are converted from or to pixels have `places`.
    fn run_at(&self, cpu: &Cpu, workspace: &mut Workspace, places: Option<(&Places, &Targets)>, y: Shared) {
        let RowLanes { shape, lists, .. } = self.lanes;
        let [input_len, sums_len] = self.lanes.workspace(self.g);
        let (lanes, sums) =
            Workspace::floats(&mut workspace.floats, input_len + sums_len).split_at_mut(input_len);
        let input = match self.rows_in_place() {
            Some(rows) => rows,
            None => {
                self.load(cpu, places, lanes);
                lanes
            }
        };
        let targets = places.map(|(_, targets)| targets);
        for row in (0..shape.tiles()).map(|tile| tile * shape.rows) {
            for first in self.teams.clone().step_by(self.lanes.teams_at_once()) {
                let teams = first..(first + self.lanes.teams_at_once()).min(self.teams.end);
                let filters = lists.filters_of(teams.clone());
                let end = self.rows_end(row, filters.clone(), y);
                self.add_products(cpu, &input[row * shape.row()..], teams, sums, end.as_ref());
                if end.is_none() {
                    self.finish(cpu, targets, row, filters, sums, y);
                }
            }
        }
    }

    /// Converts the band's input to lanes, or copies its rows.
    fn load(&self, cpu: &Cpu, places: Option<(&Places, &Targets)>, lanes: &mut [f32]) {
        let (g, RowLanes { taps, shape, .. }) = (self.g, self.lanes);
        let Product { x, zeros, layouts, .. } = *self.product;
        match layouts.x {
            ImageLayout::ChannelsLast => {
                let (places, _) = places.expect("pixels have places");
                cpu.dispatch(Load { g, taps, shape, places, x, zeros, lanes });
            }
            ImageLayout::RowLanes(images) => {
                let section = self.section(images);
                cpu.dispatch(LoadRows { section, channels: g.c, taps, shape, x, lanes });
            }
        }
    }

    /// The band's rows in images that are in row lanes, from its first row in the first channel to its last in the last one, if
    /// tiles can read them where they are: the lists were packed for images of this height, and tiles end inside of them.
    fn rows_in_place(&self) -> Option<&[f32]> {
        let (g, RowLanes { taps, shape, .. }) = (self.g, self.lanes);
        let ImageLayout::RowLanes(images) = self.product.layouts.x else { return None };
        let Section { group, y, .. } = self.section(images);
        let (plane, row, rows) = (images.plane(), images.row(), shape.input_rows(taps));
        let fits = plane == shape.plane(taps) && row == shape.row() && y + rows <= images.height;
        (self.lanes.in_place && fits).then(|| {
            let first = group * g.c * plane + y * row;
            &self.product.x[first..first + (g.c - 1) * plane + rows * row]
        })
    }

    /// The end that stores the sums of a tile's filters from registers, if there is one.
    fn rows_end(&self, row: usize, filters: Range<usize>, y: Shared) -> Option<RowsEnd<'_>> {
        let Product { epilogue, layouts, .. } = self.product;
        let ImageLayout::RowLanes(images) = layouts.y else { return None };
        let (shape, section, filters) = (&self.lanes.shape, self.section(images), (self.g.o, filters));
        let joined = epilogue.residual.is_none() || layouts.residual == layouts.y;
        joined.then(|| RowsEnd::new(section, shape, row, filters, epilogue, y)).flatten()
    }

    /// Adds bias, residual and activation to the sums of a tile's filters, and stores them.
    fn finish(
        &self,
        cpu: &Cpu,
        targets: Option<&Targets>,
        row: usize,
        filters: Range<usize>,
        sums: &mut [f32],
        y: Shared,
    ) {
        let (g, shape, layout) = (self.g, &self.lanes.shape, self.product.layouts.y);
        let epilogue = &self.add_residual(cpu, targets, row, filters.clone(), sums);
        let sums = &*sums;
        match layout {
            ImageLayout::ChannelsLast => {
                let targets = targets.expect("pixels have places");
                cpu.dispatch(Finish { g, shape, targets, row, filters, sums, epilogue, y });
            }
            ImageLayout::RowLanes(images) => {
                let (section, channels) = (self.section(images), g.o);
                cpu.dispatch(FinishRows { section, shape, row, channels, filters, sums, epilogue, y });
            }
        }
    }

    /// Adds bias and residual to the sums of a tile if the residual has another layout than the output. Returns the
    /// rest of the epilogue.
    fn add_residual(
        &self,
        cpu: &Cpu,
        targets: Option<&Targets>,
        row: usize,
        filters: Range<usize>,
        sums: &mut [f32],
    ) -> Epilogue<'_> {
        let (g, shape) = (self.g, &self.lanes.shape);
        let Product { epilogue, layouts, .. } = *self.product;
        let Some(residual) = epilogue.residual.filter(|_| layouts.residual != layouts.y) else {
            return epilogue;
        };
        let bias = epilogue.bias;
        match layouts.residual {
            ImageLayout::ChannelsLast => {
                let targets = targets.expect("pixels have places");
                cpu.dispatch(AddPixels { g, shape, targets, row, filters, bias, residual, sums });
            }
            ImageLayout::RowLanes(images) => {
                let (section, channels) = (self.section(images), g.o);
                cpu.dispatch(AddRows { section, shape, row, channels, filters, bias, residual, sums });
            }
        }
        Epilogue { activation: epilogue.activation, ..Epilogue::default() }
    }

    /// Whether the input, the output or the residual is channels-last, so that lanes must have places.
    fn converts(&self) -> bool {
        let Product { epilogue, layouts, .. } = self.product;
        let residual = epilogue.residual.map(|_| layouts.residual);
        [layouts.x, layouts.y].into_iter().chain(residual).any(|layout| layout == ImageLayout::ChannelsLast)
    }

    /// The part of images in row lanes that the task reads and writes.
    fn section(&self, images: LaneImages) -> Section {
        let (group, y) = self.slots.band(self.group);
        Section { images, group, y }
    }

    /// Computes the sums of some teams of a tile, whose input starts at `input`, up to `end` if there is one.
    fn add_products(
        &self,
        cpu: &Cpu,
        input: &[f32],
        teams: Range<usize>,
        sums: &mut [f32],
        end: Option<&RowsEnd>,
    ) {
        let RowLanes { shape, lists, .. } = self.lanes;
        let packed = bytemuck::cast_slice(self.product.packed);
        let run = kernel(shape.tile(), shape.unit(), lists.team);
        for block in 0..lists.blocks() {
            let tile = Tile {
                lists: lists.of(packed, block, teams.clone()),
                teams: teams.len(),
                x: input.as_ptr(),
                y: sums.as_mut_ptr(),
                first: block == 0,
                enterable: self.slots.enterable(),
                end: end.filter(|_| block + 1 == lists.blocks()),
            };
            // SAFETY: `pack` wrote the lists of these teams for this shape, and `of` returns a word more. Its steps lead
            // to a row of a plane of a channel, of which `plane` has at least `halo` below the tile's first row, and as
            // many more as the tile has rows; `input` starts at most `(tiles − 1) · rows` rows into the first plane, and
            // `plane` has that many more. In place, there is no halo, and the last plane ends with the band's last row.
            // `sums` has a tile of vectors for each filter of each team, and `end` is that of these filters in this tile.
            unsafe { run(cpu, &tile) }
        }
    }
}
