//! The gradient with respect to the input, as a convolution of `dy`.
//!
//! `dx[i, c] = Σ_{k, o} dy[(i + p − k·d) / s, o] · w[o, k, c]` over the taps `k` for which the division is exact.
//! The pixels of each [`Residue`] of the stride form a class, which is a convolution of stride 1 over `dy` with its own
//! taps, so no inserted zeros are multiplied. Each tap belongs to one class, so all classes together pack the weight
//! once, with C as the columns and O as the reduction.

use super::Epilogue;
use super::algorithm::{Algorithm, Weights};
use super::choice::Choice;
use super::depthwise_rows::{self, DepthwiseRows};
use super::implicit_gemm::ImplicitGemm;
use super::windows::Windows;
use super::winograd::{Direction, run_fresh};
use crate::cpu::Cpu;
use crate::cpu::conv2d::depthwise;
use crate::cpu::device::shared::Shared;
use crate::cpu::gemm::panels::{Panel, packed_len, split_columns, split_with_dots};
use crate::cpu::gemm::strided::Strided;
use crate::cpu::gemm::tile_kernel::Types;
use crate::residue::Residue;
use crate::shapes::Conv2d;
use rayon::prelude::*;

/// The pixels of one residue of the stride.
struct Class {
    residue: [usize; 2],
    /// The indices of the taps that reach these pixels; `offsets` are those of the pixels of `dy` that they read.
    taps: Vec<usize>,
    offsets: Vec<[isize; 2]>,
}

/// The classes of all residues that occur in the image.
fn classes(g: &Conv2d) -> Vec<Class> {
    let [rows, columns] = [0, 1].map(|axis| Residue::along(g, axis));
    let class = |row: &Residue, column: &Residue| {
        let (mut taps, mut offsets) = (Vec::new(), Vec::new());
        for (kh, dy) in row.reads() {
            for (kw, dx) in column.reads() {
                taps.push(kh * g.kw + kw);
                offsets.push([dy, dx]);
            }
        }
        Class { residue: [row.first, column.first], taps, offsets }
    };
    rows.iter().flat_map(|row| columns.iter().map(move |column| class(row, column))).collect()
}

impl Class {
    fn windows(&self, g: &Conv2d) -> Windows<'_> {
        let [y, x] = self.residue;
        Windows {
            n: g.n,
            grid: [(g.h - y).div_ceil(g.stride[0]), (g.w - x).div_ceil(g.stride[1])],
            step: [1; 2],
            taps: &self.offsets,
            source: [g.oh(), g.ow()],
            first_row: 0,
            channels: g.o,
            row_len: g.o,
            target: [g.h, g.w],
            target_step: g.stride,
            target_origin: self.residue,
            target_channels: g.c,
        }
    }

    /// Panels of input channels, group by group, each `[taps · O/G, NR]`.
    fn panels(&self, cpu: &Cpu, g: &Conv2d) -> Vec<Panel> {
        let (c, o) = (g.c / g.groups, g.o / g.groups);
        let k = self.taps.len() * o;
        if g.groups == 1 && self.taps.len() == 1 {
            return split_with_dots(cpu.backend, Types::F32, c, [1, o]);
        }
        let mut panels: Vec<Panel> = Vec::new();
        for group in 0..g.groups {
            let mut columns = split_columns(cpu.backend.tiles(Types::F32), c, k, packed_len(&panels, k));
            for panel in &mut columns {
                panel.start += group * c;
                panel.a_offset = group * o;
            }
            panels.extend(columns);
        }
        panels
    }

    fn pack(&self, cpu: &Cpu, g: &Conv2d, w: &[f32], panels: &[Panel], packed: &mut [f32]) {
        let (c, o, taps) = (g.c / g.groups, g.o / g.groups, g.kh * g.kw);
        let shared = Shared::new(packed);
        let pack = |panel: &Panel, tap: usize| {
            let group = panel.start / c;
            let rows = o * panel.kernel.nr;
            // SAFETY: the rows of different panels and taps are disjoint.
            let part = unsafe { shared.range(panel.offset + tap * rows, rows) };
            let data = &w[(group * o * taps + self.taps[tap]) * c..];
            let matrix = Strided { data, k_step: taps * c, j_step: 1, columns: None };
            let columns = panel.start - group * c..panel.start - group * c + panel.width;
            panel.kernel.pack(&matrix, 0..o, columns, bytemuck::cast_slice_mut(part));
        };
        cpu.run(|| {
            panels.par_iter().for_each(|panel| (0..self.taps.len()).for_each(|tap| pack(panel, tap)));
        });
    }
}

/// Computes the gradient with respect to the input: `dy` `[N, OH, OW, O]`, `w` `[O, KH, KW, C/G]` → `dx`
/// `[N, H, W, C]`.
pub fn conv2d_input_grad(cpu: &Cpu, g: &Conv2d, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    assert_eq!(
        (dy.len(), w.len(), dx.len()),
        (g.y_len(), g.w_len(), g.x_len()),
        "slices have their shapes' lengths"
    );
    let epilogue = Epilogue::default();
    if Choice::fastest(cpu, g, Weights::Fresh).algorithm != Algorithm::Direct {
        return run_fresh(cpu, g, Direction::InputGrad, dy, w, epilogue, dx);
    }
    if let Some(back) = depthwise_rows::backward(g) {
        let mut scratch = cpu.scratch(back.w_len() + back.c);
        let (packed, zeros) = scratch.split_at_mut(back.w_len());
        zeros.fill(0.0);
        let taps: Vec<usize> = (0..g.kh * g.kw).rev().collect();
        depthwise::pack_taps(g, w, &taps, packed);
        let rows = 0..back.n * back.oh();
        return DepthwiseRows { g: &back, x: dy, first: 0, zeros, w: packed, epilogue: &epilogue }
            .run(cpu, rows, dx);
    }
    for class in classes(g) {
        let windows = class.windows(g);
        if depthwise::applies(g) {
            let mut scratch = cpu.scratch(class.taps.len() * g.c + windows.row_len);
            let (packed, zeros) = scratch.split_at_mut(class.taps.len() * g.c);
            zeros.fill(0.0);
            depthwise::pack_taps(g, w, &class.taps, packed);
            depthwise::run(cpu, &windows, dy, zeros, packed, &epilogue, dx);
            continue;
        }
        let panels = class.panels(cpu, g);
        let len = packed_len(&panels, class.taps.len() * (g.o / g.groups));
        let mut scratch = cpu.scratch(len + windows.row_len);
        let (packed, zeros) = scratch.split_at_mut(len);
        zeros.fill(0.0);
        class.pack(cpu, g, w, &panels, packed);
        let product = ImplicitGemm {
            windows,
            source: dy,
            gather: None,
            zeros,
            panels: &panels,
            packed: bytemuck::cast_slice(packed),
            len: g.o / g.groups,
            scatter: None,
            epilogue,
        };
        product.run(cpu, Shared::new(dx));
    }
}
