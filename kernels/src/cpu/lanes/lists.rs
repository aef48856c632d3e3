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
//! all vectors of the tile. The lists are words of 32 bits, after a table of where each team starts. A word follows
//! them, because the step of the next entry is read along with each.

use super::shape::Shape;
use super::taps::{Side, Taps};
use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::pattern::{Pattern, Structure};
use rayon::prelude::*;
use std::mem;
use std::ops::Range;

/// The additional time of a vector of an entry, in fused multiply-adds, if its pixels come from the L2 cache.
pub(super) const FAR_VECTOR: f64 = 0.4;
/// The time in which a team's lists end in a block, per vector of the tile: its sums are moved, loaded and stored.
const ENDS: f64 = 6.0;
/// The most cache lines of a tile's input that stay in the L2 cache.
const L2: usize = 6144;

/// The number of channels of a block, where a team has `entries` in all: as many as stay in the L1 cache or, if lists would be
/// too short, all of them.
fn block(shape: &Shape, taps: &Taps, channels: usize, entries: f64) -> usize {
    let blocks = channels.div_ceil(shape.channels(taps));
    let saved = (blocks - 1) as f64 * ENDS;
    let all_fit = channels * taps.phases.len() * shape.tile_lines(taps) <= L2;
    if all_fit && saved > entries * FAR_VECTOR { channels } else { channels.div_ceil(blocks) }
}

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
    /// Whether a block's part of a tile stays in the L1 cache.
    near: bool,
    /// The number of entries of all lists.
    entries: usize,
}

impl Lists {
    /// The lists of teams of `team` filters, at most as many as share their positions.
    pub fn new(pattern: &Pattern, taps: &Taps, shape: &Shape, team: usize) -> Self {
        let [filters, _, channels] = pattern.shape();
        // The last filter has its own team if their number is odd.
        let missing = if filters % team == 0 { 0 } else { pattern.positions(filters - 1).count() };
        let entries = (pattern.nonzeros() + missing) / team;
        let teams = filters.div_ceil(team);
        let block = block(shape, taps, channels, entries as f64 / teams as f64);
        Self { team, filters, channels, block, near: block <= shape.channels(taps), entries }
    }

    /// The layout of `factor` times as many entries.
    pub fn scaled(&self, shape: &Shape, taps: &Taps, factor: f64) -> Self {
        let entries = self.entries as f64 * factor;
        let block = block(shape, taps, self.channels, entries / self.teams() as f64);
        let near = block <= shape.channels(taps);
        Self { block, near, entries: entries.round() as usize, ..self.clone() }
    }

    /// Whether the pixels of a list come from the L1 cache.
    pub fn is_near(&self) -> bool {
        self.near
    }

