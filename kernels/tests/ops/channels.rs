//! Tests of concatenation, gathering and the padded shortcut. They only copy, so every comparison is exact.

use crate::support::{check_exact, filled, narrow, random};
use lopper_kernels::cpu::{self, PackedGather};
use lopper_kernels::reference;
use lopper_kernels::shapes::PadShortcut;
use proptest::prelude::*;

/// Lists of channels below `width`: parts, shuffles of groups, their inverses, and any.
fn lists() -> impl Strategy<Value = (usize, Vec<u32>)> {
    let part = (1usize..200, 0usize..200, 1usize..200).prop_map(|(width, start, len)| {
        let start = start % width;
        (width, (start as u32..(start + len).min(width) as u32).collect())
    });
    let shuffle = (1usize..70, 1usize..6, any::<bool>()).prop_map(|(size, groups, inverse)| {
        let (a, b) = if inverse { (size, groups) } else { (groups, size) };
        (size * groups, (0..size * groups).map(|i| (i % a * b + i / a) as u32).collect())
    });
    let any =
        (1usize..60).prop_flat_map(|width| (Just(width), prop::collection::vec(0..width as u32, 1..120)));
    prop_oneof![part, shuffle, any]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn concatenation_and_its_gradient(rows in 1usize..400, widths in prop::collection::vec(1usize..40, 1..5)) {
        let total: usize = widths.iter().sum();
        let parts: Vec<Vec<f32>> = (1..).zip(&widths).map(|(seed, c)| narrow(&random(seed, rows * c))).collect();
        let parts: Vec<(&[f32], usize)> = parts.iter().zip(&widths).map(|(x, &c)| (&x[..], c)).collect();
        let y = filled(rows * total, |y| reference::concat_forward(rows, &parts, y));
        check_exact(|cpu| filled(rows * total, |y| cpu::concat_forward(cpu, rows, &parts, y)), &y);
        // Splitting inverts concatenation.
        let split = |cpu: &cpu::Cpu| {
            let mut out: Vec<Vec<f32>> = widths.iter().map(|c| vec![0.0; rows * c]).collect();
            let mut parts: Vec<_> = out.iter_mut().zip(&widths).map(|(x, &c)| (&mut x[..], c)).collect();
            cpu::split_channels(cpu, rows, &y, &mut parts);
            out.concat()
        };
        check_exact(split, &parts.iter().flat_map(|(x, _)| x.iter().copied()).collect::<Vec<_>>());
    }

    #[test]
    fn gathering_and_its_gradient(rows in 1usize..300, (width, list) in lists()) {
        let (x, dy) = (narrow(&random(1, rows * width)), narrow(&random(2, rows * list.len())));
        let gather = PackedGather::new(width, &list);
        let y = filled(dy.len(), |y| reference::gather_forward(width, &list, &x, y));
        check_exact(|cpu| filled(dy.len(), |y| cpu::gather_forward(cpu, &gather, &x, y)), &y);
        let dx = filled(x.len(), |dx| reference::gather_input_grad(width, &list, &dy, dx));
        check_exact(|cpu| filled(x.len(), |dx| cpu::gather_input_grad(cpu, &gather, &dy, dx)), &dx);
    }

    #[test]
    fn padded_shortcut_and_its_gradient(
        (n, h, w, c) in (1usize..4, 1usize..10, 1usize..10, 1usize..20),
        stride in 1usize..4,
        (before, after) in (0usize..5, 0usize..5),
    ) {
        let g = PadShortcut { n, h, w, c, stride, before, after };
        let (x, dy) = (narrow(&random(1, g.x_len())), narrow(&random(2, g.y_len())));
        let y = filled(g.y_len(), |y| reference::pad_shortcut_forward(&g, &x, y));
        check_exact(|cpu| filled(g.y_len(), |y| cpu::pad_shortcut_forward(cpu, &g, &x, y)), &y);
        let dx = filled(g.x_len(), |dx| reference::pad_shortcut_input_grad(&g, &dy, dx));
        check_exact(|cpu| filled(g.x_len(), |dx| cpu::pad_shortcut_input_grad(cpu, &g, &dy, dx)), &dx);
    }
}
