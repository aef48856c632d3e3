//! Masked and compact convolution.

use crate::cases::run;
use crate::convolution::{
    Tail, by_filter, by_pair, constant, constant_of, conv2d, packing, winograd_applies,
};
use crate::draw::{Draw, filled, wanted};
use crate::support::{CPUS, assert_bounded, magnitude, wide};
use lopper_kernels::cpu::{self, Algorithm, Cpu, PackedConv2d};
use lopper_kernels::params::CompactIndex;
use lopper_kernels::pattern::Pattern;
use lopper_kernels::reference;
use lopper_kernels::shapes::Conv2d;

/// Draws which of `len` channels are live: some, sometimes none or all.
fn live(draw: &mut Draw, len: usize) -> Vec<bool> {
    match draw.between(0..=9) {
        0 => vec![false; len],
        1 => vec![true; len],
        _ => draw.flags(len),
    }
}

/// Sets dead filters, and kernels that blocks of filters share, to zero.
fn zero_kernels(draw: &mut Draw, g: &Conv2d, live: &[bool], w: &mut [f32]) {
    let (block, channels) = (draw.pick(&[1, 8, 16]), g.c / g.groups);
    let zero = draw.flags(g.o.div_ceil(block) * channels);
    for (i, weight) in w.iter_mut().enumerate() {
        let (filter, channel) = (i / (g.w_len() / g.o), i % channels);
        if !live[filter] || zero[filter / block * channels + channel] {
            *weight = 0.0;
        }
    }
}

#[test]
fn masked_convolution() {
    run("masked_convolution", 80, |draw| {
        let g = conv2d(draw);
        let (packing, constant) = packing(draw, &g);
        let integers = draw.one_in(2);
        let live = live(draw, g.o);
        draw.about(format_args!("{packing:?} of {g:?}, integers: {integers}, live {live:?}"));
        let (x, mut w) = (draw.values(integers, g.x_len()), draw.values(integers, g.w_len()));
        let kernels = draw.one_in(2);
        if kernels {
            zero_kernels(draw, &g, &live, &mut w);
        }
        let tail = Tail::draw(draw, integers, &g);
        let forward = |of: fn(&[f32]) -> Vec<f64>| {
            let (bias, x, w) = (tail.bias().map(of), of(&x), of(&w));
            wanted(g.y_len(), |y| reference::conv2d_masked_forward(&g, &x, &w, bias.as_deref(), &live, y))
        };
        let (mut want, mut sums) = (forward(wide), forward(magnitude));
        tail.finish(&mut want, &mut sums);
        let pattern = match kernels {
            true => Pattern::of(&w, g.filters_shape()),
            false => Pattern::of_filters(&live, g.filters_shape()),
        };
        for cpu in &*CPUS {
            let packed = PackedConv2d::masked(cpu, &g, &w, &pattern, packing);
            let y = filled(g.y_len(), |y| {
                cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &tail.epilogue(), y);
            });
            check(&g, &packed, integers, constant, &y, [&want, &sums]);
        }
    });
}

#[test]
fn compact_convolution() {
    run("compact_convolution", 80, |draw| {
        let g = Conv2d { groups: 1, ..conv2d(draw) };
        let (packing, constant) = packing(draw, &g);
        let integers = draw.one_in(2);
        let positions =
            |flags: Vec<bool>| (0..).zip(flags).filter_map(|(i, live)| live.then_some(i)).collect();
        let (inputs, outputs) = (positions(live(draw, g.c)), positions(live(draw, g.o)));
        let index = CompactIndex { inputs, outputs, carrier: draw.one_in(2) };
        draw.about(format_args!("{packing:?} of {g:?}, integers: {integers}, {index:?}"));
        let inner = index.inputs.len() + usize::from(index.carrier);
        let x = draw.values(integers, g.x_len());
        let w = draw.values(integers, index.outputs.len() * g.kh * g.kw * inner);
        let fill = draw.values(integers, g.o);
        let tail = Tail::draw(draw, integers, &g);
        let forward = |of: fn(&[f32]) -> Vec<f64>| {
            let (bias, x, w, fill) = (tail.bias().map(of), of(&x), of(&w), of(&fill));
            wanted(g.y_len(), |y| {
                reference::conv2d_compact_forward(&g, &x, &index, &w, &fill, bias.as_deref(), y);
            })
        };
        let (mut want, mut sums) = (forward(wide), forward(magnitude));
        tail.finish(&mut want, &mut sums);
        for cpu in &*CPUS {
            let packed = PackedConv2d::compact(cpu, &g, &index, &w, &fill, packing);
            let y = filled(g.y_len(), |y| {
                cpu::conv2d_forward_packed(cpu, &g, &x, &packed, &tail.epilogue(), y);
            });
            check(&g, &packed, integers, constant, &y, [&want, &sums]);
        }
    });
}

