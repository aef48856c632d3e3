//! A plan, cut by cut: each is proposed with what it saves, and the caller takes it or leaves it.
//!
//! ```text
//!   plan ─► group 1 ─ accept ─► group 2 ─ leave ─► group 3 ─ accept ─► plan of groups 1 and 3
//! ```

use super::{Constants, GroupPlan, PrunePlan, prune};
use lopper_engine::channels::ChannelFlow;
use lopper_engine::cost::Cost;
use lopper_engine::{Graph, Result};

/// A cut of one group of channels.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Its position among the cuts of the plan, from 0.
    pub index: usize,
    /// The layers whose channels are cut, and the channels that stay.
    pub cut: GroupPlan,
    /// The cost of the network for one image with the cuts that were accepted, and with this one besides.
    pub costs: [Cost; 2],
    /// The network with the cuts that were accepted, and this one.
    pub network: Graph,
}

/// The cuts of a plan, in its order.
///
/// ```
/// # use lopper_compress::{PrunePlan, prune::{Constants, Proposals, prune}};
/// # use lopper_engine::{Graph, Layer, Param, Result, Tensor, layer::Linear};
/// # fn main() -> Result<()> {
/// # let linear = |outputs, inputs| {
/// #     Layer::Linear(Linear { weight: Param::new(Tensor::full(&[outputs, inputs], 1.0)), bias: None })
/// # };
/// # let mut graph = Graph::new(4);
/// # let flat = graph.push("flatten", Layer::Flatten, &[0])?;
/// # let first = graph.push("fc1", linear(8, 4), &[flat])?;
/// # let second = graph.push("fc2", linear(8, 8), &[first])?;
/// # graph.push("fc3", linear(2, 8), &[second])?;
/// # graph.info.input = [1, 1, 4];
/// let plan = PrunePlan::without_outputs(&graph, "fc1", &[0])?
///     .and(&PrunePlan::without_outputs(&graph, "fc2", &[1, 2, 3])?)?;
/// let mut proposals = Proposals::new(&graph, &plan, Constants::Exact)?;
/// while let Some(proposal) = proposals.next() {
///     let proposal = proposal?;
///     let [before, after] = proposal.costs;
///     if before.macs - after.macs > 20 {
///         proposals.accept(proposal);
///     }
/// }
/// // 8 · 8 + 2 · 8 multiply-accumulates became 5 · 8 + 2 · 5; without the channel of fc1, they would have lost 4 + 8.
/// let pruned = prune(&graph, &proposals.into_plan(), Constants::Exact)?.graph;
/// assert_eq!(pruned.param("fc2.weight")?.value().shape(), [5, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Proposals<'a> {
    graph: &'a Graph,
    constants: Constants,
    /// The groups that the plan cuts.
    cuts: Vec<GroupPlan>,
    /// The number of cuts that were proposed.
    proposed: usize,
    accepted: PrunePlan,
    /// The cost with the cuts that were accepted.
    cost: Cost,
}

impl<'a> Proposals<'a> {
    /// The cuts that `plan` makes of `graph`, in which dead channels with a constant are treated as `constants` says.
    ///
    /// # Errors
    /// If the plan does not fit the network.
    pub fn new(graph: &'a Graph, plan: &PrunePlan, constants: Constants) -> Result<Self> {
        plan.removed(graph, &ChannelFlow::new(graph)?)?;
        let cuts = plan.clone().of_cuts().groups;
        let (proposed, accepted, cost) = (0, PrunePlan::default(), cost(graph)?);
        Ok(Self { graph, constants, cuts, proposed, accepted, cost })
    }

    /// The number of cuts that the plan makes.
    pub fn total(&self) -> usize {
        self.cuts.len()
    }

    /// Takes a cut that was proposed last.
    pub fn accept(&mut self, proposal: Proposal) {
        let [_, cost] = proposal.costs;
        self.cost = cost;
        self.accepted.groups.push(proposal.cut);
    }

    /// Takes every cut that was not proposed yet.
    pub fn accept_rest(&mut self) {
        self.accepted.groups.extend_from_slice(&self.cuts[self.proposed..]);
        self.proposed = self.cuts.len();
    }

    /// The plan of the cuts that were accepted.
    pub fn into_plan(self) -> PrunePlan {
        self.accepted
    }

    /// The next cut.
    fn propose(&self, cut: GroupPlan) -> Result<Proposal> {
        let mut plan = self.accepted.clone();
        plan.groups.push(cut.clone());
        let network = prune(self.graph, &plan, self.constants)?.graph;
        let costs = [self.cost, cost(&network)?];
        Ok(Proposal { index: self.proposed - 1, cut, costs, network })
    }
}

impl Iterator for Proposals<'_> {
    type Item = Result<Proposal>;

    fn next(&mut self) -> Option<Result<Proposal>> {
        let cut = self.cuts.get(self.proposed)?.clone();
        self.proposed += 1;
        Some(self.propose(cut))
    }
}

/// The cost of a network for one image of its size.
fn cost(graph: &Graph) -> Result<Cost> {
    Ok(graph.costs(graph.info.input)?.into_iter().sum())
}
