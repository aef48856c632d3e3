//! Folding: a batch norm with running statistics computes `s·x + t` for each channel, where s = γ/√(σ² + ε) and
//! t = β − s·μ, so it can be merged into adjacent weights (Jacob et al. 2018, section 3.2).
//!
//! ```text
//!   before   conv (w, b) ─ bn ─ …               after   conv (s·w, s·b + t) ─ …                    backward
//!   before   bn ─ conv (w, b) ─ …               after   conv (w·s, b + Σ w·t) ─ …                  forward
//! ```
//!
//! Backward, filter o becomes `w'[o] = s[o]·w[o]`, `b'[o] = s[o]·b[o] + t[o]`. This is exact for linear layers and for
//! convolutions with any number of groups, if nothing else reads the layer's output. Forward, which also works through
//! dropout, flattening and pooling, `w'[o, ·, c] = w[o, ·, c]·s[c]`, `b'[o] = b[o] + Σ_c t[c] Σ_taps w[o, ·, c]`. This
//! is exact if only that layer reads the batch norm, and if its padding, which is 0 and not t, meets no channel with
//! t ≠ 0.
//!
//! Everything is computed in f64 and rounded once. A masked filter stays zero, but gets a bias.

use crate::criteria::Evidence;
use crate::techniques::{Applied, Kind, Listed, Role, Sketch, Technique};
use crate::weights::require_copy;
use lopper_engine::channels::{Filters, filters_mut, overwrite, set_bias};
use lopper_engine::layer::{BatchNorm, PoolKind};
use lopper_engine::rewrite::{Rewrite, RewriteReport};
use lopper_engine::{About, Graph, Layer, NodeId, Result};
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

/// Folds every batch norm that can be folded exactly, in graph order. The report gives each one's destination, or the
/// reason why it stays. The result is equivalent to `graph` in eval mode, but not in training.
pub fn fold(graph: &Graph) -> Result<Rewrite> {
    require_copy(graph, "fold")?;
    let mut folding = Folding::new(graph);
    let mut report = RewriteReport::new("fold");
    for (id, node) in graph.nodes().iter().enumerate() {
        let Layer::BatchNorm(bn) = &node.layer else { continue };
        let name = &node.name;
        let (target, weights, bias) = match folding.destination(id, bn) {
            Ok(Destination::Backward(target, filters)) => {
                (target, backward_weights(&filters, bn), backward_bias(&filters, bn))
            }
            Ok(Destination::Forward(target, filters)) => {
                (target, forward_weights(&filters, bn), forward_bias(&filters, bn))
            }
            Err(why) => {
                report.skipped(name, why);
                continue;
            }
        };
        let into = &graph.nodes()[target].name;
        report.changed(name, format!("into {into}{}", subnormals(&weights)));
        if let Some((weight, _)) = filters_mut(folding.graph.layer_mut(target)) {
            overwrite(weight, weights);
        }
        set_bias(&mut folding.graph, target, &bias);
        folding.remove(id);
    }
    Ok(Rewrite { graph: folding.finish()?, report })
}

/// A graph whose batch norms are being folded. Folded ones stay in place, so that ids do not change, until all are
/// removed at once.
struct Folding {
    graph: Graph,
    /// For every node, the node that provides its value: itself or, for a folded batch norm, its input.
    source: Vec<NodeId>,
    /// For every node, the readers of its value.
    readers: Vec<Vec<NodeId>>,
    folded: Vec<NodeId>,
    /// The last node that stays.
    output: NodeId,
}

impl Folding {
    fn new(graph: &Graph) -> Self {
        Self {
            graph: graph.clone(),
            source: (0..graph.nodes().len()).collect(),
            readers: graph.readers().to_vec(),
            folded: Vec::new(),
            output: graph.output(),
        }
    }

    /// The node that node `id` reads. Folded nodes precede it in graph order, so their sources are final.
    fn input(&self, id: NodeId) -> NodeId {
        self.source[self.graph.nodes()[id].inputs[0]]
    }

    /// Connects the readers of the batch norm `id` to its input.
    fn remove(&mut self, id: NodeId) {
        let input = self.input(id);
        self.source[id] = input;
        let readers = std::mem::take(&mut self.readers[id]);
        self.readers[input].retain(|&reader| reader != id);
        self.readers[input].extend(readers);
        self.folded.push(id);
        if id == self.output {
            self.output = input;
        }
    }

    /// The graph without the folded batch norms.
    fn finish(mut self) -> Result<Graph> {
        self.graph.bypass_all(&self.folded)?;
        Ok(self.graph)
    }
}

/// A note on the number of subnormal `weights`, which have lost precision. Some processors take a hundred times longer
/// to multiply them; the kernels' threads flush them to zero.
fn subnormals(weights: &[f32]) -> String {
    match weights.iter().filter(|w| w.is_subnormal()).count() {
        0 => String::new(),
        count => format!(", {count} weights subnormal"),
    }
}

