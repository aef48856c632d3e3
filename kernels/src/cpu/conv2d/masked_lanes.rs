//! Training steps of a convolution whose mask leaves zeros between live filters and channels, in row lanes: lists of
//! nonzero weights are packed for each call, and only their products are computed.
//!
//! ```text
//!   y  = x  ∗ w         lists [O]: filter o reads channel c by tap k
//!   dx = dy ∗ w'        lists [C]: filter c reads channel o by tap taps − 1 − k      (stride 1)
//!   dw = dy · x         lists [O]: a dot product for each nonzero weight
//! ```

use super::Epilogue;
use super::choice::Choice;
use super::estimate;
use super::image_rows::ImageRows;
use super::winograd::{Tiling, weight_grad_pays};
use crate::cpu::Cpu;
use crate::cpu::device::shared::Shared;
use crate::cpu::lanes::{self, Estimate, ImageLayouts, LaneWeightGrad, Product, RowLanes, Rows};
use crate::pattern::Pattern;
use crate::shapes::Conv2d;

/// The cost of listing weights for one call, for each weight and for each nonzero one, in fused multiply-adds of one
/// vector.
const LIST_WEIGHT: f64 = 3.5;
const LIST_ENTRY: f64 = 25.0;
/// The cost of storing the gradient of a nonzero weight.
const STORE_ENTRY: f64 = 20.0;
/// Row lanes are chosen if their estimate is below this fraction of that of the dense call.
const BELOW_DENSE: f64 = 0.8;
/// The time of the dense weight gradient by Winograd's algorithm is at least this multiple of that of its products.
const WEIGHT_GRAD: f64 = 1.25;

/// A convolution in row lanes of which only one call has these weights.
pub(super) struct LaneStep<'a> {
    g: Conv2d,
    pattern: &'a Pattern,
    lanes: RowLanes,
}

impl<'a> LaneStep<'a> {
    /// The forward pass, if it is estimated to be faster than `dense`, the convolution of the live channels.
    pub fn forward(cpu: &Cpu, g: &Conv2d, dense: &Conv2d, pattern: &'a Pattern) -> Option<Self> {
        let step = applies(cpu, g, pattern).then(|| Self::new(cpu, g, pattern))?;
        let time = time(cpu, g, pattern, &step.lanes.estimate(g, [false; 2]));
        (time < BELOW_DENSE * Choice::dense_call(cpu, dense)).then_some(step)
    }

    /// The gradient with respect to the input of a convolution `g` of stride 1, if it is estimated to be faster than
    /// that of `dense`.
    pub fn input_grad(cpu: &Cpu, g: &Conv2d, dense: &Conv2d, pattern: &'a Pattern) -> Option<Self> {
        let (g, dense) = (turned(g)?, turned(dense)?);
        // Turning a pattern around takes time, so ask first.
        applies(cpu, &g, pattern).then(|| Self::forward(cpu, &g, &dense, pattern.turned()))?
    }

    fn new(cpu: &Cpu, g: &Conv2d, pattern: &'a Pattern) -> Self {
        Self { g: *g, pattern, lanes: RowLanes::new(cpu, g, pattern, Rows::Joined) }
    }

    /// Computes the forward pass: `x` `[N, H, W, C]`, `w` `[O, KH, KW, C]` → `y` `[N, OH, OW, O]`.
    pub fn run_forward(&self, cpu: &Cpu, [x, w]: [&[f32]; 2], bias: Option<&[f32]>, y: &mut [f32]) {
        let filter = self.g.w_len() / self.g.o;
        self.run(cpu, x, |o, position| w[o * filter + position], bias, y);
    }

