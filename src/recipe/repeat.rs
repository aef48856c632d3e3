//! Stages that repeat: a stage with `repeat = 3` becomes three stages, each of which starts from the one before.
//!
//! ```text
//!   baseline ─► [slim, repeat = 3]     =     baseline ─► slim-1 ─► slim-2 ─► slim-3
//! ```
//!
//! Every round has a row, a model file and a checkpoint of its own. A `width` multiplies from round to round and counts
//! the channels that the network before the first round has.

use super::Stage;
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
            None => expanded.push(stage),
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
    if stage.arch.is_some() {
        return refuse("repeat: every round would build `arch` anew: give it a stage of its own".into());
    }
    let Some(start) = stage.from.as_deref().or(before) else {
        return refuse("the first stage needs `arch` or `from`".into());
    };
    let round = |number: usize| {
        let techniques = stage.techniques.iter().map(|technique| {
            let repeated = technique.repeated(number, start)?;
            Ok(repeated.unwrap_or_else(|| Arc::clone(technique)))
        });
        let from = match number {
            1 => stage.from.clone(),
            _ => Some(name_of(stage, number - 1)),
        };
        let (techniques, reporting) = (techniques.collect::<Result<_>>()?, stage.reporting.of_round(number));
        Ok(Stage { name: name_of(stage, number), from, techniques, reporting, repeat: None, ..stage.clone() })
    };
    (1..=rounds).map(round).collect()
}

/// Returns the name of round `number` of `stage`.
fn name_of(stage: &Stage, number: usize) -> String {
    format!("{}-{number}", stage.name)
}
