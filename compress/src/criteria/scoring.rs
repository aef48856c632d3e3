//! Scoring: a criterion, its evidence and a normalization, applied to the layers of a graph.

use super::{Coupling, Criterion, Evidence, LayerView, Normalization, Site};
use lopper_engine::{Error, Graph, Result};

/// How the groups of a network are scored.
#[derive(Clone, Copy, Debug)]
pub struct Scoring<'a> {
    criterion: &'a Criterion,
    normalization: Normalization,
    coupling: Coupling,
    seed: u64,
    evidence: Option<&'a Evidence>,
}

impl<'a> Scoring<'a> {
    /// Scores by `criterion`, not normalized, with seed 0 and no evidence but the weights.
    pub fn new(criterion: &'a Criterion) -> Self {
        Self {
            criterion,
            normalization: Normalization::None,
            coupling: Coupling::Mean,
            seed: 0,
            evidence: None,
        }
    }

    /// Normalizes the scores of each layer.
    pub fn normalization(self, normalization: Normalization) -> Self {
        Self { normalization, ..self }
    }

    /// Joins the scores of channels that are removed together.
    pub fn coupling(self, coupling: Coupling) -> Self {
        Self { coupling, ..self }
    }

    /// How the scores of channels that are removed together are joined.
    pub(crate) fn joins(&self) -> Coupling {
        self.coupling
    }

    /// Sets the seed of criteria that draw random numbers.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets the evidence for criteria that need more than the weights.
    pub fn evidence(self, evidence: Option<&'a Evidence>) -> Self {
        Self { evidence, ..self }
    }

    /// The criterion.
    pub fn criterion(&self) -> &'a Criterion {
        self.criterion
    }

    /// The score of each group of `site`, a finite number. An error if the criterion gives another number, or
    /// lacks evidence.
    pub fn scores(&self, graph: &Graph, site: &Site) -> Result<Vec<f32>> {
        let (criterion, name) = (self.criterion, site.name(graph));
        let expected = criterion.observations(&site.groups);
        let mut means = self.evidence.and_then(|evidence| evidence.means(name, expected));
        if means.is_none()
            && let Some(surveyed) = Evidence::survey(criterion, graph, std::slice::from_ref(site))?
        {
            means = surveyed.means(name, expected);
        }
        let activations = criterion.needs_activations();
        let view = LayerView {
            name,
            weight: site.weight(graph).value(),
            groups: &site.groups,
            seed: self.seed ^ ((site.node as u64) << 32),
            initial: self.evidence.and_then(|evidence| evidence.initial(name)),
            observed: means.as_deref(),
            evidence: if activations { "activations" } else { "gradients" },
        };
        let scores = criterion.score(&view);
        let mut scores = scores.map_err(|e| Error::invalid(format!("criterion {criterion}: {e}")))?;
        criterion.expect_one_each("scores", name, scores.len(), site.groups.count())?;
        if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
            return Err(Error::invalid(format!(
                "layer `{name}`: criterion {criterion} scores a group {score}, expected a finite number"
            )));
        }
        self.normalization.apply(&mut scores);
        Ok(scores)
    }
}
