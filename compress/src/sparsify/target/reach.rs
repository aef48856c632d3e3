//! Reaching a target: masks by the knapsack, checked on the network that they give.

use super::config::SparsityTarget;
use super::layer::Layer;
use super::problem::{Picked, Problem, bytes};
use crate::criteria::{Evidence, LargeFinal};
use crate::sparsify::SparsifyConfig;
use crate::sparsify::layers::weight;
use crate::targets::{Baseline, Choices, LINE, Solution, to_latency};
use crate::techniques::Attached;
use lopper_engine::rewrite::{Rewrite, RewriteReport};
use lopper_engine::{Error, Graph, Result};

/// Most corrections of a number of bytes.
const CORRECTIONS: usize = 12;
/// How near to a number of bytes no further correction pays.
const NEAR: f64 = 0.005;

/// The network of a choice, what becomes of its layers, and what it reaches in words.
pub(super) struct Reached {
    pub graph: Graph,
    pub picked: Vec<Picked>,
    pub note: String,
}

/// Masks `graph` down to the target of `config`.
///
/// # Errors
/// Those of the criterion, and if the target cannot be reached; the error says what can.
pub(in crate::sparsify) fn to_target(
    graph: &Graph,
    config: &SparsifyConfig,
    evidence: Option<&Evidence>,
) -> Result<Rewrite> {
    let Reached { graph: sparse, picked, note } = reach(graph, config, evidence)?;
    let mut report = RewriteReport::new("sparsify");
    for Layer { node, .. } in Layer::all(graph, &config.by_weight(), evidence)? {
        let name = &graph.nodes()[node].name;
        match picked.iter().find(|picked| picked.node == node) {
            None => report.skipped(name, "stays as it is: zeros elsewhere lose less for what they save"),
            Some(Picked { pick, .. }) => {
                let mask = weight(&sparse, node).mask();
                let (all, live) = (
                    weight(&sparse, node).value().len(),
                    mask.map_or(0, |mask| mask.data().iter().filter(|&&live| live != 0.0).count()),
                );
                report.changed(
                    name,
                    format!("{}, {live} of {all} weights kept ({:.1} %)", pick.granularity, share(live, all)),
                );
            }
        }
    }
    report.changed(LINE, note);
    Ok(Rewrite { graph: sparse, report })
}

fn share(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Returns an error if there is a target that no patterns of `graph` reach by the estimate. A latency in milliseconds depends
/// on a machine and is not checked.
pub(in crate::sparsify) fn check_reachable(graph: &Graph, config: &SparsifyConfig) -> Result<()> {
    let Some(target) = config.target.as_ref().filter(|target| !target.needs_machine()) else { return Ok(()) };
    // What a criterion says does not decide what is possible.
    let config = SparsifyConfig {
        criterion: LargeFinal.into(),
        normalization: None,
        clock: Attached::default(),
        ..config.by_weight()
    };
    let problem = Problem::new(graph, &config, target, None)?;
    let baseline = baseline(graph, &config, target, &problem)?;
    match problem.solve(baseline.budget(baseline.goal))? {
        Solution::Plan(..) => Ok(()),
        Solution::Least(least) => Err(problem.impossible(baseline.goal, baseline.amount(least))),
    }
}

/// The masks by which `graph` reaches the target of `config`.
pub(super) fn reach(graph: &Graph, config: &SparsifyConfig, evidence: Option<&Evidence>) -> Result<Reached> {
    let missing = || Error::invalid("sparsify: expected a target");
    let target = config.target.as_ref().ok_or_else(missing)?;
    let problem = Problem::new(graph, &config.by_weight(), target, evidence)?;
    let (plan, note) = match target.latency {
        Some(amount) => {
            let asked = (amount, target.batch());
            to_latency("sparsify", graph, asked, config.clock.clock(), &problem)?
        }
        None => exact(&problem, &baseline(graph, config, target, &problem)?)?,
    };
    Ok(Reached { graph: problem.network(&plan)?, picked: problem.picked(&plan), note })
}

fn baseline(
    graph: &Graph,
    config: &SparsifyConfig,
    target: &SparsityTarget,
    problem: &Problem,
) -> Result<Baseline> {
    let estimated = problem.whole();
    match (target.latency, target.bytes) {
        (Some(amount), _) => {
            let asked = (amount, target.batch());
            Baseline::of_latency("sparsify", (graph, estimated), asked, config.clock.clock())
        }
        (None, Some(amount)) => {
            let whole = bytes(graph);
            Ok(Baseline { whole, estimated: whole, goal: amount.of(whole) })
        }
        (None, None) => Err(Error::invalid("sparsify target: expected latency or bytes, found none")),
    }
}

/// The plan whose network has at most as many bytes as asked for, counted, and hardly fewer.
fn exact(problem: &Problem, baseline: &Baseline) -> Result<(Vec<usize>, String)> {
    let (goal, mut budget) = (baseline.goal, baseline.goal);
    let mut best: Option<(f64, Vec<usize>)> = None;
    for _ in 0..CORRECTIONS {
        let plan = match problem.solve(budget)? {
            Solution::Plan(plan, _) => plan,
            Solution::Least(least) if best.is_none() => return Err(problem.impossible(goal, least)),
            Solution::Least(_) => break,
        };
        let found = bytes(&problem.network(&plan)?);
        if found <= goal && best.as_ref().is_none_or(|(most, _)| found > *most) {
            best = Some((found, plan));
        }
        if found <= goal && (found >= (1.0 - NEAR) * goal || budget >= problem.whole()) {
            break;
        }
        // A little less than the ratio, so that a budget that was too large becomes one that is not.
        let margin = if found > goal { 1.0 - 0.2 * NEAR } else { 1.0 };
        budget *= margin * goal / found;
    }
    let (found, plan) = best.ok_or_else(|| problem.impossible(goal, goal))?;
    let [found, goal, whole] = [found, goal, baseline.whole].map(|bytes| bytes / 1e6);
    Ok((plan, format!("{found:.3} MB of {whole:.3} MB in a file, asked for at most {goal:.3} MB")))
}
