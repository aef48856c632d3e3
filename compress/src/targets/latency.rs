//! A promised latency: a choice by estimate, measured in turn with the network before it, and corrected until it holds.

use super::Amount;
use crate::techniques::{Clock, Measured};
use lopper_engine::{Error, Graph, Result};
use serde::{Deserialize, Serialize};

/// How far a measured latency may be from its target, as a share.
const WITHIN: f64 = 0.05;
/// How near it has to be for no further correction: another measurement differs by a few percent.
const NEAR: f64 = 0.02;
/// Most measurements of one target.
const MEASUREMENTS: usize = 10;

/// What a network had before its first change, and what it shall have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    /// What it had, measured if it is a latency.
    pub whole: f64,
    /// The same by the estimate.
    pub estimated: f64,
    /// What it shall have.
    pub goal: f64,
}

/// The outcome of a knapsack.
pub(crate) enum Solution<P> {
    /// The plan within the budget, and its price.
    Plan(P, f64),
    /// The least price, which exceeds the budget.
    Least(f64),
}

/// What a network can become, by estimate.
pub(crate) trait Choices {
    /// A choice.
    type Plan: PartialEq;

    /// The choice that loses the least within `budget`, an estimated price.
    fn solve(&self, budget: f64) -> Result<Solution<Self::Plan>>;

    /// The estimated price of the network as it is.
    fn whole(&self) -> f64;

    /// The network that `plan` makes.
    fn network(&self, plan: &Self::Plan) -> Result<Graph>;

    /// The error of a latency `goal` in milliseconds, of which `least` is the least that can be reached.
    fn impossible(&self, goal: f64, least: f64) -> Error;
}

/// A latency to reach.
pub(crate) struct Promise<'a> {
    pub clock: &'a dyn Clock,
    /// Images in a batch.
    pub batch: usize,
    pub baseline: Baseline,
    /// The network before the first change, to be measured in turn with. None after a resumption.
    pub original: Option<&'a Graph>,
}

impl Baseline {
    /// The baseline of a latency target `amount` of `graph`, whose estimated latency is `estimated`: measured by `clock`, or as
    /// estimated without one. `technique` names who asks.
    ///
    /// # Errors
    /// If the target is a time, and there is no clock.
    pub fn of_latency(
        technique: &str,
        (graph, estimated): (&Graph, f64),
        (amount, batch): (Amount, usize),
        clock: Option<&dyn Clock>,
    ) -> Result<Self> {
        let whole = match (clock, amount) {
            (Some(clock), _) => clock.measure(&[graph], batch)?.first().map_or(0.0, |found| found.median),
            (None, Amount::Number(number)) => {
                return Err(Error::invalid(format!(
                    "{technique} target latency: {number} ms of which machine? without a clock, expected a share such as 0.5x"
                )));
            }
            (None, Amount::Share(_)) => estimated,
        };
        Ok(Self { whole, estimated, goal: amount.of(whole) })
    }

    /// The estimated price at which `amount` is reached, if the estimate is off by as much as it is for the whole network.
    pub fn budget(&self, amount: f64) -> f64 {
        amount * self.estimated / self.whole
    }

    /// What an estimated `price` amounts to, in the unit of the goal.
    pub fn amount(&self, price: f64) -> f64 {
        price * self.whole / self.estimated
    }
}

/// The choice that brings `graph` to the latency `amount` of a `batch`, and what it reaches in words: as `clock` measures it, or by
/// the estimate without one. `technique` names who asks.
///
/// # Errors
/// Those of [`Baseline::of_latency`], and if no choice is fast enough.
pub(crate) fn to_latency<C: Choices>(
    technique: &str,
    graph: &Graph,
    (amount, batch): (Amount, usize),
    clock: Option<&dyn Clock>,
    choices: &C,
) -> Result<(C::Plan, String)> {
    let baseline = Baseline::of_latency(technique, (graph, choices.whole()), (amount, batch), clock)?;
    let budget = baseline.budget(baseline.goal);
    match clock {
        Some(clock) => Promise { clock, batch, baseline, original: Some(graph) }.keep(choices, budget),
        None => match choices.solve(budget)? {
            Solution::Plan(plan, price) => {
                let (found, goal) = (baseline.amount(price), baseline.goal);
                Ok((plan, format!("latency {found:.3} ms by the estimate, asked for {goal:.3} ms")))
            }
            Solution::Least(least) => Err(choices.impossible(baseline.goal, baseline.amount(least))),
        },
    }
}

