//! Optimizer steps against the reference in double precision, for one tensor and for many.

use crate::support::device;
use crate::values::{FLOATS, check_close, get, put, random};
use lopper_kernels::cuda::{self, AdamTensor, AverageTensor, DeviceBuffer, SgdTensor};
use lopper_kernels::params::{Adam, Dtype::F32, Sgd};
use lopper_kernels::reference;

/// Lengths of many tensors: more than a table holds, some of them empty, and one of several chunks.
fn lengths() -> Vec<usize> {
    (0..70).map(|i| i * 7 % 23).chain([20_001, 0]).collect()
}

/// Per tensor: a parameter, a gradient, two states and a mask.
fn tensors() -> Vec<[Vec<f64>; 5]> {
    let of = |(i, len): (usize, usize)| {
        let [p, g, m, v, mask] = [0, 1, 2, 3, 4].map(|j| random(5 * i as u64 + j, len));
        [p, g, m, v.iter().map(|v| v.abs()).collect(), mask.iter().map(|m| f64::from(*m > -0.5)).collect()]
    };
    lengths().into_iter().enumerate().map(of).collect()
}

fn buffers(which: usize) -> Vec<DeviceBuffer> {
    let gpu = device().unwrap();
    tensors().iter().map(|tensor| put(gpu, F32, &tensor[which])).collect()
}

#[test]
fn sgd_agrees_with_the_reference() {
    let Some(gpu) = device() else { return };
    let h = |i: usize| Sgd {
        lr: 0.1,
        momentum: [0.9, 0.0][i % 2],
        nesterov: i.is_multiple_of(3),
        weight_decay: [0.01, 0.0][i / 2 % 2],
    };
    let first = |i: usize| i.is_multiple_of(5);
    let [mut p, g, mut v, mask] = [0, 1, 2, 4].map(buffers);
    let n = p.len();
    let parts = p.iter_mut().zip(&g).zip(&mut v).zip(&mask).enumerate();
    let mut params: Vec<_> = parts
        .map(|(i, (((p, g), velocity), mask))| SgdTensor {
            p,
            g,
            velocity,
            mask: (i % 2 == 1).then_some(mask),
        })
        .collect();
    let (hs, firsts): (Vec<_>, Vec<_>) = (0..n).map(|i| (h(i), first(i))).unzip();
    cuda::sgd_step_all(gpu, &hs, &firsts, &mut params).unwrap();
    for (i, [mut p64, g64, mut v64, _, mask64]) in tensors().into_iter().enumerate() {
        let mask64 = (i % 2 == 1).then_some(&mask64[..]);
        reference::sgd_step(&h(i), first(i), &mut p64, &g64, &mut v64, mask64);
        check_close("p", &get(gpu, &p[i]), &p64, 1e-6);
        check_close("velocity", &get(gpu, &v[i]), &v64, 1e-6);
    }
}

#[test]
fn averages_follow_their_formula() {
    let Some(gpu) = device() else { return };
    let (mut r, s) = (buffers(0), buffers(1));
    let shares = |i: usize| [[0.9, 0.1], [0.5, 2.0]][i % 2];
    let parts = r.iter_mut().zip(&s).enumerate();
    let mut averages: Vec<_> = parts
        .map(|(i, (r, s))| AverageTensor { r, s, keep: shares(i)[0] as f32, take: shares(i)[1] as f32 })
        .collect();
    cuda::move_averages(gpu, &mut averages).unwrap();
    for (i, [r64, s64, ..]) in tensors().into_iter().enumerate() {
        let [keep, take] = shares(i);
        let want: Vec<f64> = r64.iter().zip(&s64).map(|(r, s)| keep * r + take * s).collect();
        check_close("average", &get(gpu, &r[i]), &want, 1e-6);
    }
}

#[test]
fn adam_agrees_with_the_reference() {
    let Some(gpu) = device() else { return };
    let h = |i: usize| Adam {
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-6,
        weight_decay: [0.1, 0.0][i / 2 % 2],
        decoupled: i.is_multiple_of(3),
    };
    let step = |i: usize| 1 + i as u32 % 4;
    let [mut p, g, mut m, mut v, mask] = [0, 1, 2, 3, 4].map(buffers);
    let n = p.len();
    let parts = p.iter_mut().zip(&g).zip(&mut m).zip(&mut v).zip(&mask).enumerate();
    let mut params: Vec<_> = parts
        .map(|(i, ((((p, g), m), v), mask))| AdamTensor { p, g, m, v, mask: (i % 2 == 1).then_some(mask) })
        .collect();
    let (hs, steps): (Vec<_>, Vec<_>) = (0..n).map(|i| (h(i), step(i))).unzip();
    cuda::adam_step_all(gpu, &hs, &steps, &mut params).unwrap();
    for (i, [mut p64, g64, mut m64, mut v64, mask64]) in tensors().into_iter().enumerate() {
        let mask64 = (i % 2 == 1).then_some(&mask64[..]);
        reference::adam_step(&h(i), step(i), &mut p64, &g64, [&mut m64, &mut v64], mask64);
        check_close("p", &get(gpu, &p[i]), &p64, 2e-6);
        check_close("m", &get(gpu, &m[i]), &m64, 1e-6);
        check_close("v", &get(gpu, &v[i]), &v64, 1e-6);
    }
}

#[test]
fn a_masked_nan_and_a_stale_velocity_are_dropped() {
    let Some(gpu) = device() else { return };
    let [mut p, g, mut v, mask] =
        [[f64::NAN, 1.0], [1.0, 1.0], [f64::NAN; 2], [0.0, 1.0]].map(|x| put(gpu, F32, &x));
    let h = Sgd { lr: 0.5, momentum: 0.5, nesterov: false, weight_decay: 0.0 };
    cuda::sgd_step(gpu, &h, true, &mut p, &g, &mut v, Some(&mask)).unwrap();
    assert_eq!((get(gpu, &p), get(gpu, &v)[1]), (vec![0.0, 0.5], 1.0));
}

#[test]
fn a_single_non_finite_number_is_found() {
    let Some(gpu) = device() else { return };
    for (dtype, bad) in FLOATS.into_iter().zip([f64::NAN, f64::INFINITY, f64::NEG_INFINITY]) {
        let mut tensors: Vec<Vec<f64>> = lengths().into_iter().map(|len| vec![65504.0; len]).collect();
        tensors.extend(vec![vec![1.0; 3]; 80]);
        let find = |tensors: &[Vec<f64>]| {
            let buffers: Vec<_> = tensors.iter().map(|x| put(gpu, dtype, x)).collect();
            cuda::has_non_finite(gpu, &buffers.iter().collect::<Vec<_>>()).unwrap()
        };
        assert!(!find(&tensors));
        for (tensor, i) in [(70, 20_000), (1, 6), (140, 0)] {
            let good = std::mem::replace(&mut tensors[tensor][i], bad);
            assert!(find(&tensors), "{bad} in {dtype:?}");
            tensors[tensor][i] = good;
        }
    }
    assert!(!cuda::has_non_finite(gpu, &[]).unwrap());
}
