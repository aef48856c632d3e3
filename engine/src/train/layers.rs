//! Layers of a network, chosen by their place or by their name.

use super::groups::matches;
use crate::{Error, Graph, Layer, NodeId, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A choice of layers with parameters. As text: `body`, `head`, or a pattern of names.
///
/// ```text
/// images ─ conv ─ … ─ pool ─┬─ flatten ─ linear ─ … ─ logits
///            body           │            head
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Layers {
    /// The layers that are not behind a flatten layer: those that work on images.
    Body,
    /// The layers behind a flatten layer: those that work on vectors. If none of them has parameters, the last layer
    /// that has, a convolution to the classes (SqueezeNet).
    Head,
    /// The layers whose name matches, or that are in a module whose name matches; `*` stands for any sequence of
    /// characters. `layer1`, `layer1.*` and `layer1*` all choose `layer1.0.conv1`.
    Named(String),
}

impl Layers {
    /// The chosen layers of `graph` that have parameters, in its order.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none.
    pub fn nodes(&self, graph: &Graph) -> Result<Vec<NodeId>> {
        let behind = match self {
            Self::Named(_) => Vec::new(),
            Self::Body | Self::Head => heads(graph),
        };
        if !matches!(self, Self::Named(_)) && !behind.contains(&true) {
            let why = "the network has no flatten layer, at which the body ends and the head begins";
            return Err(Error::invalid(format!("`{self}`: {why}")));
        }
        let chosen = |id: NodeId| match self {
            Self::Body => !behind[id],
            Self::Head => behind[id],
            Self::Named(pattern) => names(pattern, &graph.nodes()[id].name),
        };
        let has_parameters = |id: NodeId| !graph.nodes()[id].layer.params().is_empty();
        let found: Vec<NodeId> =
            (0..graph.nodes().len()).filter(|&id| has_parameters(id) && chosen(id)).collect();
        match found.is_empty() {
            false => Ok(found),
            true => Err(Error::invalid(format!("`{self}`: the network has no such layer with parameters"))),
        }
    }
}

/// Whether `pattern` matches the layer `name` or a module that contains it.
fn names(pattern: &str, name: &str) -> bool {
    matches(pattern, name) || name.match_indices('.').any(|(dot, _)| matches(pattern, &name[..dot]))
}

/// For each node, whether it belongs to the head. Nothing does if the network has no flatten layer.
fn heads(graph: &Graph) -> Vec<bool> {
    let is_flatten = |id: NodeId| matches!(graph.nodes()[id].layer, Layer::Flatten);
    let has_parameters = |id: &NodeId| !graph.nodes()[*id].layer.params().is_empty();
    let mut behind = from(graph, is_flatten);
    if behind.contains(&true) && !(0..behind.len()).any(|id| behind[id] && has_parameters(&id)) {
        let last = (0..graph.nodes().len()).rev().find(has_parameters);
        behind = from(graph, |id| is_flatten(id) || Some(id) == last);
    }
    behind
}

/// For each node, whether `starts` holds for it or for a node that it depends on.
fn from(graph: &Graph, starts: impl Fn(NodeId) -> bool) -> Vec<bool> {
    let mut behind: Vec<bool> = Vec::with_capacity(graph.nodes().len());
    for (id, node) in graph.nodes().iter().enumerate() {
        behind.push(starts(id) || node.inputs.iter().any(|&input| behind[input]));
    }
    behind
}

impl FromStr for Layers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "body" => Ok(Self::Body),
            "head" => Ok(Self::Head),
            "" => Err(Error::invalid("expected body, head or a pattern of layer names, found nothing")),
            pattern => Ok(Self::Named(pattern.to_string())),
        }
    }
}

impl TryFrom<String> for Layers {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Layers> for String {
    fn from(layers: Layers) -> Self {
        layers.to_string()
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body => "body",
            Self::Head => "head",
            Self::Named(pattern) => pattern,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{BatchNorm, Linear};
    use crate::{Param, Tensor};

    fn linear() -> Layer {
        Layer::Linear(Linear { weight: Param::new(Tensor::zeros(&[2, 2])), bias: None })
    }

    /// Two branches, of which only one is flattened before its linear layer, and a layer on an image.
    fn branches() -> Graph {
        let mut graph = Graph::new(2);
        let norm = graph.push("a.norm", Layer::BatchNorm(BatchNorm::new(2)), &[0]).unwrap();
        let flat = graph.push("a.flat", Layer::Flatten, &[norm]).unwrap();
        let fc = graph.push("ab.fc", linear(), &[flat]).unwrap();
        // Behind the flatten layer in order, but not in the data flow.
        let late = graph.push("late", Layer::BatchNorm(BatchNorm::new(2)), &[0]).unwrap();
        let other = graph.push("other", Layer::Flatten, &[late]).unwrap();
        graph.push("sum", Layer::Add, &[fc, other]).unwrap();
        graph
    }

    #[test]
    fn body_and_head_part_at_the_flatten_layers() {
        let chosen = |text: &str| text.parse::<Layers>().unwrap().nodes(&branches()).unwrap();
        assert_eq!((chosen("body"), chosen("head")), (vec![1, 4], vec![3]));
        assert_eq!((chosen("*"), chosen("a"), chosen("a*")), (vec![1, 3, 4], vec![1], vec![1, 3]));
        assert_eq!((chosen("a.*"), chosen("late")), (vec![1], vec![4]));
        assert_eq!("body".parse::<Layers>().unwrap().to_string(), "body");
    }

    /// A convolution to the classes comes before the flatten layer, behind which nothing has parameters.
    #[test]
    fn the_last_layer_is_the_head_if_no_layer_works_on_vectors() {
        let mut graph = Graph::new(2);
        for (id, name) in ["body", "classes"].into_iter().enumerate() {
            graph.push(name, Layer::BatchNorm(BatchNorm::new(2)), &[id]).unwrap();
        }
        graph.push("flat", Layer::Flatten, &[2]).unwrap();
        assert_eq!(
            (Layers::Body.nodes(&graph).unwrap(), Layers::Head.nodes(&graph).unwrap()),
            (vec![1], vec![2])
        );
    }

    #[test]
    fn choices_without_layers_are_named() {
        let mut plain = Graph::new(2);
        plain.push("norm", Layer::BatchNorm(BatchNorm::new(2)), &[0]).unwrap();
        let mut no_body = Graph::new(2);
        let flat = no_body.push("flat", Layer::Flatten, &[0]).unwrap();
        no_body.push("fc", linear(), &[flat]).unwrap();
        for (graph, text, words) in [
            (branches(), "b", "`b`: the network has no such layer"),
            (branches(), "sum", "`sum`: the network has no such layer with parameters"),
            (plain.clone(), "body", "`body`: the network has no flatten layer"),
            (plain, "head", "`head`: the network has no flatten layer"),
            (no_body, "body", "`body`: the network has no such layer"),
        ] {
            let message = text.parse::<Layers>().unwrap().nodes(&graph).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        assert!("".parse::<Layers>().is_err());
    }
}
