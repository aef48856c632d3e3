//! The plan and its options.

use super::chosen::Chosen;
use super::decide::decide;
use super::layouts::Layouts;
use super::lower::Op;
use super::places::Places;
use super::spans::Parts;
use super::step::Step;
use super::work::Work;
use super::{budget, cpu, cuda, lower};
use crate::channels::live::{Live, live};
use crate::{Device, Error, Graph, Result};
use lopper_kernels::cpu::{Algorithm, Cpu, Packing, Weights};
use lopper_kernels::params::Dtype;
use std::time::Duration;

/// A network prepared to run on images of one shape.
///
/// # Examples
/// ```
/// use lopper_engine::{Device, Graph, Layer, layer::Activation, plan::Plan};
/// let mut graph = Graph::new(3);
/// graph.push("relu", Layer::Activation(Activation::Relu), &[0])?;
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
    /// Whether images must be finite.
    strict: bool,
    runner: Runner,
}

/// The kernels of a device, and the memory for the values between them.
enum Runner {
    Cpu(cpu::Runner),
    Cuda(cuda::Runner),
}

/// Trade-offs of a plan on the CPU. The default is the fastest plan in f32. On a GPU, the only such choice is the
/// precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Whether to compute every convolution with the direct algorithm. Its error bound and packed 3×3 weights are a
    /// quarter of Winograd's: the plan then holds each weight once.
    pub direct: bool,
    /// Whether to compute directly, as with `direct`, and reject images with infinities or NaNs. Winograd's algorithm
    /// would spread either to neighboring values, as well as the rounding error of a huge value. Filters that only masked
    /// weights read are computed too: if they overflow, the result is NaN, as in the graph.
    pub strict: bool,
    /// The type of linear layers' weights in memory: f32, or bf16, which a small batch reads in half the time.
    pub linear: Dtype,
    /// How many images are computed at a time. A GPU always computes the whole batch.
    pub parts: Parts,
}

/// Maximum bytes of weights that a plan expects to stay in cache between runs: one user's share of the last-level
/// cache of a server's processor.
const CACHED: usize = 48 << 20;

/// The place from which a plan of `graph` expects to read its weights.
pub(super) fn weights_of(graph: &Graph) -> Weights {
    let bytes: usize = graph.params().map(|(_, param)| 4 * param.value().len()).sum();
    if bytes <= CACHED { Weights::Cache } else { Weights::Memory }
}

impl PlanOptions {
    fn packer<'a>(&self, cpu: &'a Cpu, graph: &Graph) -> cpu::Packer<'a> {
        let conv2d = if self.direct || self.strict {
            Packing::By(Algorithm::Direct)
        } else {
            Packing::Fastest(weights_of(graph))
        };
        cpu::Packer { cpu, conv2d, linear: self.linear }
    }

    /// Returns an error if linear weights cannot have this type.
    fn check(&self) -> Result<()> {
        match self.linear {
            Dtype::F32 | Dtype::Bf16 => Ok(()),
            other => Err(Error::invalid(format!("linear weights as {other}: expected f32 or bf16"))),
        }
    }

    /// Returns an error if an option is set that GPUs do not support. They support `strict`, as they have only the
    /// direct algorithm.
    fn check_for_gpu(&self) -> Result<()> {
        match self {
            Self { direct: true, .. } => {
                Err(Error::invalid("direct: selects an algorithm on the CPU; a GPU has only one"))
            }
            Self { linear: Dtype::F32, .. } => Ok(()),
            Self { linear, .. } => Err(Error::invalid(format!(
                "linear weights as {linear}: only for plans on the CPU; on a GPU, the precision determines the storage"
            ))),
        }
    }
}

/// The memory of a plan, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanMemory {
    /// Packed weights and biases.
    pub weights: usize,
    /// The block that holds all values between the layers.
    pub arena: usize,
    /// Scratch memory that kernels have borrowed during calls, over all plans on this device so far. On a GPU, the
    /// memory that this plan keeps for its kernels and for the images.
    pub scratch: usize,
}

impl Plan {
    /// Plans `graph` for images of shape `input` `[N, H, W, C]`, in eval mode and with its current weights.
    ///
    /// # Errors
    /// Returns an error that names the layer if a layer's parameters do not fit together, if it cannot take the shape
    /// of its input, or if it needs more memory than the machine or the GPU has.
    pub fn new(graph: &Graph, input: [usize; 4], device: &Device) -> Result<Self> {
        Self::with(graph, input, device, PlanOptions::default())
    }