/// What earlier measurements leave possible: the largest budget that was too fast, and the least that was too slow.
struct Bracket {
    fast: f64,
    slow: f64,
    /// Whether the last measurement contradicts the bracket.
    doubted: bool,
}

impl Bracket {
    /// The budget to try after `budget` took `off` times the time asked for.
    fn next(&mut self, budget: f64, off: f64) -> f64 {
        if off > 1.0 {
            self.slow = self.slow.min(budget)
        } else {
            self.fast = self.fast.max(budget)
        }
        let corrected = budget / off;
        let contradicts = corrected <= self.fast || corrected >= self.slow;
        // Noise of one measurement must not lead out of the bracket. A second one in a row that would says that the bound
        // itself was measured while something else ran: kept, it would shut the right budget out for good.
        let doubted = std::mem::replace(&mut self.doubted, contradicts);
        if contradicts && !doubted {
            return 0.5 * (self.fast + self.slow);
        }
        if contradicts {
            match off > 1.0 {
                true => self.fast = 0.0,
                false => self.slow = f64::INFINITY,
            }
            self.doubted = false;
        }
        corrected
    }
}

impl Promise<'_> {
    /// The choice whose network takes the time that is asked for, as measured, and what was measured in words. `budget` is
    /// the estimated price to begin with.
    ///
    /// # Errors
    /// If no choice is fast enough.
    pub fn keep<C: Choices>(&self, choices: &C, mut budget: f64) -> Result<(C::Plan, String)> {
        let mut bracket = Bracket { fast: 0.0, slow: f64::INFINITY, doubted: false };
        let mut best: Option<(f64, C::Plan, String)> = None;
        for round in 1..=MEASUREMENTS {
            // The estimate does not decide what is impossible: the cheapest choice is measured, too.
            let (solution, cheapest) = match choices.solve(budget)? {
                Solution::Least(least) => (choices.solve(least * (1.0 + 1e-9))?, true),
                plan => (plan, false),
            };
            let Solution::Plan(plan, estimated) = solution else { break };
            if best.as_ref().is_some_and(|(_, known, _)| *known == plan) {
                break;
            }
            let changed = choices.network(&plan)?;
            let networks: Vec<&Graph> = self.original.into_iter().chain([&changed]).collect();
            let found = self.clock.measure(&networks, self.batch)?;
            let (of, after) = (found[..found.len() - 1].first(), found[found.len() - 1]);
            let share = self.baseline.goal / self.baseline.whole;
            let goal = of.map_or(self.baseline.goal, |of| share * of.median);
            let off = after.median / goal;
            if cheapest && off > 1.0 + WITHIN {
                return Err(choices.impossible(goal, after.median));
            }
            let note = self.note(of, after, goal, (estimated, round));
            if best.as_ref().is_none_or(|(least, ..)| (off - 1.0).abs() < *least) {
                best = Some(((off - 1.0).abs(), plan, note));
            }
            if (off - 1.0).abs() <= NEAR || off < 1.0 && budget >= choices.whole() {
                break;
            }
            budget = bracket.next(budget, off);
        }
        best.map(|(off, plan, note)| (plan, note + &missed(off)))
            .ok_or_else(|| Error::invalid("target latency: nothing was measured"))
    }

    /// What a measurement of the changed network says, and of the original one, if it was measured beside it.
    fn note(
        &self,
        of: Option<&Measured>,
        after: Measured,
        goal: f64,
        (estimated, round): (f64, usize),
    ) -> String {
        let of = of.map_or(String::new(), |of| format!(", {:.3} of {of}", after.median / of.median));
        let estimated = self.baseline.amount(estimated);
        format!(
            "latency {after}{of}, asked for {goal:.3} ms; estimated {estimated:.3} ms, measurement {round}"
        )
    }
}

