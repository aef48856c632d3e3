//! Reaching a target: widths by the knapsack, checked on the network that they give.
//!
//! Exact removal may keep a channel as a carrier of constants, so the network can exceed what its widths predict: the budget
//! falls by as much, and the knapsack is solved again. A latency is measured in turn with the network before the first cut.
//! Unless it is near, the estimate is corrected by the ratio,
//! and of several measurements the nearest counts.

use super::config::Quantity;
use super::knapsack::{Choice, Item, choose};
use super::prices::Prices;
use super::{Amount, paying};
use crate::prune::fit::{Fit, RoundTo, Widths};
use crate::prune::selection::ascending;
use crate::prune::{PruneConfig, PrunePlan, UnitScores, prune};
use crate::techniques::{Clock, Measured};
use lopper_engine::channels::ChannelFlow;
use lopper_engine::{Error, Graph, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far a measured latency may be from its target, as a share.
const WITHIN: f64 = 0.05;
/// How near it has to be for no further correction: another measurement differs by a few percent.
const NEAR: f64 = 0.02;
/// Most measurements of one target.
const MEASUREMENTS: usize = 8;
/// Most corrections of an exact quantity, each of a few channels that could not be removed.
const CORRECTIONS: usize = 50;
/// Most widths of a group that the knapsack compares.
const OPTIONS: usize = 64;

/// What a network had before its first cut, and what it shall have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::prune) struct Baseline {
    /// What it had, measured if it is a latency.
    whole: f64,
    /// The same by the estimate.
    estimated: f64,
    /// What it shall have.
    goal: f64,
}

/// A pruning toward a target, by one cut or by several.
#[derive(Clone, Debug)]
pub(in crate::prune) struct Reaching {
    baseline: Baseline,
    quantity: Quantity,
    /// The network before the first cut, to be measured in turn with. None after a resumption.
    original: Option<Graph>,
}

/// A network to cut, with its scores.
pub(in crate::prune) struct Candidate<'a> {
    pub config: &'a PruneConfig,
    pub graph: &'a Graph,
    pub scores: &'a UnitScores,
    pub fit: &'a Fit,
}

/// A plan, and what it reaches in words.
pub(in crate::prune) struct Reached {
    pub plan: PrunePlan,
    pub note: Option<String>,
}

impl Reaching {
    /// Measures `candidate` before its first cut.
    pub fn start(candidate: &Candidate) -> Result<Self> {
        let Candidate { config, graph, scores, .. } = candidate;
        let target = config.target()?;
        let (quantity, amount) = target.aim()?;
        let clock = config.clock.clock();
        let flow = ChannelFlow::new(graph)?;
        let groups = scored(scores, &flow)?;
        let prices = Prices::new(graph, &flow, &groups, target, clock)?;
        let estimated = prices.total(&units(&flow, &groups));
        let whole = match (quantity, clock) {
            (Quantity::Latency, Some(clock)) => median(clock, &[graph], target.batch())?[0],
            (Quantity::Latency, None) if matches!(amount, Amount::Number(_)) => {
                return Err(Error::invalid(format!(
                    "prune target latency: {amount} ms of which machine? without a clock, expected a share such as 0.5x"
                )));
            }
            _ => estimated,
        };
        let baseline = Baseline { whole, estimated, goal: amount.of(whole) };
        Ok(Self { baseline, quantity, original: Some((*graph).clone()) })
    }

    /// Continues from what an earlier [`Reaching::baseline`] said.
    pub fn resume(config: &PruneConfig, baseline: Baseline) -> Result<Self> {
        let (quantity, _) = config.target()?.aim()?;
        Ok(Self { baseline, quantity, original: None })
    }

    /// What a checkpoint has to keep.
    pub fn baseline(&self) -> Baseline {
        self.baseline
    }

    /// The share of the whole that is asked for.
    pub fn share(&self) -> f64 {
        self.baseline.goal / self.baseline.whole
    }

    /// Returns an error if no widths of `candidate` reach the target by the estimate.
    pub fn check(&self, candidate: &Candidate) -> Result<()> {
        let Baseline { whole, estimated, goal } = self.baseline;
        self.plan(&Problem::new(self.quantity, candidate)?, goal * estimated / whole).map(drop)
    }

    /// The plan for `candidate` when the share `share` of the way to the target is due.
    ///
    /// # Errors
    /// If no widths reach it; the error says what the narrowest ones reach.
    pub fn cut(&self, candidate: &Candidate, share: f64) -> Result<Reached> {
        let Baseline { whole, estimated, goal } = self.baseline;
        let now = whole + (goal - whole) * share;
        let problem = Problem::new(self.quantity, candidate)?;
        let budget = now * estimated / whole;
        match (self.quantity, candidate.config.clock.clock()) {
            (Quantity::Latency, Some(clock)) if share >= 1.0 => {
                self.measured(&problem, candidate, budget, clock)
            }
            (Quantity::Latency, _) => {
                let (plan, found) = self.plan(&problem, budget)?;
                let (found, asked) = (found * whole / estimated, self.quantity.show(now));
                let note = format!("latency {found:.3} ms by the estimate, asked for {asked}");
                Ok(Reached { plan, note: Some(note) })
            }
            _ => self.exact(&problem, candidate, now),
        }
    }

