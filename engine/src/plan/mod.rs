//! The inference plan: a graph made ready to run on images of one shape.
//!
//! ```text
//!   graph ─ lower ─► operations ─ pack ─► kernels ─ arena ─► calls with fixed places
//!           fuse ReLU and      choose each     lay out every value
//!           residual sums      kernel, pack    in one block
//!                              its weights
//! ```
//!
//! Training runs the graph itself ([`Graph::forward`]); every latency that is reported comes from a plan, which does
//! no work at run time that can be done before, and allocates nothing. On a GPU packing is uploading, and the calls are
//! recorded as one CUDA graph.

mod arena;
mod budget;
mod cpu;
mod cuda;
mod lower;
mod places;
mod work;

use crate::{Device, Error, Graph, Result};
use lopper_kernels::cpu::{Algorithm, Cpu, Packing, Weights};
use lopper_kernels::params::{Dtype, Storage};
use lower::Op;
use places::Places;
use std::time::Duration;
use work::Work;

/// A network made ready to run on images of one shape.
///
/// # Examples
/// ```
/// use lopper_engine::{Device, Graph, Layer, plan::Plan};
/// let mut graph = Graph::new(3);
/// graph.push("relu", Layer::Relu, &[0])?;
/// let mut plan = Plan::new(&graph, [1, 1, 1, 3], &Device::cpu())?;
/// assert_eq!(plan.run(&[-1.0, 0.5, 2.0])?, [0.0, 0.5, 2.0]);
/// # Ok::<(), lopper_engine::Error>(())
/// ```
pub struct Plan {
    input: [usize; 4],
    output: Vec<usize>,
    steps: Vec<Step>,
    weight_bytes: usize,
    budget: u64,
    /// Whether images have to be finite.
    strict: bool,
    runner: Runner,
}

/// What runs the operations: the kernels of a device, and the memory between them.
enum Runner {
    Cpu(cpu::Runner),
    Cuda(cuda::Runner),
}

/// What a plan on the CPU trades for what. By default it is as fast as it can be in f32. A GPU has no such choices, but
/// its precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Compute every convolution by the direct algorithm, whose error bound is a quarter of Winograd's, as are its
    /// packed 3×3 weights: the plan then holds each weight once.
    pub direct: bool,
    /// Promise numbers where numbers are due: compute directly, as with `direct`, and refuse images that hold an infinity or
    /// a NaN. Winograd's algorithm would spread either, and the rounding of a huge value, over its neighbours.
    pub strict: bool,
    /// How the weights of linear layers are stored: as bf16, a small batch reads them in half the time.
    pub linear: Storage,
}

/// The most bytes of weights that a plan expects to find in a cache when it runs again: what the last level of a
/// server's processor holds for one of its users.
const CACHED: usize = 48 << 20;

impl PlanOptions {
    fn packer<'a>(&self, cpu: &'a Cpu, graph: &Graph) -> cpu::Packer<'a> {
        let bytes: usize = graph.params().map(|(_, param)| 4 * param.value().len()).sum();
        let weights = if bytes <= CACHED { Weights::Cache } else { Weights::Memory };
        let conv2d = if self.direct || self.strict {
            Packing::By(Algorithm::Direct)
        } else {
            Packing::Fastest(weights)
        };
        cpu::Packer { cpu, conv2d, linear: self.linear }
    }

    /// An error where one is set that a GPU does not have. Strict it can be: it has no other than the direct algorithm.
    fn check_for_gpu(&self) -> Result<()> {
        match self {
            Self { direct: true, .. } => {
                Err(Error::invalid("direct: an algorithm of plans on the CPU; on a GPU there is one alone"))
            }
            Self { linear: Storage::Bf16, .. } => Err(Error::invalid(
                "linear weights as bf16: a storage of plans on the CPU; on a GPU all weights have its precision's",
            )),
            Self { direct: false, linear: Storage::F32, strict: _ } => Ok(()),
        }
    }
}

/// What one step of a plan does, for tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The node that it computes.
    pub name: String,
    /// The kind of layer, as it is run.
    pub kind: &'static str,
    /// The kernel that was chosen.
    pub kernel: &'static str,
    /// Why, where there was a choice: what was estimated, or what leaves only one algorithm.
    pub why: Option<String>,
    /// The nodes that are computed with it: a pool before it, its epilogue.
    pub fused: Vec<String>,
    /// Multiply-accumulates that it does, for the whole batch; a filter that is left out does none.
    pub macs: u64,
    /// Multiply-accumulates that the kernel takes for that: Winograd's algorithm takes fewer.
    pub products: u64,
    /// Bytes of its inputs, packed weights and output, each moved once.
    pub bytes: u64,
    /// The shape of its output.
    pub shape: Vec<usize>,
}

/// Bytes that a plan holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanMemory {
    /// Packed weights and biases.
    pub weights: usize,
    /// The block in which all values between the layers live.
    pub arena: usize,
    /// What kernels have borrowed for the length of a call, of all plans on this device so far; on a GPU what this plan
    /// keeps for them, and for the images.
    pub scratch: usize,
}

impl Plan {
    /// Plans `graph` for images `input` `[N, H, W, C]`: in eval mode, weights as they are now.
    ///
    /// # Errors
    /// Where a layer's parameters do not fit together, it cannot take the shape it is given, or the memory of the machine or
    /// of a GPU does not hold what it needs; the error names it.
    pub fn new(graph: &Graph, input: [usize; 4], device: &Device) -> Result<Self> {
        Self::with(graph, input, device, PlanOptions::default())
    }