/// The layer into which a batch norm is folded.
enum Destination<'a> {
    Backward(NodeId, Filters<'a>),
    Forward(NodeId, Filters<'a>),
}

impl Folding {
    /// The destination of the batch norm `id`, or the reason why it has none.
    fn destination(&self, id: NodeId, bn: &BatchNorm) -> Result<Destination<'_>, String> {
        let input = self.input(id);
        let source = &self.graph.nodes()[input];
        let no_backward = match (Filters::of(&source.layer), self.readers[input].as_slice()) {
            // The last node of a graph is its output. Without the batch norm, that must be `source`.
            (Some(filters), [_]) if id != self.output || self.is_last_before(input, id) => {
                return Ok(Destination::Backward(input, filters));
            }
            (Some(_), _) => format!("`{}`, which feeds it, has another reader", source.name),
            (None, _) => format!("`{}`, which feeds it, is {}", source.name, source.layer.kind()),
        };
        match self.forward(id, bn) {
            Ok((target, filters)) => Ok(Destination::Forward(target, filters)),
            Err(no_forward) => Err(format!("{no_backward}; {no_forward}")),
        }
    }

    /// Whether all nodes between `first` and `id` have been folded.
    fn is_last_before(&self, first: NodeId, id: NodeId) -> bool {
        (first + 1..id).all(|between| self.source[between] != between)
    }

    /// The layer after the batch norm `id` that can absorb it, or the reason why there is none.
    fn forward(&self, id: NodeId, bn: &BatchNorm) -> Result<(NodeId, Filters<'_>), String> {
        let name = |of: NodeId| &self.graph.nodes()[of].name;
        let only_reader = |of: NodeId| match self.readers[of].as_slice() {
            &[reader] => Ok(reader),
            others => Err(format!("`{}` has {} readers", name(of), others.len())),
        };
        let mut reader = only_reader(id)?;
        while commutes(&self.graph.nodes()[reader].layer, bn) {
            reader = only_reader(reader)?;
        }
        let node = &self.graph.nodes()[reader];
        match Filters::of(&node.layer) {
            None => Err(format!("`{}`, which reads it, is {}", node.name, node.layer.kind())),
            Some(filters) if filters.padded && weighs_shift(&filters, bn) => {
                Err(format!("`{}`, which reads it, pads its input with 0, not with β − sμ", node.name))
            }
            Some(filters) => Ok((reader, filters)),
        }
    }
}

/// Whether `layer(s·x + t) = s·layer(x) + t`, so that the batch norm can move past it.
fn commutes(layer: &Layer, bn: &BatchNorm) -> bool {
    match layer {
        Layer::Flatten | Layer::Dropout { .. } => true,
        Layer::Pool(pool) => match pool.kind {
            // Only if means do not include the zeros of the padding.
            PoolKind::Average => !pool.reads_padding(),
            // A negative scale would turn the maximum into the minimum.
            PoolKind::Max => bn.weight.value().data().iter().all(|&gamma| gamma >= 0.0),
        },
        _ => false,
    }
}

/// Whether a nonzero weight reads a channel that the batch norm shifts.
fn weighs_shift(filters: &Filters, bn: &BatchNorm) -> bool {
    let affine = bn.affine();
    (0..filters.outputs()).any(|o| {
        let shifts = &affine[filters.first_input(o)..][..filters.depth()];
        filters.filter(o).iter().zip(shifts.iter().cycle()).any(|(&w, &(_, shift))| w != 0.0 && shift != 0.0)
    })
}

fn backward_weights(filters: &Filters, bn: &BatchNorm) -> Vec<f32> {
    let scaled =
        |(o, (s, _)): (usize, (f64, f64))| filters.filter(o).iter().map(move |&w| (s * f64::from(w)) as f32);
    affine(bn).into_iter().enumerate().flat_map(scaled).collect()
}

fn backward_bias(filters: &Filters, bn: &BatchNorm) -> Vec<f64> {
    affine(bn).into_iter().enumerate().map(|(o, (s, t))| s * filters.bias_of(o) + t).collect()
}

fn forward_weights(filters: &Filters, bn: &BatchNorm) -> Vec<f32> {
    let affine = input_affine(filters, bn);
    let scaled = |o: usize| {
        let scales = affine[filters.first_input(o)..][..filters.depth()].iter().cycle();
        filters.filter(o).iter().zip(scales).map(|(&w, (s, _))| (s * f64::from(w)) as f32)
    };
    (0..filters.outputs()).flat_map(scaled).collect()
}

fn forward_bias(filters: &Filters, bn: &BatchNorm) -> Vec<f64> {
    let shifts: Vec<f64> = input_affine(filters, bn).into_iter().map(|(_, t)| t).collect();
    let response = |o: usize| filters.response(o, &shifts).into_iter().sum::<f64>();
    (0..filters.outputs()).map(|o| filters.bias_of(o) + response(o)).collect()
}

