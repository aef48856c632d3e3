//! Activations of vectors. A NaN stays a NaN.

use super::{Kernel, MAX_LANES, Simd};
use crate::activation::{Activation, Function, Visitor};
use std::marker::PhantomData;

/// Applies the activation to each lane.
#[inline(always)]
pub(in crate::cpu) fn activate<S: Simd>(s: S, activation: Activation, v: S::F) -> S::F {
    match activation.bounds() {
        Some([low, high]) => {
            let above = if low > f32::NEG_INFINITY { s.max(s.splat(low), v) } else { v };
            if high < f32::INFINITY { s.min(s.splat(high), above) } else { above }
        }
        None => {
            let mut lanes = s.to_array(v);
            smooth(s, activation, &mut lanes);
            s.get(&lanes)
        }
    }
}

/// An activation at the end of sums: a clamp takes place in registers, before they are stored. Any other is a function, and
/// takes place afterwards, where they are stored: a call between the sums and their store would push them out of the
/// registers, and if only one way of a branch has it, out of all ways.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Ending {
    activation: Activation,
    /// The bounds of a clamp, unless they are infinite.
    bounds: Option<[f32; 2]>,
}

impl Ending {
    pub fn new(activation: Activation) -> Self {
        let finite = |bounds: &[f32; 2]| bounds.iter().any(|bound| bound.is_finite());
        Self { activation, bounds: activation.bounds().filter(finite) }
    }

    /// Whether the activation takes place after the store.
    pub fn is_left(self) -> bool {
        self.activation.bounds().is_none()
    }

    /// Applies a clamp.
    #[inline(always)]
    pub fn in_registers<S: Simd>(self, s: S, v: S::F) -> S::F {
        match self.bounds {
            Some(bounds) => clamp(s, bounds, v),
            None => v,
        }
    }

    /// Applies any other activation to the stored sums `y`.
    #[inline(always)]
    pub fn in_place<S: Simd>(self, s: S, y: &mut [f32]) {
        if self.is_left() {
            for y in y.chunks_mut(S::LANES) {
                let v = activate(s, self.activation, s.get(y));
                s.put(y, v);
            }
        }
    }
}

/// Clamps each lane to these bounds.
#[inline(always)]
pub(in crate::cpu) fn clamp<S: Simd>(s: S, [low, high]: [f32; 2], v: S::F) -> S::F {
    s.min(s.splat(high), s.max(s.splat(low), v))
}

/// Applies an activation that is not a clamp to the first lanes. Inlined, its exponential would take registers from the
/// loops around it, which are written for clamps. A function of its own does not inherit their instructions, so it asks for
/// them again: without them, sixteen exponentials take five times as long.
#[inline(never)]
fn smooth<S: Simd>(s: S, activation: Activation, lanes: &mut [f32; MAX_LANES]) {
    s.vectorize(Smooth { activation, lanes });
}

struct Smooth<'a> {
    activation: Activation,
    lanes: &'a mut [f32; MAX_LANES],
}

impl Kernel for Smooth<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.activation.visit(Lanes::<S>(self.lanes, PhantomData));
    }
}

/// Applies a function to the lanes of a vector. The compiler vectorizes the loop.
struct Lanes<'a, S>(&'a mut [f32; MAX_LANES], PhantomData<S>);

impl<S: Simd> Visitor for Lanes<'_, S> {
    type Output = ();

    #[inline(always)]
    fn visit(self, function: impl Function) {
        for x in &mut self.0[..S::LANES] {
            *x = function.apply(*x);
        }
    }
}
