//! The nonzero weights as lists.
//!
//! ```text
//!   for block of channels               (their part of a tile stays in the L1 cache)
//!     for team of filters               (1 filter, or 2 that share their positions)
//!       [before, after, same]           the lengths of the three lists
//!       (step, weight …)                before: sums that move up by one lane
//!       (step, weight …)                after:  sums that move down by one lane
//!       (step, weight …)                same:   sums that stay
//! ```
//!
//! A step leads from the pixels of one weight to those of the next, in bytes. It is added to a pointer, which serves
//! all vectors of the tile. The lists are words of 32 bits, after a table of where each team starts.

use super::shape::Shape;
use super::taps::{Side, Taps};
use crate::pattern::{Pattern, Structure};
use std::ops::Range;

/// The size of a block of channels in a tile, in bytes: most of the L1 cache.
const BLOCK: usize = 24 << 10;

/// The number of words before a team's lists.
pub(super) const HEADER: usize = 3;

/// The layout of the lists of a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lists {
    /// Filters per team: 1 or 2.
    pub team: usize,
    filters: usize,
    channels: usize,
    /// Channels per block.
    block: usize,
    /// The number of entries of all lists.
    entries: usize,
}

impl Lists {
    pub fn new(pattern: &Pattern, taps: &Taps, shape: &Shape) -> Self {
        let ([filters, _, channels], team) = (pattern.shape(), team(pattern));
        let tile = size_of::<f32>() * taps.phases.len() * (shape.rows + taps.halo) * shape.row();
        let blocks = channels.div_ceil((BLOCK / tile).max(1));
        // The last filter has its own team if their number is odd.
        let missing = if filters % team == 0 { 0 } else { pattern.positions(filters - 1).count() };
        let entries = (pattern.nonzeros() + missing) / team;
        Self { team, filters, channels, block: channels.div_ceil(blocks), entries }
    }

    /// The number of blocks of channels.
    pub fn blocks(&self) -> usize {
        self.channels.div_ceil(self.block)
    }

    /// The number of teams.
    pub fn teams(&self) -> usize {
        self.filters.div_ceil(self.team)
    }

    /// The filters of the teams `teams`.
    pub fn filters_of(&self, teams: Range<usize>) -> Range<usize> {
        teams.start * self.team..(teams.end * self.team).min(self.filters)
    }

    /// The number of words of an entry.
    fn entry(&self) -> usize {
        1 + self.team
    }

    /// The words of the lists of the teams `teams` in a block of channels, of which `packed` has all.
    pub fn of<'a>(&self, packed: &'a [u32], block: usize, teams: Range<usize>) -> &'a [u32] {
        let start = |team: usize| packed[block * self.teams() + team] as usize;
        let end = if teams.end < self.teams() { start(teams.end) } else { packed.len() };
        &packed[start(teams.start)..end]
    }

    /// The number of words of the table and the lists.
    pub fn len(&self) -> usize {
        self.blocks() * self.teams() * (1 + HEADER) + self.entries * self.entry()
    }

    /// The number of nonzero weights, each counted once for a team of filters.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// The number of multiply-accumulates for each output pixel.
    pub fn products(&self) -> usize {
        self.entries * self.team
    }

    /// Packs the weights `w` `[O, taps, C]` of `pattern` into `packed`, for bands of this shape.
    pub fn pack(&self, pattern: &Pattern, taps: &Taps, shape: &Shape, w: &[f32], packed: &mut [u32]) {
        let mut at = self.blocks() * self.teams();
        for block in 0..self.blocks() {
            for team in 0..self.teams() {
                packed[block * self.teams() + team] = at as u32;
                let (filters, header) = (self.filters_of(team..team + 1), at);
                at += HEADER;
                let mut position = 0;
                for (side, list) in Side::ALL.into_iter().zip(header..) {
                    let first = at;
                    for (offset, index) in self.list(pattern, taps, shape, filters.clone(), block, side) {
                        packed[at] = (offset - position) as u32;
                        for i in 0..self.team {
                            let weight = filters
                                .clone()
                                .nth(i)
                                .map_or(0.0, |f| w[f * (w.len() / self.filters) + index]);
                            packed[at + 1 + i] = weight.to_bits();
                        }
                        position = offset;
                        at += self.entry();
                    }
                    packed[list] = ((at - first) / self.entry()) as u32;
                }
            }
        }
        assert!(at <= self.len(), "every nonzero weight has an entry");
    }

    /// The weights of a list: their offsets in a band's input, in bytes, and their indices in the filter.
    fn list<'a>(
        &'a self,
        pattern: &'a Pattern,
        taps: &'a Taps,
        shape: &Shape,
        filters: Range<usize>,
        block: usize,
        side: Side,
    ) -> impl Iterator<Item = (isize, usize)> + 'a {
        let (plane, row) = (shape.plane(taps), shape.row());
        let channels = block * self.block..((block + 1) * self.block).min(self.channels);
        channels.flat_map(move |channel| {
            let listed = taps.list.iter().enumerate().filter(move |(_, tap)| tap.side == side);
            listed.filter_map(move |(index, tap)| {
                let position = index * self.channels + channel;
                let float = (channel * taps.phases.len() + tap.phase) * plane + tap.row * row;
                let offset = (size_of::<f32>() * float) as isize;
                pattern.is_live(filters.start, position).then_some((offset, position))
            })
        })
    }
}

/// The number of filters per team: two if neighbors share their positions.
pub(super) fn team(pattern: &Pattern) -> usize {
    match pattern.structure() {
        Structure::Blocks { filters } if filters.is_multiple_of(2) => 2,
        _ => 1,
    }
}
