//! Compaction: a convolution computes its live channels alone, and the network around it stays as wide as it was.
//!
//! ```text
//!   before   x [C] ─ conv [O, KH, KW, C] ─ y [O]
//!   after    x [C] ─ gather live inputs ─ conv [L, KH, KW, K] ─ scatter live outputs, fill the others ─ y [O]
//! ```
//!
//! An output is dead where it is provably constant ([`crate::constants`]): a masked filter, which emits its bias. It is
//! not computed but filled in. An input is dead where it is constant, or where no live filter weighs it. One that is
//! zero is not read; the others, c_i, are exact:
//!
//! ```text
//!   no padding   b'[o] = b[o] + Σ_t Σ_i c_i·w[o, t, i]
//!   padding      one more gathered channel, 1 inside the image and 0 in the padding, with w'[o, t, carrier] = Σ_i c_i·w[o, t, i]
//! ```
//!
//! Unlike pruning, it needs no other layer to follow: it suits what cannot be pruned, such as a residual sum of which
//! only one side is dead. The result is for inference. It does not apply to grouped convolutions.

use crate::constants::{Constant, constants};
use crate::lists::Lists;
use crate::weights::{Filters, require_copy};
use lopper_engine::layer::{CompactConv2d, Conv2d};
use lopper_engine::rewrite::{Edit, Report, Rewrite};
use lopper_engine::{Error, Graph, Layer, Param, Result, Tensor};
use serde::{Deserialize, Serialize};

/// The options of compaction, as a recipe writes them.
///
/// `include` and `exclude` hold names of layers, or of modules that contain them, as in sparsification.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompactConfig {
    /// The fraction of a convolution's weights that has to go for it to be worth a gather and a scatter, in 0..=1.
    pub min_saving: f64,
    /// The convolutions to compact; where empty, all.
    pub include: Vec<String>,
    /// Convolutions to leave alone.
    pub exclude: Vec<String>,
}

impl CompactConfig {
    /// An error that names the first option that makes no sense, whatever the network.
    pub fn check(&self) -> Result<()> {
        match (0.0..=1.0).contains(&self.min_saving) {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "compact min_saving: expected a fraction in [0, 1], found {}",
                self.min_saving
            ))),
        }
    }

    fn lists(&self) -> Lists<'_> {
        Lists { technique: "compact", include: &self.include, exclude: &self.exclude }
    }
}

/// Compacts every convolution that has dead channels and gets smaller by it; the report says what is left of each.
pub fn compact(graph: &Graph, config: &CompactConfig) -> Result<Rewrite> {
    config.check()?;
    let convs = graph.nodes().iter().filter(|node| matches!(node.layer, Layer::Conv2d(_)));
    config.lists().check("convolution", convs.map(|node| node.name.as_str()))?;
    require_copy(graph, "compact")?;
    let known = constants(graph)?;
    let mut rewrite = Rewrite { graph: graph.clone(), edits: Vec::new(), report: Report::new("compact") };
    for (id, node) in graph.nodes().iter().enumerate() {
        let Layer::Conv2d(conv) = &node.layer else { continue };
        if let Some(why) = config.lists().skips(&node.name) {
            rewrite.report.skipped(&node.name, why);
            continue;
        }
        if conv.groups > 1 {
            rewrite.report.skipped(&node.name, "grouped");
            continue;
        }
        let filters = Filters::of(&node.layer).expect("a convolution has filters");
        let live = Live::of(&filters, &known[node.inputs[0]], &known[id]);
        let (before, after) = (conv.weight.value().len(), live.weights(&filters));
        if live.everything(&filters) {
            rewrite.report.skipped(&node.name, "every channel is live");
        } else if after >= before || ((before - after) as f64) < config.min_saving * before as f64 {
            rewrite.report.skipped(&node.name, format!("{after} of {before} weights would stay"));
        } else {
            rewrite.report.changed(&node.name, live.told(&filters));
            let params = node.layer.params().into_iter();
            rewrite
                .edits
                .extend(params.map(|(slot, _)| Edit::Remove { param: format!("{}.{slot}", node.name) }));
            *rewrite.graph.layer_mut(id) = Layer::CompactConv2d(live.layer(conv, &filters));
        }
    }
    Ok(rewrite)
}

/// What of a convolution is alive.
struct Live {
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// The constant of each input channel that is one, zero for the others.
    constants: Vec<f64>,
    /// Whether a carrier brings in the constants.
    carrier: bool,
    /// The value of each output channel that is constant.
    fill: Vec<f32>,
}

impl Live {
    fn of(filters: &Filters, inputs: &[Constant], outputs: &[Constant]) -> Self {
        let live = |channels: &[Constant]| -> Vec<usize> {
            (0..channels.len()).filter(|&channel| channels[channel].is_none()).collect()
        };
        // A convolution of nothing is none: the first channel stays.
        let or_first = |channels: Vec<usize>| if channels.is_empty() { vec![0] } else { channels };
        let outputs_live = or_first(live(outputs));
        let weighed = |channel: usize| {
            let mut filters =
                outputs_live.iter().map(|&o| filters.filter(o).iter().skip(channel).step_by(inputs.len()));
            filters.any(|mut taps| taps.any(|&w| w != 0.0))
        };
        let constant = |(i, value): (usize, &Constant)| value.filter(|_| weighed(i)).map_or(0.0, f64::from);
        let constants: Vec<f64> = inputs.iter().enumerate().map(constant).collect();
        Self {
            inputs: or_first(live(inputs).into_iter().filter(|&channel| weighed(channel)).collect()),
            carrier: filters.padded && constants.iter().any(|&c| c != 0.0),
            constants,
            fill: outputs.iter().map(|value| value.unwrap_or(0.0)).collect(),
            outputs: outputs_live,
        }
    }

