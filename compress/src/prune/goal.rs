//! The number of channels that a criterion removes: a fraction, a width, or as many as leave given numbers.
//!
//! | goal | of a group of n units stay | |
//! | --- | --- | --- |
//! | fraction f, local | n − round(f · n) | |
//! | fraction f, global | Σ n − round(f · Σ n) together | groups compete |
//! | width w | ⌊w · n⌋ | as `int(w * n)` in published code, which builds the narrower network and copies weights |
//! | widths | as many as are named | |
//!
//! Every group keeps at least one unit. While training, a share s of the removals is due at each moment:
//! round(s · f · n) for fractions, and round(s · (n − kept)) for widths.

use crate::select::Context;
use lopper_engine::train::ParamGroup;
use lopper_engine::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The units of a group that a criterion scores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Width {
    /// The layers whose outputs are cut together, in graph order.
    pub layers: Vec<String>,
    /// Number of units.
    pub units: usize,
}

/// What a pruning aims at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal<'a> {
    /// A fraction of the units is removed.
    Fraction(f64, Context),
    /// This part of the units of each group stays.
    Width(f64),
    /// Numbers of units that stay, by pattern of layers.
    Widths(&'a BTreeMap<String, usize>),
}

/// The number of units to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Removals {
    /// Of all groups together.
    Together(usize),
    /// Of each group, by its layers; none of others.
    Each(BTreeMap<Vec<String>, usize>),
}

impl Removals {
    /// Whether nothing is removed.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Together(count) => *count == 0,
            Self::Each(counts) => counts.values().all(|&count| count == 0),
        }
    }
}

impl Goal<'_> {
    /// Whether the scores do not matter for the number of units that each group keeps.
    pub fn is_local(&self) -> bool {
        !matches!(self, Self::Fraction(_, Context::Global))
    }

    /// The units to remove from groups of `widths`, at the share `share` of all removals.
    ///
    /// # Errors
    /// If a pattern matches no group, matches one that another pattern gives another number, or asks for more units than
    /// there are.
    pub fn removals(&self, widths: &[Width], share: f64) -> Result<Removals> {
        let part = |count: f64| (share * count).round() as usize;
        let each = |lost: &dyn Fn(&Width) -> f64| {
            let of = |width: &Width| (width.layers.clone(), part(lost(width)));
            Removals::Each(widths.iter().map(of).collect())
        };
        Ok(match *self {
            Self::Fraction(fraction, Context::Global) => {
                let units: usize = widths.iter().map(|width| width.units).sum();
                Removals::Together((share * fraction * units as f64).round() as usize)
            }
            Self::Fraction(fraction, Context::Local) => each(&|width| fraction * width.units as f64),
            Self::Width(part) => each(&|width| (width.units - narrowed(width.units, part)) as f64),
            Self::Widths(wanted) => {
                let kept = named(wanted, widths)?;
                let lost = |(width, kept): (&Width, Option<usize>)| {
                    let kept = kept.unwrap_or(width.units);
                    (width.layers.clone(), part((width.units - kept) as f64))
                };
                Removals::Each(widths.iter().zip(kept).map(lost).collect())
            }
        })
    }
}

/// `int(width · units)`, and at least 1.
pub(super) fn narrowed(units: usize, width: f64) -> usize {
    ((width * units as f64) as usize).clamp(1, units)
}

/// The number of units that `wanted` gives each of `widths`.
fn named(wanted: &BTreeMap<String, usize>, widths: &[Width]) -> Result<Vec<Option<usize>>> {
    let refuse = |message: String| Err(Error::invalid(format!("prune widths: {message}")));
    let mut given: Vec<Option<(&str, usize)>> = vec![None; widths.len()];
    for (pattern, &count) in wanted {
        let group = ParamGroup::new(pattern.as_str());
        let mut found = false;
        for (width, given) in widths.iter().zip(&mut given) {
            let Some(layer) = width.layers.iter().find(|layer| group.matches(layer)) else { continue };
            found = true;
            if !(1..=width.units).contains(&count) {
                return refuse(format!("`{layer}` keeps 1 to {} channels, found {count}", width.units));
            }
            match given.replace((pattern, count)) {
                Some((other, before)) if before != count => {
                    return refuse(format!(
                        "`{other}` = {before} and `{pattern}` = {count} both match `{layer}`"
                    ));
                }
                _ => {}
            }
        }
        if !found {
            return refuse(format!("`{pattern}` matches no layer whose channels the criterion can remove"));
        }
    }
    Ok(given.into_iter().map(|given| given.map(|(_, count)| count)).collect())
}
