//! Training steps of a convolution whose weight has a mask. A filter without weights gives its bias and contributes
//! nothing to the gradient of the input; an input channel that no filter reads gets none. Both are also absent from the
//! weight gradient, which is wanted only where the mask lives. What remains is a smaller dense convolution between copies
//! of channels:
//!
//! ```text
//!   x  [P, C]     ── live inputs ───▶ [P, C']     ┐
//!   w  [O, K, C]  ── both ──────────▶ [O', K, C'] ┴─ convolution ────▶ [P, O']     ── bias between ──▶ y
//!
//!   dy [P, O]     ── live filters ──▶ [P, O']     ┐
//!   w  [O, K, C]  ── both ──────────▶ [O', K, C'] ┴─ input gradient  ▶ [P, C']     ── zeros between ─▶ dx
//!   x  [P, C]     ── live inputs ───▶ [P, C']     ┐
//!                                     [P, O']     ┴─ weight gradient ▶ [O', K, C'] ── zeros between ─▶ dw
//! ```
//!
//! Zeros between live channels are left out in row lanes, if that is estimated to be faster ([`super::masked_lanes`]).
//!
//! A channel that is left out saves K·C (or K·O) products per pixel. A copy moves one float per pixel and channel, so it
//! pays unless few channels are dead or the kernel is 1×1 and narrow.

use super::Epilogue;
use super::gather::Gather;
use super::input_grad::conv2d_input_grad;
use super::masked_lanes::{self, LaneStep};
use super::packed::conv2d_forward;
use super::scatter::Scatter;
use super::weight_grad::conv2d_weight_grad;
use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::pattern::Pattern;
use crate::shapes::Conv2d;
use rayon::prelude::*;

/// The number of products that take as long as the copy of one float.
const COPY: usize = 16;

/// The convolution of live filters and input channels.
struct Live<'a> {
    g: Conv2d,
    /// Geometry without the dead channels.
    inner: Conv2d,
    filters: &'a [u32],
    inputs: &'a [u32],
}

impl<'a> Live<'a> {
    /// The live part of `g`, unless computing the whole takes less time. Groups of channels are computed whole.
    fn new(g: &Conv2d, pattern: &'a Pattern) -> Option<Self> {
        assert_eq!(pattern.shape(), g.filters_shape(), "the pattern is that of the weight");
        let (filters, inputs) = (pattern.filters(), pattern.inputs());
        let (o, c) = (filters.len(), inputs.len());
        let saved = (g.o * g.c - o * c) * g.kh * g.kw;
        let moved = if o < g.o { o } else { 0 } + if c < g.c { g.c } else { 0 };
        // No size of a geometry is 0.
        let inner = Conv2d { o: o.max(1), c: c.max(1), ..*g };
        (g.groups == 1 && saved > COPY * moved).then_some(Self { g: *g, inner, filters, inputs })
    }

    fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// The lengths of the temporary copies: of dy, of an image and of the weight.
    fn lens(&self) -> [usize; 3] {
        let dy = if self.filters.len() < self.g.o { self.inner.y_len() } else { 0 };
        let x = if self.inputs.len() < self.g.c { self.inner.x_len() } else { 0 };
        [dy, x, self.inner.w_len()]
    }

    /// The live filters' gradients, in `copy` unless all filters are live.
    fn dy<'b>(&self, cpu: &Cpu, dy: &'b [f32], copy: &'b mut [f32]) -> &'b [f32] {
        gather(cpu, self.filters, self.g.o, dy, copy)
    }

    /// Copies the weights of live filters and input channels from `w`.
    fn copy_weight(&self, cpu: &Cpu, w: &[f32], copy: &mut [f32]) {
        let (c, width) = (self.inputs.len(), self.g.c);
        let (live, filter) = (self.inner.w_len() / self.inner.o, self.g.w_len() / self.g.o);
        cpu.run(|| {
            copy.par_chunks_exact_mut(live).zip(self.filters).for_each(|(copy, &at)| {
                let taps = w[at as usize * filter..][..filter].chunks_exact(width);
                copy.chunks_exact_mut(c).zip(taps).for_each(|(to, from)| pick(self.inputs, from, to));
            });
        });
    }

