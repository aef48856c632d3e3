//! Learning rates by layer: fastai's discriminative rates (Howard & Ruder 2018).

use super::{Layers, RateFactors};
use crate::number::{self, Range};
use crate::{Error, Graph, Layer, NodeId, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::str::FromStr;

/// The largest learning rates of a schedule by layer: `{ body = [1e-5, 1e-4], head = 1e-3 }`, or as text
/// `body=1e-5..1e-4,head=1e-3`.
///
/// Every layer with parameters has one. A layer that a pattern of names chooses is not in `body` or `head`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerRates(BTreeMap<Layers, Spread>);

/// Rates that grow from layer to layer: a number, `[first, last]`, or `{ first, last, parts }`; as text `1e-4`,
/// `1e-5..1e-4`, `1e-5..1e-4/2`.
///
/// The layers are cut into `parts` of consecutive layers, as equal as possible, and part k of n has the rate
/// `first · (last / first)^(k / (n − 1))`, as fastai's `even_mults`; a single part has the last rate. By default each
/// layer with a weight matrix or filters is a part. A batch norm belongs to the layer before it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form")]
pub struct Spread {
    /// The rate of the first part.
    pub first: f64,
    /// The rate of the last part.
    pub last: f64,
    /// Number of parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<usize>,
}

/// A spread as recipes spell it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a rate, [first, last] or { first, last, parts }")]
enum Form {
    One(f64),
    // Before the table, which would take a list for its fields.
    List(Vec<f64>),
    Table(Table),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    first: f64,
    last: f64,
    parts: Option<usize>,
}

impl TryFrom<Form> for Spread {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        match form {
            Form::One(rate) => Ok(Self::even(rate)),
            Form::List(rates) => match rates[..] {
                [first, last] => Ok(Self { first, last, parts: None }),
                _ => Err(format!(
                    "expected a rate, [first, last] or {{ first, last, parts }}, found {} rates",
                    rates.len()
                )),
            },
            Form::Table(Table { first, last, parts }) => Ok(Self { first, last, parts }),
        }
    }
}

impl Spread {
    /// The same rate for all layers.
    pub fn even(rate: f64) -> Self {
        Self { first: rate, last: rate, parts: None }
    }

    /// The rate of part `k` of `n`.
    fn rate(&self, k: usize, n: usize) -> f64 {
        match (n, self.first == self.last) {
            (0 | 1, _) | (_, true) => self.last,
            _ if k + 1 == n => self.last,
            _ => self.first * (self.last / self.first).powf(k as f64 / (n - 1) as f64),
        }
    }

    fn check(&self, layers: &Layers) -> Result<()> {
        // A growing rate cannot start at 0; a constant rate of 0 leaves the layers as they are.
        let range = if self.first == self.last { Range::AtLeastZero } else { Range::AboveZero };
        for rate in [self.first, self.last] {
            number::single(format_args!("rates: {layers}"), rate, range)?;
        }
        match self.parts {
            Some(0) => Err(Error::invalid(format!("rates: {layers}: expected at least 1 part, found 0"))),
            _ => Ok(()),
        }
    }
}

impl LayerRates {
    /// The given rates.
    pub fn new(rates: impl IntoIterator<Item = (Layers, Spread)>) -> Self {
        Self(rates.into_iter().collect())
    }

    /// The largest rate, to which a schedule refers.
    pub fn largest(&self) -> f64 {
        self.0.values().flat_map(|spread| [spread.first, spread.last]).fold(0.0, f64::max)
    }

    /// Checks everything that can be checked without a network.
    pub fn check(&self) -> Result<()> {
        self.0.iter().try_for_each(|(layers, spread)| spread.check(layers))?;
        number::single("rates: the largest", self.largest(), Range::AboveZero).map(drop)
    }

    /// The rates of the parameters of `graph`, relative to the largest one.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a layer has no rate or several, or if a choice of layers is empty or has fewer layers than
    /// parts.
    pub fn factors(&self, graph: &Graph) -> Result<RateFactors> {
        self.check()?;
        let mut factors = RateFactors::default();
        for (layers, nodes) in self.members(graph)? {
            let spread = self.0[layers];
            let weights = |id: &NodeId| !matches!(graph.nodes()[*id].layer, Layer::BatchNorm(_));
            let count = nodes.iter().filter(|id| weights(id)).count().max(1);
            let parts = spread.parts.unwrap_or(count);
            if parts > count {
                return Err(Error::invalid(format!(
                    "rates: {layers}: expected at most {count} parts, one for each layer, found {parts}"
                )));
            }
            let factor = |part: usize| spread.rate(part, parts) / self.largest();
            let (mut seen, mut by_part) = (0usize, vec![Vec::new(); parts]);
            for &id in &nodes {
                seen += usize::from(weights(&id));
                let node = &graph.nodes()[id];
                let paths = node.layer.params().into_iter().map(|(slot, _)| format!("{}.{slot}", node.name));
                by_part[seen.saturating_sub(1) * parts / count].extend(paths);
            }
            match [factor(0), factor(parts - 1)] {
                [first, last] if first == last => factors.group(layers.to_string(), last, by_part.concat()),
                [first, last] => {
                    factors.group(format!("{layers}_first"), first, by_part[0].clone());
                    factors.group(format!("{layers}_last"), last, by_part[parts - 1].clone());
                }
            }
            for (part, paths) in by_part.into_iter().enumerate() {
                factors.set(paths, factor(part));
            }
        }
        Ok(factors)
    }

