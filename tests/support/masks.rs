//! Random masks on the filters of a network.

use lopper_compress::Context;
use lopper_compress::channels::ChannelFlow;
use lopper_compress::criteria::{Random, Scoring};
use lopper_compress::prune::{PrunePlan, UnitScores};
use lopper_engine::{Graph, Layer, NodeId, Tensor};

/// Returns a plan that removes a random half of all units.
pub fn random_plan(graph: &Graph, seed: u64) -> PrunePlan {
    let scores = UnitScores::new(graph, &Scoring::new(&Random.into()).seed(seed), |_| true).unwrap();
    PrunePlan::lowest(graph, &scores, Context::Global, 0.5).unwrap()
}

/// Returns the graph with masks on the filters of the units that `plan` removes, as sparsification leaves them: biases,
/// batch norms and depthwise filters stay alive.
pub fn sparse(graph: &Graph, plan: &PrunePlan) -> Graph {
    let mut sparse = graph.clone();
    let flow = ChannelFlow::new(graph).unwrap();
    let mut dead = vec![false; flow.unit_count()];
    let name = |&layer: &NodeId| graph.nodes()[layer].name.as_str();
    for plan in &plan.groups {
        let mut groups = flow.groups().iter().filter(|g| g.frozen.is_none());
        let group =
            groups.find(|g| g.layers.iter().map(name).eq(plan.layers.iter().map(String::as_str))).unwrap();
        let removed = group.units.iter().filter(|unit| !plan.keep.contains(&unit.channel));
        removed.for_each(|unit| dead[unit.id] = true);
    }
    for (id, node) in graph.nodes().iter().enumerate() {
        let weight = match &node.layer {
            Layer::Conv2d(conv) if !conv.is_depthwise() => &conv.weight,
            Layer::Linear(linear) => &linear.weight,
            _ => continue,
        };
        let shape = weight.value().shape().to_vec();
        let filter: usize = shape[1..].iter().product();
        let mask = Tensor::from_fn(&shape, |i| f32::from(!dead[flow.units(id)[i / filter]]));
        sparse.param_mut(&format!("{}.weight", node.name)).unwrap().set_mask(Some(mask)).unwrap();
    }
    sparse
}
