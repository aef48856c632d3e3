//! The clock of a network: the machine's, corrected step by step by what the network was measured to take.
//!
//! ```text
//!   network ─ plan ─► steps ─┬─ the machine's table ─► estimate ┐
//!                            └─ timed once ──────────────────────┴─► ratio, by step
//!
//!   network with a cut ─ plan ─► steps ─ table ─► estimate · ratio of the step
//! ```
//!
//! Thousands of cuts differ from the network in a few steps. Measured one by one, noise would exceed what most of them save;
//! estimated, the steps that stay take exactly what they took.

use super::clock::MachineClock;
use super::table::Table;
use lopper_compress::techniques::Clock;
use lopper_engine::plan::{Class, Plan, Step};
use lopper_engine::{Device, Graph, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Runs of the plan whose steps are timed.
const RUNS: usize = 15;

/// Estimates the plans of networks that are cut from one whose steps were timed. A step is so much dearer or cheaper than the
/// table says as the same step of the uncut network was; the parts of a layer that was split, as that layer; any other step, as
/// its class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkClock {
    /// The times of the machine.
    table: Table,
    /// Measured over estimated time, by step.
    steps: BTreeMap<String, f64>,
    /// The same by class.
    classes: BTreeMap<Class, f64>,
    /// The same of the whole network.
    whole: f64,
}

impl NetworkClock {
    /// Times the steps of the plan of `graph` for one image of shape `[H, W, C]` with these `values`: the median of some runs.
    ///
    /// # Errors
    /// Those of planning and running.
    pub fn measure(
        machine: &MachineClock,
        graph: &Graph,
        [h, w, c]: [usize; 3],
        values: &[f32],
    ) -> Result<Self> {
        let mut plan = Plan::new(graph, [1, h, w, c], machine.device())?;
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
        let times: Vec<f64> = times.iter_mut().map(median).collect();
        Ok(Self::of(machine.table(), plan.steps().iter().zip(times)))
    }

    /// The clock of a network with these steps and their milliseconds.
    fn of<'s>(table: &Table, steps: impl Iterator<Item = (&'s Step, f64)>) -> Self {
        let (mut clock, mut classes) = (Self { table: table.clone(), ..Self::default() }, BTreeMap::new());
        for (step, ms) in steps {
            let estimated = table.estimate(&step.amount());
            clock.steps.insert(step.name.clone(), ms / estimated);
            let (all, sum) = classes.entry(step.class).or_insert((0.0, 0.0));
            (*all, *sum) = (*all + ms, *sum + estimated);
        }
        let (all, sum) = classes.values().fold((0.0, 0.0), |(a, b), (ms, estimated)| (a + ms, b + estimated));
        clock.whole = if sum > 0.0 { all / sum } else { 1.0 };
        clock.classes = classes.into_iter().map(|(class, (ms, estimated))| (class, ms / estimated)).collect();
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
        steps.iter().map(|step| self.ratio(step) * self.table.estimate(&step.amount())).sum()
    }

    fn ratio(&self, step: &Step) -> f64 {
        let whole = |name: &str| name.rsplit_once('.').and_then(|(layer, _)| self.steps.get(layer));
        let known = self.steps.get(&step.name).or_else(|| whole(&step.name));
        known.or_else(|| self.classes.get(&step.class)).copied().unwrap_or(self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lopper_engine::plan::Amount;

    fn step(name: &str, class: Class, estimate: u64) -> Step {
        Step {
            name: name.into(),
            kind: "",
            kernel: "",
            why: None,
            fused: Vec::new(),
            macs: 0,
            products: 0,
            bytes: 0,
            class,
            estimate,
            shape: Vec::new(),
            channels: None,
        }
    }

    /// 1 µs a unit of direct convolutions, 2 µs of linear layers, at any size.
    fn table() -> Table {
        let sizes = [0, 10, 20].map(|power| f64::from(1u32 << power));
        let of = |class, a_unit: f64| sizes.map(|units| (Amount { class, units }, 1e-3 * a_unit * units));
        Table::of(of(Class::Direct, 1.0).into_iter().chain(of(Class::Linear, 2.0)))
    }

    #[test]
    fn a_step_keeps_its_ratio_and_a_new_one_takes_that_of_its_class() {
        let steps =
            [step("a", Class::Direct, 100), step("b", Class::Direct, 300), step("fc", Class::Linear, 50)];
        // Estimated as 0.1, 0.3 and 0.1 ms.
        let clock = NetworkClock::of(&table(), steps.iter().zip([0.2, 0.3, 0.3]));
        let near = |found: f64, expected: f64, what: &str| {
            assert!((found / expected - 1.0).abs() < 1e-9, "{what}: {found} for {expected}");
        };
        near(clock.of_plan(&steps), 0.8, "the network that was timed takes what was measured");
        near(clock.of_plan(&[step("a", Class::Direct, 50)]), 0.1, "half of the work");
        near(clock.of_plan(&[step("a", Class::Linear, 50)]), 0.2, "another kernel, as much dearer");
        let parts = [step("fc.0", Class::Linear, 10), step("fc.1", Class::Linear, 20)];
        near(clock.of_plan(&parts), 0.18, "the parts of a layer");
        near(clock.of_plan(&[step("new", Class::Direct, 200)]), 0.25, "0.5 for 0.4 ms of the class");
        let json = serde_json::to_string(&clock).unwrap();
        assert_eq!(serde_json::from_str::<NetworkClock>(&json).unwrap(), clock);
    }
}
