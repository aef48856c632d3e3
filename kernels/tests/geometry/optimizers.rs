//! Optimizer steps, with and without masks.

use crate::cases::run;
use crate::elementwise::length;
use crate::support::{CPUS, wide};
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu;
use lopper_kernels::params::{Adam, Sgd};
use lopper_kernels::reference;

/// Asserts that the error of each value is at most a few rounding errors.
fn close(what: &str, got: &[f32], want: &[f64]) {
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(got) - want).abs();
        assert!(error <= 2e-6 * (1.0 + want.abs()), "{what}[{i}]: got {got}, want {want}, error {error:e}");
    }
}

#[test]
fn optimizer_steps() {
    run("optimizer_steps", 20, |draw| {
        let len = length(draw);
        let sgd = Sgd {
            lr: draw.real().abs(),
            momentum: draw.pick(&[0.0, 0.9]),
            nesterov: draw.one_in(2),
            weight_decay: draw.pick(&[0.0, 1e-2]),
        };
        let adam = Adam {
            lr: 0.1 * draw.real().abs(),
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-3,
            weight_decay: draw.pick(&[0.0, 1e-2]),
            decoupled: draw.one_in(2),
        };
        let first = draw.one_in(2);
        let mask = draw
            .one_in(2)
            .then(|| draw.flags(len).iter().map(|&f| f32::from(u8::from(f))).collect::<Buffer>());
        draw.about(format_args!("{len} floats, {sgd:?}, {adam:?}, first: {first}, mask: {}", mask.is_some()));
        let (p, g, m) = (draw.reals(len), draw.reals(len), draw.reals(len));
        let v: Buffer = draw.reals(len).iter().map(|v| v.abs()).collect();
        let (mask, wide_mask) = (mask.as_deref(), mask.as_deref().map(wide));
        let (mut sgd_p, mut sgd_m) = (wide(&p), wide(&m));
        reference::sgd_step(&sgd, first, &mut sgd_p, &wide(&g), &mut sgd_m, wide_mask.as_deref());
        let (mut adam_p, mut adam_m, mut adam_v) = (wide(&p), wide(&m), wide(&v));
        let step = if first { 1 } else { 7 };
        reference::adam_step(
            &adam,
            step,
            &mut adam_p,
            &wide(&g),
            [&mut adam_m, &mut adam_v],
            wide_mask.as_deref(),
        );
        for cpu in &*CPUS {
            let (mut got_p, mut got_m) = (p.clone(), m.clone());
            cpu::sgd_step(cpu, &sgd, first, &mut got_p, &g, &mut got_m, mask);
            close("SGD's parameter", &got_p, &sgd_p);
            close("velocity", &got_m, &sgd_m);
            let (mut got_p, mut got_m, mut got_v) = (p.clone(), m.clone(), v.clone());
            cpu::adam_step(cpu, &adam, step, &mut got_p, &g, [&mut got_m, &mut got_v], mask);
            close("Adam's parameter", &got_p, &adam_p);
            close("first moment", &got_m, &adam_m);
            close("second moment", &got_v, &adam_v);
        }
    });
}