    /// The plan whose network has at most `goal`, counted.
    fn exact(&self, problem: &Problem, candidate: &Candidate, goal: f64) -> Result<Reached> {
        let mut budget = goal;
        for _ in 0..CORRECTIONS {
            let (plan, _) = self.plan(problem, budget)?;
            let found =
                counted(self.quantity, &prune(candidate.graph, &plan, candidate.config.constants)?.graph)?;
            if found <= goal {
                let [found, goal, whole] =
                    [found, goal, self.baseline.whole].map(|amount| self.quantity.show(amount));
                let note = format!("{found} of {whole}, asked for at most {goal}");
                return Ok(Reached { plan, note: Some(note) });
            }
            budget -= found - goal;
        }
        Err(Error::invalid(format!(
            "prune target: channels that carry constants keep {} above {}: use constants = \"drop\"",
            self.quantity,
            self.quantity.show(goal)
        )))
    }

    /// The plan whose network takes the time that is asked for, as measured.
    fn measured(
        &self,
        problem: &Problem,
        candidate: &Candidate,
        mut budget: f64,
        clock: &dyn Clock,
    ) -> Result<Reached> {
        let Candidate { config, graph, .. } = candidate;
        let batch = config.target()?.batch();
        let (mut fast, mut slow) = (0.0, f64::INFINITY);
        let mut best: Option<(f64, Reached)> = None;
        for round in 1..=MEASUREMENTS {
            // The estimate does not decide what is impossible: the narrowest widths are measured, too.
            let (solution, narrowest) = match problem.solve(budget)? {
                Solution::Least(least) => (problem.solve(least * (1.0 + 1e-9))?, true),
                plan => (plan, false),
            };
            let Solution::Plan(plan, estimated) = solution else { break };
            if best.as_ref().is_some_and(|(_, reached)| reached.plan == plan) {
                break;
            }
            let pruned = prune(graph, &plan, config.constants)?.graph;
            let networks: Vec<&Graph> = self.original.iter().chain([&pruned]).collect();
            let found = clock.measure(&networks, batch)?;
            let (of, after) = (found[..found.len() - 1].first(), found[found.len() - 1]);
            let goal = of.map_or(self.baseline.goal, |of| self.share() * of.median);
            let off = after.median / goal;
            if narrowest && off > 1.0 + WITHIN {
                return Err(self.impossible(goal, after.median));
            }
            let note = self.note(of, after, goal, estimated, round);
            if best.as_ref().is_none_or(|(least, _)| (off - 1.0).abs() < *least) {
                best = Some(((off - 1.0).abs(), Reached { plan, note: Some(note) }));
            }
            if (off - 1.0).abs() <= NEAR || off < 1.0 && budget >= problem.whole() {
                break;
            }
            if off > 1.0 {
                slow = f64::min(slow, budget)
            } else {
                fast = f64::max(fast, budget)
            }
            let corrected = budget / off;
            // Between a budget that was too slow and one that was too fast, noise must not lead out again.
            budget = match corrected > fast && corrected < slow {
                true => corrected,
                false => 0.5 * (fast + slow),
            };
        }
        best.map(|(_, reached)| reached).ok_or_else(|| Error::invalid("prune target: nothing was measured"))
    }

    /// What a measurement of the pruned network says, and of the original one, if it was measured beside it.
    fn note(
        &self,
        of: Option<&Measured>,
        after: Measured,
        goal: f64,
        estimated: f64,
        round: usize,
    ) -> String {
        let of = of.map_or(String::new(), |of| format!(", {:.3} of {of}", after.median / of.median));
        let estimated = estimated * self.baseline.whole / self.baseline.estimated;
        format!(
            "latency {after}{of}, asked for {goal:.3} ms; estimated {estimated:.3} ms, measurement {round}"
        )
    }

    /// The error of a target `goal`, of which `least` is the least that can be reached.
    fn impossible(&self, goal: f64, least: f64) -> Error {
        let [goal, least] = [goal, least].map(|amount| self.quantity.show(amount));
        Error::invalid(format!(
            "prune target {}: {goal} cannot be reached: {least} is the least, where every group keeps as few channels as \
             its limits allow; raise the target, or max_fraction, or include more layers",
            self.quantity
        ))
    }

    /// The plan within `budget` by the estimate, and its price.
    fn plan(&self, problem: &Problem, budget: f64) -> Result<(PrunePlan, f64)> {
        match problem.solve(budget)? {
            Solution::Plan(plan, price) => Ok((plan, price)),
            Solution::Least(least) => {
                let Baseline { whole, estimated, goal } = self.baseline;
                Err(self.impossible(goal, least * whole / estimated))
            }
        }
    }
}

