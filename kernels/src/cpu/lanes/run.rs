//! A convolution in row lanes, whose input and output are channels-last or stay in lanes.
//!
//! ```text
//!   for group of slots, range of teams                        a task
//!     convert the band's input to lanes, or copy its rows     → workspace, in the L2 cache; rows of lanes stay where they are
//!                                                               if outputs read the pixel in their own place only
//!     for tile of the band
//!       for some teams                                        all, or as many as leave their sums in the L1 cache
//!         for block of channels
//!           add the products                                  → workspace; from the last block, sums that stay in lanes are
//!                                                               stored at once, with bias, residual and activation
//!         convert other sums to pixels, or store them as rows, with the same
//! ```
//!
//! The order of each output's sum depends on the shape and on the pattern, but not on how tasks divide the output.

use super::finish::{Finish, Targets};
use super::images::{ImageLayout, ImageLayouts, LaneImages};
use super::load::{Load, Source};
use super::places::{Places, Slots};
use super::residual::{AddPixels, AddRows};
use super::row_lanes::RowLanes;
use super::rows::{FinishRows, LoadRows, RowsEnd, Section};
use super::tile::{Tile, kernel};
use crate::cpu::Cpu;
use crate::cpu::conv2d::{Epilogue, ImageRows};
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::shapes::Conv2d;
use rayon::prelude::*;
use std::ops::Range;

impl RowLanes {
    /// The number of rows of a tile, if some rows of the output of `g` can be computed at a time.
    pub fn rows_at_a_time(&self, g: &Conv2d) -> Option<usize> {
        // The image whose only output is a row has at least a row.
        let image = 2 * g.padding[0] <= (g.kh - 1) * g.dilation[0];
        (self.shape.linked && self.geometry(g) == *g && image).then_some(self.shape.rows)
    }

    /// Computes the outputs of `rows`: all of `g`, unless `g` has [rows at a time](Self::rows_at_a_time), whose images are
    /// channels-last.
    pub fn run(&self, cpu: &Cpu, g: &Conv2d, rows: &ImageRows, product: &Product, y: Shared) {
        let joined = &self.geometry(g);
        let rows = if joined == g { rows } else { &ImageRows::all(joined) };
        let source = Source { x: product.x, height: rows.inputs.len(), origin: rows.origin(joined) };
        let g = &rows.image(joined);
        let slots = Slots::new(g, &self.taps, self.shape);
        let groups = slots.groups();
        let teams = self.teams_each(cpu, groups);
        let parts = self.lists.teams().div_ceil(teams);
        cpu.run(|| {
            cpu.divide((0..groups * parts).into_par_iter().with_max_len(1)).for_each(|task| {
                let first = task % parts * teams;
                let teams = first..(first + teams).min(self.lists.teams());
                let (slots, group) = (&slots, task / parts);
                let task = Task { lanes: self, g, source, slots, group, teams, product };
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
    /// The images, if they are channels-last.
    source: Source<'a>,
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
        for row in (0..self.tiles()).map(|tile| tile * shape.rows) {
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

    /// The number of tiles with rows of the output. Where several bands share a row, all tiles have some.
    fn tiles(&self) -> usize {
        let shape = &self.lanes.shape;
        let (_, y) = self.slots.band(self.group);
        let rows = if shape.linked { shape.band.min(self.g.oh() - y) } else { shape.band };
        rows.div_ceil(shape.rows)
    }

    /// Converts the band's input to lanes, or copies its rows.
    fn load(&self, cpu: &Cpu, places: Option<(&Places, &Targets)>, lanes: &mut [f32]) {
        let (&Self { g, source, .. }, RowLanes { taps, shape, .. }) = (self, self.lanes);
        let Product { x, zeros, layouts, .. } = *self.product;
        match layouts.x {
            ImageLayout::ChannelsLast => {
                let (places, _) = places.expect("pixels have places");
                let rows = self.tiles() * shape.rows + taps.halo;
                cpu.dispatch(Load { g, taps, shape, places, source, zeros, rows, lanes });
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
        if epilogue.residual.is_some() && layouts.residual != layouts.y {
            return None;
        }
        RowsEnd::new(self.section(images), &self.lanes.shape, row, (self.g.o, filters), epilogue, y)
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