    /// Plans like [`Plan::new`], with these trades.
    ///
    /// # Errors
    /// As for [`Plan::new`], and where a GPU does not have an option that is set.
    pub fn with(graph: &Graph, input: [usize; 4], device: &Device, options: PlanOptions) -> Result<Self> {
        if let Device::Cuda(_) = device {
            options.check_for_gpu()?;
        }
        let strict = options.strict || device.is_strict();
        if input.contains(&0) {
            return Err(Error::shape("plan", format!("expected images [N, H, W, C], found {input:?}")));
        }
        graph.check_layers()?;
        let ops = lower::lower(graph, input)?;
        let (element, alignment) = match device {
            Device::Cpu(_) => (Dtype::F32.bytes(), cpu::ALIGNMENT),
            Device::Cuda(gpu) => (gpu.precision().storage().bytes(), cuda::ALIGNMENT),
        };
        let places = Places::new(&ops, input, alignment / element);
        let works = ops
            .iter()
            .map(|op| Work::of(op, &places.lens(op)).map_err(|e| e.in_node(&op.node.name)))
            .collect::<Result<Vec<_>>>()?;
        let mut budget = 0;
        let runner = match device {
            Device::Cpu(cpu) => {
                let packer = options.packer(cpu, graph);
                budget = budget::require(&packer, &ops, &works, &places)?;
                Runner::Cpu(cpu::Runner::new(&packer, &ops, &works, &places))
            }
            Device::Cuda(gpu) => Runner::Cuda(cuda::Runner::new(gpu, input, &ops, &works, &places)?),
        };
        let chosen: Vec<Chosen> = match &runner {
            Runner::Cpu(runner) => runner.chosen().collect(),
            Runner::Cuda(runner) => runner.chosen().collect(),
        };
        let weight_bytes = chosen.iter().map(|chosen| chosen.weight_bytes).sum();
        let steps = ops.iter().zip(&works).zip(chosen);
        let steps = steps.map(|((op, work), chosen)| Step::new(op, work, chosen, element * places.moved(op)));
        let output = graph.shapes(input)?.swap_remove(graph.output());
        Ok(Self { input, output, steps: steps.collect(), weight_bytes, budget, strict, runner })
    }

    /// The shape of its output, `[N, classes]` for a classifier.
    pub fn output_shape(&self) -> &[usize] {
        &self.output
    }

    /// What each step does, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The memory that it holds, and what its kernels have borrowed.
    pub fn memory(&self) -> PlanMemory {
        let [arena, scratch] = match &self.runner {
            Runner::Cpu(runner) => runner.memory(),
            Runner::Cuda(runner) => runner.memory(),
        };
        PlanMemory { weights: self.weight_bytes, arena, scratch }
    }

    /// Bytes that it was estimated to take at most, images not among them, before anything was allocated; 0 on a GPU, which
    /// keeps its own account.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// The network's output for `images`, row-major in the shape that was planned for.
    ///
    /// # Errors
    /// If their number is another one, or a strict plan finds an infinity or NaN among them.
    pub fn run(&mut self, images: &[f32]) -> Result<&[f32]> {
        self.check(images)?;
        match &mut self.runner {
            Runner::Cpu(runner) => Ok(runner.run(images)),
            Runner::Cuda(runner) => runner.run(images),
        }
    }

    /// Runs like [`Plan::run`] and tells how long each step took; on a GPU launch by launch, by its own clock.
    pub fn run_timed(&mut self, images: &[f32]) -> Result<Vec<Duration>> {
        self.check(images)?;
        match &mut self.runner {
            Runner::Cpu(runner) => Ok(runner.run_timed(images)),
            Runner::Cuda(runner) => runner.run_timed(images),
        }
    }

    fn check(&self, images: &[f32]) -> Result<()> {
        let expected: usize = self.input.iter().product();
        match images.len() == expected {
            true if self.strict => check_finite(images),
            true => Ok(()),
            false => {
                let (shape, found) = (self.input, images.len());
                Err(Error::shape("plan", format!("expected {expected} values of {shape:?}, found {found}")))
            }
        }
    }
}

/// An error where a value of `images` is infinite or not a number.
pub(crate) fn check_finite(images: &[f32]) -> Result<()> {
    // Zero times any number is zero, and NaN otherwise: a sum that vectorizes, where a search would not.
    if images.iter().fold(0.0, |sum, x| sum + 0.0 * x) == 0.0 {
        return Ok(());
    }
    let found = images.iter().enumerate().find(|(_, x)| !x.is_finite());
    found.map_or(Ok(()), |(at, x)| {
        Err(Error::invalid(format!("strict: expected finite images, found {x} as value {at}")))
    })
}

/// The kernel that a device chose for an operation.
struct Chosen {
    kernel: &'static str,
    /// Where there was a choice.
    why: Option<String>,
    /// Multiply-accumulates that it takes, where they may be others than those it does.
    products: Option<u64>,
    /// Of its weights as packed, and of its bias.
    weight_bytes: usize,
}

impl Step {
    /// What `op` does with the kernel that was `chosen`, in which `moved` bytes go in and out.
    fn new(op: &Op, work: &Work, chosen: Chosen, moved: usize) -> Self {
        let macs = work.macs();
        Self {
            name: op.node.name.clone(),
            kind: work.kind(&op.node.layer),
            kernel: chosen.kernel,
            why: chosen.why,
            fused: op.fused.iter().map(|node| node.name.clone()).collect(),
            macs,
            products: chosen.products.unwrap_or(macs),
            bytes: (moved + chosen.weight_bytes) as u64,
            shape: op.shape.clone(),
        }
    }
}
