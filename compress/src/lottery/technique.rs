//! Lottery tickets as a technique: a rewrite.

use super::config::Start;
use super::{LotteryConfig, rewind, ticket};
use crate::criteria::Evidence;
use crate::sparsify::some_targets;
use crate::techniques::{Applied, Demand, Kind, Listed, Role, Sketch, Technique};
use lopper_engine::{About, Error, Graph, Result};
use std::sync::Arc;

impl Listed for LotteryConfig {
    const KIND: Kind = Kind {
        name: "lottery",
        role: Role::Rewrite,
        about: About::new(
            "m′ ⊙ w_k, m′ = m without the lowest fraction of what it keeps",
            "Frankle & Carbin 2019, The lottery ticket hypothesis: finding sparse, trainable neural networks",
        ),
    };
}

impl Technique for LotteryConfig {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        self.check()
    }

    fn rehearse(&self, sketch: Sketch, _trains: bool, _teacher: Option<&Sketch>) -> Result<Sketch> {
        some_targets(&sketch.graph, &self.masking(self.fraction))?;
        match &self.start.0 {
            Some(start) if sketch.widths => Ok(Sketch { graph: rewind(&sketch.graph, start)?, ..sketch }),
            _ => Ok(sketch),
        }
    }

    fn reference(&self) -> Option<&str> {
        Some(&self.rewind)
    }

    fn resolve(&self, reference: &Graph) -> Result<Arc<dyn Technique>> {
        Ok(Arc::new(Self { start: Start(Some(reference.clone())), ..self.clone() }))
    }

    fn masks(&self) -> bool {
        true
    }

    fn demand(&self, graph: &Graph) -> Result<Option<Demand>> {
        let sites = self.masking(self.fraction).sites(graph)?;
        Ok(Some(Demand { criterion: self.criterion.clone(), sites }))
    }

    fn apply(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<Applied> {
        let start = self.start.0.as_ref().ok_or_else(|| {
            Error::invalid(format!("lottery rewind: the network `{}` is not known", self.rewind))
        })?;
        Ok(ticket(graph, self, start, evidence)?.into())
    }
}
