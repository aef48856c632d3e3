//! Sparsification as a technique: a callback of training, or a rewrite without it.

use super::target::check_reachable;
use super::{Guided, Sparsifier, SparsifyConfig, Sparsity, layers, sparsify};
use crate::criteria::Evidence;
use crate::techniques::{Applied, Attached, Clock, Demand, Kind, Listed, Role, Sketch, Technique};
use lopper_engine::train::Callback;
use lopper_engine::{About, Error, Graph, Result};
use std::sync::Arc;

impl Listed for SparsifyConfig {
    const KIND: Kind = Kind {
        name: "sparsify",
        role: Role::Callback,
        about: About::new(
            "w ← m ⊙ w, m = 0 for the groups with the lowest scores",
            "Zhu & Gupta 2017, To prune, or not to prune: exploring the efficacy of pruning for model compression",
        ),
    };
}

impl Technique for SparsifyConfig {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        self.check()
    }

    fn rehearse(&self, sketch: Sketch, trains: bool, _teacher: Option<&Sketch>) -> Result<Sketch> {
        if self.rewind.is_some() && !trains {
            return Err(Error::invalid(
                "sparsify rewind: weights return while a network trains: add `train`, or rewind a finished one by `lottery`",
            ));
        }
        match (trains, &self.target) {
            (true, None) => Sparsifier::new(self.clone())?.on_begin(&mut sketch.graph.clone())?,
            (true, Some(_)) => Guided::new(self.clone())?.on_begin(&mut sketch.graph.clone())?,
            (false, _) => drop(layers::some_targets(&sketch.graph, &self.scored())?),
        }
        check_reachable(&sketch.graph, self)?;
        Ok(sketch)
    }

    fn masks(&self) -> bool {
        true
    }

    fn gradual(&self) -> bool {
        true
    }

    fn demand(&self, graph: &Graph) -> Result<Option<Demand>> {
        Ok(Some(Demand { criterion: self.criterion.clone(), sites: self.sites(graph)? }))
    }

    fn apply(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<Applied> {
        Ok(sparsify(graph, self, evidence)?.into())
    }

    fn callback(&self) -> Result<Option<Box<dyn Callback>>> {
        Ok(Some(match self.target {
            None => Box::new(Sparsifier::new(self.clone())?),
            Some(_) => Box::new(Guided::new(self.clone())?),
        }))
    }

    fn promises_latency(&self) -> Option<usize> {
        self.target.as_ref().filter(|target| target.latency.is_some()).map(|target| target.batch())
    }

    fn timed(&self, clock: &Arc<dyn Clock>) -> Option<Arc<dyn Technique>> {
        self.target.as_ref()?;
        Some(Arc::new(Self { clock: Attached::new(clock), ..self.clone() }))
    }

    fn achieved(&self, trained: &Graph) -> Result<Option<String>> {
        Ok(Some(Sparsity::measure(trained, &self.scored())?.to_string()))
    }
}
