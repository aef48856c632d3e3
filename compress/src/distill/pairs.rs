//! Which layers of two networks are compared, and how.

use super::margins::margins;
use super::{DistillConfig, FeatureLoss};
use lopper_engine::{Error, Graph, Layer, NodeId, Result};

/// Two layers whose outputs are compared.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub student: NodeId,
    pub teacher: NodeId,
    pub loss: FeatureLoss,
    pub weight: f32,
    /// Whether the student's output goes through an adapter.
    pub adapter: bool,
    /// The margin of each of the teacher's channels, if the loss has margins.
    pub margins: Vec<f64>,
    /// As errors call it.
    pub name: String,
}

/// A network with the shapes of its outputs for one image.
#[derive(Clone, Copy)]
pub(super) struct Shaped<'a> {
    pub graph: &'a Graph,
    pub shapes: &'a [Vec<usize>],
}

/// The pairs that `config` names, and those that it lets be found.
pub(super) fn pairs(config: &DistillConfig, student: Shaped, teacher: Shaped) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for hint in &config.hints {
        let (s, t) = (student.graph.id(&hint.student)?, teacher.graph.id(&hint.teacher)?);
        let name = format!("hint {} ← {}", hint.student, hint.teacher);
        let widths = [&student.shapes[s], &teacher.shapes[t]].map(|shape| shape.last());
        let (loss, weight) = (hint.loss, hint.weight);
        let adapter = hint.adapter.unwrap_or(loss.adapts(widths));
        pairs.push(Pair { student: s, teacher: t, loss, weight, adapter, margins: Vec::new(), name });
    }
    for features in &config.features {
        let loss = features.loss;
        let found = match loss {
            FeatureLoss::Crd => {
                classified(student.graph).zip(classified(teacher.graph)).into_iter().collect()
            }
            _ => by_resolution(student, teacher, loss),
        };
        if found.is_empty() {
            let what = match loss {
                FeatureLoss::Crd => "expected last layers that classify features, found none",
                _ => "student and teacher share no resolution of more than one pixel",
            };
            return Err(Error::invalid(format!(
                "distillation features {loss}: {what}: name the layers by hints"
            )));
        }
        for (s, t) in found {
            let names = [&student.graph.nodes()[s].name, &teacher.graph.nodes()[t].name];
            let widths = [&student.shapes[s], &teacher.shapes[t]].map(|shape| shape.last());
            pairs.push(Pair {
                student: s,
                teacher: t,
                loss,
                weight: features.weight,
                adapter: loss.adapts(widths),
                margins: Vec::new(),
                name: format!("features {} ← {}", names[0], names[1]),
            });
        }
    }
    pairs.iter().try_for_each(|pair| check(pair, student, teacher))?;
    for pair in pairs.iter_mut().filter(|pair| pair.loss == FeatureLoss::Ofd) {
        pair.margins = margins(teacher.graph, pair.teacher).ok_or_else(|| {
            let layer = &teacher.graph.nodes()[pair.teacher].name;
            Error::invalid(format!(
                "{}: ofd needs the statistics of the teacher's values ahead of an activation: expected a batch norm, or a \
                 sum with one, found `{layer}`",
                pair.name
            ))
        })?;
    }
    Ok(pairs)
}

/// An error if the outputs of `pair` do not compare.
fn check(pair: &Pair, student: Shaped, teacher: Shaped) -> Result<()> {
    let (ours, theirs) = (&student.shapes[pair.student], &teacher.shapes[pair.teacher]);
    let (name, loss) = (&pair.name, pair.loss);
    let pixels = |shape: &[usize]| shape[..shape.len() - 1].to_vec();
    if loss.compares_pixels() && (ours.len() != theirs.len() || pixels(ours) != pixels(theirs)) {
        return Err(Error::invalid(format!(
            "{name}: the student's output is {ours:?}, the teacher's {theirs:?}; {loss} compares outputs of one resolution: \
             choose layers that have it"
        )));
    }
    if loss.compares_values() && !pair.adapter && ours != theirs {
        return Err(Error::invalid(format!(
            "{name}: the student's output is {ours:?}, the teacher's {theirs:?}; without an adapter only equal shapes \
             compare: choose layers of equal outputs or adapter = true"
        )));
    }
    match ours.as_slice() {
        [_, h, w, _] if h * w > 1 => Ok(()),
        _ if loss.is_of_maps() => Err(Error::invalid(format!(
            "{name}: {loss} compares feature maps [N, H, W, C] of several pixels, found {ours:?}"
        ))),
        _ => Ok(()),
    }
}

/// The node whose output the last layer of `graph` with weights classifies.
pub(super) fn classified(graph: &Graph) -> Option<NodeId> {
    let mut node = graph.output();
    loop {
        match (&graph.nodes()[node].layer, graph.nodes()[node].inputs.as_slice()) {
            (Layer::Linear(_) | Layer::Conv2d(_), &[input]) => return Some(input),
            (_, &[input]) => node = input,
            _ => return None,
        }
    }
}

/// The last layers of each network at every resolution of more than one pixel that both have, from the largest on. For
/// `boundaries` and `ofd`, the last ones before an activation; for `ofd`, the teacher's last ones with margins.
fn by_resolution(student: Shaped, teacher: Shaped, loss: FeatureLoss) -> Vec<(NodeId, NodeId)> {
    let last = |network: Shaped, suits: &dyn Fn(NodeId) -> bool| {
        let mut found: Vec<([usize; 2], NodeId)> = Vec::new();
        for (id, node) in network.graph.nodes().iter().enumerate() {
            let &[_, h, w, _] = network.shapes[id].as_slice() else { continue };
            let fits = match &node.layer {
                Layer::Input { .. } | Layer::Pool(_) => false,
                Layer::Activation(_) => !loss.precedes_activation(),
                _ => suits(id),
            };
            if !fits || h * w <= 1 {
                continue;
            }
            match found.iter_mut().find(|(resolution, _)| *resolution == [h, w]) {
                Some(entry) => entry.1 = id,
                None => found.push(([h, w], id)),
            }
        }
        found
    };
    let theirs = last(teacher, &|id| loss != FeatureLoss::Ofd || margins(teacher.graph, id).is_some());
    let partner = |(resolution, id): ([usize; 2], NodeId)| {
        let (_, other) = theirs.iter().find(|(other, _)| *other == resolution)?;
        Some((id, *other))
    };
    last(student, &|_| true).into_iter().filter_map(partner).collect()
}
