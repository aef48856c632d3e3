//! The log of one run, which reverse-mode differentiation walks backward.
//!
//! Define by run: an operation on a [`Tape`] computes its value at once and, where a gradient will be wanted,
//! appends a record of how to go back. [`Tape::backward`] walks the records from last to first, hands each the
//! gradient of its output and adds up what it returns for its inputs (Linnainmaa 1970; Baydin et al. 2018).
//!
//! ```text
//! x ──conv2d──▶ a ──relu──▶ b ──cross entropy──▶ loss
//! dx ◀──────── da ◀─────── db ◀──────────────── 1
//! ```
//!
//! The walk consumes the tape: what a record saved is freed as soon as it has been used.

use crate::profile::Profile;
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::{cpu, cuda};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Whether a network is being trained: what batch norms and dropout go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics of the batch, dropout at work.
    Train,
    /// Running statistics, no dropout.
    Eval,
}

/// A value computed on a tape. Cloning shares the value.
#[derive(Clone, Debug)]
pub struct Var {
    value: Tensor,
    slot: Option<Slot>,
}

/// Where the gradient of a variable is added up. Constants have no slot.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tape: u64,
    index: usize,
}

impl Var {
    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The value's shape.
    pub fn shape(&self) -> &[usize] {
        self.value.shape()
    }
}

/// How to go back through one operation. It owns what it saved of the run.
pub trait Backward: Send {
    /// The gradient of each input, in the order in which [`Tape::record`] was given them, from the gradient `dy`
    /// of the output. An input that is not `wanted` gets `None`, so that nothing is computed in vain.
    fn backward(self: Box<Self>, device: &Device, dy: Tensor, wanted: &[bool])
    -> Result<Vec<Option<Tensor>>>;
}

/// One operation of the run.
struct Record {
    op: Box<dyn Backward>,
    /// Gradient slots of the inputs; `None` for constants.
    inputs: Vec<Option<usize>>,
    /// Gradient slot of the output.
    output: usize,
    /// The part of the run that it belongs to, and that of the profile.
    part: Option<usize>,
    span: Option<usize>,
}

