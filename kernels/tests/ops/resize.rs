//! Resizing. Sums of at most four terms have a fixed order, so comparisons with the reference in `f32` are exact.

use crate::support::{check_exact, filled, narrow, random};
use lopper_kernels::cpu::{self, PackedResize};
use lopper_kernels::reference;
use lopper_kernels::shapes::{Coordinates, Resize, ResizeMode, Rounding};
use proptest::prelude::*;
use proptest::sample::select;

/// Every way of resizing, between any sizes that it has.
fn resizes() -> impl Strategy<Value = Resize> {
    let coordinates =
        || select(vec![Coordinates::HalfPixel, Coordinates::Asymmetric, Coordinates::AlignCorners]);
    let rounding = select(vec![Rounding::Floor, Rounding::Ceil, Rounding::HalfDown, Rounding::HalfUp]);
    let mode = prop_oneof![
        (coordinates(), rounding)
            .prop_map(|(coordinates, rounding)| ResizeMode::Nearest(coordinates, rounding)),
        coordinates().prop_map(ResizeMode::Linear),
        (1usize..4, 1usize..4).prop_map(|(s, t)| ResizeMode::Stuff([s, t])),
    ];
    (1usize..3, 1usize..9, 1usize..9, 1usize..40, 1usize..20, 1usize..20, mode).prop_map(
        |(n, h, w, c, oh, ow, mode)| {
            let [oh, ow] = match mode {
                ResizeMode::Stuff([s, t]) => [(h - 1) * s + 1, (w - 1) * t + 1],
                _ => [oh, ow],
            };
            Resize { n, h, w, c, oh, ow, mode }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn resizing_and_its_gradient(g in resizes()) {
        g.check().unwrap();
        let (packed, x, dy) =
            (PackedResize::new(&g), narrow(&random(1, g.x_len())), narrow(&random(2, g.y_len())));
        prop_assert!(packed.bytes() <= PackedResize::bytes_of(&g));
        let y = filled(g.y_len(), |y| reference::resize_forward(&g, &x, y));
        check_exact(|cpu| filled(g.y_len(), |y| cpu::resize_forward(cpu, &packed, &x, y)), &y);
        let dx = filled(g.x_len(), |dx| reference::resize_input_grad(&g, &dy, dx));
        check_exact(|cpu| filled(g.x_len(), |dx| cpu::resize_input_grad(cpu, &packed, &dy, dx)), &dx);
    }
}
