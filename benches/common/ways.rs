//! Ways to compute one case: each is checked, then all are timed in turn.

use super::check::{Expected, bound};
use super::timing::{Measured, Memory, in_turn};
use lopper_engine::Result;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::Cpu;
use std::time::Duration;

/// Function that computes a case into its output.
type Run<'a> = Box<dyn Fn(&mut [f32]) + 'a>;

/// One way to compute a case.
pub struct Way<'a> {
    /// Name in the tables.
    pub name: &'static str,
    /// Kernel chosen, or empty if unknown.
    pub kernel: &'static str,
    /// Expected result.
    pub expected: &'a Expected,
    /// Computed result.
    pub out: Buffer,
    /// Computation.
    pub run: Run<'a>,
}

impl<'a> Way<'a> {
    /// Creates a way that writes `len` floats.
    pub fn new(
        name: &'static str,
        kernel: &'static str,
        expected: &'a Expected,
        len: usize,
        run: impl Fn(&mut [f32]) + 'a,
    ) -> Self {
        Self { name, kernel, expected, out: Buffer::zeros(len), run: Box::new(run) }
    }
}

/// Runs and checks each way, then times each for `budget`, in turn, alongside the read rate of `memory` if given.
///
/// # Errors
/// If a result is wrong; the error names `what` and the way.
pub fn checked_in_turn(
    cpu: &Cpu,
    budget: Duration,
    memory: Option<&Memory>,
    what: &str,
    ways: &mut [Way],
) -> Result<Measured> {
    for Way { name, kernel, expected, out, run } in ways.iter_mut() {
        run(out);
        expected.check(&format!("{what}, {name}"), bound(name, kernel), out)?;
    }
    let mut runs: Vec<_> = ways.iter_mut().map(|Way { out, run, .. }| || run(out)).collect();
    let mut runs: Vec<&mut dyn FnMut()> = runs.iter_mut().map(|run| run as _).collect();
    Ok(in_turn(cpu, budget, memory, &mut runs))
}