    /// The number of channels of a block.
    pub fn block(&self) -> usize {
        self.block
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

    /// The words of the lists of the teams `teams` in a block of channels, of which `packed` has all, and at least one more.
    pub fn of<'a>(&self, packed: &'a [u32], block: usize, teams: Range<usize>) -> &'a [u32] {
        let start = |team: usize| packed[block * self.teams() + team] as usize;
        let end = if teams.end < self.teams() { start(teams.end) + 1 } else { packed.len() };
        &packed[start(teams.start)..end]
    }

    /// The number of entries before those of a team in a block, where `team` may be one past the last.
    pub fn entries_before(&self, packed: &[u32], block: usize, team: usize) -> usize {
        let (part, parts) = (block * self.teams() + team, self.blocks() * self.teams());
        if part == parts {
            return self.entries;
        }
        (packed[part] as usize - parts - HEADER * part) / self.entry()
    }

    /// The number of words of the table and the lists, and the one behind them.
    pub fn len(&self) -> usize {
        self.blocks() * self.teams() * (1 + HEADER) + self.entries * self.entry() + 1
    }

    /// The number of nonzero weights, each counted once for a team of filters.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// The number of multiply-accumulates for each output pixel.
    pub fn products(&self) -> usize {
        self.entries * self.team
    }

    /// Packs the weights of `pattern` into `packed`, for bands of this shape. `weight` returns that of a filter at a
    /// position `tap · C + channel`.
    pub fn pack(
        &self,
        cpu: &Cpu,
        pattern: &Pattern,
        bands: (&Taps, &Shape),
        weight: impl Fn(usize, usize) -> f32 + Sync,
        packed: &mut [u32],
    ) {
        assert_eq!(packed.len(), self.len(), "the lists fill their buffer");
        let (table, lists) = packed.split_at_mut(self.blocks() * self.teams());
        cpu.run(|| {
            // First, how long each team's lists are, from which follows where they start.
            table.par_iter_mut().enumerate().with_min_len(16).for_each(|(part, len)| {
                *len = (HEADER + self.count(pattern, bands.0, part) * self.entry()) as u32;
            });
            let mut start = 0;
            for entry in &mut *table {
                start += mem::replace(entry, start);
            }
            assert!(start as usize <= lists.len(), "every nonzero weight has an entry");
            let shared = Shared::new(lists);
            table.par_iter().enumerate().with_min_len(16).for_each(|(part, &first)| {
                let end = table.get(part + 1).map_or(start, |&next| next);
                // SAFETY: the lists of a team end where those of the next one start.
                let lists = unsafe { shared.range(first as usize, (end - first) as usize) };
                self.pack_team(pattern, bands, &weight, part, lists);
            });
        });
        table.iter_mut().for_each(|start| *start += (self.blocks() * self.teams()) as u32);
    }

    /// The channels of a block, in words of at most 32: the first one, and their number.
    fn words(&self, block: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let end = ((block + 1) * self.block).min(self.channels);
        (block * self.block..end).step_by(32).map(move |first| (first, 32.min(end - first)))
    }

    /// The number of entries of a team in a block; `part` is the index of its lists.
    fn count(&self, pattern: &Pattern, taps: &Taps, part: usize) -> usize {
        let filter = self.filters_of(part % self.teams()..part % self.teams() + 1).start;
        let bits = |tap: usize| {
            let words = self.words(part / self.teams());
            words.map(move |(first, count)| pattern.live_bits(filter, tap * self.channels + first, count))
        };
        (0..taps.list.len()).flat_map(bits).map(|bits| bits.count_ones() as usize).sum()
    }

    /// Packs the lists of a team in a block; `part` is their index.
    fn pack_team(
        &self,
        pattern: &Pattern,
        bands: (&Taps, &Shape),
        weight: impl Fn(usize, usize) -> f32,
        part: usize,
        lists: &mut [u32],
    ) {
        let (block, team) = (part / self.teams(), part % self.teams());
        let filters = self.filters_of(team..team + 1);
        let (header, entries) = lists.split_at_mut(HEADER);
        let (mut entries, mut position) = (entries.chunks_exact_mut(self.entry()), 0);
        header.fill(0);
        self.each(pattern, bands, block, team, |side, offset, index| {
            let entry = entries.next().expect("the entries were counted");
            entry[0] = (offset - position) as u32;
            for (filter, packed) in (filters.start..).zip(&mut entry[1..]) {
                *packed = if filter < filters.end { weight(filter, index).to_bits() } else { 0 };
            }
            position = offset;
            header[side] += 1;
        });
    }

    /// Calls `f` for each entry of a team's lists in a block, in their order, with the index of its list, the offset of
    /// its pixels in a band's input, in bytes, and its position `tap · C + channel` in a filter.
    pub fn each(
        &self,
        pattern: &Pattern,
        (taps, shape): (&Taps, &Shape),
        block: usize,
        team: usize,
        mut f: impl FnMut(usize, isize, usize),
    ) {
        let (filter, plane, row) = (team * self.team, shape.plane(taps), shape.row());
        for (list, side) in Side::ALL.into_iter().enumerate() {
            for (first, count) in self.words(block) {
                for (tap, place) in taps.list.iter().enumerate().filter(|(_, tap)| tap.side == side) {
                    let index = tap * self.channels + first;
                    let mut bits = pattern.live_bits(filter, index, count);
                    while bits != 0 {
                        let channel = bits.trailing_zeros() as usize;
                        let plane = ((first + channel) * taps.phases.len() + place.phase) * plane;
                        let offset = size_of::<f32>() * (plane + place.row * row);
                        f(list, offset as isize, index + channel);
                        bits &= bits - 1;
                    }
                }
            }
        }
    }
}

/// The number of filters per team: two if neighbors share their positions.
pub(super) fn team(pattern: &Pattern) -> usize {
    match pattern.structure() {
        Structure::Blocks { filters } if filters.is_multiple_of(2) => 2,
        _ => 1,
    }
}
