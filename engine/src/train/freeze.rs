//! Training only some layers, and others from a later time on.

use super::{Layers, Progress};
use crate::{Error, Graph, Layer, NodeId, Result};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The layers that a training leaves as they are. Batch norms are never frozen, as in fastai: they adapt to new images
/// and cost next to nothing.
///
/// A network is frozen only while the gradients of a step are computed: those of frozen parameters are not. Checkpoints
/// and the trained network know nothing of it, so nothing stays frozen afterwards. What is frozen depends only on the
/// progress of the training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Freezing {
    layers: Vec<Layers>,
    thaws: Vec<Thaw>,
}

/// Layers that are trained from some time on: `{ layers = "layer4", epoch = 2 }` or `{ layers = "body", share = 0.5 }`;
/// as text `layer4@2`, `body@50%`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Table")]
pub struct Thaw {
    /// The layers.
    pub layers: Layers,
    /// The time.
    pub when: When,
}

/// A time in a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// The beginning of this epoch, counted from 1.
    Epoch(usize),
    /// The first step behind this share of all steps, in `(0, 1)`.
    Share(f64),
}

impl When {
    /// Whether it has come at the step `at`.
    fn has_come(self, at: Progress) -> bool {
        match self {
            Self::Epoch(epoch) => at.epoch + 1 >= epoch,
            Self::Share(share) => at.fraction() >= share,
        }
    }

    /// The share of a training of `epochs` epochs that precedes it.
    pub fn share(self, epochs: usize) -> f64 {
        match self {
            Self::Epoch(epoch) => epoch.saturating_sub(1) as f64 / epochs as f64,
            Self::Share(share) => share,
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epoch(epoch) => write!(f, "from epoch {epoch} on"),
            Self::Share(share) => write!(f, "after {} % of the steps", 100.0 * share),
        }
    }
}

/// The parameters that [`Freezing::freeze`] froze, by node and slot.
#[must_use = "the network stays frozen until they are thawed"]
pub struct Frozen(Vec<(NodeId, &'static str)>);

impl Frozen {
    /// Makes the parameters trainable again.
    pub fn thaw(self, graph: &mut Graph) {
        for (id, frozen) in self.0 {
            let params = graph.layer_mut(id).params_mut().into_iter();
            params.filter(|(slot, _)| *slot == frozen).for_each(|(_, param)| param.trainable = true);
        }
    }
}

impl Freezing {
    /// Freezes `layers`, except for those of `thaws` once their time has come.
    pub fn new(layers: Vec<Layers>, thaws: Vec<Thaw>) -> Self {
        Self { layers, thaws }
    }

    /// Whether it freezes nothing.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Checks that the layers exist in `graph`, that each thaw finds something frozen, and that something is trained
    /// from the start.
    pub fn check(&self, graph: &Graph) -> Result<()> {
        let mut frozen = self.frozen(graph, |_| false)?;
        let mut trained = graph.clone();
        let _ = freeze_nodes(&mut trained, frozen.iter().copied());
        if !frozen.is_empty() && !trained.params().any(|(_, param)| param.trainable) {
            return Err(Error::invalid("freeze: no parameter is left to train"));
        }
        for Thaw { layers, .. } in &self.thaws {
            let nodes = layers.nodes(graph).map_err(|e| Error::invalid(format!("unfreeze: {e}")))?;
            if nodes.iter().filter(|id| frozen.remove(id)).count() == 0 {
                return Err(Error::invalid(format!("unfreeze: `{layers}` is not frozen at that time")));
            }
        }
        Ok(())
    }

    /// Freezes in `graph` what is frozen at the step `at`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a choice of layers is empty.
    pub fn freeze(&self, graph: &mut Graph, at: Progress) -> Result<Frozen> {
        let nodes = self.frozen(graph, |when| when.has_come(at))?;
        Ok(freeze_nodes(graph, nodes))
    }

    /// Freezes in `graph` what is frozen at the start of a training.
    pub fn freeze_at_start(&self, graph: &mut Graph) -> Result<Frozen> {
        self.freeze(graph, Progress { epoch: 0, epochs: 1, step: 0, steps: 1 })
    }

    /// `graph` with those layers frozen that a training of `epochs` epochs and `steps` steps never trains.
    pub(super) fn at_last(&self, graph: &Graph, epochs: usize, steps: usize) -> Result<Graph> {
        self.at_end_of(graph, epochs.saturating_sub(1), epochs, steps.checked_div(epochs).unwrap_or(0))
    }

    /// `graph` with those layers frozen that the last step of `epoch` leaves as they are, if an epoch has `steps` steps.
    pub(super) fn at_end_of(
        &self,
        graph: &Graph,
        epoch: usize,
        epochs: usize,
        steps: usize,
    ) -> Result<Graph> {
        let steps = steps.max(1);
        let step = (epoch + 1) * steps - 1;
        let mut graph = graph.clone();
        let _ = self.freeze(&mut graph, Progress { epoch, epochs, step, steps: epochs.max(1) * steps })?;
        Ok(graph)
    }

    /// The layers that are frozen if the times for which `has_come` holds have come.
    fn frozen(&self, graph: &Graph, has_come: impl Fn(When) -> bool) -> Result<BTreeSet<NodeId>> {
        let mut frozen = BTreeSet::new();
        for layers in &self.layers {
            let nodes = layers.nodes(graph).map_err(|e| Error::invalid(format!("freeze: {e}")))?;
            frozen.extend(nodes.into_iter().filter(|&id| !is_norm(&graph.nodes()[id].layer)));
        }
        for Thaw { layers, .. } in self.thaws.iter().filter(|thaw| has_come(thaw.when)) {
            for id in layers.nodes(graph).map_err(|e| Error::invalid(format!("unfreeze: {e}")))? {
                frozen.remove(&id);
            }
        }
        Ok(frozen)
    }
}

fn is_norm(layer: &Layer) -> bool {
    matches!(layer, Layer::BatchNorm(_))
}

fn freeze_nodes(graph: &mut Graph, nodes: impl IntoIterator<Item = NodeId>) -> Frozen {
    let mut frozen = Vec::new();
    for id in nodes {
        for (slot, param) in graph.layer_mut(id).params_mut() {
            if std::mem::replace(&mut param.trainable, false) {
                frozen.push((id, slot));
            }
        }
    }
    Frozen(frozen)
}

/// Freezes the parameters of every node before `end` for good: optimizers skip them, and their gradients are not
/// computed. Batch norms stay trainable. For the length of a training, see [`Freezing`].
pub fn freeze(graph: &mut Graph, end: NodeId) {
    let before: Vec<NodeId> =
        (0..end.min(graph.nodes().len())).filter(|&id| !is_norm(&graph.nodes()[id].layer)).collect();
    let _ = freeze_nodes(graph, before);
}

/// Makes every parameter trainable.
pub fn unfreeze(graph: &mut Graph) {
    graph.params_mut().for_each(|(_, param)| param.trainable = true);
}

/// A thaw as recipes spell it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    layers: Layers,
    epoch: Option<usize>,
    share: Option<f64>,
}

impl TryFrom<Table> for Thaw {
    type Error = Error;

    fn try_from(Table { layers, epoch, share }: Table) -> Result<Self> {
        let when = match (epoch, share) {
            (Some(epoch), None) => When::Epoch(epoch),
            (None, Some(share)) => When::Share(share),
            _ => {
                return Err(Error::invalid(format!(
                    "unfreeze: `{layers}`: expected either `epoch` or `share`"
                )));
            }
        };
        Self { layers, when }.checked()
    }
}

impl FromStr for Thaw {
    type Err = Error;

    /// Reads `layer4@2` or `body@50%`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let forms = "LAYERS@EPOCH or LAYERS@SHARE%, such as body@2 or body@50%";
            Error::invalid(format!("expected {forms}, found `{text}`"))
        };
        let (layers, when) = text.rsplit_once('@').ok_or_else(wrong)?;
        let when = match when.strip_suffix('%') {
            Some(percent) => When::Share(percent.trim().parse::<f64>().map_err(|_| wrong())? / 100.0),
            None => When::Epoch(when.trim().parse().map_err(|_| wrong())?),
        };
        Self { layers: layers.trim().parse()?, when }.checked()
    }
}

