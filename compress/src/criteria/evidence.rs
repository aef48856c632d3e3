//! Evidence: what criteria need besides the weights, gathered while a network trains or measured on data.

use super::curvature::Product;
use super::{Criterion, Need, Site, StepView};
use lopper_engine::data::{Batch, Batches};
use lopper_engine::train::CrossEntropy;
use lopper_engine::{Device, Error, Graph, Mode, ParamGradients, Result, Tape, Tensor};
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
        let wanted = [Need::InitialWeights, Need::UpdatedWeights];
        let mut evidence = Self::default();
        if criterion.needs().iter().any(|need| wanted.contains(need)) {
            evidence.remember(graph, sites);
        }
        evidence
    }

    /// Takes the weights that `graph` has behind a removal, if `criterion` compares with them.
    pub fn updated(&mut self, criterion: &Criterion, graph: &Graph, sites: &[Site]) {
        if criterion.needs().contains(&Need::UpdatedWeights) {
            self.remember(graph, sites);
        }
    }

    fn remember(&mut self, graph: &Graph, sites: &[Site]) {
        let weight = |site: &Site| (site.name(graph).to_string(), site.weight(graph).value().clone());
        self.initial = sites.iter().map(weight).collect();
    }

    /// What `criterion` finds in the network itself; none if it looks at single layers.
    pub fn survey(criterion: &Criterion, graph: &Graph, sites: &[Site]) -> Result<Option<Self>> {
        let found = criterion.survey(graph, sites);
        let found = found.map_err(|e| Error::invalid(format!("criterion {criterion}: {e}")))?;
        let Some(found) = found else { return Ok(None) };
        let observed = |(site, terms): (&Site, Vec<f64>)| (site.name(graph).to_string(), (1, terms));
        let observed = sites.iter().zip(found).map(observed).collect();
        Ok(Some(Self { observed, ..Self::default() }))
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
        for (index, batch) in data.epoch(0)?.take(batches).enumerate() {
            let batch = batch?;
            if let &[n, h, w, c] = batch.images.shape() {
                graph.require_training([n, h, w, c], 0, device)?;
            }
            let backward = Backward { criterion, batch: &batch, device };
            let (gradients, taps) = backward.run(&graph, &taps)?;
            let product = criterion.curvature().map(|direction| {
                let gradient = |graph: &Graph| Ok(backward.run(graph, &[])?.0);
                Product::new(direction, &graph, sites, &gradients, index as u64, gradient)
            });
            let product = product.transpose()?;
            let seen = Seen { gradients: &gradients, activations: &taps, product: product.as_ref() };
            evidence.add(criterion, &graph, sites, seen)?;
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
            true => self.add(criterion, graph, sites, Seen { gradients, activations: &[], product: None }),
            false => Ok(()),
        }
    }

    /// Adds a step in which `seen` was seen.
    fn add(&mut self, criterion: &Criterion, graph: &Graph, sites: &[Site], seen: Seen) -> Result<()> {
        for (index, site) in sites.iter().enumerate() {
            let (name, weight) = (site.name(graph), site.weight(graph).value());
            let path = format!("{name}.weight");
            let gradient = seen.gradients.get(&path);
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
            let curvature = seen
                .product
                .and_then(|product| Some((product.direction.get(&path)?, product.product.get(&path)?)));
            let activations = seen.activations.get(index);
            let step = StepView { name, weight, groups: &site.groups, gradient, activations, curvature };
            let terms = criterion.observe(&step)?;
            let expected = criterion.observations(&site.groups);
            criterion.expect_one_each("observations", name, terms.len(), expected)?;
            let (steps, sums) = self.observed.entry(name.to_string()).or_default();
            if sums.len() != terms.len() {
                (*steps, *sums) = (0, vec![0.0; terms.len()]);
            }
            match criterion.momentum() {
                Some(momentum) => {
                    *steps = 1;
                    sums.iter_mut().for_each(|sum| *sum *= momentum);
                }
                None => *steps += 1,
            }
            sums.iter_mut().zip(&terms).for_each(|(sum, term)| *sum += term);
        }
        Ok(())
    }

    /// The evidence that these `means` of the groups of `layer` were observed in one step.
    #[cfg(test)]
    pub(crate) fn of_means(layer: &str, means: &[f64]) -> Self {
        Self { observed: Observed::from([(layer.to_string(), (1, means.to_vec()))]), ..Self::default() }
    }

    /// The weight of `layer` at the beginning of the training.
    pub(super) fn initial(&self, layer: &str) -> Option<&Tensor> {
        self.initial.get(layer)
    }

    /// The means of the `count` numbers observed of `layer`; none where as many were not observed.
    pub(crate) fn means(&self, layer: &str, count: usize) -> Option<Vec<f64>> {
        let (steps, sums) = self.observed.get(layer).filter(|(_, sums)| sums.len() == count)?;
        Some(sums.iter().map(|sum| sum / *steps as f64).collect())
    }
}

/// What was seen in a step: gradients by path of their parameter, the activations of each site or of none, and the curvature.
struct Seen<'a> {
    gradients: &'a ParamGradients,
    activations: &'a [Tensor],
    product: Option<&'a Product>,
}

/// A pass over a batch, and back if the criterion needs gradients.
struct Backward<'a> {
    criterion: &'a Criterion,
    batch: &'a Batch,
    device: &'a Device,
}

impl Backward<'_> {
    /// The gradients of the cross entropy, and the outputs of the nodes `taps`.
    fn run(&self, graph: &Graph, taps: &[usize]) -> Result<(ParamGradients, Vec<Tensor>)> {
        let Self { criterion, batch, device } = self;
        let backward = criterion.needs_gradients();
        let tape = if backward { Tape::new(device) } else { Tape::no_grad(device) };
        let mut tape = tape.with_masked_gradients(criterion.needs().contains(&Need::Gradients));
        let pass = graph.forward(&mut tape, Mode::Eval, batch.images.clone(), taps)?;
        let gradients = match backward {
            true => {
                let loss = CrossEntropy::default();
                let loss = loss.of(&mut tape, &pass.output, &batch.labels, batch.mixed.as_ref())?;
                pass.gradients(tape.backward(&loss)?)
            }
            false => ParamGradients::new(),
        };
        pass.taps.iter().try_for_each(|tap| tap.value().fetch())?;
        Ok((gradients, pass.taps.iter().map(|tap| tap.value().clone()).collect()))
    }
}