    /// The nodes that each choice of layers owns.
    fn members(&self, graph: &Graph) -> Result<Vec<(&Layers, Vec<NodeId>)>> {
        let mut owner: Vec<Option<&Layers>> = vec![None; graph.nodes().len()];
        let (named, parts): (Vec<&Layers>, Vec<&Layers>) =
            self.0.keys().partition(|layers| matches!(layers, Layers::Named(_)));
        for layers in &named {
            for id in layers.nodes(graph).map_err(in_rates)? {
                if let Some(other) = owner[id].replace(layers) {
                    return Err(Error::invalid(format!(
                        "rates: layer `{}` belongs to both `{other}` and `{layers}`",
                        graph.nodes()[id].name
                    )));
                }
            }
        }
        for layers in parts {
            for id in layers.nodes(graph).map_err(in_rates)? {
                owner[id].get_or_insert(layers);
            }
        }
        let mut members: BTreeMap<&Layers, Vec<NodeId>> = self.0.keys().map(|l| (l, Vec::new())).collect();
        for (id, node) in graph.nodes().iter().enumerate().filter(|(_, n)| !n.layer.params().is_empty()) {
            let layers = owner[id].ok_or_else(|| {
                Error::invalid(format!(
                    "rates: layer `{}` has none: add `body`, `head` or a pattern of its name",
                    node.name
                ))
            })?;
            members.entry(layers).or_default().push(id);
        }
        match members.iter().find(|(_, nodes)| nodes.is_empty()) {
            Some((layers, _)) => {
                Err(Error::invalid(format!("rates: all layers of `{layers}` have rates by their names")))
            }
            None => Ok(members.into_iter().collect()),
        }
    }
}

fn in_rates(error: Error) -> Error {
    Error::invalid(format!("rates: {error}"))
}

impl FromStr for LayerRates {
    type Err = Error;

    /// Reads `body=1e-5..1e-4,head=1e-3`.
    fn from_str(text: &str) -> Result<Self> {
        let mut rates = BTreeMap::new();
        for part in text.split(',') {
            let (layers, spread) = part.split_once('=').ok_or_else(|| {
                Error::invalid(format!("expected LAYERS=RATE, such as body=1e-5..1e-4, found `{part}`"))
            })?;
            if rates.insert(layers.trim().parse()?, spread.trim().parse()?).is_some() {
                return Err(Error::invalid(format!("`{}` has two rates", layers.trim())));
            }
        }
        Ok(Self(rates))
    }
}

impl FromStr for Spread {
    type Err = Error;

