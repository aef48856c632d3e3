//! Log of one run, which reverse-mode differentiation walks backward.
//!
//! The engine is define-by-run: an operation on a [`Tape`] computes its value at once and, if a gradient will be
//! needed, appends a record of its backward pass. [`Tape::backward`] walks the records from last to first, passes each
//! the gradient of its output, and adds up what it returns for its inputs (Linnainmaa 1970; Baydin et al. 2018).
//!
//! ```text
//! x ──conv2d──▶ a ──relu──▶ b ──cross entropy──▶ loss
//! dx ◀──────── da ◀─────── db ◀──────────────── 1
//! ```
//!
//! The walk consumes the tape: what a record saved is freed as soon as it has been used.

use crate::autograd::profile::Profile;
use crate::{Device, Error, Result, Tensor};
use lopper_kernels::{cpu, cuda};
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Whether a network is being trained, which affects batch norms and dropout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch norms use the statistics of the batch; dropout is active.
    Train,
    /// Batch norms use running statistics; dropout is inactive.
    Eval,
}

/// Value computed on a tape. Cloning shares the value.
#[derive(Clone, Debug)]
pub struct Var {
    value: Tensor,
    slot: Option<Slot>,
}

/// Index at which the gradient of a variable accumulates. Constants have no slot.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tape: u64,
    index: usize,
}

impl Var {
    /// Returns the value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Returns the value's shape.
    pub fn shape(&self) -> &[usize] {
        self.value.shape()
    }
}

/// Backward pass of one operation. It owns what it saved from the run.
pub trait Backward: Send {
    /// Returns the gradient of each input, in the order given to [`Tape::record`], from the gradient `dy` of the
    /// output. An input that is not `wanted` may get `None`, which avoids useless work.
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
    /// Index of the part of the run that it belongs to, and of that part in the profile.
    part: Option<usize>,
    span: Option<usize>,
}

/// Log of one run. Operations are methods, one family per file in [`crate::ops`].
pub struct Tape {
    id: u64,
    device: Device,
    records: Vec<Record>,
    slots: usize,
    recording: bool,
    dropout: SplitMix64,
    scale: f32,
    /// Whether masked weights get their gradients, too.
    whole: bool,
    /// Names and kinds of the parts of the run.
    parts: Vec<(String, &'static str)>,
    profile: Option<Profile>,
    span: Option<usize>,
}

impl Tape {
    /// Creates an empty tape that records.
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
            whole: false,
            parts: Vec::new(),
            profile: None,
            span: None,
        }
    }

    /// Creates a tape that computes without recording: a value is freed as soon as its [`Var`] is dropped.
    pub fn no_grad(device: &Device) -> Self {
        Self { recording: false, ..Self::new(device) }
    }

    /// Sets the seed of dropout.
    pub fn seed(self, seed: u64) -> Self {
        Self { dropout: SplitMix64::seed_from_u64(seed), ..self }
    }

    /// Multiplies the gradients by `factor`, as if the loss were scaled, for types that cannot represent small ones.
    pub fn scaled(self, factor: f32) -> Self {
        Self { scale: factor, ..self }
    }

    /// Multiplies the gradients by `share`, in addition to the factor of [`Tape::scaled`].
    pub(crate) fn weighted(self, share: f32) -> Self {
        Self { scale: self.scale * share, ..self }
    }

    /// Computes the gradients of masked weights too, which are zero otherwise, if `whole`.
    pub fn with_masked_gradients(self, whole: bool) -> Self {
        Self { whole, ..self }
    }

    /// Records times in `profile`.
    pub fn profiled(self, profile: &Profile) -> Self {
        Self { profile: Some(profile.clone()), ..self }
    }

    /// Begins a part of the run, which lasts until the next one begins. GPU errors name it, and a [`Profile`] times it.
    pub fn enter(&mut self, name: &str, kind: &'static str) {
        self.parts.push((name.to_string(), kind));
        let Some(profile) = &self.profile else { return };
        // A GPU may still be working on the previous part; if that fails, the next operation reports it.
        self.device.synchronize().ok();
        self.span = Some(profile.enter(name, kind));
    }

    /// Returns the device on which operations run.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns whether masked weights get their gradients, too.
    pub(crate) fn has_masked_gradients(&self) -> bool {
        self.whole
    }

    /// Returns whether the tape records.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// Creates a variable whose gradient is wanted.
    pub fn leaf(&mut self, value: Tensor) -> Var {
        let slot = self.recording.then(|| self.new_slot());
        Var { value, slot }
    }

    /// Creates a variable without a gradient.
    pub fn constant(&mut self, value: Tensor) -> Var {
        Var { value, slot: None }
    }

    /// Returns whether a gradient flows back to `v` on this tape. A variable of another tape is a constant on this one.
    pub fn wants_gradient(&self, v: &Var) -> bool {
        self.slot_of(v).is_some()
    }

    /// Records an operation on `inputs` with the output `value` and the backward pass `op`. If no input wants a
    /// gradient, `op` and what it saved are dropped. Use it to add custom operations.
    pub fn record(&mut self, inputs: &[&Var], value: Tensor, op: impl Backward + 'static) -> Var {
        let inputs: Vec<Option<usize>> = inputs.iter().map(|v| self.slot_of(v)).collect();
        if inputs.iter().all(Option::is_none) {
            return self.constant(value);
        }
        let (slot, part) = (self.new_slot(), self.parts.len().checked_sub(1));
        self.records.push(Record { op: Box::new(op), inputs, output: slot.index, part, span: self.span });
        Var { value, slot: Some(slot) }
    }

    /// Returns the gradients of `loss`, which has one element, with respect to every leaf that it depends on,
    /// multiplied by the factor of [`Tape::scaled`].
    pub fn backward(self, loss: &Var) -> Result<Gradients> {
        if !self.recording {
            return Err(Error::invalid("backward: this tape does not record gradients"));
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
        // Run entirely inside the thread pool, so that no kernel has to enter it.
        device.run(|| {
            if let Some(profile) = &profile {
                device.synchronize()?;
                profile.leave();
            }
            while let Some(Record { op, inputs, output, part, span }) = records.pop() {
                // The loss does not depend on this output.
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

    /// Returns the seed of the next dropout.
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

/// Result of [`Tape::backward`]: the gradients of leaves. Gradients of intermediate values are freed along the way.
pub struct Gradients {
    tape: u64,
    slots: Vec<Option<Tensor>>,
}

impl Gradients {
    /// Returns the gradient of leaf `v`, or `None` if the loss does not depend on it or it is not a leaf of the tape.
    pub fn get(&self, v: &Var) -> Option<&Tensor> {
        let slot = v.slot.filter(|slot| slot.tape == self.tape)?;
        self.slots[slot.index].as_ref()
    }

    /// Removes and returns the gradient of leaf `v`: see [`Gradients::get`].
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
