//! The three steps of Winograd's algorithm, and how threads divide them.

use super::images::{TransformInput, TransformOutput};
use super::listed::MultiplyListed;
use super::pass::Pass;
use super::product::Winograd;
use super::tiling::{BLOCK, FEW, TOGETHER, Tiling, padded, together};
use super::{f2, f4};
use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::cpu::gemm::panels::Panel;
use crate::cpu::gemm::tile::{MAX_MR, Rows, Tile};
use bytemuck::cast_slice;
use rayon::prelude::*;
use std::ops::Range;

impl Winograd<'_> {
    /// Computes the whole target.
    pub fn run(&self, cpu: &Cpu, y: Shared) {
        let tiles = self.tiles();
        let mr = self.filters.mr();
        if together(self.filters.len(), tiles < 2 * mr * cpu.thread_count()) {
            let mut scratch = cpu.scratch(Pass::len(self, tiles.min(TOGETHER)));
            return cpu.run(|| {
                for first in (0..tiles).step_by(TOGETHER) {
                    Pass::new(self, first, TOGETHER.min(tiles - first), &mut scratch).run_together(cpu, y);
                }
            });
        }
        let block = tiles.div_ceil(cpu.thread_count()).next_multiple_of(mr).min(BLOCK / mr * mr);
        cpu.run(|| {
            cpu.divide((0..tiles.div_ceil(block)).into_par_iter().with_max_len(1)).for_each(|task| {
                let (first, count) = (task * block, block.min(tiles - task * block));
                cpu.with_workspace(|workspace| {
                    let floats = Workspace::floats(&mut workspace.floats, Pass::len(self, count));
                    let pass = Pass::new(self, first, count, floats);
                    pass.transform_input(cpu, 0..count);
                    pass.multiply(0..self.filters.tiling.points() * self.filters.panels.len());
                    pass.transform_output(cpu, 0..count, y);
                });
            });
        });
    }
}

impl Pass<'_> {
    /// Runs all three steps, each divided among the threads.
    pub fn run_together(&self, cpu: &Cpu, y: Shared) {
        let tasks = 4 * cpu.thread_count();
        let each = |len: usize, run: &(dyn Fn(Range<usize>) + Sync)| {
            let step = len.div_ceil(tasks);
            cpu.divide((0..len.div_ceil(step)).into_par_iter().with_max_len(1)).for_each(|task| {
                run(task * step..((task + 1) * step).min(len));
            });
        };
        each(self.count, &|tiles| self.transform_input(cpu, tiles));
        each(self.product.filters.tiling.points() * self.product.filters.panels.len(), &|products| {
            self.multiply(products)
        });
        each(self.count, &|tiles| self.transform_output(cpu, tiles, y));
    }

    pub fn transform_input(&self, cpu: &Cpu, tiles: Range<usize>) {
        match self.product.filters.tiling {
            Tiling::F2 => cpu.dispatch(TransformInput { pass: self, tiles, map: f2::Input }),
            Tiling::F4 => cpu.dispatch(TransformInput { pass: self, tiles, map: f4::Input }),
        }
    }

    pub fn transform_output(&self, cpu: &Cpu, tiles: Range<usize>, y: Shared) {
        match self.product.filters.tiling {
            Tiling::F2 => cpu.dispatch(TransformOutput { cpu, pass: self, tiles, y, map: f2::Output }),
            Tiling::F4 => cpu.dispatch(TransformOutput { cpu, pass: self, tiles, y, map: f4::Output }),
        }
    }

    /// Computes `M[ξ] = V[ξ] · U[ξ]` for the pairs of point and panel with the numbers `products`.
    pub fn multiply(&self, products: Range<usize>) {
        let p = self.product;
        for product in products {
            let (point, index) = (product / p.filters.panels.len(), product % p.filters.panels.len());
            let panel = &p.filters.panels[index];
            let u = &p.packed[point * p.filters.point_len + panel.offset..];
            match &p.filters.lists {
                None => self.multiply_panel(point, panel, 0..p.channels, u),
                Some(lists) => {
                    let (channels, mr) = (lists.of(index), lists.mr);
                    lists.backend.dispatch(MultiplyListed { pass: self, point, panel, channels, u, mr });
                }
            }
        }
    }

    /// Computes the columns of one panel of `M[ξ]`. Overwrites them if `reduced` starts at the first channel and adds
    /// to them otherwise. `u` has a row of NR floats for each reduced channel.
    pub fn multiply_panel(&self, point: usize, panel: &Panel, reduced: Range<usize>, u: &[f32]) {
        let (p, kernel) = (self.product, panel.kernel);
        let v = self.v.as_mut_ptr().wrapping_add(point * self.v_point);
        let u = cast_slice(u);
        let bytes = size_of::<f32>() * reduced.len() * kernel.nr;
        for first in (0..self.count).step_by(kernel.mr) {
            // Rows beyond `count` exist up to a multiple of MR; their results are not stored.
            let rows: [*const f32; MAX_MR] =
                std::array::from_fn(|i| v.wrapping_add((first + i) * padded(p.channels)).cast_const());
            let out: [usize; MAX_MR] = std::array::from_fn(|i| (first + i) * padded(p.columns));
            let a = Rows {
                rows: rows.as_ptr(),
                segments: 1,
                len: reduced.len(),
                row_stride: MAX_MR,
                a_offset: reduced.start,
                a_step: 1,
            };
            let c = self.m.as_mut_ptr().wrapping_add(point * self.m_point + panel.start);
            let size = [kernel.mr.min(self.count - first), panel.width];
            let mut tile = Tile::new(a, u, c, &out, size, reduced.start > 0);
            tile.b_column = reduced.len();
            if self.count <= FEW {
                // The next panel, or the first panel of the next point, follows in memory.
                tile.next = tile.b.wrapping_add(bytes + bytes * first / self.count);
            }
            // SAFETY: the kernel comes from a backend that this machine supports. V has rows of `channels` floats or
            // more, up to a multiple of MR rows; `u` has a row of NR floats for each reduced channel; M has rows of
            // `columns` floats or more, and only this task writes this panel's columns of this point.
            unsafe { (kernel.run)(&tile) }
        }
    }
}