/// The outcome of a knapsack.
enum Solution {
    /// The plan within the budget, and its price.
    Plan(PrunePlan, f64),
    /// The least price, which exceeds the budget.
    Least(f64),
}

/// The knapsack of one cut.
struct Problem<'a> {
    candidate: &'a Candidate<'a>,
    flow: ChannelFlow,
    /// The groups that are scored.
    groups: Vec<usize>,
    prices: Prices<'a>,
    items: Vec<Item>,
}

impl<'a> Problem<'a> {
    fn new(quantity: Quantity, candidate: &'a Candidate<'a>) -> Result<Self> {
        let Candidate { config, graph, scores, fit } = candidate;
        let flow = ChannelFlow::new(graph)?;
        let groups = scored(scores, &flow)?;
        let prices = Prices::new(graph, &flow, &groups, config.target()?, config.clock.clock())?;
        let whole = units(&flow, &groups);
        let of_groups: Vec<Option<&[f32]>> = scores.of_groups(&flow)?.collect();
        let lowest = of_groups.iter().flatten().flat_map(|scores| scores.iter().copied()).fold(0.0, f32::min);
        let paying = quantity == Quantity::Latency && matches!(config.round_to, None | Some(RoundTo::Plan));
        let mut items = Vec::with_capacity(groups.len());
        for (position, &group) in groups.iter().enumerate() {
            let layers = flow.groups()[group].layer_names(graph);
            let of =
                |widths: Widths| Fit { floors: fit.floors.clone(), widths }.options(&layers, whole[position]);
            let listed = match paying {
                true => {
                    let widths = paying::widths(&prices, position, &whole);
                    let options = of(Widths::Listed([(layers.clone(), widths)].into()));
                    // Where no width is better than the others, all are worth trying.
                    if options.len() > 1 { options } else { of(Widths::Any) }
                }
                false => of(fit.widths.clone()),
            };
            items.push(item(of_groups[group].unwrap_or_default(), &thinned(listed), lowest));
        }
        Ok(Self { candidate, flow, groups, prices, items })
    }

    /// The plan within `budget`.
    fn solve(&self, budget: f64) -> Result<Solution> {
        let kept = match choose(&self.items, &self.prices, budget) {
            Choice::Kept(kept) => kept,
            Choice::Least(least) => return Ok(Solution::Least(least)),
        };
        let price = self.prices.total(&kept);
        let wanted: BTreeMap<usize, usize> = self.groups.iter().copied().zip(kept).collect();
        let Candidate { graph, scores, .. } = self.candidate;
        Ok(Solution::Plan(PrunePlan::best(graph, &self.flow, scores, &wanted)?, price))
    }

    /// The price of the network as it is.
    fn whole(&self) -> f64 {
        self.prices.total(&units(&self.flow, &self.groups))
    }
}

/// The losses of keeping `widths` of the units with `scores`: the sum of the scores that go, counted from `lowest`.
fn item(scores: &[f32], widths: &[usize], lowest: f32) -> Item {
    let mut sums = vec![0.0];
    for unit in ascending(scores) {
        sums.push(sums[sums.len() - 1] + f64::from(scores[unit] - lowest));
    }
    Item { widths: widths.to_vec(), losses: widths.iter().map(|width| sums[scores.len() - width]).collect() }
}

/// At most [`OPTIONS`] of `widths`, evenly spread, with the first and the last.
fn thinned(widths: Vec<usize>) -> Vec<usize> {
    let last = widths.len() - 1;
    if last < OPTIONS {
        return widths;
    }
    (0..OPTIONS).map(|i| widths[i * last / (OPTIONS - 1)]).collect()
}

/// The groups of `flow` that `scores` scores.
fn scored(scores: &UnitScores, flow: &ChannelFlow) -> Result<Vec<usize>> {
    let scored = scores.of_groups(flow)?.enumerate();
    Ok(scored.filter_map(|(group, scores)| scores.map(|_| group)).collect())
}

/// The units of each of `groups`.
fn units(flow: &ChannelFlow, groups: &[usize]) -> Vec<usize> {
    groups.iter().map(|&group| flow.groups()[group].units.len()).collect()
}

/// What `graph` has of `quantity`, counted.
fn counted(quantity: Quantity, graph: &Graph) -> Result<f64> {
    let count = match quantity {
        Quantity::Macs | Quantity::Latency => {
            graph.costs(graph.info.input)?.iter().map(|cost| cost.macs).sum()
        }
        Quantity::Params => graph.param_count(),
        Quantity::Bytes => {
            4 * (graph.param_count() + graph.buffers().map(|(_, buffer)| buffer.len() as u64).sum::<u64>())
        }
    };
    Ok(count as f64)
}

/// The median latencies of `networks`, measured in turn.
fn median(clock: &dyn Clock, networks: &[&Graph], batch: usize) -> Result<Vec<f64>> {
    Ok(clock.measure(networks, batch)?.iter().map(|measured| measured.median).collect())
}
