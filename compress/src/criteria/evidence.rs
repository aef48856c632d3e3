//! Evidence: what criteria need besides the weights, gathered while a network trains or measured on data.

use super::{Criterion, Need, Site, StepView};
use lopper_engine::data::Batches;
use lopper_engine::train::CrossEntropy;
use lopper_engine::{Device, Error, Graph, Mode, ParamGradients, Result, Tape, Tensor, Var};
use std::collections::BTreeMap;

/// By layer: the number of steps observed, and the sum over them for each group.
pub(super) type Observed = BTreeMap<String, (usize, Vec<f64>)>;

/// The initial weights of layers, and the running means of what a criterion observes of their groups.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// By layer.
    pub(super) initial: BTreeMap<String, Tensor>,
    pub(super) observed: Observed,
}

impl Evidence {
    /// The evidence at the beginning of the training of `graph`: its weights at `sites`, if `criterion` needs them.
    pub fn start(criterion: &Criterion, graph: &Graph, sites: &[Site]) -> Self {
        let initial = |site: &Site| (site.name(graph).to_string(), site.weight(graph).value().clone());
        let wanted = criterion.needs().contains(&Need::InitialWeights);
        Self { initial: sites.iter().filter(|_| wanted).map(initial).collect(), ..Self::default() }
    }

    /// The evidence that `batches` batches of `data` give of a network that is not being trained: gradients of the
    /// cross entropy, with the batch norms' running statistics, and activations. Frozen layers are observed like all
    /// others. Reads no data for a criterion that needs neither.
    pub fn measure(
        criterion: &Criterion,
        graph: &Graph,
        sites: &[Site],
        data: &mut dyn Batches,
        batches: usize,
        device: &Device,
    ) -> Result<Self> {
        let mut evidence = Self::default();
        if !criterion.needs_data() {
            return Ok(evidence);
        }
        // A frozen weight has gradients, too: they say how the loss depends on it.
        let mut graph = graph.clone();
        sites.iter().for_each(|site| site.weight_mut(&mut graph).trainable = true);
        let taps: Vec<usize> = sites.iter().filter_map(|site| site.tap(criterion, &graph)).collect();
        for batch in data.epoch(0)?.take(batches) {
            let batch = batch?;
            if let &[n, h, w, c] = batch.images.shape() {
                graph.require_training([n, h, w, c], 0, device)?;
            }
            let backward = criterion.needs_gradients();
            let tape = if backward { Tape::new(device) } else { Tape::no_grad(device) };
            let mut tape = tape.with_masked_gradients(criterion.needs().contains(&Need::Gradients));
            let pass = graph.forward(&mut tape, Mode::Eval, batch.images, &taps)?;
            let gradients = match backward {
                true => {
                    let loss = CrossEntropy::default().of(
                        &mut tape,
                        &pass.output,
                        &batch.labels,
                        batch.mixed.as_ref(),
                    )?;
                    pass.gradients(tape.backward(&loss)?)
                }
                false => ParamGradients::new(),
            };
            pass.taps.iter().try_for_each(|tap| tap.value().fetch())?;
            let activations: Vec<&Tensor> = pass.taps.iter().map(Var::value).collect();
            evidence.add(criterion, &graph, sites, &gradients, &activations)?;
        }
        Ok(evidence)
    }

    /// Adds the gradients of one training step, taken at the weights that `graph` holds now. A layer whose groups are
    /// not those of earlier steps (it was pruned) starts afresh. Does nothing for a criterion that needs no gradients.
    pub fn observe(
        &mut self,
        criterion: &Criterion,
        graph: &Graph,
        sites: &[Site],
        gradients: &ParamGradients,
    ) -> Result<()> {
        match criterion.needs_gradients() {
            true => self.add(criterion, graph, sites, gradients, &[]),
            false => Ok(()),
        }
    }

    /// Adds a step: `gradients` by path of their parameter, and the activations of each of `sites`, or of none.
    fn add(
        &mut self,
        criterion: &Criterion,
        graph: &Graph,
        sites: &[Site],
        gradients: &ParamGradients,
        activations: &[&Tensor],
    ) -> Result<()> {
        for (index, site) in sites.iter().enumerate() {
            let (name, weight) = (site.name(graph), site.weight(graph).value());
            let gradient = gradients.get(&format!("{name}.weight"));
            if gradient.is_none() && criterion.needs_gradients() {
                continue;
            }
            if let Some(gradient) = gradient.filter(|gradient| gradient.shape() != weight.shape()) {
                return Err(Error::invalid(format!(
                    "criterion {criterion}: layer `{name}`: a gradient {:?} of a weight {:?}",
                    gradient.shape(),
                    weight.shape()
                )));
            }
            let activations = activations.get(index).copied();
            let step = StepView { name, weight, groups: &site.groups, gradient, activations };
            let terms = criterion.observe(&step)?;
            criterion.expect_one_each("observations", name, terms.len(), &site.groups)?;
            let (steps, sums) = self.observed.entry(name.to_string()).or_default();
            if sums.len() != terms.len() {
                (*steps, *sums) = (0, vec![0.0; terms.len()]);
            }
            *steps += 1;
            sums.iter_mut().zip(&terms).for_each(|(sum, term)| *sum += term);
        }
        Ok(())
    }

    /// The weight of `layer` at the beginning of the training.
    pub(super) fn initial(&self, layer: &str) -> Option<&Tensor> {
        self.initial.get(layer)
    }

    /// The mean of each of the `groups` groups of `layer`; none where it was not observed in this division.
    pub(super) fn means(&self, layer: &str, groups: usize) -> Option<Vec<f64>> {
        let (steps, sums) = self.observed.get(layer).filter(|(_, sums)| sums.len() == groups)?;
        Some(sums.iter().map(|sum| sum / *steps as f64).collect())
    }
}