    /// Writes the gradients of live weights to their places in `dw`, with zeros between.
    fn place_weight(&self, cpu: &Cpu, gradients: &[f32], dw: &mut [f32]) {
        let (c, width) = (self.inputs.len(), self.g.c);
        let (live, filter) = (self.inner.w_len() / self.inner.o, self.g.w_len() / self.g.o);
        cpu.run(|| {
            dw.par_chunks_exact_mut(filter).enumerate().for_each(|(o, dw)| {
                let Ok(at) = self.filters.binary_search(&(o as u32)) else { return dw.fill(0.0) };
                let taps = gradients[at * live..][..live].chunks_exact(c);
                for (to, from) in dw.chunks_exact_mut(width).zip(taps) {
                    if c < width {
                        to.fill(0.0);
                    }
                    place(self.inputs, from, to);
                }
            });
        });
    }
}

/// Whether dead filters or input channels of `g` are worth leaving out although the weights of the others are copied twice,
/// to be dense and to be packed, and only few pixels read them.
pub(in crate::cpu) fn leaves_out(g: &Conv2d, pattern: &Pattern) -> bool {
    Live::new(g, pattern).is_some_and(|live| {
        let pixels = g.y_len() / g.o;
        let (all, left) = (g.w_len(), live.inner.w_len());
        pixels * (all - left) > COPY * (pixels * (g.o + g.c) + 2 * left)
    })
}

/// The dense convolution that computes `g`: that of its live part, if there is one.
fn dense<'a>(g: &'a Conv2d, live: &'a Option<Live>) -> &'a Conv2d {
    live.as_ref().map_or(g, |live| &live.inner)
}

/// Computes a convolution whose weight `w` is zero outside `pattern`; shapes are as for [`conv2d_forward`].
pub fn conv2d_masked_forward(
    cpu: &Cpu,
    g: &Conv2d,
    pattern: &Pattern,
    [x, w]: [&[f32]; 2],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    assert_eq!(
        (x.len(), w.len(), y.len()),
        (g.x_len(), g.w_len(), g.y_len()),
        "slices have their shapes' lengths"
    );
    assert!(bias.is_none_or(|bias| bias.len() == g.o), "the bias has one value per filter");
    let live = Live::new(g, pattern);
    if let Some(step) = LaneStep::forward(cpu, g, dense(g, &live), pattern) {
        return step.run_forward(cpu, [x, w], bias, y);
    }
    let Some(live) = live else { return conv2d_forward(cpu, g, x, w, bias, y) };
    let [y_len, x_len, w_len] = live.lens();
    let mut scratch = cpu.scratch(y_len + x_len + w_len + 2 * g.o);
    let (y_copy, rest) = scratch.split_at_mut(y_len);
    let (x_copy, rest) = rest.split_at_mut(x_len);
    let (w_copy, rest) = rest.split_at_mut(w_len);
    let (dead, live_bias) = rest.split_at_mut(g.o);
    match bias {
        // As if zeros were summed, which turns a bias of -0.0 into 0.0.
        Some(bias) => dead.iter_mut().zip(bias).for_each(|(dead, bias)| *dead = 0.0 + bias),
        None => dead.fill(0.0),
    }
    let scatter = Scatter::new(live.filters, Some(dead), g.o);
    if let (Some(scatter), true) = (&scatter, live.is_empty()) {
        return scatter.fill_all(cpu, &Epilogue::default(), Shared::new(y));
    }
    let live_bias = &mut live_bias[..live.filters.len()];
    pick(live.filters, dead, live_bias);
    let x = gather(cpu, live.inputs, g.c, x, x_copy);
    live.copy_weight(cpu, w, w_copy);
    let bias = bias.is_some().then_some(&*live_bias);
    match scatter {
        None => conv2d_forward(cpu, &live.inner, x, w_copy, bias, y),
        Some(scatter) => {
            conv2d_forward(cpu, &live.inner, x, w_copy, bias, y_copy);
            scatter.rows(cpu, y_copy, y);
        }
    }
}

