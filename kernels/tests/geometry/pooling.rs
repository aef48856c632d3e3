//! Pooling over fixed and adaptive windows, forward and backward.

use crate::cases::run;
use crate::draw::{Draw, filled, wanted};
use crate::support::{CPUS, assert_bounded, magnitude, wide};
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::reference;
use lopper_kernels::shapes::{AdaptivePool2d, Pool2d};

fn pool2d(draw: &mut Draw) -> Pool2d {
    loop {
        let kernel = [draw.between(1..=4), draw.between(1..=4)];
        let g = Pool2d {
            n: draw.between(1..=3),
            h: draw.between(1..=14),
            w: draw.between(1..=14),
            c: draw.between(1..=50),
            kernel,
            stride: [draw.between(1..=6), draw.between(1..=6)],
            padding: kernel.map(|k| draw.between(0..=k / 2)),
            ceil_mode: draw.one_in(2),
            count_include_pad: draw.one_in(2),
        };
        if g.check().is_ok() {
            return g;
        }
    }
}

/// Checks the sums of a mean's gradients; a pixel may get as many gradients as there are windows.
fn check(cpu: &Cpu, windows: usize, got: &[f32], want: &[f64], sums: &[f64]) {
    assert_bounded(&cpu.isa().to_string(), 2.0, windows, got, want, sums);
}

#[test]
fn pooling_of_fixed_windows() {
    run("pooling_of_fixed_windows", 40, |draw| {
        let g = pool2d(draw);
        draw.about(format_args!("{g:?}"));
        let (x, dy) = (draw.integers(g.x_len()), draw.reals(g.y_len()));
        let max = filled(g.y_len(), |y| reference::max_pool2d_forward(&g, &x, y));
        let max_dx = filled(g.x_len(), |dx| reference::max_pool2d_input_grad(&g, &x, &dy, dx));
        let mean =
            |of: fn(&[f32]) -> Vec<f64>| wanted(g.y_len(), |y| reference::avg_pool2d_forward(&g, &of(&x), y));
        let mean_dx = |of: fn(&[f32]) -> Vec<f64>| {
            wanted(g.x_len(), |dx| reference::avg_pool2d_input_grad(&g, &of(&dy), dx))
        };
        for cpu in &*CPUS {
            assert_eq!(filled(g.y_len(), |y| cpu::max_pool2d_forward(cpu, &g, &x, y))[..], max[..]);
            let dx = filled(g.x_len(), |dx| cpu::max_pool2d_input_grad(cpu, &g, &x, &dy, dx));
            assert_eq!(dx[..], max_dx[..]);
            let mut winners = filled(g.y_len(), |_| ());
            let y = filled(g.y_len(), |y| cpu::max_pool2d_with_winners(cpu, &g, &x, y, &mut winners));
            assert_eq!(y[..], max[..]);
            let dx = filled(g.x_len(), |dx| cpu::max_pool2d_winners_grad(cpu, &g, &winners, &dy, dx));
            assert_eq!(dx[..], max_dx[..]);
            let y = filled(g.y_len(), |y| cpu::avg_pool2d_forward(cpu, &g, &x, y));
            check(cpu, 16, &y, &mean(wide), &mean(magnitude));
            let dx = filled(g.x_len(), |dx| cpu::avg_pool2d_input_grad(cpu, &g, &dy, dx));
            check(cpu, 16, &dx, &mean_dx(wide), &mean_dx(magnitude));
        }
    });
}

#[test]
fn pooling_of_adaptive_windows() {
    run("pooling_of_adaptive_windows", 30, |draw| {
        let mut side = |most| draw.between(1..=most);
        let (n, h, w, c, oh, ow) = (side(3), side(14), side(14), side(50), side(10), side(10));
        let g = AdaptivePool2d { n, h, w, c, oh, ow };
        draw.about(format_args!("{g:?}"));
        let (x, dy) = (draw.integers(g.x_len()), draw.reals(g.y_len()));
        let max = filled(g.y_len(), |y| reference::adaptive_max_pool2d_forward(&g, &x, y));
        let max_dx = filled(g.x_len(), |dx| reference::adaptive_max_pool2d_input_grad(&g, &x, &dy, dx));
        let mean = |of: fn(&[f32]) -> Vec<f64>| {
            wanted(g.y_len(), |y| reference::adaptive_avg_pool2d_forward(&g, &of(&x), y))
        };
        let mean_dx = |of: fn(&[f32]) -> Vec<f64>| {
            wanted(g.x_len(), |dx| reference::adaptive_avg_pool2d_input_grad(&g, &of(&dy), dx))
        };
        for cpu in &*CPUS {
            let y = filled(g.y_len(), |y| cpu::adaptive_max_pool2d_forward(cpu, &g, &x, y));
            assert_eq!(y[..], max[..]);
            let dx = filled(g.x_len(), |dx| cpu::adaptive_max_pool2d_input_grad(cpu, &g, &x, &dy, dx));
            assert_eq!(dx[..], max_dx[..]);
            let mut winners = filled(g.y_len(), |_| ());
            let y = filled(g.y_len(), |y| {
                cpu::adaptive_max_pool2d_with_winners(cpu, &g, &x, y, &mut winners);
            });
            assert_eq!(y[..], max[..]);
            let dx = filled(g.x_len(), |dx| {
                cpu::adaptive_max_pool2d_winners_grad(cpu, &g, &winners, &dy, dx);
            });
            assert_eq!(dx[..], max_dx[..]);
            let y = filled(g.y_len(), |y| cpu::adaptive_avg_pool2d_forward(cpu, &g, &x, y));
            check(cpu, h * w, &y, &mean(wide), &mean(magnitude));
            let dx = filled(g.x_len(), |dx| cpu::adaptive_avg_pool2d_input_grad(cpu, &g, &dy, dx));
            check(cpu, oh * ow, &dx, &mean_dx(wide), &mean_dx(magnitude));
        }
    });
}
