//! Operations that move channels are exact in every type.

use crate::support::device;
use crate::values::{FLOATS, filled, get, integers, narrow, put};
use lopper_kernels::cuda;
use lopper_kernels::reference;
use lopper_kernels::shapes::PadShortcut;
use proptest::prelude::*;

fn width() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..20, Just(8), Just(16), Just(32)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn concatenation_and_its_gradient(
        rows in 0usize..20,
        widths in prop::collection::vec(width(), 1..4),
        dtype in 0usize..3,
    ) {
        let Some(gpu) = device() else { return Ok(()) };
        let dtype = FLOATS[dtype];
        let total: usize = widths.iter().sum();
        let parts: Vec<Vec<f64>> = widths.iter().map(|c| integers(*c as u64, rows * c)).collect();
        let on: Vec<_> = parts.iter().map(|x| put(gpu, dtype, x)).collect();
        let sized: Vec<_> = on.iter().zip(&widths).map(|(x, &c)| (x, c)).collect();
        let y = filled(gpu, dtype, rows * total, |y| cuda::concat_forward(gpu, rows, &sized, y).unwrap());
        let mut want = vec![0.0; rows * total];
        let slices: Vec<_> = parts.iter().zip(&widths).map(|(x, &c)| (&x[..], c)).collect();
        reference::concat_forward(rows, &slices, &mut want);
        assert_eq!(y, narrow(&want));

        let dy = put(gpu, dtype, &want);
        let mut back: Vec<_> = widths.iter().map(|c| gpu.buffer(dtype, rows * c).unwrap()).collect();
        let mut sized: Vec<_> = back.iter_mut().zip(&widths).map(|(x, &c)| (x, c)).collect();
        cuda::split_channels(gpu, rows, &dy, &mut sized).unwrap();
        for (back, part) in back.iter().zip(&parts) {
            assert_eq!(get(gpu, back), narrow(part));
        }
    }

    #[test]
    fn shortcut_and_its_gradient(
        (n, h, w, c) in (1usize..3, 1usize..6, 1usize..6, width()),
        stride in 1usize..4,
        (before, after) in (prop_oneof![Just(0usize), width()], prop_oneof![Just(0usize), width()]),
        dtype in 0usize..3,
    ) {
        let Some(gpu) = device() else { return Ok(()) };
        let (g, dtype) = (PadShortcut { n, h, w, c, stride, before, after }, FLOATS[dtype]);
        let (x, dy) = (integers(1, g.x_len()), integers(2, g.y_len()));
        let [on_x, on_dy] = [&x, &dy].map(|x| put(gpu, dtype, x));
        let (mut y, mut dx) = (vec![0.0; g.y_len()], vec![0.0; g.x_len()]);
        reference::pad_shortcut_forward(&g, &x, &mut y);
        reference::pad_shortcut_input_grad(&g, &dy, &mut dx);
        let got = filled(gpu, dtype, g.y_len(), |y| cuda::pad_shortcut_forward(gpu, &g, &on_x, y).unwrap());
        assert_eq!(got, narrow(&y));
        let got = filled(gpu, dtype, g.x_len(), |dx| cuda::pad_shortcut_input_grad(gpu, &g, &on_dy, dx).unwrap());
        assert_eq!(got, narrow(&dx));
    }
}
