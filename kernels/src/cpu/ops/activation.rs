//! Activations as operations. A NaN stays a NaN, so that diverged training is
//! noticed.

use crate::activation::{Activation, Function, Visitor};
use crate::cpu::Cpu;
use crate::cpu::ops::lanewise::lanewise;

/// Computes `y = activation(x)`.
pub fn activation_forward(cpu: &Cpu, activation: Activation, x: &[f32], y: &mut [f32]) {
    struct Forward<'a>(&'a Cpu, &'a [f32], &'a mut [f32]);
    impl Visitor for Forward<'_> {
        type Output = ();

        #[inline(always)]
        fn visit(self, function: impl Function) {
            let Self(cpu, x, y) = self;
            lanewise(cpu, [y], [x], move |_, [x]| [function.apply(x)]);
        }
    }
    activation.visit(Forward(cpu, x, y));
}

/// Computes the gradient of `x` from `dy` and the value that [`Activation::saved`] names.
pub fn activation_input_grad(cpu: &Cpu, activation: Activation, saved: &[f32], dy: &[f32], dx: &mut [f32]) {
    struct Backward<'a>(&'a Cpu, &'a [f32], &'a [f32], &'a mut [f32]);
    impl Visitor for Backward<'_> {
        type Output = ();

        #[inline(always)]
        fn visit(self, function: impl Function) {
            let Self(cpu, saved, dy, dx) = self;
            lanewise(cpu, [dx], [saved, dy], move |_, [saved, dy]| [function.gradient(saved, dy)]);
        }
    }
    activation.visit(Backward(cpu, saved, dy, dx));
}