    /// Plans like [`Plan::new`], with `options`.
    ///
    /// # Errors
    /// The errors of [`Plan::new`]; [`Error::Invalid`] if an option is set that the device does not support.
    pub fn with(graph: &Graph, input: [usize; 4], device: &Device, options: PlanOptions) -> Result<Self> {
        options.check()?;
        if let Device::Cuda(_) = device {
            options.check_for_gpu()?;
        }
        let strict = options.strict || device.is_strict();
        if input.contains(&0) {
            return Err(Error::shape("plan", format!("expected images [N, H, W, C], found {input:?}")));
        }
        graph.check_layers()?;
        let live = live(graph, input, strict)?;
        let graph = live.as_ref().map_or(graph, |live| &live.graph);
        let ops = lower::lower(graph, input)?;
        let (dtype, alignment) = match device {
            Device::Cpu(_) => (Dtype::F32, cpu::ALIGNMENT),
            Device::Cuda(gpu) => (gpu.precision().storage(), cuda::ALIGNMENT),
        };
        let layouts = Layouts::channels_last(&ops, Packing::By(Algorithm::Direct));
        let places = Places::new(&ops, &layouts, input, dtype, alignment);
        let mut works = ops
            .iter()
            .map(|op| Work::of(op, &places.lens(op)).map_err(|e| e.in_node(&op.node.name)))
            .collect::<Result<Vec<_>>>()?;
        let (mut budget, held) = (0, live.as_ref().map_or(0, |live| live.bytes));
        let runner = match device {
            Device::Cpu(cpu) => {
                let packer = options.packer(cpu, graph);
                let runner;
                (budget, runner) = on_cpu(&packer, (&ops, &mut works), input, options.parts, held)?;
                Runner::Cpu(runner)
            }
            Device::Cuda(gpu) => Runner::Cuda(cuda::Runner::new(gpu, input, &ops, &works, &places)?),
        };
        let chosen: Vec<Chosen> = match &runner {
            Runner::Cpu(runner) => runner.chosen().collect(),
            Runner::Cuda(runner) => runner.chosen().collect(),
        };
        let weight_bytes = chosen.iter().map(|chosen| chosen.weight_bytes).sum();
        let cut = |op: &Op| live.as_ref().and_then(|live: &Live| live.cuts[op.id].as_ref());
        let steps = ops.iter().zip(&works).zip(chosen);
        let steps = steps.map(|((op, work), chosen)| Step::new(op, work, cut(op), chosen, places.moved(op)));
        let output = graph.shapes(input)?.swap_remove(graph.output());
        Ok(Self { input, output, steps: steps.collect(), weight_bytes, budget, strict, runner })
    }

    /// The shape of the images, `[N, H, W, C]`.
    pub fn input_shape(&self) -> [usize; 4] {
        self.input
    }

    /// The output shape, `[N, classes]` for a classifier.
    pub fn output_shape(&self) -> &[usize] {
        &self.output
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The memory of the plan and of its kernels.
    pub fn memory(&self) -> PlanMemory {
        let [arena, scratch] = match &self.runner {
            Runner::Cpu(runner) => runner.memory(),
            Runner::Cuda(runner) => runner.memory(),
        };
        PlanMemory { weights: self.weight_bytes, arena, scratch }
    }

    /// The upper bound on the plan's bytes, without images, that was estimated before anything was allocated. It is 0
    /// on a GPU, which does its own accounting.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// The network's output for `images`, row-major in the planned shape.
    ///
    /// # Errors
    /// Returns an error if the number of values is wrong, or if a strict plan finds an infinity or NaN among them.
    pub fn run(&mut self, images: &[f32]) -> Result<&[f32]> {
        self.check(images)?;
        match &mut self.runner {
            Runner::Cpu(runner) => Ok(runner.run(images)),
            Runner::Cuda(runner) => runner.run(images),
        }
    }

    /// Runs like [`Plan::run`] and returns the duration of each step. On a GPU, each launch is timed with the GPU's
    /// clock.
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

/// Chooses algorithms, layouts and spans for `works`, the work of `ops`, and packs the weights. Returns the plan's budget,
/// too.
fn on_cpu(
    packer: &cpu::Packer,
    (ops, works): (&[Op], &mut [Work]),
    input: [usize; 4],
    parts: Parts,
    held: u64,
) -> Result<(u64, cpu::Runner)> {
    let (layouts, spans) = &decide(packer, (ops, works), input[0], parts);
    let outside = &Places::around(ops, layouts, spans, input, cpu::ALIGNMENT);
    let inside = |span| cpu::Inside::new(packer, span, ops, works, layouts);
    let inside: Vec<cpu::Inside> = spans.iter().map(inside).collect();
    let placed = cpu::Placed { layouts, spans, outside, inside: &inside };
    let budget = budget::require(packer, ops, works, &placed, held)?;
    Ok((budget, cpu::Runner::new(packer, ops, works, &placed)))
}

/// Returns an error if a value of `images` is infinite or NaN.
pub(crate) fn check_finite(images: &[f32]) -> Result<()> {
    // Zero times a finite number is zero; otherwise it is NaN. The sum vectorizes, whereas a search would not.
    if images.iter().fold(0.0, |sum, x| sum + 0.0 * x) == 0.0 {
        return Ok(());
    }
    let found = images.iter().enumerate().find(|(_, x)| !x.is_finite());
    found.map_or(Ok(()), |(at, x)| {
        Err(Error::invalid(format!("strict: expected finite images, found {x} as value {at}")))
    })
}
