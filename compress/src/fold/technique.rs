//! Folding as a technique.

use super::fold;
use crate::criteria::Evidence;
use crate::techniques::{Applied, Kind, Listed, Role, Sketch, Technique};
use lopper_engine::{About, Graph, Result};
use serde::{Deserialize, Serialize};

/// The options of folding; there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoldConfig {}

impl Listed for FoldConfig {
    const KIND: Kind = Kind {
        name: "fold",
        role: Role::Rewrite,
        about: About::new(
            "w′ = s·w, b′ = s·b + t, with s = γ / √(σ² + ε), t = β − s·μ",
            "Jacob et al. 2018, Quantization and training of neural networks for efficient integer-arithmetic-only inference",
        ),
    };
}

impl Technique for FoldConfig {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn rehearse(&self, sketch: Sketch, _trains: bool, _teacher: Option<&Sketch>) -> Result<Sketch> {
        Ok(Sketch { graph: fold(&sketch.graph)?.graph, ..sketch })
    }

    fn keeps_function(&self) -> bool {
        true
    }

    fn apply(&self, graph: &Graph, _evidence: Option<&Evidence>) -> Result<Applied> {
        Ok(fold(graph)?.into())
    }
}