impl Thaw {
    fn checked(self) -> Result<Self> {
        let refuse = |expected: &str| {
            let Self { layers, when } = &self;
            Err(Error::invalid(format!("unfreeze: `{layers}`: expected {expected}, found {when}")))
        };
        match self.when {
            When::Epoch(0 | 1) => refuse("an epoch from 2 on"),
            When::Share(share) if !(share > 0.0 && share < 1.0) => refuse("a share between 0 and 1"),
            _ => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thaws_are_read_from_tables_and_text() {
        for (json, text) in [
            (r#"{ "layers": "layer4", "epoch": 2 }"#, "layer4@2"),
            (r#"{ "layers": "body", "share": 0.5 }"#, "body@50%"),
            (r#"{ "layers": "a@b*", "epoch": 12 }"#, "a@b*@12"),
        ] {
            assert_eq!(serde_json::from_str::<Thaw>(json).unwrap(), text.parse().unwrap(), "{text}");
        }
        for (text, words) in [
            ("body", "expected LAYERS@EPOCH or LAYERS@SHARE%"),
            ("body@x", "found `body@x`"),
            ("body@x%", "found `body@x%`"),
            ("body@1", "`body`: expected an epoch from 2 on, found from epoch 1 on"),
            ("body@0%", "expected a share between 0 and 1, found after 0 % of the steps"),
            ("body@100%", "expected a share between 0 and 1"),
            ("body@nan%", "expected a share between 0 and 1"),
            ("@2", "found nothing"),
        ] {
            let message = text.parse::<Thaw>().unwrap_err().to_string();
            assert!(message.contains(words), "{text}: {message}");
        }
        for (json, words) in [
            (r#"{ "layers": "body" }"#, "`body`: expected either `epoch` or `share`"),
            (r#"{ "layers": "body", "epoch": 2, "share": 0.5 }"#, "expected either `epoch` or `share`"),
            (r#"{ "layers": "body", "epochs": 2 }"#, "unknown field `epochs`"),
            (r#"{ "layers": "body", "epoch": 1 }"#, "an epoch from 2 on"),
        ] {
            let message = serde_json::from_str::<Thaw>(json).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn times_come_at_the_first_step_behind_them() {
        let at = |step: usize| Progress { epoch: step / 4, epochs: 2, step, steps: 8 };
        let first = |when: When| (0..8).find(|&step| when.has_come(at(step)));
        assert_eq!((first(When::Epoch(2)), first(When::Epoch(3))), (Some(4), None));
        assert_eq!(
            (first(When::Share(0.5)), first(When::Share(0.51)), first(When::Share(0.01))),
            (Some(4), Some(5), Some(1))
        );
        assert_eq!((When::Epoch(2).share(4), When::Share(0.3).share(4)), (0.25, 0.3));
    }
}
