//! Pooling over fixed and adaptive windows, in every type, against the reference.

use crate::support::device;
use crate::values::{FLOATS, check_close, epsilon, filled, get, integers, narrow, put, random};
use lopper_kernels::cuda::{self, Cuda, DeviceBuffer, Result};
use lopper_kernels::params::Dtype;
use lopper_kernels::reference;
use lopper_kernels::shapes::{AdaptivePool2d, Pool2d};
use proptest::prelude::*;

prop_compose! {
    fn pool2d()(
        (n, h, w) in (1usize..3, 1usize..10, 1usize..10),
        c in prop_oneof![1usize..6, Just(8), Just(24)],
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
    fn adaptive()(
        (n, h, w) in (1usize..3, 1usize..10, 1usize..10),
        c in prop_oneof![1usize..6, Just(8), Just(24)],
        (oh, ow) in (1usize..9, 1usize..9),
    ) -> AdaptivePool2d {
        AdaptivePool2d { n, h, w, c, oh, ow }
    }
}

type Forward<G> = fn(&Cuda, &G, &DeviceBuffer, &mut DeviceBuffer) -> Result<()>;
type MaxGrad<G> = fn(&Cuda, &G, &DeviceBuffer, &DeviceBuffer, &mut DeviceBuffer) -> Result<()>;
type InReference<G> = fn(&G, &[f64], &mut [f64]);
type MaxGradInReference<G> = fn(&G, &[f64], &[f64], &mut [f64]);

/// The operations of one geometry, on the device and in the reference: maximum, its gradient, mean, its gradient.
struct Ops<G> {
    lens: [usize; 2],
    device: (Forward<G>, MaxGrad<G>, Forward<G>, Forward<G>),
    reference: (InReference<G>, MaxGradInReference<G>, InReference<G>, InReference<G>),
}

fn check<G>(g: &G, ops: &Ops<G>, dtype: Dtype, seed: u64) {
    let Some(gpu) = device() else { return };
    let [x_len, y_len] = ops.lens;
    // Integers give many ties, and exact gradients.
    let (x, dy) = (integers(seed, x_len), integers(seed + 1, y_len));
    let [on_x, on_dy] = [&x, &dy].map(|x| put(gpu, dtype, x));
    let mut y = vec![0.0; y_len];
    (ops.reference.0)(g, &x, &mut y);
    assert_eq!(filled(gpu, dtype, y_len, |y| ops.device.0(gpu, g, &on_x, y).unwrap()), narrow(&y));
    let mut dx = vec![0.0; x_len];
    (ops.reference.1)(g, &x, &dy, &mut dx);
    let got = filled(gpu, dtype, x_len, |dx| ops.device.1(gpu, g, &on_x, &on_dy, dx).unwrap());
    assert_eq!(got, narrow(&dx));

    let (x, dy) = (random(seed, x_len), random(seed + 1, y_len));
    let [on_x, on_dy] = [&x, &dy].map(|x| put(gpu, dtype, x));
    // A pixel may be in dozens of windows, whose gradients may cancel.
    let tolerance = 1e-5 + if dtype == Dtype::F32 { 0.0 } else { epsilon(dtype) };
    (ops.reference.2)(g, &x, &mut y);
    let got = filled(gpu, dtype, y_len, |y| ops.device.2(gpu, g, &on_x, y).unwrap());
    check_close("mean", &got, &y, tolerance);
    (ops.reference.3)(g, &dy, &mut dx);
    let got = filled(gpu, dtype, x_len, |dx| ops.device.3(gpu, g, &on_dy, dx).unwrap());
    check_close("gradient of the mean", &got, &dx, tolerance);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fixed_windows_agree_with_the_reference(g in pool2d(), dtype in 0usize..3, seed in 0u64..1000) {
        prop_assume!(g.check().is_ok());
        let ops = Ops {
            lens: [g.x_len(), g.y_len()],
            device: (
                cuda::max_pool2d_forward,
                cuda::max_pool2d_input_grad,
                cuda::avg_pool2d_forward,
                cuda::avg_pool2d_input_grad,
            ),
            reference: (
                reference::max_pool2d_forward,
                reference::max_pool2d_input_grad,
                reference::avg_pool2d_forward,
                reference::avg_pool2d_input_grad,
            ),
        };
        check(&g, &ops, FLOATS[dtype], seed);
    }

    #[test]
    fn adaptive_windows_agree_with_the_reference(g in adaptive(), dtype in 0usize..3, seed in 0u64..1000) {
        let ops = Ops {
            lens: [g.x_len(), g.y_len()],
            device: (
                cuda::adaptive_max_pool2d_forward,
                cuda::adaptive_max_pool2d_input_grad,
                cuda::adaptive_avg_pool2d_forward,
                cuda::adaptive_avg_pool2d_input_grad,
            ),
            reference: (
                reference::adaptive_max_pool2d_forward,
                reference::adaptive_max_pool2d_input_grad,
                reference::adaptive_avg_pool2d_forward,
                reference::adaptive_avg_pool2d_input_grad,
            ),
        };
        check(&g, &ops, FLOATS[dtype], seed);
    }
}

#[test]
fn the_last_nan_of_a_window_wins() {
    let Some(gpu) = device() else { return };
    let g = Pool2d::square([1, 2, 2, 1], 2, 2);
    let x = put(gpu, Dtype::F32, &[f64::NAN, 9.0, f64::NAN, 1.0]);
    let dy = put(gpu, Dtype::F32, &[3.0]);
    let mut y = gpu.buffer(Dtype::F32, 1).unwrap();
    cuda::max_pool2d_forward(gpu, &g, &x, &mut y).unwrap();
    assert!(get(gpu, &y)[0].is_nan());
    let dx = filled(gpu, Dtype::F32, 4, |dx| cuda::max_pool2d_input_grad(gpu, &g, &x, &dy, dx).unwrap());
    assert_eq!(dx, [0.0, 0.0, 3.0, 0.0]);
}
