//! The gradient of the input: one product for each [`Residue`] of the stride. Its patches of `dy` have stride 1, and
//! their taps step backward.

use super::depthwise;
use super::patches::{Convolution, Patches, check, int};
use super::tiles::{Blocking, in_parts, kernel};
use crate::cuda::driver::Result;
use crate::cuda::driver::source::CONV2D_F32;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
use crate::residue::Residue;
use crate::shapes::Conv2d;

/// The gradient of the input: `dy` `[N, OH, OW, O]`, `w` `[O, KH, KW, C/G]` → `dx` `[N, H, W, C]`, all f32.
pub fn conv2d_input_grad(
    cuda: &Cuda,
    g: &Conv2d,
    dy: &DeviceBuffer,
    w: &DeviceBuffer,
    dx: &mut DeviceBuffer,
) -> Result<()> {
    check(g, dx, w, dy);
    if depthwise::applies(g) {
        return depthwise::input_grad(cuda, g, dy, w, dx);
    }
    let [rows, columns] = [0, 1].map(|axis| Residue::along(g, axis));
    let phases: Vec<[Residue; 2]> =
        rows.iter().flat_map(|&row| columns.iter().map(move |&column| [row, column])).collect();
    let (filters, channels) = (g.o / g.groups, g.c / g.groups);
    let pixels = |phase: &[Residue; 2]| g.n * phase[0].count * phase[1].count;
    // The first residue has the most pixels; the average number of taps represents all residues.
    let taps = (g.kh * g.kw).div_ceil(phases.len());
    let blocking = Blocking::new(cuda, g.groups, pixels(&phases[0]), channels, taps * filters);
    in_parts(cuda, blocking.splits, g.c, Epilogue::default().arg(), dx, |dx, end| {
        for phase in &phases {
            let convolution = Convolution {
                p: patches(g, phase),
                groups: int(g.groups),
                splits: int(blocking.splits),
                columns: int(channels),
                weight: [int(g.kh), int(g.kw)],
                tap: phase.map(|axis| int(axis.first_tap)),
                tap_step: phase.map(|axis| int(axis.tap_step)),
                x: dy.address(),
                w: w.address(),
                y: dx.address(),
                part: g.x_len() as u64,
                end,
            };
            let name = kernel!(blocking.tile, "conv2d_input_grad");
            let grid = blocking.grid(g.groups, pixels(phase), channels);
            // SAFETY: by the definition of a residue, the taps lie inside the weight and the pixels inside dx; reads
            // outside dy are skipped. The buffers have the lengths of their shapes (asserted).
            unsafe { cuda.launch(&CONV2D_F32, name, grid, &[(&[convolution]).into()])? };
        }
        Ok(())
    })
}

/// The patches of `dy` that the pixels of `phase` read.
fn patches(g: &Conv2d, phase: &[Residue; 2]) -> Patches {
    let taps = phase.map(|axis| int(axis.taps));
    Patches {
        images: int(g.n),
        h: int(g.oh()),
        w: int(g.ow()),
        c: int(g.o),
        rows: int(phase[0].count),
        columns: int(phase[1].count),
        // Pixels that no tap reaches have an empty reduction. The kernel divides by the taps along the width.
        taps: if taps.contains(&0) { [0, 1] } else { taps },
        stride: [1, 1],
        tap: phase.map(|axis| -int(axis.distance)),
        first: phase.map(|axis| axis.origin as i32),
        channels: int(g.o / g.groups),
        out: [int(g.h), int(g.w)],
        step: g.stride.map(int),
        start: phase.map(|axis| int(axis.first)),
    }
}
