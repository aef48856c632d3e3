//! The gradient of the input: one product for each remainder of the pixels modulo the stride.
//!
//! Input row `h` is read by output row `i` through tap `k` where `i·s + k·d = h + p`. So of the rows `h = a + s·j` of one
//! remainder `a`, all are reached by the same taps, those with `k·d ≡ a + p` modulo `s`: every `s / gcd(s, d)`-th from
//! the first, `k₀`, on. Through the `t`-th of them row `j` reads
//!
//! ```text
//!   i = (a + s·j + p − k·d) / s = j + (a + p − k₀·d) / s − t · d / gcd(s, d)
//! ```
//!
//! which are patches of `dy` with a step of 1 and taps that step backwards. No product is wasted, and no image is spread.

use super::tiles::{Plan, in_parts, kernel};
use super::{Convolution, Patches, check, depthwise, int};
use crate::cuda::error::Result;
use crate::cuda::source::CONV2D_F32;
use crate::cuda::{Cuda, DeviceBuffer, Epilogue};
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
    let phases: Vec<[Axis; 2]> =
        axes(g, 0).flat_map(|vertical| axes(g, 1).map(move |horizontal| [vertical, horizontal])).collect();
    let (filters, channels) = (g.o / g.groups, g.c / g.groups);
    let pixels = |phase: &[Axis; 2]| g.n * phase[0].count * phase[1].count;
    // The first remainder has the most pixels; the average number of taps stands for all.
    let taps = (g.kh * g.kw).div_ceil(phases.len());
    let plan = Plan::new(cuda, g.groups, pixels(&phases[0]), channels, taps * filters);
    in_parts(cuda, plan.splits, g.c, Epilogue::default().arg(), dx, |dx, end| {
        for phase in &phases {
            let convolution = Convolution {
                p: patches(g, phase),
                groups: int(g.groups),
                splits: int(plan.splits),
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
            let name = kernel!(plan.tile, "conv2d_input_grad");
            let grid = plan.grid(g.groups, pixels(phase), channels);
            // SAFETY: the taps lie inside the weight and the pixels inside dx by the equation above; what they would
            // read outside of dy is not read. The buffers have the lengths of their shapes (asserted).
            unsafe { cuda.launch(&CONV2D_F32, name, grid, &[(&[convolution]).into()])? };
        }
        Ok(())
    })
}

/// The pixels of one remainder along one axis, and the taps that reach them.
#[derive(Clone, Copy)]
struct Axis {
    remainder: usize,
    /// Pixels.
    count: usize,
    first_tap: usize,
    tap_step: usize,
    taps: usize,
    /// The output that the first pixel reads through the first tap; may lie outside.
    first: i32,
    /// Outputs from tap to tap, backwards.
    distance: usize,
}

/// The remainders along axis 0 (height) or 1 (width) that some pixel has.
fn axes(g: &Conv2d, axis: usize) -> impl Iterator<Item = Axis> {
    let (size, kernel) = ([g.h, g.w][axis], [g.kh, g.kw][axis]);
    let (stride, dilation, padding) = (g.stride[axis], g.dilation[axis], g.padding[axis]);
    let divisor = gcd(stride, dilation);
    (0..stride.min(size)).map(move |remainder| {
        let position = remainder + padding;
        let first = (0..kernel).find(|tap| tap * dilation % stride == position % stride);
        let (tap_step, first_tap) = (stride / divisor, first.unwrap_or(0));
        Axis {
            remainder,
            count: (size - remainder).div_ceil(stride),
            first_tap,
            tap_step,
            taps: first.map_or(0, |first| (kernel - first).div_ceil(tap_step)),
            first: (int(position) - int(first_tap * dilation)).div_euclid(int(stride)),
            distance: dilation / divisor,
        }
    })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The patches of `dy` that the pixels of `phase` read.
fn patches(g: &Conv2d, phase: &[Axis; 2]) -> Patches {
    let taps = phase.map(|axis| int(axis.taps));
    Patches {
        images: int(g.n),
        h: int(g.oh()),
        w: int(g.ow()),
        c: int(g.o),
        rows: int(phase[0].count),
        columns: int(phase[1].count),
        // Pixels that no tap reaches have a reduction of no steps. The kernel divides by the taps along the width.
        taps: if taps.contains(&0) { [0, 1] } else { taps },
        stride: [1, 1],
        tap: phase.map(|axis| -int(axis.distance)),
        first: phase.map(|axis| axis.first),
        channels: int(g.o / g.groups),
        out: [int(g.h), int(g.w)],
        step: g.stride.map(int),
        start: phase.map(|axis| int(axis.remainder)),
    }
}
