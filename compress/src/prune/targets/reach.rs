//! Reaching a target: widths by the knapsack, checked on the network that they give.
//!
//! Exact removal may keep a channel as a carrier of constants, so the network can exceed what its widths predict: the budget
//! falls by as much, and the knapsack is solved again. A latency is measured and corrected as [`Promise`] does.

use super::config::Quantity;
use super::paying;
use super::prices::Prices;
use crate::prune::fit::{Fit, RoundTo, Widths};
use crate::prune::selection::ascending;
use crate::prune::{PruneConfig, PrunePlan, UnitScores, prune};
use crate::targets::{Baseline, Choices, Item, Promise, Solution, choose};
use crate::techniques::Clock;
use lopper_engine::channels::ChannelFlow;
use lopper_engine::{Error, Graph, Result};
use std::collections::BTreeMap;

/// Most corrections of an exact quantity, each of a few channels that could not be removed.
const CORRECTIONS: usize = 50;
/// Most widths of a group that the knapsack compares.
const OPTIONS: usize = 64;

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
        let baseline = match quantity {
            Quantity::Latency => {
                Baseline::of_latency("prune", (graph, estimated), (amount, target.batch()), clock)?
            }
            Quantity::Macs | Quantity::Params | Quantity::Bytes => {
                Baseline { whole: estimated, estimated, goal: amount.of(estimated) }
            }
        };
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

    /// Returns an error if no widths of `candidate` reach the target by the estimate.
    pub fn check(&self, candidate: &Candidate) -> Result<()> {
        let budget = self.baseline.budget(self.baseline.goal);
        self.plan(&Problem::new(self.quantity, candidate)?, budget).map(drop)
    }

    /// The plan for `candidate` when the share `share` of the way to the target is due.
    ///
    /// # Errors
    /// If no widths reach it; the error says what the narrowest ones reach.
    pub fn cut(&self, candidate: &Candidate, share: f64) -> Result<Reached> {
        let Baseline { whole, goal, .. } = self.baseline;
        let now = whole + (goal - whole) * share;
        let problem = Problem::new(self.quantity, candidate)?;
        let budget = self.baseline.budget(now);
        match (self.quantity, candidate.config.clock.clock()) {
            (Quantity::Latency, Some(clock)) if share >= 1.0 => self.measured(&problem, budget, clock),
            (Quantity::Latency, _) => {
                let (plan, found) = self.plan(&problem, budget)?;
                let (found, asked) = (self.baseline.amount(found), self.quantity.show(now));
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
    fn measured(&self, problem: &Problem, budget: f64, clock: &dyn Clock) -> Result<Reached> {
        let batch = problem.candidate.config.target()?.batch();
        let promise = Promise { clock, batch, baseline: self.baseline, original: self.original.as_ref() };
        let (plan, note) = promise.keep(problem, budget)?;
        Ok(Reached { plan, note: Some(note) })
    }

    /// The plan within `budget` by the estimate, and its price.
    fn plan(&self, problem: &Problem, budget: f64) -> Result<(PrunePlan, f64)> {
        match problem.solve(budget)? {
            Solution::Plan(plan, price) => Ok((plan, price)),
            Solution::Least(least) => {
                Err(impossible(self.quantity, self.baseline.goal, self.baseline.amount(least)))
            }
        }
    }
}

/// The knapsack of one cut.
struct Problem<'a> {
    quantity: Quantity,
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
        Ok(Self { quantity, candidate, flow, groups, prices, items })
    }
}

impl Choices for Problem<'_> {
    type Plan = PrunePlan;

    fn solve(&self, budget: f64) -> Result<Solution<PrunePlan>> {
        let (kept, price) = match choose(&self.items, &self.prices, budget) {
            Solution::Plan(kept, price) => (kept, price),
            Solution::Least(least) => return Ok(Solution::Least(least)),
        };
        let wanted: BTreeMap<usize, usize> = self.groups.iter().copied().zip(kept).collect();
        let Candidate { graph, scores, .. } = self.candidate;
        Ok(Solution::Plan(PrunePlan::best(graph, &self.flow, scores, &wanted)?, price))
    }

    fn whole(&self) -> f64 {
        self.prices.total(&units(&self.flow, &self.groups))
    }

    fn network(&self, plan: &PrunePlan) -> Result<Graph> {
        Ok(prune(self.candidate.graph, plan, self.candidate.config.constants)?.graph)
    }

    fn impossible(&self, goal: f64, least: f64) -> Error {
        impossible(self.quantity, goal, least)
    }
}

/// The error of a target `goal`, of which `least` is the least that can be reached.
fn impossible(quantity: Quantity, goal: f64, least: f64) -> Error {
    let [goal, least] = [goal, least].map(|amount| quantity.show(amount));
    Error::invalid(format!(
        "prune target {quantity}: {goal} cannot be reached: {least} is the least, where every group keeps as few channels as \
         its limits allow; raise the target, or max_fraction, or include more layers"
    ))
}

/// The losses of keeping `widths` of the units with `scores`: the sum of the scores that go, counted from `lowest`.
fn item(scores: &[f32], widths: &[usize], lowest: f32) -> Item {
    let mut sums = vec![0.0];
    for unit in ascending(scores) {
        sums.push(sums[sums.len() - 1] + f64::from(scores[unit] - lowest));
    }
    Item { options: widths.to_vec(), losses: widths.iter().map(|width| sums[scores.len() - width]).collect() }
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
