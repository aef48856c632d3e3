//! Stages that repeat: a stage with `repeat = 3` becomes three stages, each of which starts from the one before.
//!
//! ```text
//!   baseline ─► [slim, repeat = 3]     =     baseline ─► slim-1 ─► slim-2 ─► slim-3
//! ```
//!
//! Every round has a row, a model file and a checkpoint of its own. A `width` multiplies from round to round and counts
//! the channels that the network before the first round has. With `arch`, every round builds the architecture anew: a
//! generation that learns from the one before, the teacher `previous` (Furlanello et al. 2018, "Born-again neural networks"). Each
//! starts from other random weights, by the seed of the recipe and its number.

use super::Stage;
use lopper_compress::techniques::Technique;
use lopper_engine::{Error, Result};
use std::sync::Arc;

/// More rounds than any recipe needs; a larger number is a typo.
const MOST: usize = 1000;

/// Returns `stages` with the rounds of those that repeat in their place.
pub(super) fn expand(stages: Vec<Stage>) -> Result<Vec<Stage>> {
    let mut expanded: Vec<Stage> = Vec::with_capacity(stages.len());
    for stage in stages {
        let before = expanded.last().map(|stage| stage.name.clone());
        match stage.repeat {
            None => expanded.push(behind(stage, before.as_deref())),
            Some(rounds) => {
                let named = |e: Error| Error::invalid(format!("stage `{}`: {e}", stage.name));
                expanded.extend(rounds_of(&stage, rounds, before.as_deref()).map_err(named)?);
            }
        }
    }
    Ok(expanded)
}

/// Returns the `rounds` rounds of `stage`, which follows the stage `before`.
fn rounds_of(stage: &Stage, rounds: usize, before: Option<&str>) -> Result<Vec<Stage>> {
    let refuse = |message: String| Err(Error::invalid(message));
    if !(1..=MOST).contains(&rounds) {
        return refuse(format!("repeat: expected 1 to {MOST} rounds, found {rounds}"));
    }
    let generations = stage.arch.is_some();
    if generations && !stage.techniques.iter().any(|technique| technique.behind("").is_some()) {
        return refuse(
            "repeat: every round would build `arch` anew and learn nothing from the one before: give it a stage of its own, \
             or the teacher `previous`"
                .into(),
        );
    }
    let Some(start) = stage.from.as_deref().or(before) else {
        return refuse("the first stage needs `arch` or `from`".into());
    };
    let round = |number: usize| {
        let techniques = stage.techniques.iter().map(|technique| {
            let repeated = technique.repeated(number, start)?;
            Ok(repeated.unwrap_or_else(|| Arc::clone(technique)))
        });
        let previous = if number == 1 { start.to_string() } else { name_of(stage, number - 1) };
        let from = match number {
            _ if generations => None,
            1 => stage.from.clone(),
            _ => Some(previous.clone()),
        };
        let (techniques, reporting) = (techniques.collect::<Result<_>>()?, stage.reporting.of_round(number));
        let round = Stage {
            name: name_of(stage, number),
            from,
            techniques,
            reporting,
            repeat: None,
            generation: if generations { number as u64 } else { 0 },
            ..stage.clone()
        };
        Ok(behind(round, Some(&previous)))
    };
    (1..=rounds).map(round).collect()
}

/// Returns `stage` with what its techniques take from `previous`, the stage or round before.
fn behind(stage: Stage, previous: Option<&str>) -> Stage {
    let Some(previous) = previous else { return stage };
    let technique =
        |technique: &Arc<dyn Technique>| technique.behind(previous).unwrap_or_else(|| technique.clone());
    Stage { techniques: stage.techniques.iter().map(technique).collect(), ..stage }
}

/// Returns the name of round `number` of `stage`.
fn name_of(stage: &Stage, number: usize) -> String {
    format!("{}-{number}", stage.name)
}
