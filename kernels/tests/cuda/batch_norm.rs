//! Batch norm with its fused residual and activation, forward and backward, against the reference in double
//! precision.

use crate::support::device;
use crate::values::{FLOATS, check_close, epsilon, get, narrow, put, random};
use lopper_kernels::cuda::{self, Cuda};
use lopper_kernels::params::{Activation, Dtype, Normalized, Statistics};
use lopper_kernels::reference;
use lopper_kernels::shapes::BatchNorm;
use proptest::prelude::*;

const EPS: f32 = 1e-3;

struct Case {
    rows: usize,
    c: usize,
    statistics: Statistics,
    activation: Activation,
    residual: bool,
    seed: u64,
}

impl Case {
    /// Input, residual, incoming gradient, gamma and beta.
    fn inputs(&self) -> [Vec<f64>; 5] {
        let (len, c) = (self.rows * self.c, self.c);
        [(1, len), (2, len), (3, len), (4, c), (5, c)].map(|(i, len)| random(self.seed * 8 + i, len))
    }

    /// The given statistics.
    fn given(&self) -> [Vec<f64>; 2] {
        [vec![0.125; self.c], vec![0.5; self.c]]
    }

    fn bounds(&self) -> [f64; 2] {
        self.activation.bounds().expect("a clamp").map(f64::from)
    }

