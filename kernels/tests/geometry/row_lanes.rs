//! Convolution in row lanes, with every pattern of zeros.

use crate::cases::run;
use crate::convolution::{Tail, another_image, by_filter, conv2d, mask};
use crate::draw::{filled, wanted};
use crate::support::{CPUS, assert_bounded, magnitude, wide};
use lopper_kernels::cpu::{self, Algorithm, PackedConv2d, Packing, Weights};
use lopper_kernels::pattern::Pattern;
use lopper_kernels::reference;
use lopper_kernels::shapes::Conv2d;

#[test]
fn row_lanes() {
    run("row_lanes", 120, |draw| {
        let mut g = conv2d(draw);
        if draw.one_in(2) {
            // The common cases: 3×3 with one pixel of padding, and a single pixel.
            let k = draw.pick(&[1, 3, 3]);
            g = Conv2d::square(g.x_shape(), g.o, k, draw.between(1..=2), k / 2);
        }
        let integers = draw.one_in(2);
        let mask = mask(draw, &g);
        let pattern = Pattern::of(&mask, g.filters_shape());
        let packed_for = if draw.one_in(3) { another_image(draw, &g) } else { g };
        draw.about(format_args!("{g:?} packed for {packed_for:?}, integers: {integers}, {pattern}"));
        let x = draw.values(integers, g.x_len());
        let mut w = draw.values(integers, g.w_len());
        w.iter_mut().zip(&mask).for_each(|(w, mask)| *w *= mask);
        let tail = Tail::draw(draw, integers, &g);
        let forward = |of: fn(&[f32]) -> Vec<f64>| {
            let (bias, x, w) = (tail.bias().map(of), of(&x), of(&w));
            wanted(g.y_len(), |y| reference::conv2d_forward(&g, &x, &w, bias.as_deref(), y))
        };
        let (mut want, mut sums) = (forward(wide), forward(magnitude));
        tail.finish(&mut want, &mut sums);
        let packing = draw.pick(&[
            Packing::By(Algorithm::RowLanes),
            Packing::InLanes(Weights::Cache),
            Packing::Fastest(Weights::Cache),
        ]);
        for cpu in &*CPUS {
            let packed = PackedConv2d::masked(cpu, &packed_for, &w, &pattern, packing);
            let exact = matches!(packed.choice().algorithm, Algorithm::Direct | Algorithm::RowLanes);
            let (constant, mut sums) = (if exact { 2.0 } else { 8.0 }, sums.clone());
            if !exact {
                by_filter(&g, &mut sums);
            }
            let y = filled(g.y_len(), |y| {
                cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &tail.epilogue(), y);
            });
            let constant = if exact && integers { 0.0 } else { constant };
            assert_bounded(packed.kernel(), constant, g.w_len() / g.o + 2, &y, &want, &sums);
        }
    });
}
