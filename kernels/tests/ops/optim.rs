//! Tests of optimizer steps over several iterations.

use crate::support::{check_close, narrow, random};
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::params::{Adam, Sgd};
use lopper_kernels::reference;

const LEN: usize = 20_000;
const STEPS: u32 = 5;

/// A mask that drops one weight in three.
fn mask() -> Vec<f64> {
    (0..LEN).map(|i| f64::from(u8::from(i % 3 != 1))).collect()
}

/// The gradients of step `step`.
fn gradient(step: u32) -> Vec<f64> {
    random(u64::from(step) + 100, LEN)
}

#[test]
fn sgd_agrees_with_the_reference() {
    let plain = Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let heavy = Sgd { momentum: 0.9, weight_decay: 5e-4, ..plain };
    let mask = mask();
    let rules = [plain, Sgd { weight_decay: 0.1, ..plain }, heavy, Sgd { nesterov: true, ..heavy }];
    for (h, mask) in rules.into_iter().flat_map(|h| [(h, None), (h, Some(&mask[..]))]) {
        let narrow_mask = mask.map(narrow);
        let (mut p, mut v) = (random(1, LEN), random(2, LEN));
        let start = [narrow(&p), narrow(&v)];
        for step in 0..STEPS {
            reference::sgd_step(&h, step == 0, &mut p, &gradient(step), &mut v, mask);
        }
        let run = |cpu: &Cpu| {
            let [mut p, mut v] = start.clone();
            for step in 0..STEPS {
                let g = narrow(&gradient(step));
                cpu::sgd_step(cpu, &h, step == 0, &mut p, &g, &mut v, narrow_mask.as_deref());
            }
            [p, v].concat()
        };
        check_close(run, &[p, v].concat(), 1e-6);
    }
}

#[test]
fn adam_agrees_with_the_reference() {
    let adam = Adam { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2, decoupled: false };
    let mask = mask();
    let rules = [adam, Adam { decoupled: true, ..adam }];
    for (h, mask) in rules.into_iter().flat_map(|h| [(h, None), (h, Some(&mask[..]))]) {
        let narrow_mask = mask.map(narrow);
        let [mut p, mut m, mut v] = [random(1, LEN), vec![0.0; LEN], vec![0.0; LEN]];
        let start = narrow(&p);
        for step in 0..STEPS {
            reference::adam_step(&h, step + 1, &mut p, &gradient(step), [&mut m, &mut v], mask);
        }
        let run = |cpu: &Cpu| {
            let [mut p, mut m, mut v] = [start.clone(), vec![0.0; LEN], vec![0.0; LEN]];
            for step in 0..STEPS {
                let g = narrow(&gradient(step));
                cpu::adam_step(cpu, &h, step + 1, &mut p, &g, [&mut m, &mut v], narrow_mask.as_deref());
            }
            [p, m, v].concat()
        };
        check_close(run, &[p, m, v].concat(), 2e-6);
    }
}

/// The first step ignores the contents of the velocity, even infinities.
#[test]
fn first_step_ignores_the_velocity() {
    let h = Sgd { lr: 1.0, momentum: 0.9, nesterov: false, weight_decay: 0.0 };
    let (mut p, mut v) = ([1.0], [f32::INFINITY]);
    cpu::sgd_step(&Cpu::detect(), &h, true, &mut p, &[0.25], &mut v, None);
    assert_eq!((p, v), ([0.75], [0.25]));
}

/// A weight that the mask drops is zero even if the step would make it NaN.
#[test]
fn a_masked_nan_becomes_zero() {
    let h = Sgd { lr: 1.0, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let mut p = [1.0, 2.0];
    cpu::sgd_step(&Cpu::detect(), &h, true, &mut p, &[f32::NAN, 0.5], &mut [0.0; 2], Some(&[0.0, 1.0]));
    assert_eq!(p, [0.0, 1.5]);
}
