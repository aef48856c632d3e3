//! The layout of weights for row lanes: how lanes run along the rows of images, and the lists of weights for it.

use super::images::LaneImages;
use super::lists::{Lists, team};
use super::places::Slots;
use super::shape::{LINE, MAX_VECTORS, Shape};
use super::taps::Taps;
use crate::cpu::device::cache::l1;
use crate::cpu::gemm::tile_kernel::Types;
use crate::cpu::{Cpu, Isa};
use crate::pattern::{Pattern, Structure};
use crate::shapes::Conv2d;

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
    pub(super) fn teams_at_once(&self) -> usize {
        let fit = self.shape.lines_left(&self.taps, self.lists.block()) >= SUMS;
        let lanes = self.shape.lanes;
        let teams = SUMS * LINE / self.team_len() / lanes * lanes;
        if self.lists.blocks() == 1 && fit { teams } else { self.lists.teams() }
    }

    /// The length of a team's sums in a tile.
    fn team_len(&self) -> usize {
        self.lists.team * self.shape.rows * self.shape.row()
    }
}

/// `g`, or a geometry with the same result whose only row has all pixels.
fn with_rows(g: &Conv2d, joined: bool) -> Conv2d {
    if joined { Conv2d { n: 1, h: 1, w: g.n * g.h * g.w, ..*g } } else { *g }
}
