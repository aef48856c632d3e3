//! Resizing and its gradient, against the reference in double precision.

use crate::support::device;
use crate::values::{FLOATS, check_close, epsilon, filled, put, random};
use lopper_kernels::cuda;
use lopper_kernels::reference;
use lopper_kernels::shapes::{Coordinates, Resize, ResizeMode, Rounding};
use proptest::prelude::*;
use proptest::sample::select;

fn modes() -> impl Strategy<Value = ResizeMode> {
    let coordinates =
        || select(vec![Coordinates::HalfPixel, Coordinates::Asymmetric, Coordinates::AlignCorners]);
    let rounding = select(vec![Rounding::Floor, Rounding::Ceil, Rounding::HalfDown, Rounding::HalfUp]);
    prop_oneof![
        (coordinates(), rounding)
            .prop_map(|(coordinates, rounding)| ResizeMode::Nearest(coordinates, rounding)),
        coordinates().prop_map(ResizeMode::Linear),
        (1usize..5, 1usize..5).prop_map(|(s, t)| ResizeMode::Stuff([s, t])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn resizing_and_its_gradient(
        (n, h, w) in (1usize..3, 1usize..8, 1usize..8),
        c in prop_oneof![1usize..6, Just(8)],
        (oh, ow) in (1usize..20, 1usize..20),
        mode in modes(),
        dtype in 0usize..3,
    ) {
        let Some(gpu) = device() else { return Ok(()) };
        let [oh, ow] = match mode {
            ResizeMode::Stuff([s, t]) => [(h - 1) * s + 1, (w - 1) * t + 1],
            _ => [oh, ow],
        };
        let (g, dtype) = (Resize { n, h, w, c, oh, ow, mode }, FLOATS[dtype]);
        let (x, dy) = (random(1, g.x_len()), random(2, g.y_len()));
        let [on_x, on_dy] = [&x, &dy].map(|v| put(gpu, dtype, v));
        let (mut y, mut dx) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()]);
        reference::resize_forward(&g, &x, &mut y);
        reference::resize_input_grad(&g, &dy, &mut dx);
        let got = filled(gpu, dtype, g.y_len(), |y| cuda::resize_forward(gpu, &g, &on_x, y).unwrap());
        check_close("y", &got, &y, epsilon(dtype));
        let got = filled(gpu, dtype, g.x_len(), |dx| cuda::resize_input_grad(gpu, &g, &on_dy, dx).unwrap());
        check_close("dx", &got, &dx, epsilon(dtype) + 1e-5);
    }
}
