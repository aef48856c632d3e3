//! Compaction as a technique.

use super::{CompactConfig, compact};
use crate::criteria::Evidence;
use crate::techniques::{Applied, Kind, Listed, Role, Sketch, Technique};
use lopper_engine::{About, Graph, Result};

impl Listed for CompactConfig {
    const KIND: Kind = Kind {
        name: "compact",
        role: Role::Rewrite,
        about: About::common("y_live = W[live, live] ∗ x_live + b′, y_dead = constant"),
    };
}

impl Technique for CompactConfig {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        self.check()
    }

    fn rehearse(&self, sketch: Sketch, _trains: bool, _teacher: Option<&Sketch>) -> Result<Sketch> {
        // Which layers are compacted depends on the weights, but their names do not.
        compact(&sketch.graph, &Self { min_saving: 1.0, ..self.clone() })?;
        Ok(Sketch { widths: false, ..sketch })
    }

    fn keeps_function(&self) -> bool {
        true
    }

    fn apply(&self, graph: &Graph, _evidence: Option<&Evidence>) -> Result<Applied> {
        Ok(compact(graph, self)?.into())
    }
}
