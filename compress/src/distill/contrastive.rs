//! Contrastive distillation on a tape: two heads, and the memory bank of their embeddings.
//!
//! ```text
//!   student ─ layer ─ means ─ head ─► u ─┬─► loss ◄─ bank of v
//!                                        └─► bank of u ─┐
//!   teacher ─ layer ─ means ─ head ─► v ─┬─► loss ◄─────┘
//!                                        └─► bank of v
//! ```
//!
//! Entries of the bank are constants: so the first loss trains the student and its head, the second the teacher's head.

use super::DistillConfig;
use super::bank::{Bank, Network};
use super::companion::Companion;
use super::compare::pooled;
use super::losses::{Memory, Rows};
use lopper_engine::data::Batch;
use lopper_engine::train::State;
use lopper_engine::{Result, Tape, Tensor, Var, memory};

/// What a pair of layers needs to be contrasted.
pub(super) struct Contrast {
    /// The number of the pair.
    pair: usize,
    temperature: f64,
    bank: Bank,
}

impl Contrast {
    /// The bank of the pair of number `pair`, whose layers have `channels` of `[student, teacher]`. Its heads become layers
    /// of `own`.
    ///
    /// # Errors
    /// If the bank does not fit into memory.
    pub fn new(
        config: &DistillConfig,
        own: &mut Companion,
        pair: usize,
        channels: [usize; 2],
    ) -> Result<Self> {
        let (entries, width) = (config.bank, config.embedding);
        memory::require("embeddings to contrast with", memory::bytes_of::<f64>([2, entries, width]))?;
        for (network, channels) in Network::ALL.into_iter().zip(channels) {
            own.add(head_name(pair, network), &[1, channels], channels, width)?;
        }
        let bank = Bank::new(entries, width);
        Ok(Self { pair, temperature: config.contrast_temperature.into(), bank })
    }

    /// The sum of both losses of the outputs `[student, teacher]`, of which the second is a constant. The embeddings of
    /// `batch` go into the bank.
    pub fn loss(
        &mut self,
        own: &mut Companion,
        tape: &mut Tape,
        outputs: [&Var; 2],
        batch: &Batch,
    ) -> Result<Var> {
        let mut heads = Vec::with_capacity(2);
        for (network, output) in Network::ALL.into_iter().zip(outputs) {
            let pooled = pooled(tape, output)?;
            heads.push(own.apply(tape, &head_name(self.pair, network), &pooled)?);
        }
        let rows = [Rows::of(heads[0].value())?, Rows::of(heads[1].value())?];
        let anchors = self.bank.insert([&rows[0], &rows[1]], batch)?;
        let (device, temperature) = (tape.device().clone(), self.temperature);
        let mut sum = tape.constant(Tensor::scalar(0.0));
        for (network, (head, rows)) in Network::ALL.into_iter().zip(heads.iter().zip(&rows)) {
            let find = |bank: &Bank| others(bank, network, temperature).log_mean(rows, &anchors);
            // As long as all images are of one class, there is nothing to contrast.
            let Some(log_mean) = self.bank.log_mean(network, find) else { continue };
            let others = others(&self.bank, network, temperature);
            let loss = others.contrast(rows, &anchors, log_mean, &device).on(tape, head)?;
            sum = tape.add(&sum, &loss)?;
        }
        Ok(sum)
    }

    /// Adds the bank to `state`.
    pub fn remember(&self, state: &mut State) {
        self.bank.remember(&bank_name(self.pair), state);
    }

    /// Restores what [`Contrast::remember`] added, and removes it from `state`.
    ///
    /// # Errors
    /// If a part is missing or has another length.
    pub fn recall(&mut self, state: &mut State) -> Result<()> {
        self.bank.recall(&bank_name(self.pair), state)
    }
}

/// What embeddings by `network` are contrasted with: those by the other one.
fn others(bank: &Bank, network: Network, temperature: f64) -> Memory<'_> {
    Memory { embeddings: bank.embeddings(network.other()), temperature }
}

fn head_name(pair: usize, network: Network) -> String {
    format!("head {pair} of {}", network.name())
}

fn bank_name(pair: usize) -> String {
    format!("bank {pair}")
}
