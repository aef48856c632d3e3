//! Regularization while training: a callback that adds the gradient of the penalty.

use super::coupled::Coupled;
use super::growing::Chosen;
use super::orthogonality::orthogonality;
use super::penalties::{group_lasso, l1, l2, scaled};
use super::{Penalty, RegularizeConfig};
use crate::lists::Lists;
use crate::sparsify::{Target, some_targets, targets, weight};
use lopper_engine::train::{Callback, Shrunk, State, Step};
use lopper_engine::{Device, Error, Graph, Result};

/// Adds the gradient of a penalty to the gradients of the task. See [`crate::regularize`].
#[derive(Debug)]
pub struct Regularizer {
    config: RegularizeConfig,
    /// The groups that `growing` pulls.
    chosen: Chosen,
    /// The channels that `group_norm` pulls.
    coupled: Option<Coupled>,
    /// Where `orthogonality` multiplies.
    device: Option<Device>,
}

impl Regularizer {
    /// A callback for one training. Fails on invalid options.
    pub fn new(config: RegularizeConfig) -> Result<Self> {
        config.check()?;
        let device = (config.penalty == Penalty::Orthogonality).then(Device::cpu);
        Ok(Self { config, chosen: Chosen::default(), coupled: None, device })
    }

    /// Finds what it pulls in `graph`.
    fn find(&mut self, graph: &Graph) -> Result<()> {
        let selection = self.config.selection();
        if self.config.penalty == Penalty::GroupNorm {
            let (include, exclude) = (&self.config.include, &self.config.exclude);
            let lists = Lists { technique: "regularize", include, exclude };
            lists.check("layer", graph.nodes().iter().map(|node| node.name.as_str()))?;
            let coupled = Coupled::of(graph, &lists)?;
            if coupled.is_empty() {
                return Err(Error::invalid("regularize: the network has no channels that could be removed"));
            }
            self.coupled = Some(coupled);
            return Ok(());
        }
        some_targets(graph, &selection).map_err(|e| Error::invalid(format!("regularize: {e}")))?;
        if self.config.penalty == Penalty::Growing {
            self.chosen = Chosen::of(graph, &selection, self.config.sparsity)?;
        }
        Ok(())
    }

    /// The gradient of the penalty of one layer, without λ; for `growing`, with ρ.
    fn slopes(&self, graph: &Graph, target: &Target, step: usize) -> Result<Vec<f64>> {
        let (value, groups) = (weight(graph, target.node).value(), &target.groups);
        value.fetch()?;
        let data = value.data();
        Ok(match (self.config.penalty, &self.device) {
            (Penalty::L1, _) => l1(data),
            (Penalty::GroupLasso, _) => group_lasso(data, groups),
            (Penalty::Growing, _) => {
                let (layer, strength) = (&graph.nodes()[target.node].name, self.config.strength_at(step));
                scaled(data, groups, |group| if self.chosen.contains(layer, group) { strength } else { 0.0 })
            }
            (Penalty::Orthogonality, Some(device)) => orthogonality(value, device)?,
            (Penalty::L2 | Penalty::GroupNorm | Penalty::Orthogonality, _) => l2(data),
        })
    }
}

impl Callback for Regularizer {
    fn on_begin(&mut self, graph: &mut Graph) -> Result<()> {
        self.find(graph)
    }

    fn before_step(&mut self, step: &mut Step) -> Result<()> {
        let factor = match self.config.penalty {
            Penalty::Growing => 1.0,
            _ => self.config.weight_at(step.progress.fraction()),
        };
        if factor == 0.0 {
            return Ok(());
        }
        if let Some(coupled) = &self.coupled {
            return coupled.penalize(step.graph, step.gradients, [factor, self.config.alpha]);
        }
        for target in targets(step.graph, &self.config.selection())? {
            let path = format!("{}.weight", step.graph.nodes()[target.node].name);
            // A frozen weight has no gradient.
            let Some(gradient) = step.gradients.get_mut(&path) else { continue };
            let slopes = self.slopes(step.graph, &target, step.progress.step)?;
            gradient.fetch()?;
            let gradient = gradient.data_mut().iter_mut();
            gradient.zip(slopes).for_each(|(g, slope)| *g += (factor * slope) as f32);
        }
        Ok(())
    }

    fn on_shrunk(&mut self, _before: &Graph, shrunk: &Shrunk) -> Result<()> {
        self.find(&shrunk.graph)
    }

    fn state(&self) -> State {
        match self.config.penalty {
            Penalty::Growing => self.chosen.state(),
            _ => State::default(),
        }
    }

    fn restore(&mut self, state: State) -> Result<()> {
        match self.config.penalty {
            Penalty::Growing => self.chosen.restore(state),
            _ => state.expect_empty("regularization"),
        }
    }
}
