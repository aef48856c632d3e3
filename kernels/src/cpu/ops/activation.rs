//! Activations, as operations and as the end of a fused operation. A NaN stays a NaN, so that diverged training is
//! noticed.

use crate::activation::{Activation, Function, Visitor};
use crate::cpu::Cpu;
use crate::cpu::ops::lanewise::lanewise;
use crate::cpu::simd::Simd;

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

/// Applies the activation to each lane.
#[inline(always)]
pub(in crate::cpu) fn activate<S: Simd>(s: S, activation: Activation, v: S::F) -> S::F {
    match activation.bounds() {
        Some([low, high]) => {
            let above = if low > f32::NEG_INFINITY { s.max(s.splat(low), v) } else { v };
            if high < f32::INFINITY { s.min(s.splat(high), above) } else { above }
        }
        None => activation.visit(Lanes(s, v)),
    }
}

/// Applies a function to the lanes of a vector. The compiler vectorizes the loop.
struct Lanes<S: Simd>(S, S::F);

impl<S: Simd> Visitor for Lanes<S> {
    type Output = S::F;

    #[inline(always)]
    fn visit(self, function: impl Function) -> S::F {
        let Self(s, v) = self;
        let mut lanes = s.to_array(v);
        for x in &mut lanes[..S::LANES] {
            *x = function.apply(*x);
        }
        s.get(&lanes)
    }
}
