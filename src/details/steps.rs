//! Time of each step of the inference plan, before and after a stage.

use lopper_engine::plan::Plan;
use lopper_engine::{Device, Graph, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Timed runs of each plan.
const RUNS: usize = 9;

/// A step of the plan for one image, before and after a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepTimes {
    /// Name of the layer that it computes.
    pub layer: String,
    /// Before the stage; none if the step is new.
    pub before: Option<StepTime>,
    /// After the stage; none if the step is gone.
    pub after: Option<StepTime>,
}

/// Time of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// The kernel that the plan chose.
    pub kernel: String,
    /// Median of some runs in milliseconds.
    pub ms: f64,
    /// Multiply-accumulates.
    pub macs: u64,
}

/// A plan with the times of its steps.
struct Timed {
    plan: Plan,
    times: Vec<Vec<f64>>,
}

/// The steps of the plans of `before`, if there is a network before, and of `after`, on one image of shape `[H, W, C]`
/// with these `values`. Runs of both plans alternate, so that both are measured under the same load.
///
/// # Errors
/// Those of planning and running.
pub fn steps(
    before: Option<&Graph>,
    after: &Graph,
    [h, w, c]: [usize; 3],
    values: &[f32],
    device: &Device,
) -> Result<Vec<StepTimes>> {
    let plan = |graph: &Graph| {
        let mut plan = Plan::new(graph, [1, h, w, c], device)?;
        plan.run_timed(values)?;
        Ok(Timed { times: vec![Vec::new(); plan.steps().len()], plan })
    };
    let mut plans: Vec<Timed> = before.into_iter().chain([after]).map(plan).collect::<Result<_>>()?;
    for _ in 0..RUNS {
        for Timed { plan, times } in &mut plans {
            for (all, time) in times.iter_mut().zip(plan.run_timed(values)?) {
                all.push(1e3 * time.as_secs_f64());
            }
        }
    }
    let mut found = plans.into_iter().map(Timed::medians);
    let (first, second) = (found.next().unwrap_or_default(), found.next());
    let (old, new) = second.map_or_else(|| (Vec::new(), first.clone()), |second| (first.clone(), second));
    Ok(matched(old, new))
}

impl Timed {
    /// The name of each step with its median time.
    fn medians(self) -> Vec<(String, StepTime)> {
        let step = |(step, mut times): (&lopper_engine::plan::Step, Vec<f64>)| {
            times.sort_by(f64::total_cmp);
            let time = StepTime { kernel: step.kernel.to_string(), ms: times[RUNS / 2], macs: step.macs };
            (step.name.clone(), time)
        };
        self.plan.steps().iter().zip(self.times).map(step).collect()
    }
}

/// Steps of the same name beside one another, in the order of `new`; steps that are gone come last.
fn matched(old: Vec<(String, StepTime)>, new: Vec<(String, StepTime)>) -> Vec<StepTimes> {
    let mut known: HashMap<String, StepTime> = old.iter().cloned().collect();
    let mut lines = Vec::new();
    for (layer, after) in new {
        lines.push(StepTimes { before: known.remove(&layer), after: Some(after), layer });
    }
    for (layer, _) in old {
        if let Some(before) = known.remove(&layer) {
            lines.push(StepTimes { layer, before: Some(before), after: None });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_the_same_name_are_beside_one_another() {
        let step = |name: &str, ms| (name.to_string(), StepTime { kernel: "gemm".into(), ms, macs: 1 });
        let found = matched(vec![step("a", 1.0), step("b", 2.0)], vec![step("a", 3.0), step("b.0", 4.0)]);
        let line = |line: &StepTimes| {
            let ms = |time: &Option<StepTime>| time.as_ref().map(|time| time.ms);
            (line.layer.clone(), ms(&line.before), ms(&line.after))
        };
        let expected = [
            ("a".to_string(), Some(1.0), Some(3.0)),
            ("b.0".to_string(), None, Some(4.0)),
            ("b".to_string(), Some(2.0), None),
        ];
        assert_eq!(found.iter().map(line).collect::<Vec<_>>(), expected);
    }
}