/// The words for a target that is missed by the share `off`, if it is.
fn missed(off: f64) -> String {
    match off > WITHIN {
        true => format!(
            "; this misses the target by {:.0} %: other work on the machine, or no choice that is nearer",
            100.0 * off
        ),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::Device;
    use lopper_engine::plan::Amount as Work;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Networks of n channels, of the estimated price n, that take n^power milliseconds.
    #[derive(Debug)]
    struct Power {
        device: Device,
        power: f64,
        limits: [usize; 2],
        /// Which measurement is disturbed, counted from 0 for the whole network, and by what the changed network's time is
        /// multiplied.
        disturbed: Option<(usize, f64)>,
        measurements: AtomicUsize,
    }

    impl Clock for Power {
        fn device(&self) -> &Device {
            &self.device
        }

        fn estimate(&self, amount: &Work) -> f64 {
            amount.units
        }

        fn measure(&self, networks: &[&Graph], _batch: usize) -> Result<Vec<Measured>> {
            let number = self.measurements.fetch_add(1, Ordering::Relaxed);
            let factor =
                self.disturbed.filter(|(which, _)| *which == number).map_or(1.0, |(_, factor)| factor);
            let time = |(index, graph): (usize, &&Graph)| {
                let median =
                    (graph.info.input[2] as f64).powf(self.power) * if index == 1 { factor } else { 1.0 };
                Measured { median, quartiles: (median, median) }
            };
            Ok(networks.iter().enumerate().map(time).collect())
        }
    }

    fn of_width(width: usize) -> Graph {
        let mut graph = Graph::new(width);
        graph.info.input = [1, 1, width];
        graph
    }

    impl Choices for Power {
        type Plan = usize;

        fn solve(&self, budget: f64) -> Result<Solution<usize>> {
            let [least, most] = self.limits;
            Ok(match budget < least as f64 {
                true => Solution::Least(least as f64),
                false => {
                    let width = (budget as usize).min(most);
                    Solution::Plan(width, width as f64)
                }
            })
        }

        fn whole(&self) -> f64 {
            self.limits[1] as f64
        }

        fn network(&self, plan: &usize) -> Result<Graph> {
            Ok(of_width(*plan))
        }

        fn impossible(&self, goal: f64, least: f64) -> Error {
            Error::invalid(format!("{goal} of at least {least}"))
        }
    }

    fn reach(power: f64, share: f64, limits: [usize; 2]) -> Result<usize> {
        reach_disturbed(power, share, limits, None)
    }

    fn reach_disturbed(
        power: f64,
        share: f64,
        limits: [usize; 2],
        disturbed: Option<(usize, f64)>,
    ) -> Result<usize> {
        let measurements = AtomicUsize::new(0);
        let clock = Power { device: Device::cpu(), power, limits, disturbed, measurements };
        let original = of_width(limits[1]);
        let target = (Amount::Share(share), 1);
        let baseline = Baseline::of_latency("prune", (&original, limits[1] as f64), target, Some(&clock))?;
        let budget = baseline.budget(baseline.goal);
        let promise = Promise { clock: &clock, batch: 1, baseline, original: Some(&original) };
        promise.keep(&clock, budget).map(|(plan, _)| plan)
    }

    #[test]
    fn a_wrong_estimate_is_corrected() {
        for power in [0.6, 0.8, 1.0, 1.3] {
            let width = reach(power, 0.4, [10, 10_000]).unwrap();
            let found = (width as f64 / 10_000.0).powf(power);
            assert!((found / 0.4 - 1.0).abs() <= NEAR, "{width}: {found} at {power}");
        }
        assert_eq!(reach(1.0, 2.0, [10, 100]).unwrap(), 100, "nothing has to change");
    }

    /// A network that seems slow while something else runs must not keep all that follow below its price.
    #[test]
    fn one_disturbed_measurement_does_not_lead_astray() {
        for power in [0.6, 0.8, 1.0, 1.3] {
            for factor in [0.7, 1.15, 1.4, 2.0] {
                for which in 1..=3 {
                    let disturbed = Some((which, factor));
                    let width = reach_disturbed(power, 0.5, [10, 10_000], disturbed).unwrap();
                    let found = (width as f64 / 10_000.0).powf(power);
                    assert!(
                        (found / 0.5 - 1.0).abs() <= WITHIN,
                        "{found} at {power}, disturbed {disturbed:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_missed_target_is_said() {
        assert_eq!(missed(0.04), "");
        assert!(missed(0.3).contains("misses the target by 30 %"), "{}", missed(0.3));
    }

    #[test]
    fn what_cannot_be_reached_is_measured_first() {
        let error = reach(1.0, 0.05, [10, 100]).unwrap_err().to_string();
        assert_eq!(error, "5 of at least 10");
        assert_eq!(reach(2.0, 0.01, [10, 100]).unwrap(), 10, "the estimate alone would refuse it");
    }
}