    fn everything(&self, filters: &Filters) -> bool {
        self.inputs.len() == filters.depth() && self.outputs.len() == filters.outputs()
    }

    fn depth(&self) -> usize {
        self.inputs.len() + usize::from(self.carrier)
    }

    /// Weights that are left.
    fn weights(&self, filters: &Filters) -> usize {
        let taps = filters.filter(0).len() / filters.depth();
        self.outputs.len() * taps * self.depth()
    }

    fn told(&self, filters: &Filters) -> String {
        format!(
            "{} of {} filters, {} of {} inputs{}",
            self.outputs.len(),
            filters.outputs(),
            self.inputs.len(),
            filters.depth(),
            if self.carrier { " and a carrier" } else { "" }
        )
    }

    fn layer(&self, conv: &Conv2d, filters: &Filters) -> CompactConv2d {
        let (mut weights, mut biases) = (Vec::with_capacity(self.weights(filters)), Vec::new());
        for &o in &self.outputs {
            let response = filters.response(o, &self.constants);
            for (tap, carried) in filters.filter(o).chunks_exact(filters.depth()).zip(&response) {
                weights
                    .extend(self.inputs.iter().map(|&i| if self.constants[i] == 0.0 { tap[i] } else { 0.0 }));
                weights.extend(self.carrier.then_some(*carried as f32));
            }
            let absorbed = if self.carrier { 0.0 } else { response.iter().sum() };
            biases.push((filters.bias_of(o) + absorbed) as f32);
        }
        let [kh, kw] = conv.kernel();
        // For inference: nothing of it is trained.
        let param = |shape: &[usize], values: &[f32]| {
            let value = Tensor::from_slice(shape, values).expect("a value for each position");
            let mut param = Param::new(value);
            param.trainable = false;
            param
        };
        let count = self.outputs.len();
        let has_bias = conv.bias.is_some() || biases.iter().any(|&b| b != 0.0);
        let inner = Conv2d {
            weight: param(&[count, kh, kw, self.depth()], &weights),
            bias: has_bias.then(|| param(&[count], &biases)),
            ..conv.clone()
        };
        let indices = |channels: &[usize]| channels.iter().map(|&channel| channel as u32).collect();
        CompactConv2d {
            conv: inner,
            inputs: indices(&self.inputs),
            outputs: indices(&self.outputs),
            in_width: filters.depth(),
            carrier: self.carrier,
            fill: self.fill.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bn, conv};
    use lopper_engine::rewrite::Outcome;

    #[test]
    fn dead_filters_are_filled_and_constant_inputs_are_carried() {
        let mut g = Graph::new(1);
        g.info.input = [5, 5, 1];
        let a = g.push("a", conv(4, 3, 1, 1), &[0]).unwrap();
        let norm = g.push("bn", bn(4), &[a]).unwrap();
        let b = g.push("b", conv(3, 3, 4, 1), &[norm]).unwrap();
        g.push("grouped", conv(3, 3, 3, 3), &[b]).unwrap();
        let mask = Tensor::from_fn(&[4, 3, 3, 1], |i| f32::from(i / 9 >= 2));
        g.param_mut("a.weight").unwrap().set_mask(Some(mask)).unwrap();
        let compact = compact(&g, &CompactConfig::default()).unwrap();
        let told: Vec<_> = compact.report.nodes.iter().map(|(_, outcome)| outcome.clone()).collect();
        assert_eq!(
            told,
            [
                Outcome::Changed("2 of 4 filters, 1 of 1 inputs".into()),
                Outcome::Changed("3 of 3 filters, 2 of 4 inputs and a carrier".into()),
                Outcome::Skipped("grouped".into()),
            ]
        );
        let Layer::CompactConv2d(layer) = &compact.graph.nodes()[b].layer else { panic!("not compacted") };
        assert_eq!((layer.inputs.as_slice(), layer.in_width, layer.carrier), (&[2, 3][..], 4, true));
        assert_eq!(layer.conv.weight.value().shape(), [3, 3, 3, 3]);
    }

    #[test]
    fn what_saves_too_little_is_left_alone() {
        let mut g = Graph::new(1);
        g.info.input = [5, 5, 1];
        g.push("live", conv(4, 3, 1, 1), &[0]).unwrap();
        g.push("b", conv(4, 3, 4, 1), &[1]).unwrap();
        g.param_mut("b.weight").unwrap().update(|w| w[..36].fill(0.0));
        let config = CompactConfig { min_saving: 0.5, ..CompactConfig::default() };
        let compact = compact(&g, &config).unwrap();
        assert_eq!(compact.report.nodes[0].1, Outcome::Skipped("every channel is live".into()));
        assert_eq!(compact.report.nodes[1].1, Outcome::Skipped("108 of 144 weights would stay".into()));
        assert!(super::compact(&g, &CompactConfig { min_saving: 2.0, ..config }).is_err());
    }
}
