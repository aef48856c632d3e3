//! Factorization as a technique.

use super::evidence::{InputPower, OutputFisher};
use super::rewrite::decompose;
use super::whitening::InputProducts;
use super::{FactorizeConfig, Metric, factorize};
use crate::criteria::Evidence;
use crate::techniques::{Applied, Attached, Clock, Demand, Kind, Listed, Role, Sketch, Technique};
use lopper_engine::{About, Graph, Result};
use std::sync::Arc;

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
        self.check()?;
        // At full rank no layer gets smaller, so nothing is decomposed: this only resolves the names.
        let whole = Self {
            fraction: Some(0.0),
            energy: None,
            error: None,
            vbmf: false,
            target_macs: None,
            target_latency: None,
            target_batch: None,
            conv: self.conv.map(|_| super::ConvSplit::Channel),
            metric: Metric::Plain,
            force: false,
            ..self.clone()
        };
        factorize(&sketch.graph, &whole)?;
        Ok(Sketch { layers: false, widths: false, ..sketch })
    }

    fn promises_latency(&self) -> Option<usize> {
        self.target_latency.map(|_| self.batch())
    }

    fn timed(&self, clock: &Arc<dyn Clock>) -> Option<Arc<dyn Technique>> {
        self.target_latency?;
        Some(Arc::new(Self { clock: Attached::new(clock), ..self.clone() }))
    }

    fn demand(&self, graph: &Graph) -> Result<Option<Demand>> {
        let criterion = match self.metric {
            Metric::Plain => return Ok(None),
            Metric::Activations => InputPower.into(),
            Metric::Fisher => OutputFisher.into(),
            Metric::Whitened => InputProducts.into(),
        };
        Ok(Some(Demand { criterion, sites: self.sites(graph)? }))
    }

    fn apply(&self, graph: &Graph, evidence: Option<&Evidence>) -> Result<Applied> {
        let (rewrite, spectra) = decompose(graph, self, evidence)?;
        Ok(Applied { spectra, ..Applied::from(rewrite) })
    }
}