/// The log of one run. Operations are methods, one file a family in [`crate::ops`].
pub struct Tape {
    id: u64,
    device: Device,
    records: Vec<Record>,
    slots: usize,
    recording: bool,
    dropout: SplitMix64,
    scale: f32,
    /// Names and kinds of the parts of the run.
    parts: Vec<(String, &'static str)>,
    profile: Option<Profile>,
    span: Option<usize>,
}

impl Tape {
    /// An empty tape that records.
    pub fn new(device: &Device) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            device: device.clone(),
            records: Vec::new(),
            slots: 0,
            recording: true,
            dropout: SplitMix64::seed_from_u64(0),
            scale: 1.0,
            parts: Vec::new(),
            profile: None,
            span: None,
        }
    }

    /// A tape that computes and keeps nothing: a value is freed as soon as its [`Var`] is dropped.
    pub fn no_grad(device: &Device) -> Self {
        Self { recording: false, ..Self::new(device) }
    }

    /// This tape with the seed that dropout draws from.
    pub fn seed(self, seed: u64) -> Self {
        Self { dropout: SplitMix64::seed_from_u64(seed), ..self }
    }

    /// This tape with gradients of `factor` times the loss, for types that do not hold small ones.
    pub fn scaled(self, factor: f32) -> Self {
        Self { scale: factor, ..self }
    }

    /// This tape, noting in `profile` where the time goes.
    pub fn profiled(self, profile: &Profile) -> Self {
        Self { profile: Some(profile.clone()), ..self }
    }

    /// Begins a part of the run, which lasts until the next one begins: errors of a GPU name it, and a [`Profile`] times
    /// it.
    pub fn enter(&mut self, name: &str, kind: &'static str) {
        self.parts.push((name.to_string(), kind));
        let Some(profile) = &self.profile else { return };
        // Part of what came before is still under way on a GPU; should it fail, the next operation says so.
        self.device.synchronize().ok();
        self.span = Some(profile.enter(name, kind));
    }

    /// Where its operations run.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether it records.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// A variable whose gradient is wanted.
    pub fn leaf(&mut self, value: Tensor) -> Var {
        let slot = self.recording.then(|| self.new_slot());
        Var { value, slot }
    }

    /// A variable without a gradient.
    pub fn constant(&mut self, value: Tensor) -> Var {
        Var { value, slot: None }
    }

    /// Whether a gradient flows back to `v` on this tape. A variable of another tape is a constant on this one.
    pub fn wants_gradient(&self, v: &Var) -> bool {
        self.slot_of(v).is_some()
    }

    /// The output `value` of an operation on `inputs`, with how to go back through it. Where no input wants a
    /// gradient, `op` is dropped with what it saved. For operations of your own.
    pub fn record(&mut self, inputs: &[&Var], value: Tensor, op: impl Backward + 'static) -> Var {
        let inputs: Vec<Option<usize>> = inputs.iter().map(|v| self.slot_of(v)).collect();
        if inputs.iter().all(Option::is_none) {
            return self.constant(value);
        }
        let (slot, part) = (self.new_slot(), self.parts.len().checked_sub(1));
        self.records.push(Record { op: Box::new(op), inputs, output: slot.index, part, span: self.span });
        Var { value, slot: Some(slot) }
    }

    /// The gradients of `loss`, which has one element, with respect to every leaf that it depends on; times the factor of
    /// [`Tape::scaled`].
    pub fn backward(self, loss: &Var) -> Result<Gradients> {
        if !self.recording {
            return Err(Error::invalid("backward: this tape was made without gradients"));
        }
        if loss.value.len() != 1 {
            return Err(Error::shape(
                "backward",
                format!("expected a loss of one element, found shape {:?}", loss.shape()),
            ));
        }
        let mut gradients = Gradients { tape: self.id, slots: vec![None; self.slots] };
        let Some(start) = self.slot_of(loss) else { return Ok(gradients) };
        gradients.slots[start] = Some(Tensor::full(loss.shape(), self.scale));
        let Self { device, mut records, parts, profile, .. } = self;
        // Inside the thread pool from start to end, so that no kernel has to enter it.
        device.run(|| {
            if let Some(profile) = &profile {
                device.synchronize()?;
                profile.leave();
            }
            while let Some(Record { op, inputs, output, part, span }) = records.pop() {
                // Nothing that the loss depends on has read this output.
                let Some(dy) = gradients.slots[output].take() else { continue };
                let timed = profile.as_ref().zip(span).map(|(profile, span)| (profile, span, Instant::now()));
                let wanted: Vec<bool> = inputs.iter().map(Option::is_some).collect();
                let shape = dy.shape().to_vec();
                let shares =
                    op.backward(&device, dy, &wanted).map_err(|e| match part.map(|i| &parts[i]) {
                        Some((name, kind)) => {
                            e.of_operation(|| format!("{kind}, back from {shape:?}")).in_node(name)
                        }
                        None => e,
                    })?;
                for (slot, share) in inputs.into_iter().zip(shares) {
                    if let (Some(slot), Some(share)) = (slot, share) {
                        gradients.add(&device, slot, share)?;
                    }
                }
                if let Some((profile, span, start)) = timed {
                    device.synchronize()?;
                    profile.went_back(span, start.elapsed());
                }
            }
            Ok(gradients)
        })
    }

    /// The seed of the next dropout.
    pub(crate) fn next_dropout_seed(&mut self) -> u64 {
        self.dropout.next_u64()
    }

    fn slot_of(&self, v: &Var) -> Option<usize> {
        v.slot.filter(|slot| slot.tape == self.id).map(|slot| slot.index)
    }

    fn new_slot(&mut self) -> Slot {
        self.slots += 1;
        Slot { tape: self.id, index: self.slots - 1 }
    }
}

/// What [`Tape::backward`] found: the gradients of leaves. Those of values in between are freed on the way.
pub struct Gradients {
    tape: u64,
    slots: Vec<Option<Tensor>>,
}

impl Gradients {
    /// The gradient of leaf `v`; `None` where the loss does not depend on it or it is no leaf of the tape.
    pub fn get(&self, v: &Var) -> Option<&Tensor> {
        let slot = v.slot.filter(|slot| slot.tape == self.tape)?;
        self.slots[slot.index].as_ref()
    }

    /// [`Gradients::get`], moved out.
    pub fn take(&mut self, v: &Var) -> Option<Tensor> {
        let slot = v.slot.filter(|slot| slot.tape == self.tape)?;
        self.slots[slot.index].take()
    }

    fn add(&mut self, device: &Device, slot: usize, share: Tensor) -> Result<()> {
        match (&mut self.slots[slot], device) {
            (Some(sum), Device::Cpu(cpu)) => cpu::add_assign(cpu, sum.data_mut(), share.data()),
            (Some(sum), Device::Cuda(gpu)) => {
                let share = share.as_stored(device, sum)?;
                cuda::add_assign(gpu, sum.on_mut(gpu)?, share.on(gpu)?)?;
            }
            (empty, _) => *empty = Some(share),
        }
        Ok(())
    }
}
