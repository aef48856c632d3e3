//! Sharing while training: a callback that keeps the weights of a cluster equal.

use super::rewrite::codes;
use super::{ShareConfig, share};
use lopper_engine::channels::{Filters, filters_mut};
use lopper_engine::train::{Callback, Flow, Shrunk, State, Step};
use lopper_engine::{Error, Graph, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Clusters the weights when a training begins, and keeps the clusters: after each step of the optimizer, the weights of a
/// cluster take their mean, as if the cluster's value had moved by the mean of the steps (Han et al. 2016, section 3.3, sum
/// the gradients instead, which scales the rate of a value by the size of its cluster).
#[derive(Debug)]
pub struct Sharer {
    config: ShareConfig,
    /// By layer: the cluster of each weight, and their number. Masked weights have that number.
    clusters: BTreeMap<String, (Tensor, usize)>,
}

/// What a checkpoint keeps in JSON: shapes and numbers of clusters, by layer.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers(BTreeMap<String, (Vec<usize>, usize)>);

impl Sharer {
    /// A callback for one training.
    ///
    /// # Errors
    /// If an option is invalid.
    pub fn new(config: ShareConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config, clusters: BTreeMap::new() })
    }
}

impl Callback for Sharer {
    fn on_begin(&mut self, graph: &mut Graph) -> Result<()> {
        *graph = share(graph, &self.config)?.graph;
        self.clusters.clear();
        for (id, choice) in self.config.layers(graph)? {
            if choice.is_ok() {
                let node = &graph.nodes()[id];
                let shape =
                    Filters::of(&node.layer).map_or(Vec::new(), |f| f.weight.value().shape().to_vec());
                let (codes, count) = codes(graph, id);
                self.clusters.insert(node.name.clone(), (Tensor::from_vec(&shape, codes)?, count));
            }
        }
        Ok(())
    }

    fn after_step(&mut self, step: &mut Step) -> Result<Flow> {
        for (name, (clusters, count)) in &self.clusters {
            let id = step.graph.id(name)?;
            let Some((weight, _)) = filters_mut(step.graph.layer_mut(id)) else { continue };
            if weight.value().shape() != clusters.shape() {
                let (found, expected) = (weight.value().shape(), clusters.shape());
                return Err(Error::invalid(format!(
                    "share: layer `{name}`: clusters of a weight {expected:?} for a weight {found:?}"
                )));
            }
            weight.update(|weights| average(weights, clusters.data(), *count));
        }
        Ok(Flow::Continue)
    }

    fn on_shrunk(&mut self, _before: &Graph, shrunk: &Shrunk) -> Result<()> {
        for (name, (clusters, _)) in &mut self.clusters {
            *clusters = shrunk.slices.of_tensor(&format!("{name}.weight"), clusters);
        }
        Ok(())
    }

    fn state(&self) -> State {
        let layer = |(name, (clusters, count)): (&String, &(Tensor, usize))| {
            (name.clone(), (clusters.shape().to_vec(), *count))
        };
        let array = |(name, (clusters, _)): (&String, &(Tensor, usize))| {
            (name.clone(), clusters.data().iter().copied().map(f64::from).collect())
        };
        State {
            value: serde_json::json!(Layers(self.clusters.iter().map(layer).collect())),
            arrays: self.clusters.iter().map(array).collect(),
        }
    }

    fn restore(&mut self, mut state: State) -> Result<()> {
        let damaged =
            |what: String| Error::invalid(format!("checkpoint: the state of sharing is damaged: {what}"));
        let Layers(layers) = serde_json::from_value(state.value).map_err(|e| damaged(e.to_string()))?;
        self.clusters.clear();
        for (name, (shape, count)) in layers {
            let numbers =
                state.arrays.remove(&name).ok_or_else(|| damaged(format!("no clusters of `{name}`")))?;
            let valid = |&cluster: &f64| cluster >= 0.0 && cluster <= count as f64 && cluster.fract() == 0.0;
            if count > 1 << 24 || !numbers.iter().all(valid) {
                return Err(damaged(format!("`{name}` has clusters that are none of {count}")));
            }
            let clusters = numbers.into_iter().map(|cluster| cluster as f32).collect();
            let clusters = Tensor::from_vec(&shape, clusters).map_err(|e| damaged(e.to_string()))?;
            self.clusters.insert(name, (clusters, count));
        }
        match state.arrays.keys().next() {
            Some(name) => Err(damaged(format!("`{name}` belongs to no layer"))),
            None => Ok(()),
        }
    }
}

/// Replaces each of `weights` by the mean of its cluster.
fn average(weights: &mut [f32], clusters: &[f32], count: usize) {
    let mut sums = vec![(0.0, 0u64); count + 1];
    for (&w, &cluster) in weights.iter().zip(clusters) {
        let (sum, members) = &mut sums[cluster as usize];
        *sum += f64::from(w);
        *members += 1;
    }
    let means: Vec<f32> = sums.iter().map(|&(sum, members)| (sum / members.max(1) as f64) as f32).collect();
    for (w, &cluster) in weights.iter_mut().zip(clusters) {
        *w = means[cluster as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_a_cluster_take_their_mean() {
        let mut weights = [1.0, 2.0, 4.0, 0.0, 6.0];
        average(&mut weights, &[0.0, 1.0, 0.0, 2.0, 1.0], 2);
        assert_eq!(weights, [2.5, 4.0, 2.5, 0.0, 4.0]);
    }
}
