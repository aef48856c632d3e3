//! The graph, the program that compression rewrites: named layers with explicit inputs, as a plain value.

use crate::graph::index::Index;
use crate::graph::info::Info;
use crate::{Error, Layer, Node, NodeId, Param, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// A network. Nodes are in an executable order; the first is the input, the last the output.
/// Cloning is cheap: parameters are shared until they are written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    nodes: Vec<Node>,
    /// The architecture and data that the network is made for.
    pub info: Info,
    #[serde(skip)]
    index: Index,
}

impl Graph {
    /// Creates a graph with only its input, node 0, named `input`.
    pub fn new(channels: usize) -> Self {
        let input = Node { name: "input".into(), layer: Layer::Input { channels }, inputs: Vec::new() };
        Self { nodes: vec![input], info: Info::default(), index: Index::default() }
    }

    /// Creates a graph of `nodes`, which [`Graph::check`] has yet to accept.
    pub(crate) fn of_nodes(nodes: Vec<Node>, info: Info) -> Self {
        Self { nodes, info, index: Index::default() }
    }

    /// Appends a node. Returns an error if the name is taken, an input does not exist, or the number of inputs does not
    /// suit the layer.
    pub fn push(&mut self, name: impl Into<String>, layer: Layer, inputs: &[NodeId]) -> Result<NodeId> {
        let (id, name) = (self.nodes.len(), name.into());
        if self.index.names(&self.nodes).contains_key(&name) {
            return Err(name_taken(&name));
        }
        self.nodes.push(Node { name, layer, inputs: inputs.to_vec() });
        if let Err(error) = self.check_wiring(id) {
            self.nodes.pop();
            return Err(error);
        }
        self.index.pushed(&self.nodes[id], id);
        Ok(id)
    }

    /// The nodes, in an executable order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The layer of node `id`, for writing.
    pub fn layer_mut(&mut self, id: NodeId) -> &mut Layer {
        &mut self.nodes[id].layer
    }

    /// The layers, for writing.
    pub(crate) fn layers_mut(&mut self) -> impl Iterator<Item = &mut Layer> {
        self.nodes.iter_mut().map(|node| &mut node.layer)
    }

    /// The node whose output is the network's output.
    pub fn output(&self) -> NodeId {
        self.nodes.len() - 1
    }

    /// The node called `name`.
    pub fn id(&self, name: &str) -> Result<NodeId> {
        let found = self.index.names(&self.nodes).get(name).copied();
        found.ok_or_else(|| Error::invalid(format!("the network has no layer called `{name}`")))
    }

    /// The readers of each node. A node that reads another several times is listed as often.
    pub fn readers(&self) -> &[Vec<NodeId>] {
        self.index.readers(&self.nodes)
    }

    /// Every parameter with its path (`layer1.0.conv1.weight`), in graph order.
    pub fn params(&self) -> impl Iterator<Item = (String, &Param)> {
        self.nodes.iter().flat_map(|n| {
            n.layer.params().into_iter().map(move |(slot, p)| (format!("{}.{slot}", n.name), p))
        })
    }

    /// [`Graph::params`], for writing.
    pub fn params_mut(&mut self) -> impl Iterator<Item = (String, &mut Param)> {
        self.nodes.iter_mut().flat_map(|n| {
            let name = &n.name;
            n.layer.params_mut().into_iter().map(move |(slot, p)| (format!("{name}.{slot}"), p))
        })
    }

    /// The parameter at `path`.
    pub fn param(&self, path: &str) -> Result<&Param> {
        let (id, slot) = self.slot(path)?;
        let found = self.nodes[id].layer.params().into_iter().find(|(name, _)| *name == slot);
        found.map(|(_, p)| p).ok_or_else(|| no_parameter(path))
    }

