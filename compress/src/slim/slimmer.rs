//! Slimming while training: a callback that adds the subgradient of the penalty.

use super::{Gammas, SlimConfig};
use lopper_engine::certificate::{Certificate, Claim};
use lopper_engine::number::{self, Range};
use lopper_engine::train::{Callback, Step};
use lopper_engine::{Graph, Result};

/// Adds `λ · sign(γ)` to the gradients of the scales of batch norms, and nothing to a scale of 0.
#[derive(Debug)]
pub struct Slimmer {
    config: SlimConfig,
    l1: f32,
}

impl Slimmer {
    /// A callback for one training. Fails on invalid options.
    pub fn new(config: SlimConfig) -> Result<Self> {
        let l1 = number::single("slim l1", config.l1, Range::AboveZero)?;
        Ok(Self { config, l1 })
    }
}

impl Callback for Slimmer {
    fn on_begin(&mut self, graph: &mut Graph) -> Result<()> {
        self.config.batch_norms(graph).map(drop)
    }

    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        for id in self.config.batch_norms(step.graph)? {
            let path = format!("{}.weight", step.graph.nodes()[id].name);
            // A frozen scale has no gradient.
            let Some(gradient) = step.gradients.get_mut(&path) else { continue };
            let gamma = step.graph.param(&path)?.value();
            gamma.fetch()?;
            for (gradient, &gamma) in gradient.data_mut().iter_mut().zip(gamma.data()) {
                *gradient += self.l1 * sign(gamma);
            }
        }
        Ok(())
    }

    fn certificates(&self, trained: &Graph) -> Vec<Certificate> {
        let gammas = Gammas::measure(trained, &self.config).ok();
        let of = |gammas: Gammas| Certificate {
            technique: "slim".into(),
            claim: Claim::Approximate {
                what: "share of Σ|γ| in scales below a hundredth of the largest, which pruning would take"
                    .into(),
                predicted: gammas.share_of_small(),
            },
            logit_difference: None,
            images: 0,
        };
        gammas.map(of).into_iter().collect()
    }
}

/// −1, 0 or 1. Unlike `f32::signum`, 0 has the sign 0.
fn sign(x: f32) -> f32 {
    match x {
        x if x > 0.0 => 1.0,
        x if x < 0.0 => -1.0,
        _ => 0.0,
    }
}