/// The zeros of a weight and its mask: dead filters, dead inputs, and perhaps single zeros between.
fn masked(draw: &mut Draw, g: &Conv2d) -> (Pattern, Vec<f32>) {
    let [o, taps, c] = g.filters_shape();
    let (filters, inputs) = (live(draw, o), live(draw, c));
    let single = if draw.one_in(3) { draw.flags(g.w_len()) } else { vec![true; g.w_len()] };
    let kept = |i: usize| filters[i / (taps * c)] && inputs[i % c] && single[i];
    let mask: Vec<f32> = (0..g.w_len()).map(|i| f32::from(kept(i))).collect();
    (Pattern::of(&mask, g.filters_shape()), mask)
}

/// A training step of a weight with dead filters, dead inputs, and perhaps single zeros between: forward, and both
/// gradients.
#[test]
fn masked_training() {
    run("masked_training", 120, |draw| {
        let g = conv2d(draw);
        let integers = !winograd_applies(&g) && draw.one_in(2);
        let [_, taps, c] = g.filters_shape();
        let (pattern, mask) = masked(draw, &g);
        draw.about(format_args!("{g:?}, integers: {integers}, {pattern:?}"));
        let (x, dy) = (draw.values(integers, g.x_len()), draw.values(integers, g.y_len()));
        let mut w = draw.values(integers, g.w_len());
        w.iter_mut().zip(&mask).for_each(|(w, m)| *w *= m);
        let bias = draw.one_in(2).then(|| draw.values(integers, g.o));
        let forward = |of: fn(&[f32]) -> Vec<f64>| {
            let bias = bias.as_deref().map(of);
            wanted(g.y_len(), |y| reference::conv2d_forward(&g, &of(&x), &of(&w), bias.as_deref(), y))
        };
        let input_grad = |of: fn(&[f32]) -> Vec<f64>| {
            wanted(g.x_len(), |dx| reference::conv2d_input_grad(&g, &of(&dy), &of(&w), dx))
        };
        let dead = |i: usize| !pattern.is_live(i / (taps * c), i % (taps * c));
        let weight_grad = |of: fn(&[f32]) -> Vec<f64>| {
            let mut dw = wanted(g.w_len(), |dw| reference::conv2d_weight_grad(&g, &of(&x), &of(&dy), dw));
            dw.iter_mut().enumerate().filter(|(i, _)| dead(*i)).for_each(|(_, dw)| *dw = 0.0);
            dw
        };
        let (y_want, mut y_sums) = (forward(wide), forward(magnitude));
        let (dx_want, mut dx_sums) = (input_grad(wide), input_grad(magnitude));
        let (dw_want, mut dw_sums) = (weight_grad(wide), weight_grad(magnitude));
        if winograd_applies(&g) {
            by_filter(&Conv2d { o: g.c, ..g }, &mut dx_sums);
            by_pair(&g, &mut dw_sums);
            by_filter(&g, &mut y_sums);
        }
        let constant = constant(&g, integers);
        for cpu in &*CPUS {
            let step = |cpu: &Cpu| {
                let y = filled(g.y_len(), |y| {
                    cpu::conv2d_masked_forward(cpu, &g, &pattern, [&x, &w], bias.as_deref(), y);
                });
                let dx =
                    filled(g.x_len(), |dx| cpu::conv2d_masked_input_grad(cpu, &g, &pattern, &dy, &w, dx));
                let dw =
                    filled(g.w_len(), |dw| cpu::conv2d_masked_weight_grad(cpu, &g, &pattern, &x, &dy, dw));
                (y, dx, dw)
            };
            let (y, dx, dw) = step(cpu);
            let isa = cpu.isa();
            assert_bounded(&format!("{isa} y"), constant, taps * c + 1, &y, &y_want, &y_sums);
            assert_bounded(&format!("{isa} dx"), constant, taps * g.o, &dx, &dx_want, &dx_sums);
            assert_bounded(&format!("{isa} dw"), constant, g.y_len() / g.o, &dw, &dw_want, &dw_sums);
            assert!(dw.iter().enumerate().all(|(i, &dw)| !dead(i) || dw.to_bits() == 0), "{isa} dead dw");
            let more = step(&cpu.clone().threads(3));
            assert!(
                y[..] == more.0[..] && dx[..] == more.1[..] && dw[..] == more.2[..],
                "{isa}: three threads"
            );
        }
    });
}

/// Checks an output; integers computed directly must be exact.
fn check(
    g: &Conv2d,
    packed: &PackedConv2d,
    integers: bool,
    constant: f64,
    y: &[f32],
    [want, sums]: [&[f64]; 2],
) {
    let (direct, mut sums) = (packed.choice().algorithm == Algorithm::Direct, sums.to_vec());
    if !direct {
        by_filter(g, &mut sums);
    }
    let constant = constant_of(packed, integers, constant);
    assert_bounded(packed.kernel(), constant, g.kh * g.kw * (g.c / g.groups + 1) + 2, y, want, &sums);
}
