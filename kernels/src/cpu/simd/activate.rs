//! Activations of vectors. A NaN stays a NaN.

use super::Simd;
use crate::activation::{Activation, Function, Visitor};

/// Applies the activation to each lane.
#[inline(always)]
pub(in crate::cpu) fn activate<S: Simd>(s: S, activation: Activation, v: S::F) -> S::F {
    match activation.bounds() {
        Some([low, high]) => {
            let above = if low > f32::NEG_INFINITY { s.max(s.splat(low), v) } else { v };
            if high < f32::INFINITY { s.min(s.splat(high), above) } else { above }
        }
        None => smooth(s, activation, v),
    }
}

/// Applies an activation that is not a clamp. Inlined, its exponential would take registers from the loops around it,
/// which are written for clamps.
#[cold]
#[inline(never)]
fn smooth<S: Simd>(s: S, activation: Activation, v: S::F) -> S::F {
    activation.visit(Lanes(s, v))
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
