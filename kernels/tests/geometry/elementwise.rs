//! Elementwise operations and dropout. No formula has a fused multiply-add, so the results are bit-identical to the
//! reference in `f32`.

use crate::cases::run;
use crate::draw::{Draw, filled};
use crate::support::CPUS;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, Cpu};
use lopper_kernels::params::ACTIVATIONS;
use lopper_kernels::reference;

type Zip = (fn(&Cpu, &[f32], &[f32], &mut [f32]), fn(&[f32], &[f32], &mut [f32]));

const ZIPS: [Zip; 2] =
    [(cpu::add_forward, reference::add_forward), (cpu::mul_forward, reference::mul_forward)];

/// Draws a length around the edges of vectors and, sometimes, of the chunks that threads share.
pub fn length(draw: &mut Draw) -> usize {
    if draw.one_in(20) { draw.between(16_300..=16_500) } else { draw.between(1..=100) }
}

#[test]
fn elementwise_operations() {
    run("elementwise_operations", 30, |draw| {
        let len = length(draw);
        let (s, p, seed) = (2.0 * draw.real(), draw.real().abs(), draw.seed());
        draw.about(format_args!("{len} floats, factor {s}, dropout {p} by {seed}"));
        // The factor 9 puts values on both sides of 0 and of 6.
        let [a, b] = [0; 2].map(|_| draw.reals(len).iter().map(|x| 9.0 * x).collect::<Buffer>());
        for cpu in &*CPUS {
            let same = |kernel: &dyn Fn(&mut [f32]), specified: &dyn Fn(&mut [f32])| {
                assert_eq!(filled(len, kernel)[..], filled(len, specified)[..], "{}", cpu.isa());
            };
            for &f in ACTIVATIONS {
                same(&|y| cpu::activation_forward(cpu, f, &a, y), &|y| {
                    reference::activation_forward(f, &a, y)
                });
                same(&|dx| cpu::activation_input_grad(cpu, f, &a, &b, dx), &|dx| {
                    reference::activation_input_grad(f, &a, &b, dx)
                });
            }
            for (kernel, specified) in ZIPS {
                same(&|y| kernel(cpu, &a, &b, y), &|y| specified(&a, &b, y));
            }
            same(&|y| cpu::scale(cpu, s, &a, y), &|y| reference::scale(s, &a, y));
            same(&|y| cpu::dropout(cpu, p, seed, &a, y), &|y| reference::dropout(p, seed, &a, y));
            let from_a = |add: &dyn Fn(&mut [f32])| {
                let mut y = a.clone();
                add(&mut y);
                y
            };
            let (sum, want) =
                (from_a(&|y| cpu::add_assign(cpu, y, &b)), from_a(&|y| reference::add_assign(y, &b)));
            assert_eq!(sum[..], want[..], "{}", cpu.isa());
            // The factor is a power of two, so the product is exact, fused or not.
            let sum = from_a(&|y| cpu::axpy(cpu, -0.5, &b, y));
            assert_eq!(sum[..], from_a(&|y| reference::axpy(-0.5, &b, y))[..], "{}", cpu.isa());
        }
    });
}
