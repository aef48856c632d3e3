//! From a plan's estimates to milliseconds.

use lopper_engine::plan::{Plan, Step};
use lopper_engine::{Device, Graph, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Runs of the plan whose steps are timed.
const RUNS: usize = 15;

/// Milliseconds for a unit of the estimate of each step of a network, measured once: a cut changes the estimate, which
/// depends on shapes and zeros only, and not the rates. A step is so cheap or dear as the same step of the uncut network
/// was measured to be; the parts of a layer that was split, as that layer; any other step, as the mean of its kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRates {
    /// Milliseconds for a unit, by step.
    steps: BTreeMap<String, f64>,
    /// Milliseconds for a unit, by kind.
    kinds: BTreeMap<String, f64>,
}

impl StepRates {
    /// Times the steps of the plan of `graph` for one image of shape `[H, W, C]` with these `values`: the median of some
    /// runs.
    ///
    /// # Errors
    /// Those of planning and running.
    pub fn measure(graph: &Graph, [h, w, c]: [usize; 3], values: &[f32], device: &Device) -> Result<Self> {
        let mut plan = Plan::new(graph, [1, h, w, c], device)?;
        plan.run_timed(values)?;
        let mut times = vec![Vec::with_capacity(RUNS); plan.steps().len()];
        for _ in 0..RUNS {
            for (all, time) in times.iter_mut().zip(plan.run_timed(values)?) {
                all.push(1e3 * time.as_secs_f64());
            }
        }
        let median = |times: &mut Vec<f64>| {
            times.sort_by(f64::total_cmp);
            times[RUNS / 2]
        };
        Ok(Self::of(plan.steps().iter().zip(times.iter_mut().map(median))))
    }

    /// The rates of steps with these milliseconds.
    fn of<'s>(steps: impl Iterator<Item = (&'s Step, f64)>) -> Self {
        let (mut clock, mut kinds) = (Self::default(), BTreeMap::<String, (f64, f64)>::new());
        for (step, ms) in steps {
            let units = step.estimate.max(1) as f64;
            clock.steps.insert(step.name.clone(), ms / units);
            let (all, sum) = kinds.entry(step.kind.to_string()).or_default();
            (*all, *sum) = (*all + ms, *sum + units);
        }
        clock.kinds = kinds.into_iter().map(|(kind, (ms, units))| (kind, ms / units)).collect();
        clock
    }

    /// The estimated milliseconds of the plan of `graph` for one image of shape `[H, W, C]`.
    ///
    /// # Errors
    /// Those of planning.
    pub fn ms(&self, graph: &Graph, [h, w, c]: [usize; 3], device: &Device) -> Result<f64> {
        Ok(self.of_plan(Plan::new(graph, [1, h, w, c], device)?.steps()))
    }

    /// The estimated milliseconds of a plan with these steps.
    pub fn of_plan(&self, steps: &[Step]) -> f64 {
        steps.iter().map(|step| self.rate(step) * step.estimate.max(1) as f64).sum()
    }

    fn rate(&self, step: &Step) -> f64 {
        let whole = |name: &str| name.rsplit_once('.').and_then(|(layer, _)| self.steps.get(layer));
        let known = self.steps.get(&step.name).or_else(|| whole(&step.name));
        known.or_else(|| self.kinds.get(step.kind)).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, kind: &'static str, estimate: u64) -> Step {
        Step {
            name: name.into(),
            kind,
            kernel: "",
            why: None,
            fused: Vec::new(),
            macs: 0,
            products: 0,
            bytes: 0,
            estimate,
            shape: Vec::new(),
            channels: None,
        }
    }

    #[test]
    fn a_step_keeps_its_rate_and_a_new_one_takes_that_of_its_kind() {
        let steps = [step("a", "conv2d", 100), step("b", "conv2d", 300), step("fc", "linear", 10)];
        let clock = StepRates::of(steps.iter().zip([1.0, 1.0, 5.0]));
        assert_eq!(clock.of_plan(&steps), 7.0, "the network that was timed takes what was measured");
        assert_eq!(clock.of_plan(&[step("a", "conv2d", 50)]), 0.5);
        assert_eq!(clock.of_plan(&[step("fc.0", "linear", 2), step("fc.1", "linear", 4)]), 3.0);
        assert_eq!(clock.of_plan(&[step("new", "conv2d", 200)]), 1.0, "2 ms for 400 units");
        assert_eq!(clock.of_plan(&[step("sum", "add", 9)]), 0.0, "no such kind was timed");
    }
}
