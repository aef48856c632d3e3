//! Factorization as a technique.

use super::rewrite::decompose;
use super::{FactorizeConfig, factorize};
use crate::criteria::Evidence;
use crate::techniques::{Applied, Kind, Listed, Role, Sketch, Technique};
use lopper_engine::{About, Graph, Result};

impl Listed for FactorizeConfig {
    const KIND: Kind = Kind {
        name: "factorize",
        role: Role::Rewrite,
        about: About::new(
            "W ≈ B·A of rank r, ‖W − BA‖² = Σ_{i > r} σᵢ²",
            "Eckart & Young 1936, The approximation of one matrix by another of lower rank",
        ),
    };
}

impl Technique for FactorizeConfig {
    fn kind(&self) -> Kind {
        Self::KIND
    }

    fn check(&self) -> Result<()> {
        self.check()
    }

    fn rehearse(&self, sketch: Sketch, _trains: bool, _teacher: Option<&Sketch>) -> Result<Sketch> {
        // At full rank no layer gets smaller, so nothing is decomposed: this only resolves the names.
        let whole = Self { fraction: Some(0.0), energy: None, force: false, ..self.clone() };
        factorize(&sketch.graph, &whole)?;
        Ok(Sketch { layers: false, widths: false, ..sketch })
    }

    fn apply(&self, graph: &Graph, _evidence: Option<&Evidence>) -> Result<Applied> {
        let (rewrite, spectra) = decompose(graph, self)?;
        Ok(Applied { spectra, ..Applied::from(rewrite) })
    }
}