    /// Output, mean, variance, `dx`, `dz`, `dgamma`, `dbeta`; `y_stored` decides which outputs lie within the bounds.
    fn reference(&self, y_stored: &[f32]) -> [Vec<f64>; 7] {
        let &Self { rows, c, .. } = self;
        let g = BatchNorm { rows, c, eps: EPS };
        let [x, residual, dy, gamma, beta] = self.inputs();
        let (mut y, [mut mean, mut var]) = (vec![0.0; rows * c], self.given());
        if self.statistics == Statistics::Batch {
            reference::batch_norm_forward_train(&g, &x, [&gamma, &beta], &mut y, [&mut mean, &mut var]);
        } else {
            reference::batch_norm_forward_eval(&g, &x, [&mean, &var], [&gamma, &beta], &mut y);
        }
        let [low, high] = self.bounds();
        for (y, residual) in y.iter_mut().zip(residual) {
            *y = (*y + if self.residual { residual } else { 0.0 }).clamp(low, high);
        }
        let inside = |&y: &f32| f64::from(y) > low && f64::from(y) < high;
        let dz: Vec<f64> = dy.iter().zip(y_stored).map(|(&dy, y)| if inside(y) { dy } else { 0.0 }).collect();
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; rows * c], vec![0.0; c], vec![0.0; c]);
        let backward = match self.statistics {
            Statistics::Batch => reference::batch_norm_backward,
            Statistics::Given => reference::batch_norm_eval_backward,
        };
        backward(&g, &x, [&mean, &var], &gamma, &dz, &mut dx, [&mut dgamma, &mut dbeta]);
        [y, mean, var, dx, dz, dgamma, dbeta]
    }

    /// The same on a device.
    fn run(&self, gpu: &Cuda, dtype: Dtype) -> [Vec<f32>; 7] {
        let Self { rows, c, activation, .. } = *self;
        let [x, residual, dy, gamma, beta] = self.inputs();
        let ([x, residual, mut dy], [gamma, beta]) =
            ([x, residual, dy].map(|x| put(gpu, dtype, &x)), [gamma, beta].map(|x| put(gpu, Dtype::F32, &x)));
        let residual = self.residual.then_some(&residual);
        let mut y = gpu.buffer(dtype, rows * c).unwrap();
        let [mut mean, mut var] = self.given().map(|x| put(gpu, Dtype::F32, &x));
        let (g, affine) = (BatchNorm { rows, c, eps: EPS }, [&gamma, &beta]);
        let end = cuda::Epilogue { bias: None, residual, activation };
        if self.statistics == Statistics::Batch {
            cuda::batch_norm_forward_train(gpu, &g, &x, affine, &end, &mut y, [&mut mean, &mut var])
        } else {
            cuda::batch_norm_forward_eval(gpu, &g, &x, [&mean, &var], affine, &end, &mut y)
        }
        .unwrap();
        let [mut dgamma, mut dbeta] = [(); 2].map(|()| gpu.buffer(Dtype::F32, c).unwrap());
        let mut dx = residual.map(|_| gpu.buffer(dtype, rows * c).unwrap());
        let seen = (activation != Activation::None).then_some(&y);
        let forward = Normalized {
            statistics: self.statistics,
            x: &x,
            mean: &mean,
            var: &var,
            gamma: &gamma,
            activation,
            y: seen,
        };
        cuda::batch_norm_backward(gpu, &g, &forward, &mut dy, dx.as_mut(), [&mut dgamma, &mut dbeta])
            .unwrap();
        let dx = dx.as_ref().unwrap_or(&dy);
        [&y, &mean, &var, dx, &dy, &dgamma, &dbeta].map(|x| get(gpu, x))
    }

    fn check(&self, dtype: Dtype) {
        let Some(gpu) = device() else { return };
        let got = self.run(gpu, dtype);
        let again = self.run(gpu, dtype);
        assert!(got.iter().flatten().zip(again.iter().flatten()).all(|(a, b)| a.to_bits() == b.to_bits()));
        let want = self.reference(&got[0]);
        let sums = 4.0 * f64::from(f32::EPSILON) * (self.rows as f64).sqrt();
        // If the inputs hardly differ, division by their spread magnifies every error by up to 1/√EPS.
        let f32s = 32.0 * sums;
        let stored = f32s + epsilon(dtype) * if dtype == Dtype::F32 { 0.0 } else { 1.0 };
        let tolerances = [stored, sums, sums, 32.0 * stored, 0.0, f32s * 32.0, sums * self.rows as f64];
        let names = ["y", "mean", "var", "dx", "dz", "dgamma", "dbeta"];
        for (((name, got), want), tolerance) in names.iter().zip(&got).zip(&want).zip(tolerances) {
            // Without a residual, the gradient before the activation is not stored.
            if *name != "dz" || self.residual {
                check_close(&format!("{name} of {dtype:?}"), got, want, tolerance);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_passes_agree_with_the_reference(
        (rows, c) in (1usize..300, prop_oneof![1usize..20, Just(24), Just(64), Just(136), Just(300)]),
        statistics in prop_oneof![Just(Statistics::Batch), Just(Statistics::Given)],
        activation in prop_oneof![Just(Activation::None), Just(Activation::Relu), Just(Activation::Relu6)],
        (residual, seed) in (any::<bool>(), 0u64..1000),
        dtype in 0usize..3,
    ) {
        Case { rows, c, statistics, activation, residual, seed }.check(FLOATS[dtype]);
    }
}

#[test]
fn a_large_mean_does_not_cancel() {
    let Some(gpu) = device() else { return };
    let (rows, c) = (5000, 3);
    let x: Vec<f64> = random(1, rows * c).iter().map(|x| x + 4096.0).collect();
    let ones = put(gpu, Dtype::F32, &vec![1.0; c]);
    let on = put(gpu, Dtype::F32, &x);
    let [mut mean, mut var] = [(); 2].map(|()| gpu.buffer(Dtype::F32, c).unwrap());
    let mut y = gpu.buffer(Dtype::F32, rows * c).unwrap();
    let g = BatchNorm { rows, c, eps: EPS };
    let end = cuda::Epilogue::default();
    cuda::batch_norm_forward_train(gpu, &g, &on, [&ones, &ones], &end, &mut y, [&mut mean, &mut var])
        .unwrap();
    let (mut want, mut m, mut v) = (vec![0.0; rows * c], vec![0.0; c], vec![0.0; c]);
    let ones = vec![1.0; c];
    reference::batch_norm_forward_train(&g, &x, [&ones, &ones], &mut want, [&mut m, &mut v]);
    check_close("mean", &get(gpu, &mean), &m, 1e-7);
    check_close("var", &get(gpu, &var), &v, 1e-5);
    assert_eq!(narrow(&m), get(gpu, &mean));
}
