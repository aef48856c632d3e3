//! The memory that a convolution needs in addition to its input, weight and output, computed from its shape. A
//! convolution that does not fit can thus be rejected before it is allocated. The result is never less than what is
//! allocated, as tests of plans assert.

use super::algorithm::{Choice, Packing};
use super::padded;
use super::winograd::{Direction, Filters};
use crate::cpu::panels::{packed_len, split_columns};
use crate::cpu::tile::MAX_NR;
use crate::cpu::{Cpu, depthwise};
use crate::shapes::Conv2d;

/// The maximum number of windows or pixels whose pointers a task of a direct kernel lists at a time.
const BLOCK: u64 = 128;

/// The memory of a convolution in addition to its input, weight and output, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// The packed weights and the list of taps, held as long as the packed convolution lives.
    pub packed: u64,
    /// The largest buffer that a call borrows from the device.
    pub borrowed: u64,
    /// The tables and workspaces of all threads during a call.
    pub workspaces: u64,
}

impl Footprint {
    /// Computes the footprint of `g` with weights packed as `packing` allows; group `i` has `filters[i]` filters.
    pub fn new(cpu: &Cpu, g: &Conv2d, filters: &[usize], packing: Packing) -> Self {
        let floats = |count: usize| 4 * count as u64;
        let taps = g.kh as u64 * g.kw as u64;
        // Lists of pointers grow by doubling.
        let tables = cpu.thread_count() as u64 * BLOCK * (2 * 8 * (taps + 1) + floats(MAX_NR));
        let plain = Self { packed: 16 * taps + floats(g.c * g.kw), borrowed: 0, workspaces: tables };
        if depthwise::applies(g) {
            return Self { packed: plain.packed + floats(g.w_len()), ..plain };
        }
        let live = Conv2d { o: filters.iter().sum(), ..*g };
        if let Some(tiling) = Choice::new(cpu, &live, packing).algorithm.tiling() {
            let filters = Filters::new(cpu, &live, tiling, Direction::Forward);
            let [pass, block] = filters.pass_lens(g.c, tiling.tiles(g)).map(floats);
            let workspaces = cpu.thread_count() as u64 * block + tables;
            return Self { packed: plain.packed + floats(filters.len()), borrowed: pass, workspaces };
        }
        // A filter's length is the number of taps times the channels of one group.
        let k = g.kh * g.kw * (g.c / g.groups);
        let panels = |&count: &usize| floats(packed_len(&split_columns(cpu.backend, count, k, 0), k));
        let packed = plain.packed + filters.iter().map(panels).sum::<u64>();
        let borrowed = if padded::applies(g) { padded::bytes(g) } else { 0 };
        Self { packed, borrowed, ..plain }
    }
}
