//! Computations on the CPU.

use super::computation::{Computation, median_of};
use super::layer::Operation;
use super::problem::Problem;
use lopper_engine::Result;
use lopper_kernels::buffer::Buffer;
use lopper_kernels::cpu::{self, Algorithm, Cpu, Epilogue, PackedConv2d, PackedLinear, Packing, Weights};
use lopper_kernels::params::Dtype;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A layer packed for the CPU.
pub(super) struct OnCpu<'a> {
    cpu: &'a Cpu,
    problem: &'a Problem<'a>,
    packed: Packed,
    /// At least as long as the result; the ways of a cell share it.
    out: Arc<Mutex<Buffer>>,
}

enum Packed {
    Conv2d(Box<PackedConv2d>),
    Linear(PackedLinear),
}

impl<'a> OnCpu<'a> {
    /// Packs the layer for `forced`, or for the algorithm that the plan chooses. A linear layer has only the latter.
    pub(super) fn new(
        cpu: &'a Cpu,
        problem: &'a Problem<'a>,
        forced: Option<Algorithm>,
        out: &Arc<Mutex<Buffer>>,
    ) -> Self {
        // The same call is timed again and again, so its weights stay in the cache.
        let packing = forced.map_or(Packing::Fastest(Weights::Cache), Packing::By);
        let Problem { operation, w, bias, pattern, compact, .. } = problem;
        let packed = match (operation, compact) {
            (Operation::Linear(g), _) => Packed::Linear(PackedLinear::masked(cpu, g, w, pattern, Dtype::F32)),
            (Operation::Conv2d(g), None) => {
                Packed::Conv2d(Box::new(PackedConv2d::masked(cpu, g, w, pattern, packing)))
            }
            (Operation::Conv2d(g), Some(index)) => {
                Packed::Conv2d(Box::new(PackedConv2d::compact(cpu, g, index, w, bias, packing)))
            }
        };
        Self { cpu, problem, packed, out: out.clone() }
    }

    /// The algorithm that computes it.
    pub(super) fn algorithm(&self) -> Algorithm {
        match &self.packed {
            Packed::Conv2d(packed) => packed.choice().algorithm,
            // A linear layer multiplies directly, however its weight is stored.
            Packed::Linear(_) => Algorithm::Direct,
        }
    }

    /// Calls `f` inside the pool, as a plan does, with a function that computes once, and with the result's place.
    fn inside<R: Send>(&self, f: impl FnOnce(&dyn Fn(&mut [f32]), &mut [f32]) -> R + Send) -> R {
        let Self { cpu, problem, packed, out } = self;
        let len = problem.operation.as_conv2d().y_len();
        let epilogue = Epilogue { bias: Some(&problem.bias), ..Default::default() };
        cpu.run(|| {
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            let run = |y: &mut [f32]| match (packed, &problem.operation) {
                (Packed::Conv2d(w), Operation::Conv2d(g)) => {
                    cpu::conv2d_forward_packed(cpu, g, &problem.x, w, &epilogue, y);
                }
                (Packed::Linear(w), Operation::Linear(g)) => {
                    cpu::linear_forward_packed(cpu, g, &problem.x, w, &epilogue, y);
                }
                _ => unreachable!("packed as its operation"),
            };
            f(&run, &mut out[..len])
        })
    }
}

impl Computation for OnCpu<'_> {
    fn kernel(&self) -> &'static str {
        match &self.packed {
            Packed::Conv2d(packed) => packed.kernel(),
            Packed::Linear(packed) => packed.kernel(),
        }
    }

    fn products(&self) -> u64 {
        match (&self.packed, &self.problem.operation) {
            (Packed::Conv2d(packed), operation) => packed.products(&operation.as_conv2d()),
            (Packed::Linear(packed), Operation::Linear(g)) => packed.products(g),
            _ => unreachable!("packed as its operation"),
        }
    }

    fn bytes(&self) -> usize {
        match &self.packed {
            Packed::Conv2d(packed) => packed.bytes(),
            Packed::Linear(packed) => packed.bytes(),
        }
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        Ok(self.inside(|run, y| {
            // An element that is not written fails the check.
            y.fill(f32::NAN);
            run(y);
            y.to_vec()
        }))
    }

    fn sample(&mut self, time: Duration) -> Result<f64> {
        self.inside(|run, y| {
            run(y);
            median_of(time, || {
                let start = Instant::now();
                run(y);
                Ok(start.elapsed().as_secs_f64())
            })
        })
    }
}
