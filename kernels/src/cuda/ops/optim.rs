//! Optimizer steps and running averages, as PyTorch defines them, on parameters `p` with gradients `g`, all F32: of
//! one tensor, or of all tensors of a network in one launch. With a `mask`, dropped weights (0) become zero in the
//! same pass.

use super::tensors::{address, over_tensors};
use crate::cuda::driver::Result;
use crate::cuda::driver::source::OPTIM;
use crate::cuda::{Cuda, DeviceBuffer};
use crate::params::{Adam, Dtype, Sgd};
use bytemuck::NoUninit;

/// A parameter that [`sgd_step_all`] updates. Without momentum, the velocity is neither read nor written and may be
/// empty.
#[derive(Debug)]
pub struct SgdTensor<'a> {
    /// The parameter.
    pub p: &'a mut DeviceBuffer,
    /// Its gradient.
    pub g: &'a DeviceBuffer,
    /// The momentum carried from step to step.
    pub velocity: &'a mut DeviceBuffer,
    /// 0 for dropped weights.
    pub mask: Option<&'a DeviceBuffer>,
}

/// A parameter that [`adam_step_all`] updates.
#[derive(Debug)]
pub struct AdamTensor<'a> {
    /// The parameter.
    pub p: &'a mut DeviceBuffer,
    /// Its gradient.
    pub g: &'a DeviceBuffer,
    /// The first moment of its gradients.
    pub m: &'a mut DeviceBuffer,
    /// The second moment of its gradients.
    pub v: &'a mut DeviceBuffer,
    /// 0 for dropped weights.
    pub mask: Option<&'a DeviceBuffer>,
}

/// One step of [`Sgd`]: `d = g + weight_decay·p`; `v = momentum·v + d`, or `v = d` on the `first` step;
/// `p −= lr · (d + momentum·v if nesterov, else v)`. Without momentum the velocity is neither read nor written.
pub fn sgd_step(
    cuda: &Cuda,
    h: &Sgd,
    first: bool,
    p: &mut DeviceBuffer,
    g: &DeviceBuffer,
    velocity: &mut DeviceBuffer,
    mask: Option<&DeviceBuffer>,
) -> Result<()> {
    sgd_step_all(cuda, &[*h], &[first], &mut [SgdTensor { p, g, velocity, mask }])
}

/// [`sgd_step`] for every tensor, each with its own hyperparameters.
pub fn sgd_step_all(cuda: &Cuda, h: &[Sgd], first: &[bool], params: &mut [SgdTensor]) -> Result<()> {
    assert_eq!((h.len(), first.len()), (params.len(), params.len()));
    let entries = h.iter().zip(first).zip(params).map(|((h, &first), t)| {
        let heavy = h.momentum != 0.0;
        let velocity = heavy.then_some(&*t.velocity);
        let len = floats(t.p, [Some(t.g), velocity, t.mask]);
        let entry = SgdEntry {
            p: t.p.address(),
            g: t.g.address(),
            velocity: address(velocity),
            mask: address(t.mask),
            len: len as u64,
            lr: h.lr,
            momentum: h.momentum,
            weight_decay: h.weight_decay,
            nesterov: h.nesterov.into(),
            first: first.into(),
        };
        (len, entry)
    });
    let entries: Vec<_> = entries.collect();
    // SAFETY: the addresses are those of F32 buffers of that length (asserted).
    unsafe { over_tensors(cuda, &OPTIM, "sgd_step", 64, &entries, &[]) }
}

/// Step number `step` (from 1) of [`Adam`]: with `d = g + weight_decay·p`, or `d = g` and `p` shrunk if decoupled,
/// `m = β₁m + (1−β₁)d`, `v = β₂v + (1−β₂)d²`, `p −= lr · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + eps)`.
pub fn adam_step(
    cuda: &Cuda,
    h: &Adam,
    step: u32,
    p: &mut DeviceBuffer,
    g: &DeviceBuffer,
    [m, v]: [&mut DeviceBuffer; 2],
    mask: Option<&DeviceBuffer>,
) -> Result<()> {
    adam_step_all(cuda, &[*h], &[step], &mut [AdamTensor { p, g, m, v, mask }])
}

