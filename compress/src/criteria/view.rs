//! What a criterion sees of a layer.

use crate::granularity::Groups;
use lopper_engine::{Error, Result, Tensor};

/// A layer whose groups are scored.
#[derive(Clone, Copy, Debug)]
pub struct LayerView<'a> {
    pub(super) name: &'a str,
    pub(super) weight: &'a Tensor,
    pub(super) groups: &'a Groups,
    pub(super) seed: u64,
    pub(super) initial: Option<&'a Tensor>,
    pub(super) observed: Option<&'a [f64]>,
    /// What is observed, for the error if it is missing.
    pub(super) evidence: &'static str,
}

impl<'a> LayerView<'a> {
    /// The layer's name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The weight, `[O, KH, KW, C / groups]` or `[OUT, IN]`; of a batch norm γ, `[C]`.
    pub fn weight(&self) -> &'a [f32] {
        self.weight.data()
    }

    /// How the weight is divided.
    pub fn groups(&self) -> &'a Groups {
        self.groups
    }

    /// A seed that differs from layer to layer and is fixed by the seed of the configuration.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The weight at the beginning of the training, in the same layout. An error if it is not known or has another
    /// shape; only for criteria that need [`InitialWeights`](super::Need::InitialWeights), or
    /// [`UpdatedWeights`](super::Need::UpdatedWeights), for which it is the weight behind the last removal.
    pub fn initial_weight(&self) -> Result<&'a [f32]> {
        match self.initial {
            Some(initial) if initial.shape() == self.weight.shape() => Ok(initial.data()),
            Some(initial) => Err(Error::invalid(format!(
                "layer `{}`: its initial weight is {:?}, its weight {:?}",
                self.name,
                initial.shape(),
                self.weight.shape()
            ))),
            None => Err(Error::invalid(format!(
                "the initial weight of layer `{}` is not known: it is while training, or from Evidence::start",
                self.name
            ))),
        }
    }

    /// For each group, the mean of [`Score::observe`](super::Score::observe) over all steps, or what
    /// [`Score::survey`](super::Score::survey) found. An error if nothing was
    /// observed of this layer at this granularity.
    pub fn observed(&self) -> Result<&'a [f64]> {
        let missing = || {
            Error::invalid(format!(
                "no {} of layer `{}` were observed in {} groups: measure the evidence at the `sites` of the same options",
                self.evidence,
                self.name,
                self.groups.count()
            ))
        };
        self.observed.ok_or_else(missing)
    }

    /// [`Self::observed`] as scores.
    pub(super) fn observed_scores(&self) -> Result<Vec<f32>> {
        Ok(self.observed()?.iter().map(|&mean| mean as f32).collect())
    }

    /// Returns an error unless every group is a whole filter, or a whole row of a linear layer.
    pub(super) fn require_filters(&self) -> Result<()> {
        require_filters(self.name, self.groups)
    }
}

/// Returns an error unless every one of the `groups` of the layer `name` is a whole filter or row.
fn require_filters(name: &str, groups: &Groups) -> Result<()> {
    match groups.are_filters() {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "layer `{name}`: it scores whole filters: expected granularity filter, or row for linear layers"
        ))),
    }
}

/// A layer in one training step or batch.
#[derive(Clone, Copy, Debug)]
pub struct StepView<'a> {
    pub(super) name: &'a str,
    pub(super) weight: &'a Tensor,
    pub(super) groups: &'a Groups,
    pub(super) gradient: Option<&'a Tensor>,
    pub(super) activations: Option<&'a Tensor>,
    /// The direction and the product of the Hessian matrix with it.
    pub(super) curvature: Option<(&'a Tensor, &'a Tensor)>,
}

impl<'a> StepView<'a> {
    /// The layer's name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The weight before the step, as [`LayerView::weight`].
    pub fn weight(&self) -> &'a [f32] {
        self.weight.data()
    }

    /// How the weight is divided.
    pub fn groups(&self) -> &'a Groups {
        self.groups
    }

    /// ∂L/∂w in the layout of the weight. An error if the criterion does not need
    /// [`Gradients`](super::Need::Gradients).
    pub fn gradient(&self) -> Result<&'a [f32]> {
        self.gradient.map(Tensor::data).ok_or_else(|| self.missing("gradients"))
    }

    /// A direction and the product of the Hessian matrix with it, in the layout of the weight. An error if the criterion
    /// does not need [`Curvature`](super::Need::Curvature).
    pub fn curvature(&self) -> Result<(&'a [f32], &'a [f32])> {
        let data = |(direction, product): (&'a Tensor, &'a Tensor)| (direction.data(), product.data());
        self.curvature.map(data).ok_or_else(|| self.missing("curvature"))
    }

    /// The values that the criterion needs, `[N, H, W, C]` or `[N, C]`: the layer's output for
    /// [`Activations`](super::Need::Activations), its response for [`Responses`](super::Need::Responses), its input for
    /// [`Inputs`](super::Need::Inputs). An error if it needs none of them.
    pub fn activations(&self) -> Result<&'a Tensor> {
        self.activations.ok_or_else(|| self.missing("activations"))
    }

    /// Returns an error unless every group is a whole filter, or a whole row of a linear layer.
    pub(super) fn require_filters(&self) -> Result<()> {
        require_filters(self.name, self.groups)
    }

    fn missing(&self, evidence: &str) -> Error {
        Error::invalid(format!(
            "layer `{}`: the criterion reads {evidence}, which Score::needs does not list",
            self.name
        ))
    }
}