    /// Computes the gradient with respect to the input: `dy` `[N, OH, OW, O]`, `w` `[O, KH, KW, C]` → `dx`
    /// `[N, H, W, C]`.
    pub fn run_input_grad(&self, cpu: &Cpu, dy: &[f32], w: &[f32], dx: &mut [f32]) {
        let Conv2d { kh, kw, c: o, o: c, .. } = self.g;
        let taps = kh * kw;
        let weight = |channel: usize, position: usize| {
            let (tap, filter) = (taps - 1 - position / o, position % o);
            w[(filter * taps + tap) * c + channel]
        };
        self.run(cpu, dy, weight, None, dx);
    }

    fn run(
        &self,
        cpu: &Cpu,
        x: &[f32],
        weight: impl Fn(usize, usize) -> f32 + Sync,
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) {
        let Self { g, pattern, lanes } = self;
        let mut scratch = cpu.scratch(lanes.len() + g.c);
        let (packed, zeros) = scratch.split_at_mut(lanes.len());
        lanes.pack(cpu, pattern, weight, packed);
        zeros.fill(0.0);
        let epilogue = Epilogue { bias, ..Default::default() };
        let layouts = ImageLayouts::default();
        lanes.run(
            cpu,
            g,
            &ImageRows::all(g),
            &Product { x, zeros, packed, epilogue, layouts },
            Shared::new(y),
        );
    }
}

/// The gradient with respect to the nonzero weights in row lanes, if it is estimated to be faster than that of `dense`.
pub(super) fn weight_grad<'a>(
    cpu: &Cpu,
    g: &Conv2d,
    dense: &Conv2d,
    pattern: &'a Pattern,
) -> Option<LaneWeightGrad<'a>> {
    let product = applies(cpu, g, pattern).then(|| LaneWeightGrad::new(cpu, g, pattern))?;
    let stored = STORE_ENTRY * estimate::lanes(cpu) * pattern.nonzeros() as f64;
    (time(cpu, g, pattern, &product.estimate()) + stored < dense_weight_grad(dense)).then_some(product)
}

/// Whether row lanes apply to a step of `g`.
fn applies(cpu: &Cpu, g: &Conv2d, pattern: &Pattern) -> bool {
    !cpu.is_strict() && lanes::refuses(g, pattern).is_none()
}

/// The estimated time of a call, in multiply-accumulates: the product, and the lists that are packed for it.
fn time(cpu: &Cpu, g: &Conv2d, pattern: &Pattern, product: &Estimate) -> f64 {
    let lists = LIST_WEIGHT * g.w_len() as f64 + LIST_ENTRY * pattern.nonzeros() as f64;
    (product.products + product.fixed + lists) * estimate::lanes(cpu)
}

/// The estimated time of the dense weight gradient of `g`, in multiply-accumulates; a lower bound.
fn dense_weight_grad(g: &Conv2d) -> f64 {
    if weight_grad_pays(g) {
        return WEIGHT_GRAD * (Tiling::F4.points() * Tiling::F4.tiles(g) * g.c * g.o) as f64;
    }
    (g.y_len() * (g.w_len() / g.o)) as f64
}

