//! Tests of pooling.

use crate::support::{check_close, check_exact, filled, integers, narrow, on_each_isa, random};
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::reference;
use lopper_kernels::shapes::{AdaptivePool2d, Pool2d};
use proptest::prelude::*;

prop_compose! {
    fn pool2d()(
        (n, h, w, c) in (1usize..4, 1usize..12, 1usize..12, 1usize..40),
        kernel in [1usize..4, 1usize..4],
        stride in [1usize..4, 1usize..4],
        padding in [0usize..2, 0usize..2],
        (ceil_mode, count_include_pad) in (any::<bool>(), any::<bool>()),
    ) -> Pool2d {
        let padding = [padding[0].min(kernel[0] / 2), padding[1].min(kernel[1] / 2)];
        Pool2d { n, h, w, c, kernel, stride, padding, ceil_mode, count_include_pad }
    }
}

prop_compose! {
    fn adaptive()(n in 1usize..4, h in 1usize..12, w in 1usize..12, c in 1usize..40, oh in 1usize..9, ow in 1usize..9)
        -> AdaptivePool2d {
        AdaptivePool2d { n, h, w, c, oh, ow }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fixed_windows_agree_with_the_reference(g in pool2d(), seed in 0u64..1000) {
        prop_assume!(g.check().is_ok());
        // Integers give many ties, which the reference breaks like PyTorch, and exact gradients.
        let (x, dy) = (narrow(&integers(seed, g.x_len())), narrow(&integers(seed + 1, g.y_len())));
        let y = filled(g.y_len(), |y| reference::max_pool2d_forward(&g, &x, y));
        check_exact(|cpu| filled(g.y_len(), |y| cpu::max_pool2d_forward(cpu, &g, &x, y)), &y);
        let dx = filled(g.x_len(), |dx| reference::max_pool2d_input_grad(&g, &x, &dy, dx));
        check_exact(|cpu| filled(g.x_len(), |dx| cpu::max_pool2d_input_grad(cpu, &g, &x, &dy, dx)), &dx);
        let y = filled(g.y_len(), |y| reference::avg_pool2d_forward(&g, &x, y));
        check_exact(|cpu| filled(g.y_len(), |y| cpu::avg_pool2d_forward(cpu, &g, &x, y)), &y);

        let dy = random(seed, g.y_len());
        let dx = filled(g.x_len(), |dx| reference::avg_pool2d_input_grad(&g, &dy, dx));
        let dy = narrow(&dy);
        check_close(|cpu| filled(g.x_len(), |dx| cpu::avg_pool2d_input_grad(cpu, &g, &dy, dx)), &dx, 1e-6);
    }

    #[test]
    fn adaptive_windows_agree_with_the_reference(g in adaptive(), seed in 0u64..1000) {
        let (x, dy) = (narrow(&integers(seed, g.x_len())), narrow(&integers(seed + 1, g.y_len())));
        let y = filled(g.y_len(), |y| reference::adaptive_max_pool2d_forward(&g, &x, y));
        check_exact(|cpu| filled(g.y_len(), |y| cpu::adaptive_max_pool2d_forward(cpu, &g, &x, y)), &y);
        let dx = filled(g.x_len(), |dx| reference::adaptive_max_pool2d_input_grad(&g, &x, &dy, dx));
        check_exact(|cpu| filled(g.x_len(), |dx| cpu::adaptive_max_pool2d_input_grad(cpu, &g, &x, &dy, dx)), &dx);
        let y = filled(g.y_len(), |y| reference::adaptive_avg_pool2d_forward(&g, &x, y));
        check_exact(|cpu| filled(g.y_len(), |y| cpu::adaptive_avg_pool2d_forward(cpu, &g, &x, y)), &y);

        let dy = random(seed, g.y_len());
        let dx = filled(g.x_len(), |dx| reference::adaptive_avg_pool2d_input_grad(&g, &dy, dx));
        let dy = narrow(&dy);
        // A pixel may lie in 64 windows, whose gradients may cancel.
        check_close(|cpu| filled(g.x_len(), |dx| cpu::adaptive_avg_pool2d_input_grad(cpu, &g, &dy, dx)), &dx, 1e-5);
    }
}

/// PyTorch's rules: the first of several equal values wins, even for −∞, and a NaN wins over everything.
#[test]
fn ties_and_nan_follow_pytorch() {
    let g = Pool2d::square([1, 2, 2, 1], 2, 2);
    let winner = |x: [f32; 4]| {
        let grad = |cpu: &Cpu| filled(4, |dx| cpu::max_pool2d_input_grad(cpu, &g, &x, &[1.0], dx));
        let want = filled(4, |dx| reference::max_pool2d_input_grad(&g, &x, &[1.0], dx));
        check_exact(grad, &want);
        let by_winner = |cpu: &Cpu| {
            let (mut y, mut winners) = ([0.0], [f32::NAN]);
            cpu::max_pool2d_with_winners(cpu, &g, &x, &mut y, &mut winners);
            filled(4, |dx| cpu::max_pool2d_winners_grad(cpu, &g, &winners, &[1.0], dx))
        };
        check_exact(by_winner, &want);
        want.iter().position(|&dx| dx == 1.0)
    };
    assert_eq!(winner([1.0, 2.0, 2.0, 2.0]), Some(1));
    assert_eq!(winner([f32::NEG_INFINITY; 4]), Some(0));
    assert_eq!(winner([3.0, f32::NAN, 9.0, 1.0]), Some(1));
    let x = [3.0, f32::NAN, 9.0, 1.0];
    for (isa, y) in on_each_isa(|cpu| filled(1, |y| cpu::max_pool2d_forward(cpu, &g, &x, y))) {
        assert!(y[0].is_nan(), "{isa}");
    }
}

/// VGG pools a 4×4 map to 7×7: windows overlap, and the output is larger than the input.
#[test]
fn vgg_pools_a_small_map_to_a_larger_one() {
    let g = AdaptivePool2d { n: 1, h: 4, w: 4, c: 1, oh: 7, ow: 7 };
    let x: Vec<f32> = (0..16).map(|i| i as f32).collect();
    for (isa, y) in on_each_isa(|cpu| filled(49, |y| cpu::adaptive_avg_pool2d_forward(cpu, &g, &x, y))) {
        assert_eq!((y[0], y[1], y[48]), (0.0, 0.5, 15.0), "{isa}");
    }
}