/// [`affine`] for each input of the following layer: after a flatten, feature (h·W + w)·C + c is channel c.
fn input_affine(filters: &Filters, bn: &BatchNorm) -> Vec<(f64, f64)> {
    affine(bn).repeat(filters.depth() * filters.groups / bn.channels())
}

/// The scale and shift of each channel. [`BatchNorm::affine`] rounds to f32, and a product with it would round again.
fn affine(bn: &BatchNorm) -> Vec<(f64, f64)> {
    let term = |c: usize| {
        let [gamma, beta, mean, var] =
            [bn.weight.value(), bn.bias.value(), &bn.running_mean, &bn.running_var]
                .map(|t| f64::from(t.data()[c]));
        let scale = gamma / (var + f64::from(bn.eps)).sqrt();
        (scale, beta - scale * mean)
    };
    (0..bn.channels()).map(term).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bn, conv, linear};
    use lopper_engine::layer::Activation;
    use lopper_engine::rewrite::Outcome;

    fn outcomes(rewrite: &Rewrite) -> Vec<(&str, &str)> {
        let nodes = rewrite.report.nodes.iter();
        nodes
            .map(|(name, outcome)| match outcome {
                Outcome::Changed(text) | Outcome::Skipped(text) => (name.as_str(), text.as_str()),
            })
            .collect()
    }

    #[test]
    fn each_filter_is_scaled_and_shifted_and_masked_ones_stay_zero() {
        let mut g = Graph::new(1);
        let a = g.push("a", conv(2, 1, 1, 1), &[0]).unwrap();
        let norm = g.push("bn", bn(2), &[a]).unwrap();
        g.param_mut("a.weight")
            .unwrap()
            .set_mask(Some(lopper_engine::Tensor::from_vec(&[2, 1, 1, 1], vec![0.0, 1.0]).unwrap()))
            .unwrap();
        let Layer::BatchNorm(bn) = &g.nodes()[norm].layer else { unreachable!() };
        let (affine, w) = (bn.affine(), g.param("a.weight").unwrap().value().data()[1]);
        let folded = fold(&g).unwrap();
        assert_eq!(folded.graph.nodes().len(), 2);
        let (weight, bias) = (folded.graph.param("a.weight").unwrap(), folded.graph.param("a.bias").unwrap());
        assert_eq!(weight.value().data(), [0.0, affine[1].0 * w]);
        assert_eq!(weight.mask().unwrap().data(), [0.0, 1.0]);
        assert_eq!(bias.value().data(), [affine[0].1, affine[1].1]);
    }

    #[test]
    fn the_report_explains_batch_norms_that_stay() {
        let mut g = Graph::new(2);
        let a = g.push("a", conv(2, 1, 2, 1), &[0]).unwrap();
        let shared = g.push("shared", bn(2), &[a]).unwrap();
        let sum = g.push("sum", Layer::Add, &[a, shared]).unwrap();
        let relu = g.push("relu", Layer::Activation(Activation::Relu), &[sum]).unwrap();
        let padded = g.push("padded", bn(2), &[relu]).unwrap();
        g.push("b", conv(2, 3, 2, 1), &[padded]).unwrap();
        let folded = fold(&g).unwrap();
        assert_eq!(
            outcomes(&folded),
            [
                ("shared", "`a`, which feeds it, has another reader; `sum`, which reads it, is add"),
                (
                    "padded",
                    "`relu`, which feeds it, is relu; `b`, which reads it, pads its input with 0, not with β − sμ"
                ),
            ]
        );
    }

    #[test]
    fn a_batch_norm_folds_forward_through_dropout_and_flatten() {
        let mut g = Graph::new(2);
        let relu = g.push("relu", Layer::Activation(Activation::Relu), &[0]).unwrap();
        let norm = g.push("bn", bn(2), &[relu]).unwrap();
        let drop = g.push("drop", Layer::Dropout { p: 0.5 }, &[norm]).unwrap();
        let flat = g.push("flat", Layer::Flatten, &[drop]).unwrap();
        g.push("fc", linear(3, 8), &[flat]).unwrap();
        let Layer::BatchNorm(bn) = &g.nodes()[norm].layer else { unreachable!() };
        let (affine, before) = (bn.affine(), g.param("fc.weight").unwrap().value().data()[..8].to_vec());
        let folded = fold(&g).unwrap();
        assert_eq!(outcomes(&folded), [("bn", "into fc")]);
        let after = &folded.graph.param("fc.weight").unwrap().value().data()[..8];
        for (i, (w, v)) in before.iter().zip(after).enumerate() {
            assert!((w * affine[i % 2].0 - v).abs() <= 1e-6, "feature {i}");
        }
    }
}
