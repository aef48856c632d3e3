//! Winograd's algorithm with a weight that is transformed for one call only, as in training.
//!
//! Transformed filters are four times as large as the weight. If there are few tiles, writing the filters and reading
//! them back would take longer than the products. Each task then transforms a piece of the filters and uses it at once:
//!
//! ```text
//!  V[ξ][tile][c] = Bᵀ d B       of all tiles
//!  for panel of up to 48 columns                                 one task
//!    for 128 of the reduced channels
//!      U = G g Gᵀ                       36 × 128 × 48, in the L2 cache
//!      M[ξ][tile][o] += V[ξ] · U[ξ]     tile kernel
//!  y = Aᵀ M A
//! ```

use super::filters::{Direction, Filters, TransformFilters};
use super::pass::Pass;
use super::product::Winograd;
use super::tiling::{POINTS, SKEW, SMALL, Tiling};
use crate::cpu::Cpu;
use crate::cpu::conv2d::Epilogue;
use crate::cpu::device::shared::Shared;
use crate::cpu::device::shelf::Workspace;
use crate::cpu::gemm::panels::Panel;
use crate::shapes::Conv2d;
use rayon::prelude::*;

/// The number of reduced channels per piece, which takes 864 KiB.
const PIECE: usize = 128;
/// At most this many tiles count as few.
const FEW: usize = 128;

/// Computes the forward pass of `g`, or its input gradient, for which `source` is dy. `w` is `[O, 3, 3, C]`.
pub(in crate::cpu::conv2d) fn run_fresh(
    cpu: &Cpu,
    g: &Conv2d,
    direction: Direction,
    source: &[f32],
    w: &[f32],
    epilogue: Epilogue,
    target: &mut [f32],
) {
    let filters = Filters::new(cpu, g, Tiling::F4, direction);
    let zeros = cpu.zeros(g.c.max(g.o));
    let product = Winograd::new(g, source, &filters, &[], &zeros, None, epilogue);
    let target = Shared::new(target);
    if product.tiles() <= FEW && filters.len() > SMALL {
        return product.run_in_pieces(cpu, g, w, target);
    }
    let mut packed = cpu.scratch(filters.len());
    filters.pack(cpu, g, w, None, &mut packed);
    Winograd { packed: &packed, ..product }.run(cpu, target);
}

impl Winograd<'_> {
    /// Computes the whole target and transforms the filters piece by piece on the way.
    fn run_in_pieces(&self, cpu: &Cpu, g: &Conv2d, w: &[f32], y: Shared) {
        let tiles = self.tiles();
        let mut scratch = cpu.scratch(Pass::len(self, tiles));
        let pass = Pass::new(self, 0, tiles, &mut scratch);
        cpu.run(|| {
            (0..tiles).into_par_iter().for_each(|tile| pass.transform_input(cpu, tile..tile + 1));
            self.filters.panels.par_iter().with_max_len(1).for_each(|panel| {
                cpu.with_workspace(|workspace| {
                    let point_len = PIECE * panel.kernel.nr + SKEW;
                    let u = Workspace::floats(&mut workspace.floats, POINTS * point_len);
                    for first in (0..self.channels).step_by(PIECE) {
                        let reduced = first..(first + PIECE).min(self.channels);
                        cpu.dispatch(TransformFilters {
                            g,
                            w,
                            live: None,
                            channels: None,
                            tiling: Tiling::F4,
                            direction: self.filters.direction,
                            panel: &Panel { offset: 0, ..*panel },
                            reduced: reduced.clone(),
                            point_len,
                            packed: Shared::new(u),
                        });
                        for (point, u) in u.chunks_exact(point_len).enumerate() {
                            pass.multiply_panel(point, panel, reduced.clone(), u);
                        }
                    }
                });
            });
            (0..tiles).into_par_iter().for_each(|tile| pass.transform_output(cpu, tile..tile + 1, y));
        });
    }
}