/// Computes the gradient with respect to the input of a convolution whose weight `w` is zero outside `pattern`; shapes
/// are as for [`conv2d_input_grad`].
pub fn conv2d_masked_input_grad(
    cpu: &Cpu,
    g: &Conv2d,
    pattern: &Pattern,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
) {
    assert_eq!(
        (dy.len(), w.len(), dx.len()),
        (g.y_len(), g.w_len(), g.x_len()),
        "slices have their shapes' lengths"
    );
    let live = Live::new(g, pattern);
    if let Some(step) = LaneStep::input_grad(cpu, g, dense(g, &live), pattern) {
        return step.run_input_grad(cpu, dy, w, dx);
    }
    let Some(live) = live else { return conv2d_input_grad(cpu, g, dy, w, dx) };
    if live.is_empty() {
        return dx.fill(0.0);
    }
    let [dy_len, dx_len, w_len] = live.lens();
    let mut scratch = cpu.scratch(dy_len + dx_len + w_len);
    let (dy_copy, rest) = scratch.split_at_mut(dy_len);
    let (dx_copy, w_copy) = rest.split_at_mut(dx_len);
    let dy = live.dy(cpu, dy, dy_copy);
    live.copy_weight(cpu, w, w_copy);
    match Scatter::new(live.inputs, None, g.c) {
        None => conv2d_input_grad(cpu, &live.inner, dy, w_copy, dx),
        Some(scatter) => {
            conv2d_input_grad(cpu, &live.inner, dy, w_copy, dx_copy);
            scatter.rows(cpu, dx_copy, dx);
        }
    }
}

/// Computes the gradient with respect to the nonzero weights of `pattern`, with zeros elsewhere; shapes are as for
/// [`conv2d_weight_grad`].
pub fn conv2d_masked_weight_grad(
    cpu: &Cpu,
    g: &Conv2d,
    pattern: &Pattern,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    assert_eq!(
        (x.len(), dy.len(), dw.len()),
        (g.x_len(), g.y_len(), g.w_len()),
        "slices have their shapes' lengths"
    );
    let live = Live::new(g, pattern);
    if let Some(step) = masked_lanes::weight_grad(cpu, g, dense(g, &live), pattern) {
        return step.run(cpu, [x, dy], dw);
    }
    match live {
        None => conv2d_weight_grad(cpu, g, x, dy, dw),
        Some(live) if live.is_empty() => return dw.fill(0.0),
        Some(live) => {
            let [dy_len, x_len, dw_len] = live.lens();
            let mut scratch = cpu.scratch(dy_len + x_len + dw_len);
            let (dy_copy, rest) = scratch.split_at_mut(dy_len);
            let (x_copy, dw_copy) = rest.split_at_mut(x_len);
            let dy = live.dy(cpu, dy, dy_copy);
            let x = gather(cpu, live.inputs, g.c, x, x_copy);
            conv2d_weight_grad(cpu, &live.inner, x, dy, dw_copy);
            live.place_weight(cpu, dw_copy, dw);
        }
    }
    clear_dead(cpu, pattern, dw);
}

/// Zeroes the gradients in `dw` of weights that are zero.
pub(in crate::cpu) fn clear_dead(cpu: &Cpu, pattern: &Pattern, dw: &mut [f32]) {
    if pattern.nonzeros() == dw.len() {
        return;
    }
    let [o, ..] = pattern.shape();
    let filter_len = dw.len() / o;
    cpu.run(|| {
        dw.par_chunks_exact_mut(filter_len).enumerate().for_each(|(filter, dw)| {
            for (i, dw) in dw.chunks_mut(32).enumerate() {
                match pattern.live_bits(filter, 32 * i, dw.len()) {
                    0 => dw.fill(0.0),
                    live if live.count_ones() as usize == dw.len() => {}
                    live => {
                        let dead = dw.iter_mut().enumerate().filter(|(i, _)| live >> i & 1 == 0);
                        dead.for_each(|(_, dw)| *dw = 0.0);
                    }
                }
            }
        });
    });
}

/// The channels `live` of `from` `[P, width]`: itself if all are live, otherwise a copy.
fn gather<'a>(cpu: &Cpu, live: &[u32], width: usize, from: &'a [f32], copy: &'a mut [f32]) -> &'a [f32] {
    let Some(gather) = Gather::new(live, false, width) else { return from };
    gather.run_all(cpu, from, copy);
    copy
}

/// Copies the values `live` of `from`.
fn pick(live: &[u32], from: &[f32], to: &mut [f32]) {
    if live.len() == from.len() {
        return to.copy_from_slice(from);
    }
    to.iter_mut().zip(live).for_each(|(to, &i)| *to = from[i as usize]);
}

/// Writes `from` to the places `live` of `to`.
fn place(live: &[u32], from: &[f32], to: &mut [f32]) {
    if live.len() == to.len() {
        return to.copy_from_slice(from);
    }
    from.iter().zip(live).for_each(|(&from, &i)| to[i as usize] = from);
}