/// [`adam_step`] for every tensor, each with its own hyperparameters and step number.
pub fn adam_step_all(cuda: &Cuda, h: &[Adam], step: &[u32], params: &mut [AdamTensor]) -> Result<()> {
    assert_eq!((h.len(), step.len()), (params.len(), params.len()));
    let entries = h.iter().zip(step).zip(params).map(|((h, &step), t)| {
        let len = floats(t.p, [Some(t.g), Some(t.m), Some(t.v), t.mask]);
        let correction = |beta: f32| 1.0 - f64::from(beta).powi(step as i32);
        let decay = h.weight_decay;
        let (penalty, shrink) = if h.decoupled { (0.0, 1.0 - h.lr * decay) } else { (decay, 1.0) };
        let entry = AdamEntry {
            p: t.p.address(),
            g: t.g.address(),
            m: t.m.address(),
            v: t.v.address(),
            mask: address(t.mask),
            len: len as u64,
            rate: (f64::from(h.lr) / correction(h.beta1)) as f32,
            inv_root: correction(h.beta2).sqrt().recip() as f32,
            beta1: h.beta1,
            beta2: h.beta2,
            eps: h.eps,
            penalty,
            shrink,
            unused: 0.0,
        };
        (len, entry)
    });
    let entries: Vec<_> = entries.collect();
    // SAFETY: the addresses are those of F32 buffers of that length (asserted).
    unsafe { over_tensors(cuda, &OPTIM, "adam_step", 48, &entries, &[]) }
}

/// A running average that [`move_averages`] updates: `r = keep·r + take·s`.
#[derive(Debug)]
pub struct AverageTensor<'a> {
    /// The average.
    pub r: &'a mut DeviceBuffer,
    /// The value it moves toward.
    pub s: &'a DeviceBuffer,
    /// The weight of its old value.
    pub keep: f32,
    /// The weight of `s`.
    pub take: f32,
}

/// Updates all `averages`, which are F32.
pub fn move_averages(cuda: &Cuda, averages: &mut [AverageTensor]) -> Result<()> {
    let entries = averages.iter_mut().map(|t| {
        let len = floats(t.r, [Some(t.s)]);
        let entry =
            Average { r: t.r.address(), s: t.s.address(), len: len as u64, keep: t.keep, take: t.take };
        (len, entry)
    });
    let entries: Vec<_> = entries.collect();
    // SAFETY: the addresses are those of F32 buffers of that length (asserted).
    unsafe { over_tensors(cuda, &OPTIM, "move_averages", 96, &entries, &[]) }
}

/// Whether any of `buffers`, of any floating-point type, holds an infinity or a NaN. Checks the gradients of a loss
/// that was scaled for F16 before a step (Micikevicius et al. 2018). Waits for the answer.
pub fn has_non_finite(cuda: &Cuda, buffers: &[&DeviceBuffer]) -> Result<bool> {
    let entries = buffers.iter().map(|x| {
        assert_ne!(x.dtype(), Dtype::U32, "floating point");
        let entry = Gradient { x: x.address(), len: x.len() as u64, dtype: x.dtype() as i32, unused: 0 };
        (x.len(), entry)
    });
    let entries: Vec<_> = entries.collect();
    let mut found = cuda.zeros(Dtype::F32, 1)?;
    // SAFETY: the addresses are those of buffers of that type and length, and of one F32.
    unsafe { over_tensors(cuda, &OPTIM, "find_non_finite", 128, &entries, &[(&mut found).into()]) }?;
    Ok(cuda.download(&found)?[0] != 0.0)
}

/// A table entry of the kernel (`Sgd` in `optim.cu`).
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct SgdEntry {
    p: u64,
    g: u64,
    velocity: u64,
    mask: u64,
    len: u64,
    lr: f32,
    momentum: f32,
    weight_decay: f32,
    nesterov: u16,
    first: u16,
}

/// A table entry of the kernel (`Adam` in `optim.cu`).
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct AdamEntry {
    p: u64,
    g: u64,
    m: u64,
    v: u64,
    mask: u64,
    len: u64,
    rate: f32,
    inv_root: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    penalty: f32,
    shrink: f32,
    unused: f32,
}

/// A table entry of the kernel (`Average` in `optim.cu`).
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Average {
    r: u64,
    s: u64,
    len: u64,
    keep: f32,
    take: f32,
}

/// A table entry of the kernel (`Gradient` in `optim.cu`).
#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Gradient {
    x: u64,
    len: u64,
    dtype: i32,
    unused: i32,
}

/// Asserts that all are F32 of the same length, and returns the length.
fn floats<const N: usize>(p: &DeviceBuffer, more: [Option<&DeviceBuffer>; N]) -> usize {
    for x in more.into_iter().flatten().chain([p]) {
        assert_eq!((x.dtype(), x.len()), (Dtype::F32, p.len()));
    }
    p.len()
}