    /// Reads `1e-4`, `1e-5..1e-4` or `1e-5..1e-4/2`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let forms = "a rate, FIRST..LAST or FIRST..LAST/PARTS";
            Error::invalid(format!("expected {forms}, found `{text}`"))
        };
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| wrong());
        let Some((first, rest)) = text.split_once("..") else { return Ok(Self::even(number(text)?)) };
        let (last, parts) = match rest.split_once('/') {
            Some((last, parts)) => (last, Some(parts.trim().parse().map_err(|_| wrong())?)),
            None => (rest, None),
        };
        Ok(Self { first: number(first)?, last: number(last)?, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{BatchNorm, Conv2d, Linear};
    use crate::{Param, Tensor};

    /// Four convolutions, each with a batch norm behind it, and two linear layers.
    fn network() -> Graph {
        let mut graph = Graph::new(1);
        let mut at = 0;
        for i in 0..4 {
            let weight = Param::new(Tensor::zeros(&[1, 1, 1, 1]));
            let conv = Conv2d {
                weight,
                bias: None,
                stride: [1; 2],
                padding: [0; 2],
                extra_padding: [0; 2],
                dilation: [1; 2],
                groups: 1,
            };
            at = graph.push(format!("c{i}"), Layer::Conv2d(conv), &[at]).unwrap();
            at = graph.push(format!("n{i}"), Layer::BatchNorm(BatchNorm::new(1)), &[at]).unwrap();
        }
        at = graph.push("flat", Layer::Flatten, &[at]).unwrap();
        for name in ["fc1", "fc2"] {
            let (weight, bias) = (Param::new(Tensor::zeros(&[1, 1])), Param::new(Tensor::zeros(&[1])));
            at = graph.push(name, Layer::Linear(Linear { weight, bias: Some(bias) }), &[at]).unwrap();
        }
        graph
    }

    /// The rates of all weights in order.
    fn rates(text: &str) -> Vec<f64> {
        let rates: LayerRates = text.parse().unwrap();
        let factors = rates.factors(&network()).unwrap();
        let of = |(path, _): (String, &Param)| factors.of(&path) * rates.largest();
        network().params().filter(|(path, _)| path.ends_with(".weight")).map(of).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} instead of {expected}");
        }
    }

    #[test]
    fn rates_grow_by_even_factors() {
        // By hand: 1e-6, 1e-5, 1e-4, 1e-3 for four layers, each with its batch norm.
        let body = [1e-6, 1e-6, 1e-5, 1e-5, 1e-4, 1e-4, 1e-3, 1e-3];
        assert_close(&rates("body=1e-6..1e-3,head=1e-2"), &[&body[..], &[1e-2, 1e-2]].concat());
        let halves = [1e-6, 1e-6, 1e-6, 1e-6, 1e-3, 1e-3, 1e-3, 1e-3];
        assert_close(&rates("head=1e-2, body=1e-6..1e-3/2"), &[&halves[..], &[1e-2, 1e-2]].concat());
        // A single part has the last rate, as in fastai.
        assert_close(&rates("body=1e-6..1e-3/1,head=1e-4..1e-2"), &[&[1e-3; 8][..], &[1e-4, 1e-2]].concat());
        // Three parts of four layers: two of one layer, one of two.
        let thirds = [1e-5, 1e-5, 1e-5, 1e-5, 1e-4, 1e-4, 1e-3, 1e-3];
        assert_close(&rates("body=1e-5..1e-3/3,head=1"), &[&thirds[..], &[1.0, 1.0]].concat());
        // Names come before body and head, and the rest is spread.
        let named = [0.5, 0.5, 1e-5, 1e-5, 1e-4, 1e-4, 1e-3, 1e-3, 0.25, 0.25];
        assert_close(&rates("body=1e-5..1e-3,head=0.25,?0=0.5".replace('?', "*").as_str()), &named);
    }

    #[test]
    fn groups_are_listed_with_their_ends() {
        let rates: LayerRates = "body=1e-5..1e-4,head=1e-3".parse().unwrap();
        let factors = rates.factors(&network()).unwrap();
        let groups: Vec<(&str, f64)> = factors.groups().collect();
        assert_eq!(groups.iter().map(|g| g.0).collect::<Vec<_>>(), ["body_first", "body_last", "head"]);
        assert_close(&groups.iter().map(|g| g.1).collect::<Vec<_>>(), &[1e-2, 1e-1, 1.0]);
    }

    #[test]
    fn tables_and_text_agree() {
        let json =
            r#"{ "body": { "first": 1e-5, "last": 1e-4, "parts": 2 }, "head": [1e-4, 1e-3], "c1": 1 }"#;
        let text = "body=1e-5..1e-4/2,head=1e-4..1e-3,c1=1";
        assert_eq!(serde_json::from_str::<LayerRates>(json).unwrap(), text.parse().unwrap());
    }

    #[test]
    fn invalid_rates_are_named() {
        let text = |text: &str| text.parse::<LayerRates>().and_then(|rates| rates.factors(&network()));
        for (rates, words) in [
            ("body", "expected LAYERS=RATE"),
            ("body=1..", "expected a rate, FIRST..LAST or FIRST..LAST/PARTS, found `1..`"),
            ("body=1..2/x,head=1", "found `1..2/x`"),
            ("body=1,body=2", "`body` has two rates"),
            ("=1", "found nothing"),
            ("head=1e-3", "rates: layer `c0` has none: add `body`"),
            ("body=-1,head=1", "rates: body: expected at least 0, found -1"),
            ("body=0..1,head=1", "rates: body: expected above 0, found 0"),
            ("body=1e-50..1,head=1", "rates: body"),
            ("body=0,head=0", "rates: the largest: expected above 0, found 0"),
            ("body=nan,head=1", "rates: body"),
            ("body=1..2/0,head=1", "expected at least 1 part, found 0"),
            ("body=1..2/5,head=1", "rates: body: expected at most 4 parts, one for each layer, found 5"),
            ("body=1,head=1,fc*=1", "rates: all layers of `head` have rates by their names"),
            ("body=1,head=1,c1=2,c*=1", "rates: layer `c1` belongs to both `c*` and `c1`"),
            ("body=1,head=1,x=1", "rates: `x`: the network has no such layer"),
        ] {
            let message = text(rates).unwrap_err().to_string();
            assert!(message.contains(words), "{rates}: {message}");
        }
        for (json, words) in [
            (r#"{ "body": "fast" }"#, "expected a rate, [first, last] or { first, last, parts }"),
            (r#"{ "body": [1, 2, 3] }"#, "expected a rate"),
            (r#"{ "body": { "first": 1, "last": 2, "part": 3 } }"#, "expected a rate"),
        ] {
            let message = serde_json::from_str::<LayerRates>(json).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