    /// The node of the parameter at `path`, and the parameter's name in that node.
    fn slot<'p>(&self, path: &'p str) -> Result<(NodeId, &'p str)> {
        let found = path
            .rsplit_once('.')
            .and_then(|(node, slot)| Some((*self.index.names(&self.nodes).get(node)?, slot)));
        found.ok_or_else(|| no_parameter(path))
    }

    /// The parameter at `path`, for writing.
    pub fn param_mut(&mut self, path: &str) -> Result<&mut Param> {
        let (id, slot) = self.slot(path)?;
        let found = self.nodes[id].layer.params_mut().into_iter().find(|(name, _)| *name == slot);
        found.map(|(_, p)| p).ok_or_else(|| no_parameter(path))
    }

    /// Every running statistic with its path (`bn1.running_mean`), in graph order.
    pub fn buffers(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.nodes.iter().flat_map(|n| {
            n.layer.buffers().into_iter().map(move |(slot, t)| (format!("{}.{slot}", n.name), t))
        })
    }

    /// Fetches all parameters and buffers that are only on a GPU; see [`Tensor::fetch`].
    pub fn fetch(&self) -> Result<()> {
        self.params().try_for_each(|(_, param)| param.value().fetch())?;
        self.buffers().try_for_each(|(_, buffer)| buffer.fetch())
    }

    /// [`Graph::buffers`], for writing.
    pub fn buffers_mut(&mut self) -> impl Iterator<Item = (String, &mut Tensor)> {
        self.nodes.iter_mut().flat_map(|n| {
            let name = &n.name;
            n.layer.buffers_mut().into_iter().map(move |(slot, t)| (format!("{name}.{slot}"), t))
        })
    }

    /// Removes node `id`, which must have one input. Its readers read that input instead. Later ids decrease by one.
    pub fn bypass(&mut self, id: NodeId) -> Result<()> {
        self.bypass_all(&[id])
    }

    /// Bypasses all nodes `ids` in one pass over the graph; see [`Graph::bypass`]. An error leaves the graph unchanged.
    pub fn bypass_all(&mut self, ids: &[NodeId]) -> Result<()> {
        let mut removed = vec![false; self.nodes.len()];
        for &id in ids {
            if self.nodes[id].inputs.len() != 1 {
                return Err(Error::invalid(format!(
                    "layer `{}` cannot be bypassed: it does not have exactly one input",
                    self.nodes[id].name
                )));
            }
            removed[id] = true;
        }
        self.index = Index::default();
        // The new id of the node that provides each node's output.
        let mut moved: Vec<NodeId> = Vec::with_capacity(self.nodes.len());
        let mut kept = Vec::with_capacity(self.nodes.len());
        for (id, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            node.inputs.iter_mut().for_each(|input| *input = moved[*input]);
            moved.push(if removed[id] { node.inputs[0] } else { kept.len() });
            if !removed[id] {
                kept.push(node);
            }
        }
        self.nodes = kept;
        Ok(())
    }

    /// Inserts a layer with one input after node `id`: every reader of `id` reads the new node, whose id is
    /// `id + 1`. Later ids increase by one. An error leaves the graph unchanged.
    pub fn insert_after(&mut self, id: NodeId, name: impl Into<String>, layer: Layer) -> Result<NodeId> {
        self.nodes.insert(id + 1, Node { name: name.into(), layer, inputs: vec![id] });
        self.index = Index::default();
        if let Err(error) = self.check_node(id + 1) {
            self.nodes.remove(id + 1);
            return Err(error);
        }
        for reader in &mut self.nodes[id + 2..] {
            for i in &mut reader.inputs {
                *i += usize::from(*i >= id);
            }
        }
        Ok(id + 1)
    }

    /// Renames node `id`.
    pub fn rename(&mut self, id: NodeId, name: impl Into<String>) -> Result<()> {
        let name = name.into();
        self.check_name(&name, Some(id))?;
        self.index = Index::default();
        self.nodes[id].name = name;
        Ok(())
    }

    /// Checks the invariants that a graph from a file may violate: the order of nodes, unique names, a single input
    /// node in first place, and the number of inputs of each layer.
    pub fn check(&self) -> Result<()> {
        if !matches!(self.nodes.first(), Some(Node { layer: Layer::Input { .. }, .. })) {
            return Err(Error::invalid("a graph must start with its input"));
        }
        let names: HashSet<&str> = self.nodes.iter().map(|n| n.name.as_str()).collect();
        if names.len() != self.nodes.len() {
            return Err(Error::invalid("two layers of a graph have the same name"));
        }
        (0..self.nodes.len()).try_for_each(|id| self.check_wiring(id))
    }

    fn check_node(&self, id: NodeId) -> Result<()> {
        self.check_name(&self.nodes[id].name, Some(id))?;
        self.check_wiring(id)
    }

    fn check_name(&self, name: &str, own: Option<NodeId>) -> Result<()> {
        match self.nodes.iter().enumerate().any(|(id, n)| n.name == name && Some(id) != own) {
            true => Err(name_taken(name)),
            false => Ok(()),
        }
    }

    fn check_wiring(&self, id: NodeId) -> Result<()> {
        let node = &self.nodes[id];
        let expected = match node.layer {
            Layer::Input { .. } => 0..=0,
            Layer::Add | Layer::Concat => 2..=usize::MAX,
            Layer::Multiply => 2..=2,
            _ => 1..=1,
        };
        let found = node.inputs.len();
        if !expected.contains(&found) || matches!(node.layer, Layer::Input { .. }) != (id == 0) {
            return Err(Error::invalid(format!(
                "layer `{}` ({}) cannot have {found} inputs",
                node.name,
                node.layer.kind()
            )));
        }
        match node.inputs.iter().any(|&i| i >= id) {
            true => Err(Error::invalid(format!(
                "layer `{}` reads a layer that does not come before it",
                node.name
            ))),
            false => Ok(()),
        }
    }
}

