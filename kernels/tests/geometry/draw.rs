//! The random choices of a case, and the guarded buffers that it passes to kernels.

use crate::support::Random;
use lopper_kernels::buffer::Buffer;
use std::fmt::Display;
use std::ops::RangeInclusive;

/// A case: its random choices, and the callback that receives its description.
pub struct Draw {
    random: Random,
    describe: Box<dyn Fn(&str)>,
}

impl Draw {
    pub fn new(seed: u64, describe: impl Fn(&str) + 'static) -> Self {
        Self { random: Random(seed), describe: Box::new(describe) }
    }

    /// Sets the geometry that failures report from now on.
    pub fn about(&self, geometry: impl Display) {
        (self.describe)(&geometry.to_string());
    }

    pub fn between(&mut self, range: RangeInclusive<usize>) -> usize {
        let (start, end) = range.into_inner();
        start + (self.random.bits() % (end - start + 1) as u64) as usize
    }

    /// Returns true in one of `n` cases.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.between(1..=n) == 1
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0..=of.len() - 1)]
    }

    /// Draws a seed for code with its own generator.
    pub fn seed(&mut self) -> u64 {
        self.random.bits()
    }

    /// Draws a uniform number in −1..1.
    pub fn real(&mut self) -> f32 {
        self.random.reals(1)[0]
    }

    /// Draws `len` values in −1..1.
    pub fn reals(&mut self, len: usize) -> Buffer {
        Buffer::from_slice(&self.random.reals(len))
    }

    /// Draws `len` integers in −3..=3.
    pub fn integers(&mut self, len: usize) -> Buffer {
        Buffer::from_slice(&self.random.integers(len))
    }

    pub fn flags(&mut self, len: usize) -> Vec<bool> {
        self.random.flags(len)
    }

    /// Draws `len` integers, whose products kernels sum exactly, or `len` reals.
    pub fn values(&mut self, integers: bool, len: usize) -> Buffer {
        if integers { self.integers(len) } else { self.reals(len) }
    }
}

/// An output of `len` floats, initially NaN.
pub fn output(len: usize) -> Buffer {
    Buffer::unspecified(len)
}

/// An output of `len` floats, written by `fill`.
pub fn filled(len: usize, fill: impl FnOnce(&mut [f32])) -> Buffer {
    let mut buffer = output(len);
    fill(&mut buffer);
    buffer
}

/// An output in double precision, written by `fill`.
pub fn wanted(len: usize, fill: impl FnOnce(&mut [f64])) -> Vec<f64> {
    let mut out = vec![f64::NAN; len];
    fill(&mut out);
    out
}
