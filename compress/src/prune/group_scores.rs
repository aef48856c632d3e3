//! The scores of coupled channels apart: what each layer says about them, before a coupling makes one number of it.
//!
//! ```text
//!   conv1 [0.3 0.9 0.2] ─┐
//!   conv2 [0.5 0.1 0.4] ─┼─ coupling ─► joined [0.4 0.5 0.3]     a ranking needs one number a channel
//! ```

use super::UnitScores;
use super::score::{Units, Wanted};
use crate::criteria::{Joined, Scoring};
use lopper_engine::channels::{ChannelFlow, Group};
use lopper_engine::{Graph, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The scores of a group of channels that are removed together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupScores {
    /// The layers whose outputs are cut together, in graph order.
    pub layers: Vec<String>,
    /// The channels, ascending, by their first output channel in the first layer, as a plan names them.
    pub channels: Vec<usize>,
    /// The score of each channel, joined by the coupling.
    pub joined: Vec<f32>,
    /// What each layer that the criterion reads says about the channels, in graph order.
    pub apart: Vec<LayerScores>,
}

/// What one layer says about the channels of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerScores {
    /// The layer.
    pub layer: String,
    /// A score for each channel of the group; none for channels that the layer does not have. Where several of its channels
    /// are removed together, as in grouped convolutions, the coupling joins them.
    pub scores: Vec<Option<f32>>,
}

impl GroupScores {
    /// The scores that [`UnitScores::new`] joins, of every group that it scores.
    ///
    /// # Errors
    /// Those of the criterion.
    pub fn of(graph: &Graph, scoring: &Scoring, eligible: impl Fn(&[String]) -> bool) -> Result<Vec<Self>> {
        let flow = ChannelFlow::new(graph)?;
        let wanted = Wanted::new(graph, &flow, eligible);
        let places = flow.places();
        let mut joined = Units::new(&flow, scoring.joins());
        let mut apart: Vec<Vec<LayerScores>> = vec![Vec::new(); flow.groups().len()];
        for site in wanted.sites(graph, &flow, scoring.criterion()) {
            let (units, scores) = (flow.units(site.node), scoring.scores(graph, &site)?);
            let mut groups: BTreeMap<usize, Vec<Joined>> = BTreeMap::new();
            for (&unit, &score) in units.iter().zip(&scores) {
                let Some((group, place)) = places[unit].filter(|&(group, _)| wanted.groups[group]) else {
                    continue;
                };
                let width = flow.groups()[group].units.len();
                let of_group = groups.entry(group).or_insert_with(|| vec![Joined::default(); width]);
                of_group[place].add(scoring.joins(), score.into());
            }
            for (group, of_layer) in groups {
                let score =
                    |joined: Joined| (joined.count > 0).then(|| joined.finish(scoring.joins()) as f32);
                let (layer, scores) =
                    (graph.nodes()[site.node].name.clone(), of_layer.into_iter().map(score));
                apart[group].push(LayerScores { layer, scores: scores.collect() });
            }
            joined.add(units, scores);
        }
        let joined: UnitScores = joined.scores(&wanted);
        let group = |((group, joined), apart): ((&Group, Option<&[f32]>), Vec<LayerScores>)| {
            let channels = group.units.iter().map(|unit| unit.channel).collect();
            Some(Self { layers: group.layer_names(graph), channels, joined: joined?.to_vec(), apart })
        };
        Ok(flow.groups().iter().zip(joined.of_groups(&flow)?).zip(apart).filter_map(group).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::criteria::{Coupling, Criterion, L1Magnitude};
    use lopper_engine::layer::{Conv2d, Layer};
    use lopper_engine::{Param, Tensor};

    fn conv(weight: &[f32]) -> Layer {
        Layer::Conv2d(Conv2d {
            weight: Param::new(Tensor::from_slice(&[weight.len(), 1, 1, 1], weight).unwrap()),
            bias: None,
            stride: [1; 2],
            padding: [0; 2],
            extra_padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
        })
    }

    /// Two convolutions that are summed, and one that reads the sum.
    #[test]
    fn scores_are_apart_and_joined() {
        let mut graph = Graph::new(1);
        let a = graph.push("a", conv(&[1.0, -2.0, 3.0]), &[0]).unwrap();
        let b = graph.push("b", conv(&[5.0, 1.0, -1.0]), &[0]).unwrap();
        let sum = graph.push("sum", Layer::Add, &[a, b]).unwrap();
        let weight = Param::new(Tensor::full(&[2, 1, 1, 3], 1.0));
        let Layer::Conv2d(last) = conv(&[0.0; 2]) else { unreachable!() };
        graph.push("last", Layer::Conv2d(Conv2d { weight, ..last }), &[sum]).unwrap();
        graph.info.input = [2, 2, 1];
        let criterion = Criterion::from(L1Magnitude);
        let scoring = Scoring::new(&criterion).coupling(Coupling::Sum);
        let found = GroupScores::of(&graph, &scoring, |_| true).unwrap();
        let apart = |layer: &str, scores: [f32; 3]| LayerScores {
            layer: layer.into(),
            scores: scores.map(Some).to_vec(),
        };
        let expected = GroupScores {
            layers: vec!["a".into(), "b".into()],
            channels: vec![0, 1, 2],
            joined: vec![6.0, 3.0, 4.0],
            apart: vec![apart("a", [1.0, 2.0, 3.0]), apart("b", [5.0, 1.0, 1.0])],
        };
        assert_eq!(found, [expected], "the last one makes the output");
        let scores = UnitScores::new(&graph, &scoring, |_| true).unwrap();
        let flow = ChannelFlow::new(&graph).unwrap();
        let joined: Vec<Option<&[f32]>> = scores.of_groups(&flow).unwrap().collect();
        assert_eq!(joined, [Some(&found[0].joined[..]), None]);
    }
}
