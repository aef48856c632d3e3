//! Folding: batch norm with running statistics is `s·x + t` for each channel, s = γ/√(σ² + ε) and t = β − s·μ,
//! and disappears into the weights beside it (Jacob et al. 2018, section 3.2).
//!
//! ```text
//!   before   conv (w, b) ─ bn ─ …               after   conv (s·w, s·b + t) ─ …                    backward
//!   before   bn ─ conv (w, b) ─ …               after   conv (w·s, b + Σ w·t) ─ …                  forward
//! ```
//!
//! Backward, filter o becomes `w'[o] = s[o]·w[o]`, `b'[o] = s[o]·b[o] + t[o]`: always exact, for convolutions of any
//! groups and linear layers, if nothing else reads the layer's output. Forward, through dropout, flattening and
//! pooling too, `w'[o, ·, c] = w[o, ·, c]·s[c]`, `b'[o] = b[o] + Σ_c t[c] Σ_taps w[o, ·, c]`: exact if the layer alone
//! reads the batch norm, and its padding, which stands for 0 and not for t, meets no channel with t ≠ 0.
//!
//! Everything is computed in f64 and rounded once. A filter that is masked stays zero, but gets a bias.

use crate::weights::{Filters, filters_mut, overwrite, require_copy, set_bias};
use lopper_engine::layer::BatchNorm;
use lopper_engine::rewrite::{Edit, Report, Rewrite};
use lopper_engine::{Graph, Layer, NodeId, Result};

/// Folds every batch norm that can be folded exactly, in graph order; the report says where each went, or why it
/// stays. The result equals `graph` in eval mode; it is not what a batch norm is while training.
pub fn fold(graph: &Graph) -> Result<Rewrite> {
    require_copy(graph, "fold")?;
    let mut folding = Folding::new(graph);
    let (mut edits, mut report) = (Vec::new(), Report::new("fold"));
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
        edits.extend(["weight", "bias"].map(|slot| Edit::Remove { param: format!("{name}.{slot}") }));
        edits.extend(["weight", "bias"].map(|slot| Edit::Reset { param: format!("{into}.{slot}") }));
        if let Some((weight, _)) = filters_mut(folding.graph.layer_mut(target)) {
            overwrite(weight, weights);
        }
        set_bias(&mut folding.graph, target, &bias);
        folding.remove(id);
    }
    Ok(Rewrite { graph: folding.finish()?, edits, report })
}

/// A graph whose batch norms are being folded. Those that were stay in their places, so that ids do not move, until all are
/// removed at once.
struct Folding {
    graph: Graph,
    /// For every node, where its value is found: the node itself, or what a batch norm that was folded read.
    source: Vec<NodeId>,
    /// For every node, the nodes that read its value.
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

    /// What node `id` reads. In graph order, what was folded lies before it and has its final source.
    fn input(&self, id: NodeId) -> NodeId {
        self.source[self.graph.nodes()[id].inputs[0]]
    }

    /// Lets the readers of the batch norm `id` read its input.
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

    /// The graph without the batch norms that were folded.
    fn finish(mut self) -> Result<Graph> {
        self.graph.bypass_all(&self.folded)?;
        Ok(self.graph)
    }
}

/// How many of `weights` are so small that only their last bits are left, in words. Multiplied as they are, such
/// numbers take some processors a hundred times longer; the kernels' threads flush them to zero.
fn subnormals(weights: &[f32]) -> String {
    match weights.iter().filter(|w| w.is_subnormal()).count() {
        0 => String::new(),
        count => format!(", {count} weights subnormal"),
    }
}

/// The layer that a batch norm goes into.
enum Destination<'a> {
    Backward(NodeId, Filters<'a>),
    Forward(NodeId, Filters<'a>),
}

impl Folding {
    /// Where the batch norm `id` can go, or why it cannot go anywhere.
    fn destination(&self, id: NodeId, bn: &BatchNorm) -> Result<Destination<'_>, String> {
        let input = self.input(id);
        let source = &self.graph.nodes()[input];
        let no_backward = match (Filters::of(&source.layer), self.readers[input].as_slice()) {
            // The last node of a graph is its output: without the batch norm, `source` has to be that.
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

    /// Whether all nodes between `first` and `id` were folded.
    fn is_last_before(&self, first: NodeId, id: NodeId) -> bool {
        (first + 1..id).all(|between| self.source[between] != between)
    }

    /// The layer behind the batch norm `id` that can take it, or why none can.
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

/// Whether `layer(s·x + t) = s·layer(x) + t`, so that the batch norm may as well stand behind it.
fn commutes(layer: &Layer, bn: &BatchNorm) -> bool {
    match layer {
        Layer::Flatten | Layer::Dropout { .. } | Layer::AdaptiveAvgPool(_) => true,
        // Not where a mean takes in the zeros of the padding.
        Layer::AvgPool(pool) => pool.padding == [0, 0] || !pool.count_include_pad,
        // A negative scale makes the largest the smallest.
        Layer::MaxPool(_) | Layer::AdaptiveMaxPool(_) => {
            bn.weight.value().data().iter().all(|&gamma| gamma >= 0.0)
        }
        _ => false,
    }
}

/// Whether some weight meets a channel that the batch norm shifts.
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

/// [`affine`] for each input of the layer behind: after a flatten, feature (h·W + w)·C + c is channel c.
fn input_affine(filters: &Filters, bn: &BatchNorm) -> Vec<(f64, f64)> {
    affine(bn).repeat(filters.depth() * filters.groups / bn.channels())
}

/// Scale and shift of each channel. [`BatchNorm::affine`] rounds to f32; a product with it would round again.
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
        assert_eq!(folded.edits[0], Edit::Remove { param: "bn.weight".into() });
        assert_eq!(folded.edits[3], Edit::Reset { param: "a.bias".into() });
    }

    #[test]
    fn what_cannot_be_folded_says_why() {
        let mut g = Graph::new(2);
        let a = g.push("a", conv(2, 1, 2, 1), &[0]).unwrap();
        let shared = g.push("shared", bn(2), &[a]).unwrap();
        let sum = g.push("sum", Layer::Add, &[a, shared]).unwrap();
        let relu = g.push("relu", Layer::Relu, &[sum]).unwrap();
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
        assert!(folded.edits.is_empty());
    }

    #[test]
    fn a_batch_norm_goes_forward_through_dropout_and_flatten() {
        let mut g = Graph::new(2);
        let relu = g.push("relu", Layer::Relu, &[0]).unwrap();
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