/// The convolution of `dy` that computes the gradient of the input of `g`, if that is one convolution.
fn turned(g: &Conv2d) -> Option<Conv2d> {
    let padding = |axis: usize, kernel: usize| (g.dilation[axis] * (kernel - 1)).checked_sub(g.padding[axis]);
    let padding = [padding(0, g.kh)?, padding(1, g.kw)?];
    let [h, w] = [g.oh(), g.ow()];
    let even = g.stride == [1; 2] && g.groups == 1 && g.extra_padding == [0; 2];
    even.then_some(Conv2d { h, w, c: g.o, o: g.c, padding, ..*g })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;
    use crate::reference;

    /// Small integers, of which sums are exact.
    fn integers(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7 + seed * 13 + i / 5) % 11) as f32 - 5.0).collect()
    }

    /// A mask with about one weight in `each`, whose first filter and second channel are dead.
    fn mask(g: &Conv2d, each: usize) -> Vec<f32> {
        let [_, taps, c] = g.filters_shape();
        let live = |i: usize| i >= taps * c && i % c != 1 && (i * 31 + i / 17).is_multiple_of(each);
        (0..g.w_len()).map(|i| f32::from(live(i))).collect()
    }

    #[test]
    fn steps_equal_those_of_a_dense_weight() {
        let square = |image, o, kernel, padding| Conv2d::square(image, o, kernel, 1, padding);
        let shapes = [
            square([3, 5, 7, 6], 5, 3, 1),
            square([2, 4, 4, 33], 9, 3, 1),
            square([1, 9, 20, 4], 3, 3, 0),
            square([2, 3, 3, 8], 17, 1, 0),
            square([2, 6, 6, 5], 4, 3, 2),
            square([5, 4, 4, 40], 7, 3, 1),
            square([1, 3, 300, 3], 4, 3, 1),
            square([9, 7, 7, 6], 3, 3, 1),
            Conv2d { dilation: [2, 1], padding: [2, 1], ..square([2, 8, 8, 4], 6, 3, 1) },
        ];
        // Miri would take minutes for all of them.
        let count = if cfg!(miri) { 1 } else { shapes.len() };
        for (g, each) in shapes.into_iter().take(count).flat_map(|g| [2, 9].map(|each| (g, each))) {
            let mask = mask(&g, each);
            let pattern = Pattern::of(&mask, g.filters_shape());
            let (x, dy, bias) = (integers(g.x_len(), 1), integers(g.y_len(), 2), integers(g.o, 3));
            let w: Vec<f32> = integers(g.w_len(), 4).iter().zip(&mask).map(|(w, m)| w * m).collect();
            let (mut y_want, mut dx_want) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()]);
            let mut dw_want = vec![0.0; g.w_len()];
            reference::conv2d_forward(&g, &x, &w, Some(&bias), &mut y_want);
            reference::conv2d_input_grad(&g, &dy, &w, &mut dx_want);
            reference::conv2d_weight_grad(&g, &x, &dy, &mut dw_want);
            dw_want.iter_mut().zip(&mask).for_each(|(dw, m)| *dw *= m);
            for isa in Isa::ALL {
                let Some(cpu) = Cpu::with_isa(isa) else { continue };
                let (mut y, mut dx) = (vec![f32::NAN; g.y_len()], vec![f32::NAN; g.x_len()]);
                LaneStep::new(&cpu, &g, &pattern).run_forward(&cpu, [&x, &w], Some(&bias), &mut y);
                let back = LaneStep::new(&cpu, &turned(&g).unwrap(), pattern.turned());
                back.run_input_grad(&cpu, &dy, &w, &mut dx);
                assert_eq!((y, dx), (y_want.clone(), dx_want.clone()), "{isa} {g:?}");
                for threads in [1, 3] {
                    let mut dw = vec![f32::NAN; g.w_len()];
                    let cpu = cpu.clone().threads(threads);
                    LaneWeightGrad::new(&cpu, &g, &pattern).run(&cpu, [&x, &dy], &mut dw);
                    assert_eq!(dw, dw_want, "{isa} {g:?} {threads} threads");
                }
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "large")]
    fn row_lanes_take_over_where_they_pay() {
        let cpu = Cpu::detect();
        let g = Conv2d::square([16, 16, 16, 128], 128, 3, 1, 1);
        let pays = |each| {
            let pattern = Pattern::of(&mask(&g, each), g.filters_shape());
            let steps =
                [LaneStep::forward, LaneStep::input_grad].map(|step| step(&cpu, &g, &g, &pattern).is_some());
            [steps[0], steps[1], weight_grad(&cpu, &g, &g, &pattern).is_some()]
        };
        assert_eq!((pays(1), pays(2), pays(20)), ([false; 3], [false; 3], [true; 3]));
        // A gradient across a stride has several convolutions.
        let strided = Conv2d { stride: [2; 2], ..g };
        let pattern = Pattern::of(&mask(&strided, 20), strided.filters_shape());
        assert!(LaneStep::input_grad(&cpu, &strided, &strided, &pattern).is_none());
    }
}