fn name_taken(name: &str) -> Error {
    Error::invalid(format!("two layers are called `{name}`"))
}

fn no_parameter(path: &str) -> Error {
    Error::invalid(format!("the network has no parameter called `{path}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_kernels::params::Activation;

    fn chain() -> Graph {
        let mut g = Graph::new(3);
        let a = g.push("a", Layer::Activation(Activation::Relu), &[0]).unwrap();
        let b = g.push("b", Layer::Activation(Activation::Relu6), &[a]).unwrap();
        g.push("sum", Layer::Add, &[a, b]).unwrap();
        g
    }

    #[test]
    fn bypass_and_insert_keep_the_wiring() {
        let mut g = chain();
        g.bypass(g.id("b").unwrap()).unwrap();
        assert_eq!(g.nodes()[2].inputs, [1, 1]);
        let c = g.insert_after(1, "c", Layer::Activation(Activation::Relu)).unwrap();
        assert_eq!((c, g.nodes()[3].inputs.as_slice()), (2, &[2, 2][..]));
        assert_eq!(g.readers(), [vec![1], vec![2], vec![3, 3], vec![]]);
        g.check().unwrap();
    }

    #[test]
    fn bypassing_nodes_together_equals_one_by_one() {
        let mut g = chain();
        let c = g.push("c", Layer::Activation(Activation::Relu), &[3]).unwrap();
        g.push("d", Layer::Add, &[c, 2]).unwrap();
        let mut one_by_one = g.clone();
        for name in ["c", "b", "a"] {
            one_by_one.bypass(one_by_one.id(name).unwrap()).unwrap();
        }
        g.bypass_all(&[1, 2, 4]).unwrap();
        let wiring =
            |g: &Graph| g.nodes().iter().map(|n| (n.name.clone(), n.inputs.clone())).collect::<Vec<_>>();
        assert_eq!(wiring(&g), wiring(&one_by_one));
        assert_eq!(wiring(&g)[1..], [("sum".into(), vec![0, 0]), ("d".into(), vec![1, 0])]);
    }

    #[test]
    fn name_lookup_follows_every_change() {
        let mut g = chain();
        assert_eq!((g.id("sum").unwrap(), g.id("a").unwrap()), (3, 1));
        g.rename(1, "z").unwrap();
        assert!(g.id("a").is_err());
        let first = g.insert_after(1, "a", Layer::Activation(Activation::Relu)).unwrap();
        assert_eq!((g.id("a").unwrap(), g.id("sum").unwrap()), (first, 4));
        let last = g.push("last", Layer::Activation(Activation::Relu), &[4]).unwrap();
        assert_eq!(g.id("last").unwrap(), last);
        assert!(g.push("late", Layer::Activation(Activation::Relu), &[9]).is_err());
        assert!(g.id("late").is_err(), "a refused node leaves no name behind");
        assert!(g.param("sum.weight").is_err() && g.param("weight").is_err());
    }

    #[test]
    fn wrong_wiring_is_refused() {
        let mut g = chain();
        assert!(g.push("a", Layer::Activation(Activation::Relu), &[0]).is_err(), "name taken");
        assert!(g.push("late", Layer::Activation(Activation::Relu), &[9]).is_err(), "no such input");
        assert!(g.push("lonely", Layer::Add, &[0]).is_err(), "one addend");
        assert!(g.bypass(3).is_err(), "two inputs");
        assert!(g.insert_after(1, "lonely", Layer::Add).is_err(), "one addend");
        assert!(g.insert_after(1, "b", Layer::Activation(Activation::Relu)).is_err(), "name taken");
        assert_eq!(g.nodes().len(), 4, "a refused node leaves nothing behind");
        assert_eq!(g.nodes()[3].inputs, [1, 2], "the wiring is unchanged");
    }
}
